"""Comparing documents of the source with the feature store, and keeping what differs."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from feature_store import schema, tables
from feature_store.config import CategoryConfig
from feature_store.extended_json import to_extended_json
from feature_store.ids import document_id
from feature_store.parts import Folder, list_parts, write_part
from feature_store.progress import Advance
from feature_store.records import DELETED, REJECTED, KnownDocument
from feature_store.store import FeatureStore
from feature_store.suppression import FORGOTTEN, HIDDEN, read_suppressed
from steps.extract.fields import encode_fields, mapped_fields, source_hash, value_at
from steps.extract.ids import IdSet, text_of_id

ROWS_PER_PART = 500
BYTES_PER_PART = 500_000  # of mapped fields; a document larger than that has a part of its own
ROWS_PER_LOOK_UP = 1000
ALL_REASONS = "all"

Document = dict[str, Any]
Row = dict[str, Any]


class Comparison:
    """Takes the present state of some documents of a category; what differs becomes parts ``raw``.

    ``seen`` has the ids of the documents that are there, ``candidates`` those of documents that the source seems to
    have lost. ``retried`` takes those of rejects that count as changed although they are the same.
    """

    def __init__(
        self, store: FeatureStore, category: CategoryConfig, rules: str, folder: Folder, advance: Advance
    ) -> None:
        self.store = store
        self.knowledge = store.knowledge()
        self.category = category
        self.rules = rules
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self.seen = IdSet()
        self.candidates = IdSet()
        self.retried = IdSet()
        self._digest = 0
        self._advance = advance
        self._pending = _PendingRows(folder)
        self._rows: list[Row] = []
        self._bytes = 0
        self.settled = IdSet()
        self._suppressed = read_suppressed(store.folder)

    @property
    def digest(self) -> str:
        """32 hexadecimal characters that name what differs, whatever the order in which it was seen."""
        return f"{self._digest:032x}"

    def look_at(self, documents: Iterable[Document]) -> None:
        """Compare documents with the store; one whose ``deleted_field`` is set counts as absent."""
        everything = list(documents)
        there: list[Document] = []
        marked: list[Document] = []
        for document in everything:
            (marked if is_marked_deleted(document, self.category) else there).append(document)
        self.report_absent(document["_id"] for document in marked)
        rows = [self._row(document) for document in there]
        if len(self.settled):
            known = self.settled.has(row["document_id"] for row in rows)
            rows = [row for row, before in zip(rows, known, strict=True) if not before]
        self.seen.add(row["document_id"] for row in rows)
        self._rows += rows
        self._bytes += sum(row["bytes"] for row in rows)
        self._advance(len(everything))
        if len(self._rows) >= ROWS_PER_LOOK_UP or self._bytes >= BYTES_PER_PART:
            self.flush()

    def report_absent(self, ids: Iterable[Any]) -> None:
        """Take note of ``_id``s that the source was asked for and does not have."""
        self.candidates.add(self.document_ids(ids))

    def document_ids(self, ids: Iterable[Any]) -> list[str]:
        """Return the document ids of some ``_id``s."""
        return [document_id(self.category.name, text_of_id(raw_id)[0]) for raw_id in ids]

    def held(self) -> IdSet:
        """Return the ids of all documents and rejects that the store holds of the category."""
        ids = IdSet()
        for batch in self.store.document_ids(self.category.name):
            ids.add(batch.to_pylist())
        return ids

    def settle(self) -> None:
        """Leave documents that were looked at so far alone when they come again."""
        self.settled = self.seen - IdSet()

    def count_removed(self, document_ids: Iterable[str]) -> None:
        """Take note of documents that are gone for certain."""
        for identifier in document_ids:
            self._add_to_digest(identifier, "removed")

    def flush(self) -> None:
        """Compare what waits, so that counts and parts are complete."""
        for some in tables.batches_of(self._rows, ROWS_PER_LOOK_UP):
            known = self.knowledge.of(row["document_id"] for row in some)
            retried = self.retried.has(row["document_id"] for row in some)
            for row, again in zip(some, retried, strict=True):
                outcome = _compare(row, known.get(row["document_id"]))
                if outcome == "rejected" and again:
                    outcome = "changed"
                self.counts[outcome] += 1
                if outcome in {"added", "changed"}:
                    self._pending.add(row)
                    self._add_to_digest(row["document_id"], row["source_hash"])
            self.counts["read"] += len(some)
        self._rows, self._bytes = [], 0

    def finish(self) -> None:
        """Write what waits for a part to be full."""
        self.flush()
        self._pending.flush()

    def _row(self, document: Document) -> Row:
        """Return the row of a document; one that was forgotten is known by its id alone, whatever is in it."""
        source, problem = text_of_id(document["_id"])
        identifier = document_id(self.category.name, source)
        if identifier in self._suppressed:
            return _forgotten_row(identifier, self.category)
        return _raw_row(document, identifier, (source, problem), self.category, self.rules)

    def _add_to_digest(self, *parts: str) -> None:
        name = hashlib.sha256("\x1f".join(parts).encode()).digest()[:16]
        self._digest = (self._digest + int.from_bytes(name, "big")) % 2**128


def rejects_to_retry(store: FeatureStore, category: str, reasons: Sequence[str]) -> IdSet:
    """Return the ids of a category's rejects with one of the ``reasons``; of all of them for ``all``.

    Documents that were forgotten are never among them: nothing would come of it, and their ``_id`` is not known.
    """
    ids, newest = IdSet(), store.newest()
    if newest is None or not reasons:
        return ids
    condition = f"category = '{category}' AND reason != '{FORGOTTEN}'"
    if ALL_REASONS not in reasons:
        condition = f"{condition} AND {tables.in_list('reason', reasons)}"
    for batch in store.rejects(newest).scanner(columns=["document_id"], filter=condition).to_batches():
        ids.add(batch.column("document_id").to_pylist())
    return ids


def is_marked_deleted(document: Document, category: CategoryConfig) -> bool:
    """Return whether the category's ``deleted_field`` is set: anything but null, false, 0 and an empty string."""
    if category.deleted_field is None:
        return False
    value = value_at(document, category.deleted_field)
    return not (value is None or (isinstance(value, bool | int | float | str) and not value))


