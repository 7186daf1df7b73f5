"""The record of an index: which points its collection holds, document by document, and how far it can be trusted.

Beside the Lance table ``<collection>.lance`` lies a note, ``<collection>.json``. It says which version of the feature
store the table reflects, which Lance version of the table that is, and which version a load was on its way to: set
before the first write of a load, cleared when the table of the new version is complete. So the record of a load that
died is never taken for the truth.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, ValidationError

from feature_store import schema, tables
from feature_store.errors import TerminalError
from feature_store.files import write_json_atomically
from feature_store.index import NOTHING, IndexMetadata, VersionName
from feature_store.parts import Part, read_part, remove_folder
from feature_store.points import DocumentPoints, KnownPoints, unpack
from feature_store.rewriting import rewrite_table, without
from feature_store.store import FeatureStore
from feature_store.versions import Version

_CLOCK_SLACK_SECONDS = 5.0
_ROWS_AT_ONCE = 20_000  # 4 MB of ids and hashes where a document has five points

Keep = Callable[[], None]
"""Keeps the right to write to the collection; called again and again during long work."""


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """From where a collection is brought to a newer version.

    Every document that changed after ``since`` is looked at; 0 means all. ``record`` is the Lance version of the record
    that says what the collection holds of them; None where no record can be trusted.
    """

    since: VersionName
    record: int | None = None


NO_START = StartingPoint(NOTHING)
"""From the first document on."""


class RecordNote(BaseModel):
    """What the record says of itself. ``table`` is the Lance version that reflects ``version``.

    ``lease_token`` is that of the lease under which the latest load of this data folder wrote, dead or alive.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: VersionName
    table: int
    loading: VersionName | None = None
    lease_token: str | None = None


@dataclass(frozen=True)
class IndexRecord:
    """The record of one collection. Creating the object touches nothing."""

    folder: Path
    collection: str

    @property
    def table_path(self) -> Path:
        return self.folder / f"{self.collection}.lance"

    @property
    def note_path(self) -> Path:
        return self.folder / f"{self.collection}.json"

    def read_note(self) -> RecordNote | None:
        """Return the note, or None where there is none that a table goes with."""
        note = self._noted()
        return note if note and (note.version == NOTHING or self._has_table(note.table)) else None

    def lease_token(self) -> str | None:
        """Return the token of the lease of the latest load from this data folder, whatever became of its table."""
        note = self._noted()
        return note.lease_token if note else None

    def known_points(self, table: int) -> KnownPoints:
        """Return the look-up of what the collection holds, by the record at the Lance version ``table``."""
        opened = lance.dataset(str(self.table_path), version=table)

        def look_up(document_ids: Sequence[str]) -> Mapping[str, DocumentPoints]:
            columns = ["document_id", "chunk_ids", "payload_hashes"]
            rows = tables.look_up(opened, "document_id", document_ids, columns)
            return {row["document_id"]: unpack(row["chunk_ids"], row["payload_hashes"]) for row in rows}

        return look_up

    def count_points(self) -> int:
        """Return the number of points that the collection must hold; 0 without a record."""
        note = self.read_note()
        return 0 if note is None or note.version == NOTHING else self._count_points(note.table)

    def begin(self, since: VersionName, version: VersionName, lease_token: str) -> None:
        """Note that a load from ``since`` to ``version`` starts to write under the lease with that token."""
        note = self.read_note()
        table = note.table if note else 0
        self._write_note(RecordNote(version=since, table=table, loading=version, lease_token=lease_token))

    def forget(self) -> None:
        """Forget what the collection holds: the next load writes everything anew. Without a note that is so already."""
        self.note_path.unlink(missing_ok=True)

    def write(self, parts: Sequence[Part], keep: Keep) -> int:
        """Take in the rows of parts ``documents``; return the number of points that the collection must hold then.

        Nobody reads this Lance version of the table before `publish` names it. Rows that a load which died left in the
        table need no care: their documents changed after the version that the note names, so they are replaced here.
        """
        started = time.time() - _CLOCK_SLACK_SECONDS
        note = self.read_note()
        if note is None or note.version == NOTHING:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.table_path.exists():
                shutil.rmtree(self.table_path)  # a damaged table could not be overwritten
            tables.create(self.table_path, schema.INDEX_RECORD, ["document_id"])
        for rows in _groups(parts):
            tables.upsert(lance.dataset(str(self.table_path)), "document_id", rows)
            keep()
        if parts:
            tables.maintain(lance.dataset(str(self.table_path)))
            keep()
            tables.flush(self.table_path, started)
            keep()
        return self._count_points()

    def erase(self, document_ids: Sequence[str]) -> int:
        """Remove documents from the record and from all that is left of its past; return how many points they had.

        The collection has lost these points already. The rest of what the record says stays as true as it was.
        """
        note = self.read_note()
        if note is None or note.version == NOTHING:
            remove_folder(self.table_path)  # nobody reads it: the next load makes it anew
            return 0
        before = self._count_points(note.table)
        rest = without("document_id", pa.array(document_ids, pa.string()))
        table = rewrite_table(self.table_path, rest, ["document_id"], note.table)
        self._write_note(note.model_copy(update={"table": table}))
        tables.forget_old_versions(lance.dataset(str(self.table_path)))
        return before - self._count_points(table)

    def publish(self, version: VersionName) -> None:
        """Say that the record reflects ``version``."""
        table = lance.dataset(str(self.table_path))
        self._write_note(RecordNote(version=version, table=table.version, lease_token=self.lease_token()))
        tables.forget_old_versions(table)

    def _noted(self) -> RecordNote | None:
        if not self.note_path.exists():
            return None
        try:
            return RecordNote.model_validate_json(self.note_path.read_bytes())
        except ValidationError:
            return None  # damaged: as good as lost, and what it said is found out anew

    def _count_points(self, table: int | None = None) -> int:
        opened = lance.dataset(str(self.table_path), version=table)
        batches = opened.scanner(columns=["chunks"]).to_batches()
        return sum(pc.sum(batch.column("chunks")).as_py() or 0 for batch in batches)

    def _has_table(self, version: int) -> bool:
        if not tables.exists(self.table_path):
            return False
        try:
            return version in {known["version"] for known in lance.dataset(str(self.table_path)).versions()}
        except (ValueError, OSError):
            return False  # damaged: as good as lost, for it can be made anew

    def _write_note(self, note: RecordNote) -> None:
        write_json_atomically(self.note_path, note.model_dump(mode="json"))


