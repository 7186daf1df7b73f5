"""The feature store: one versioned table of cleaned documents, with the rejects beside it.

The table holds one row for each document: its current state, or a tombstone once it is gone. ``changed_in`` is the
number of the version that wrote the row last, so that whoever has seen version ``n`` reads what is new by
``changed_in > n``. Readers go through a ``Version``, never to the newest Lance version of a table.
"""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import lance
import pyarrow as pa

from feature_store import schema, tables, versions
from feature_store.errors import TerminalError
from feature_store.versions import Position, Version

LIVE = "live"
DELETED = "deleted"
REJECTED = "rejected"
IS_LIVE = f"state = '{LIVE}'"  # as an SQL condition
_KNOWN_COLUMNS = [
    "document_id",
    "source_hash",
    "state",
    "text_hash",
    "content_hash",
    "duplicate_of",
    "added_in",
    "changed_in",
]


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """What the store knows of a document. ``state`` is live, deleted or rejected."""

    source_hash: str
    state: str
    text_hash: str | None
    content_hash: str | None
    duplicate_of: str | None
    added_in: int
    changed_in: int


@dataclass(frozen=True)
class FeatureStore:
    """The tables under one folder. Creating the object touches nothing."""

    folder: Path

    @property
    def documents_path(self) -> Path:
        """The table of documents that the newest version is in."""
        return table_path(self.folder, "documents", self._generation())

    @property
    def rejects_path(self) -> Path:
        """The table of rejects that the newest version is in."""
        return table_path(self.folder, "rejects", self._generation())

    def newest(self) -> Version | None:
        """Return the newest published version, or None before the first run."""
        return versions.newest_version(self.folder)

    def next_number(self) -> int:
        """Return the number of the version that the next change makes."""
        newest = self.newest()
        return newest.number + 1 if newest else 1

    def version(self, number: int) -> Version:
        """Return the version of that number; a TerminalError if there is none."""
        return versions.read_version(self.folder, number)

    def positions(self) -> dict[str, Position]:
        """Return the position of each category's source that the newest version reflects."""
        return versions.read_positions(self.folder)

    def documents(self, version: Version) -> lance.LanceDataset:
        """Return the table of documents as it was at ``version``, tombstones included."""
        return _opened(table_path(self.folder, "documents", version.generation), version.documents_version)

    def rejects(self, version: Version) -> lance.LanceDataset:
        """Return the table of rejects as it was at ``version``."""
        return _opened(table_path(self.folder, "rejects", version.generation), version.rejects_version)

    def known(self, document_ids: Iterable[str]) -> dict[str, KnownDocument]:
        """Return what is known of these documents; a rejected one is known by its reject."""
        newest = self.newest()
        if newest is None:
            return {}
        wanted = list(document_ids)
        found = {
            row.pop("document_id"): KnownDocument(**row)
            for row in tables.look_up(self.documents(newest), "document_id", wanted, _KNOWN_COLUMNS)
        }
        columns = ["document_id", "source_hash", "rejected_in"]
        for row in tables.look_up(self.rejects(newest), "document_id", wanted, columns):
            before = found.get(row["document_id"])
            added_in = before.added_in if before else row["rejected_in"]
            found[row["document_id"]] = KnownDocument(
                row["source_hash"], REJECTED, None, None, None, added_in, row["rejected_in"]
            )
        return found

    def document_ids(self, category: str) -> Iterator[pa.Array]:
        """Yield the ids of a category's live and rejected documents, in batches of strings."""
        newest = self.newest()
        if newest is None:
            return
        condition = f"category = '{category}'"
        live = self.documents(newest).scanner(columns=["document_id"], filter=f"{condition} AND {IS_LIVE}")
        rejected = self.rejects(newest).scanner(columns=["document_id"], filter=condition)
        for scanner in (live, rejected):
            for batch in scanner.to_batches():
                yield batch.column("document_id")

    def changes(
        self, since: int, version: Version, categories: Sequence[str], columns: list[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of ``categories`` written after ``since`` and up to ``version``, tombstones included."""
        table = self.documents(version)
        yield from table.scanner(columns=columns, filter=_changed(since, categories), batch_size=512).to_batches()

    def count_changes(self, since: int, version: Version, categories: Sequence[str]) -> int:
        """Return the number of rows that ``changes`` would yield."""
        return int(self.documents(version).count_rows(filter=_changed(since, categories)))

    def count_documents(self, version: Version, condition: str = IS_LIVE) -> int:
        """Return the number of rows that fulfil an SQL ``condition`` at ``version``."""
        return int(self.documents(version).count_rows(filter=condition))

    def count_held(self, category: str) -> int:
        """Return how many documents and rejects the newest version holds of a category."""
        newest = self.newest()
        if newest is None:
            return 0
        condition = f"category = '{category}'"
        rejected = int(self.rejects(newest).count_rows(filter=condition))
        return self.count_documents(newest, f"{condition} AND {IS_LIVE}") + rejected

    def count_duplicates(self, version: Version) -> int:
        """Return the number of live documents whose text an earlier one has too."""
        return self.count_documents(version, f"{IS_LIVE} AND duplicate_of IS NOT NULL")

    def _generation(self) -> int:
        newest = self.newest()
        return newest.generation if newest else 0


def table_path(folder: Path, name: str, generation: int) -> Path:
    """Return where the table ``documents`` or ``rejects`` of a generation is."""
    return folder / (f"{name}.{generation}.lance" if generation else f"{name}.lance")


def _changed(since: int, categories: Sequence[str]) -> str:
    return f"changed_in > {since} AND {tables.in_list('category', categories)}"


def open_feature_store(folder: Path) -> FeatureStore:
    """Return the store in ``folder``; it may still be empty."""
    return FeatureStore(folder)


def prepare_tables(store: FeatureStore) -> tuple[str, int]:
    """Make the tables ready for writing; return the store's id and the number of the version to make.

    Rows that a dead run left behind are rolled back first.
    """
    newest = store.newest()
    if newest is None:
        tables.create(store.documents_path, schema.DOCUMENTS, ["document_id", "changed_in", "text_hash"])
        tables.create(store.rejects_path, schema.REJECTS, ["document_id"])
        return uuid.uuid4().hex, 1
    _roll_back(store.documents_path, newest.documents_version)
    _roll_back(store.rejects_path, newest.rejects_version)
    return newest.store_id, newest.number + 1


def _opened(path: Path, lance_version: int) -> lance.LanceDataset:
    try:
        return lance.dataset(str(path), version=lance_version)
    except (ValueError, OSError) as error:
        raise TerminalError(
            f"The table {path.name} cannot be opened at version {lance_version}: {error}",
            "Restore the data folder from a backup, or move it away and run again to rebuild it.",
        ) from error


def _roll_back(path: Path, lance_version: int) -> None:
    if lance.dataset(str(path)).version != lance_version:
        _opened(path, lance_version).restore()