def write_removed(folder: Folder, category: str, ids: IdSet) -> None:
    """Write document ids as parts ``removed``."""
    first = len(list_parts(folder, "removed"))
    for number, some in enumerate(ids, first):
        table = pa.table([pa.array(some), pa.array([category] * len(some))], schema=schema.DOCUMENT_IDS)
        write_part(folder, "removed", number, table)


def _raw_row(
    document: Document, identifier: str, source: tuple[str, str | None], category: CategoryConfig, rules: str
) -> Row:
    fields = mapped_fields(document, category.paths())
    encoded = encode_fields(fields)
    return {
        "document_id": identifier,
        "category": category.name,
        "source_id": source[0],
        "source_hash": source_hash(encoded, rules),
        "fields": fields,
        "problem": source[1],
        "forgotten": False,
        "bytes": len(encoded),
    }


def _forgotten_row(identifier: str, category: CategoryConfig) -> Row:
    # The same whatever is written to the document: it becomes a reject once, and is known from then on.
    return {
        "document_id": identifier,
        "category": category.name,
        "source_id": HIDDEN,
        "source_hash": FORGOTTEN,
        "fields": {},
        "problem": None,
        "forgotten": True,
        "bytes": 0,
    }


def _compare(row: Row, known: KnownDocument | None) -> str:
    if known is None or known.state == DELETED:
        return "added"
    if known.source_hash != row["source_hash"]:
        return "changed"
    return "rejected" if known.state == REJECTED else "unchanged"


class _PendingRows:
    """Rows that wait for a part to be full; only for them the fields are turned into JSON."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.rows: list[Row] = []
        self.bytes = 0
        self.number = len(list_parts(folder, "raw"))

    def add(self, row: Row) -> None:
        size = row.pop("bytes")
        if self.bytes + size > BYTES_PER_PART:
            self.flush()
        self.bytes += size
        fields = to_extended_json(row["fields"]).encode("utf-8", "backslashreplace").decode()
        self.rows.append({**row, "fields": fields})
        if len(self.rows) >= ROWS_PER_PART or self.bytes >= BYTES_PER_PART:
            self.flush()

    def flush(self) -> None:
        if not self.rows:
            return
        write_part(self.folder, "raw", self.number, pa.Table.from_pylist(self.rows, schema=schema.RAW))
        self.number += 1
        self.rows, self.bytes = [], 0