def starting_point(
    metadata: IndexMetadata | None, record: IndexRecord, store: FeatureStore, newest: Version
) -> StartingPoint:
    """Return from where the collection with that ``metadata`` is brought to ``newest``.

    Collection and record may be at different versions, after one of them was restored or a load died; what changed
    since the older of the two then counts as unknown. So it does after a load that began and did not end, whether the
    record says so or a lease in the collection's metadata. Everything is unknown where one of these versions is none
    of this ``store``: it was restored from a backup, or another copy of the data folder wrote to the collection.
    """
    note = record.read_note()
    if metadata is None or note is None:
        return NO_START
    lease = metadata.lease
    begun = [begun for begun in (note.loading, lease.loading if lease else None) if begun is not None]
    if not all(is_of_history(store, newest, name) for name in (metadata.reflects, note.version, *begun)):
        return NO_START
    since = min(metadata.reflects, note.version, key=lambda name: name.number)
    is_certain = metadata.reflects == note.version != NOTHING and not begun
    return StartingPoint(since, note.table if is_certain else None)


def _groups(parts: Sequence[Part]) -> Iterator[pa.Table]:
    """Yield the rows of parts, so many at a time that memory stays flat and the table gets few versions by it."""
    group: list[pa.Table] = []
    rows = 0
    for part in parts:
        group.append(read_part(part))
        rows += group[-1].num_rows
        if rows >= _ROWS_AT_ONCE:
            yield pa.concat_tables(group)
            group, rows = [], 0
    if group:
        yield pa.concat_tables(group)


def is_of_history(store: FeatureStore, newest: Version, name: VersionName) -> bool:
    """Return whether a version is one of those that led to ``newest``; the absence of any is."""
    if name == NOTHING:
        return True
    if name.number > newest.number:
        return False
    try:
        return store.version(name.number).run_id == name.run_id
    except TerminalError:
        return False  # it is no longer there: what it held cannot be told
