"""What the tests of capture share: an application that every mode can follow, and installations that capture it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.database import Database

from feature_store.config import DeletionGuard, RunOptions
from feature_store.handles import RawDocuments
from feature_store.parts import list_parts, read_part
from tests.application import DrainingFlow
from tests.flow import CATEGORY, Document, note, notes_config
from warehouse.outbox import mark_done

MODES: dict[str, Any] = {
    "hash": "hash",
    "timestamp": {"mode": "timestamp", "field": "at"},
    "log": "log",
    "outbox": "outbox",
}
BEGINNING = datetime(2024, 7, 29, tzinfo=UTC)
FREELY = DeletionGuard(max_documents=1_000_000)


class Writer:
    """Writes to the collection `notes`: each write moves `at` by a second and leaves an entry in the outbox."""

    def __init__(self, database: Database[Document]) -> None:
        self.notes = database["notes"]
        self.outbox = database["outbox"]
        self.now = BEGINNING
        database.create_collection("outbox")

    def put(self, identifier: Any, body: Any = "alpha", **fields: Any) -> None:
        """Insert or replace a document; ``at`` may be given."""
        self.now += timedelta(seconds=1)
        document = {**note(identifier, body), "at": self.now, **fields}
        self.notes.replace_one({"_id": identifier}, document, upsert=True)
        self.announce(identifier, "update")

    def delete(self, identifier: Any) -> None:
        self.notes.delete_one({"_id": identifier})
        self.announce(identifier, "delete")

    def announce(self, identifier: Any, operation: str) -> None:
        entry = {"collection": "notes", "document_id": identifier, "operation": operation, "at": self.now}
        self.outbox.insert_one(entry)


_names = iter(f"base{number}" for number in range(1_000_000))


def empty_database(server: Database[Document]) -> Database[Document]:
    """Return a database of the server that nobody has used yet."""
    return server.client.get_database(next(_names), codec_options=server.codec_options)


def make_flow(folder, mode: Any, options: RunOptions | None = None, deletions=FREELY, **category: Any) -> DrainingFlow:
    capture = MODES[mode] if isinstance(mode, str) else mode
    config = notes_config(categories=[{**CATEGORY, "capture": capture, **category}])
    changes = {"options": options or RunOptions(), "deletions": deletions}
    return DrainingFlow(folder, config.model_copy(update=changes))


def with_options(flow: DrainingFlow, **options: Any) -> DrainingFlow:
    """Return the same installation for a run with other options."""
    flow.config = flow.config.model_copy(update={"options": RunOptions(**options)})
    return flow


def outcome(raw: RawDocuments) -> dict[str, int]:
    """Return the counts of the notes that are not 0."""
    return {name: count for name, count in raw.categories["notes"].model_dump().items() if count}


def whole(flow: DrainingFlow, database: Database[Document]) -> str:
    """Run, demand that everything was compared, and return the reason."""
    raw, _ = flow.commit(database)
    assert raw.captures["notes"].whole
    return raw.captures["notes"].reason


def followed(flow: DrainingFlow, database: Database[Document]) -> dict[str, int]:
    """Run, demand that only changes were looked at, and return the counts."""
    raw, _ = flow.commit(database)
    assert not raw.captures["notes"].whole, raw.captures["notes"].reason
    return outcome(raw)


def names_of(raw: RawDocuments, part: str = "raw", field: str = "source_id") -> list[str]:
    """Return a field of every row of some parts, sorted."""
    return sorted(row[field] for path in list_parts(raw.folder, part) for row in read_part(path).to_pylist())


def drain(flow: DrainingFlow, database: Database[Document], raw: RawDocuments) -> None:
    """Commit what was captured, and mark the entries of the outbox as the step `clean` does."""
    cleaned = flow.clean(raw)
    mark_done(database, cleaned.at().store_id, list_parts(raw.folder, "outbox"))
