"""The feature store: one versioned table of cleaned documents, with the rejects beside it.

The table holds one row for each document: its current state, or a tombstone once it is gone. ``changed_in`` is the
number of the version that wrote the row last, so that whoever has seen version ``n`` reads what is new by
``changed_in > n``. Readers go through a ``Version``, never to the newest Lance version of a table.
"""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from feature_store import records, schema, tables, versions
from feature_store.errors import TerminalError
from feature_store.records import KnownDocument
from feature_store.versions import Position, Version

LIVE, DELETED, REJECTED = records.LIVE, records.DELETED, records.REJECTED
IS_LIVE = f"state = '{LIVE}'"  # as an SQL condition
_ROWS_AT_ONCE = 512
_LARGE_CHARACTERS = 32_000
_BYTES_AHEAD = 32_000_000
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


@dataclass(frozen=True)
class Knowledge:
    """What one version knows of documents: its tables, opened once. Without tables it knows nothing.

    Opening them costs more than looking up a thousand documents, and they keep what they have read of their indexes.
    """

    documents: lance.LanceDataset | None = None
    rejects: lance.LanceDataset | None = None

    def of(self, document_ids: Iterable[str]) -> dict[str, KnownDocument]:
        """Return what is known of these documents; a rejected one is known by its reject."""
        wanted = list(document_ids)
        found = {
            row.pop("document_id"): KnownDocument(**row) for row in _look_up(self.documents, wanted, _KNOWN_COLUMNS)
        }
        for row in _look_up(self.rejects, wanted, ["document_id", "source_hash", "rejected_in"]):
            before = found.get(row["document_id"])
            added_in = before.added_in if before else row["rejected_in"]
            found[row["document_id"]] = KnownDocument(
                row["source_hash"], REJECTED, None, None, None, added_in, row["rejected_in"]
            )
        return found

    def source_ids(self, document_ids: Sequence[str]) -> dict[str, str]:
        """Return the source id of each of these documents that is held, live or as a reject."""
        columns = ["document_id", "source_id"]
        rows = _look_up(self.documents, document_ids, [*columns, "state"])
        live = {row["document_id"]: row["source_id"] for row in rows if row["state"] == LIVE}
        rejects = _look_up(self.rejects, document_ids, columns)
        return live | {row["document_id"]: row["source_id"] for row in rejects}

    def rejects_of(self, document_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the rows of the rejects of these documents, as far as there are any."""
        return {row["document_id"]: row for row in _look_up(self.rejects, document_ids, schema.REJECTS.names)}


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

    def knowledge(self) -> Knowledge:
        """Open the newest version for look-ups: what is published later is not seen by them."""
        newest = self.newest()
        return Knowledge() if newest is None else Knowledge(self.documents(newest), self.rejects(newest))

    def known(self, document_ids: Iterable[str]) -> dict[str, KnownDocument]:
        """Return what the newest version knows of these documents; a rejected one is known by its reject."""
        return self.knowledge().of(document_ids)

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
        """Yield the rows of ``categories`` written after ``since`` and up to ``version``, tombstones included.

        Large documents come last, one by one: Lance counts the rows of a batch, not their bytes.
        """
        table = self.documents(version)
        for size, rows in ((f"<= {_LARGE_CHARACTERS}", _ROWS_AT_ONCE), (f"> {_LARGE_CHARACTERS}", 1)):
            condition = f"{_changed(since, categories)} AND characters {size}"
            scanner = table.scanner(
                columns=columns,
                filter=condition,
                batch_size=rows,
                batch_readahead=1,
                fragment_readahead=1,
                io_buffer_size=_BYTES_AHEAD,
            )
            yield from scanner.to_batches()

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


def _look_up(
    table: lance.LanceDataset | None, document_ids: Iterable[str], columns: list[str]
) -> Iterator[dict[str, Any]]:
    return iter(()) if table is None else tables.look_up(table, "document_id", document_ids, columns)


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
