"""The application that owns the documents: every write moves the field ``at`` and leaves an entry in the outbox."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database

from feature_store.handles import CleanedDocuments, RawDocuments
from feature_store.parts import list_parts
from tests.flow import Document, Flow, Source
from warehouse.outbox import mark_done

OUTBOX = "outbox"
MODES: dict[str, str | dict[str, str]] = {
    "hash": "hash",
    "timestamp": {"mode": "timestamp", "field": "at"},
    "log": "log",
    "outbox": {"mode": "outbox", "outbox": OUTBOX},
}
"""The setting ``capture`` of a category for each mode, as this application's writes allow them."""


class Application:
    """Writes to the collections of one database, so that every capture mode can see it."""

    def __init__(self, database: Database[Document], collection: str) -> None:
        self.collection: Collection[Document] = database[collection]
        self.outbox: Collection[Document] = database[OUTBOX]

    def insert(self, documents: Iterable[Document], at: datetime | None = None) -> None:
        """Insert documents; ``at`` is the present time if it is not given."""
        stamped = [{**document, "at": at or now()} for document in documents]
        self.collection.insert_many(stamped)
        self._announce([document["_id"] for document in stamped], "insert")

    def change(self, identifier: Any, **fields: Any) -> None:
        """Set fields of a document."""
        # By the server's clock: a date in `$set` becomes a string on the embedded server.
        self.collection.update_one({"_id": identifier}, {"$set": fields, "$currentDate": {"at": True}})
        self._announce([identifier], "update")

    def delete(self, identifiers: Iterable[Any]) -> None:
        """Remove documents."""
        gone = list(identifiers)
        for identifier in gone:  # one by one: among ids of several types, the embedded server misses some
            assert self.collection.delete_one({"_id": identifier}).deleted_count == 1
        self._announce(gone, "delete")

    def _announce(self, identifiers: list[Any], operation: str) -> None:
        entries = [
            {"collection": self.collection.name, "document_id": identifier, "operation": operation, "at": now()}
            for identifier in identifiers
        ]
        if entries:
            self.outbox.insert_many(entries)


class DrainingFlow(Flow):
    """A flow that marks entries of the outbox as done once they are committed, as the step ``clean`` does."""

    def commit(self, source: Source, check: Any = None) -> tuple[RawDocuments, CleanedDocuments]:
        """Capture, clean and commit, then mark."""
        raw, cleaned = super().commit(source, check)
        if isinstance(source, Database):
            mark_done(source, cleaned.at().store_id, list_parts(raw.folder, "outbox"))
        return raw, cleaned


def now() -> datetime:
    """Return the time as MongoDB stores it: UTC, milliseconds."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
