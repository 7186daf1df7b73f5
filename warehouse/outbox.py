"""The outbox: a collection in which the application, or a trigger, announces what it has written.

An entry is ``{collection, document_id, operation, at}``. It is pending for a feature store until ``done_by`` holds the
store's id, so that several installations can drain one outbox. Who wrote the entries removes them when all are done.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from bson import ObjectId
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError

from feature_store.errors import ConfigurationError, TerminalError, TransientError
from feature_store.extended_json import from_extended_json, to_extended_json
from feature_store.parts import Part, read_part
from feature_store.tables import batches_of
from warehouse.failures import passes
from warehouse.server import find_collection, lasting

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


def reader_name(store_id: str, category: str) -> str:
    """Return the name by which a category of a feature store marks entries: several may read one collection."""
    return f"{store_id}/{category}"


def pending_entries(
    database: Database[Document], outbox: str, collection: str, reader: str | None
) -> Iterator[Document]:
    """Yield the entries about a collection that a ``reader_name`` has not done yet, in the order of their ids.

    Before its first version a store has no id, and so no reader has a name: all entries are pending then.
    """
    condition: Document = {"collection": collection}
    if reader is not None:
        condition["done_by"] = {"$nin": [reader]}  # the embedded server gets `$ne` of an array wrong
    wanted = {"document_id": 1, "operation": 1}
    with lasting(database, outbox).find(condition, wanted).sort("_id", 1).batch_size(_ENTRIES_AT_ONCE) as entries:
        yield from entries


def entries_table(outbox: str, category: str, entry_ids: Sequence[Any]) -> pa.Table:
    """Return the rows by which entries travel to ``mark_done``."""
    rows = [{"outbox": outbox, "category": category, "entry": to_extended_json({"_id": _id})} for _id in entry_ids]
    return pa.Table.from_pylist(rows, schema=ENTRIES)


def mark_done(database: Database[Document], store_id: str, parts: Sequence[Part]) -> int:
    """Mark the entries in ``parts`` as done by a feature store, which has what they announced; return their count.

    Marking again is harmless; an entry that was removed meanwhile is left alone.

    Raises:
        TransientError: if the warehouse stops answering: the entries are then drained again by the next run.
        TerminalError: if it refuses.
    """
    marked = 0
    for part in parts:
        by_reader: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for row in read_part(part).to_pylist():
            by_reader[row["outbox"], row["category"]].append(from_extended_json(row["entry"])["_id"])
        for (outbox, category), ids in by_reader.items():
            for some in batches_of(ids, _ENTRIES_AT_ONCE):
                _mark(database[outbox], reader_name(store_id, category), some)
            marked += len(ids)
    return marked


def require_markable(database: Database[Document], category: str, outbox: str) -> None:
    """Check that entries may be marked, by an update that fits none.

    Raises:
        ConfigurationError: if the server does not let this user write there.
    """
    try:
        database[outbox].update_many({"_id": ObjectId()}, {"$set": {"done_by": []}})
    except OperationFailure as error:
        raise ConfigurationError(
            f"Category {category}: the warehouse does not let this user mark entries of the outbox {outbox!r} as done "
            f"(code {error.code}).",
            "Give the user of MONGO_URI the right to update that collection, or choose another capture mode.",
        ) from None


def _mark(outbox: Collection[Document], reader: str, ids: Sequence[Any]) -> None:
    try:
        # Two steps: the embedded server adds to no array that is not there yet.
        new = {"_id": {"$in": ids}, "done_by": {"$exists": False}}
        outbox.update_many(new, {"$set": {"done_by": [reader]}})
        outbox.update_many({"_id": {"$in": ids}}, {"$addToSet": {"done_by": reader}})
    except PyMongoError as error:
        # `from None`: the driver's errors may quote parts of the address.
        kind = TransientError if passes(error) else TerminalError
        raise kind(
            f"Entries of the outbox {outbox.name} could not be marked as done ({type(error).__name__}). The version "
            "with what they announced is published.",
            "Run again: they are still pending, and reading them again is harmless. The user of MONGO_URI needs the "
            "right to update that collection.",
        ) from None
