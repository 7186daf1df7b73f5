"""The outbox: a collection in which the application, or a trigger, announces what it has written.

An entry is ``{collection, document_id, operation, at}``. It is pending for a feature store until ``done_by`` holds the
store's id, so that several installations can drain one outbox. Who wrote the entries removes them when all are done.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pymongo.database import Database

from feature_store.errors import ConfigurationError
from feature_store.extended_json import from_extended_json, to_extended_json
from feature_store.parts import read_part
from feature_store.tables import batches_of
from warehouse.failures import reading
from warehouse.server import find_collection

Document = dict[str, Any]

ENTRIES = pa.schema(
    [
        pa.field("outbox", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("entry", pa.large_string(), nullable=False),  # MongoDB Extended JSON of its `_id`
    ]
)
_ENTRIES_AT_ONCE = 1000


def require_outbox(database: Database[Document], category: str, outbox: str) -> None:
    """Check that the outbox of a category is there.

    Raises:
        ConfigurationError: if it is not: changes would go unnoticed.
    """
    if find_collection(database, outbox) is None:
        raise ConfigurationError(
            f"Category {category}: the warehouse has no outbox {outbox!r}.",
            "Create that collection and have every write leave an entry in it, correct `capture.outbox`, or choose "
            "another capture mode.",
        )


def pending_entries(
    database: Database[Document], outbox: str, collection: str, store_id: str | None
) -> Iterator[Document]:
    """Yield the entries about a collection that a feature store has not done yet, in the order of their ids.

    Before its first version a store has no id: all entries are pending then.
    """
    condition: Document = {"collection": collection}
    if store_id is not None:
        condition["done_by"] = {"$nin": [store_id]}  # the embedded server gets `$ne` of an array wrong
    wanted = {"document_id": 1, "operation": 1}
    with database[outbox].find(condition, wanted).sort("_id", 1).batch_size(_ENTRIES_AT_ONCE) as entries:
        yield from entries


def entries_table(outbox: str, category: str, entry_ids: Sequence[Any]) -> pa.Table:
    """Return the rows by which entries travel to ``mark_done``."""
    rows = [{"outbox": outbox, "category": category, "entry": to_extended_json({"_id": _id})} for _id in entry_ids]
    return pa.Table.from_pylist(rows, schema=ENTRIES)


def mark_done(database: Database[Document], store_id: str, parts: Sequence[Path]) -> int:
    """Mark the entries in ``parts`` as done by a feature store, which has what they announced; return their count.

    Marking again is harmless; an entry that was removed meanwhile is left alone.

    Raises:
        TransientError: if the warehouse stops answering: the entries are then drained again by the next run.
        TerminalError: if it refuses.
    """
    marked = 0
    for part in parts:
        rows = read_part(part).to_pylist()
        for outbox in sorted({row["outbox"] for row in rows}):
            ids = [from_extended_json(row["entry"])["_id"] for row in rows if row["outbox"] == outbox]
            with reading(outbox):
                for some in batches_of(ids, _ENTRIES_AT_ONCE):
                    # Two steps: the embedded server adds to no array that is not there yet.
                    new = {"_id": {"$in": some}, "done_by": {"$exists": False}}
                    database[outbox].update_many(new, {"$set": {"done_by": [store_id]}})
                    database[outbox].update_many({"_id": {"$in": some}}, {"$addToSet": {"done_by": store_id}})
            marked += len(ids)
    return marked
