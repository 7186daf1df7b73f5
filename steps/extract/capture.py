"""Hash capture: compares every document of a category with the feature store, and keeps what differs."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from feature_store import schema
from feature_store.config import CategoryConfig
from feature_store.errors import TerminalError
from feature_store.extended_json import to_extended_json
from feature_store.handles import CaptureCounts
from feature_store.ids import UnsupportedIdError, document_id, fingerprint, source_id
from feature_store.parts import list_parts, write_part
from feature_store.progress import Advance
from feature_store.store import DELETED, REJECTED, FeatureStore, KnownDocument
from steps.extract.fields import mapped_fields, source_hash

ROWS_PER_PART = 500
CHARACTERS_PER_PART = 32_000_000

Document = dict[str, Any]
Row = dict[str, Any]


def capture_changes(
    store: FeatureStore,
    category: CategoryConfig,
    pages: Iterable[list[Document]],
    rules: str,
    folder: Path,
    advance: Advance,
) -> CaptureCounts:
    """Write the new and changed documents of ``pages`` as parts ``raw``, the ids of vanished ones as ``removed``.

    ``pages`` must be all documents of the category's collection: what the store has and they lack counts as deleted.

    Raises:
        TerminalError: if the source is empty although the store holds documents of the category.
    """
    counts: Counter[str] = Counter()
    seen: list[pa.Array] = []
    pending = _PendingRows(folder)
    rules_of_category = fingerprint([rules, category.model_dump(mode="json", exclude={"optional"})])
    for page in pages:
        rows = [_raw_row(document, category, rules_of_category) for document in page]
        known = store.known(row["document_id"] for row in rows)
        for row in rows:
            outcome = _compare(row, known.get(row["document_id"]))
            counts[outcome] += 1
            if outcome in {"added", "changed"}:
                pending.add(row)
        counts["read"] += len(rows)
        seen.append(_compact(row["document_id"] for row in rows))
        advance(len(rows))
    pending.flush()
    deleted = _write_removed(store, category.name, seen, folder)
    return CaptureCounts(**counts, deleted=deleted)


def _raw_row(document: Document, category: CategoryConfig, rules: str) -> Row:
    problem = None
    fields = to_extended_json(mapped_fields(document, category.paths()))
    try:
        source = source_id(document["_id"])
    except UnsupportedIdError as error:
        source, problem = f"unsupported:{to_extended_json({'_id': document['_id']})}", str(error)
    return {
        "document_id": document_id(category.name, source),
        "category": category.name,
        "source_id": source,
        "source_hash": source_hash(fields, rules),
        "fields": fields.encode("utf-8", "backslashreplace").decode(),
        "problem": problem,
    }


def _compare(row: Row, known: KnownDocument | None) -> str:
    if known is None or known.state == DELETED:
        return "added"
    if known.source_hash != row["source_hash"]:
        return "changed"
    return "rejected" if known.state == REJECTED else "unchanged"


def _write_removed(store: FeatureStore, category: str, seen: list[pa.Array], folder: Path) -> int:
    present = pa.chunked_array(seen, pa.binary(16)) if seen else pa.chunked_array([], pa.binary(16))
    number = len(list_parts(folder, "removed"))
    removed = 0
    for ids in store.document_ids(category):
        gone = ids.filter(pc.invert(pc.is_in(_compact(ids.to_pylist()), value_set=present)))
        if not len(gone):
            continue
        if not len(present):
            raise TerminalError(
                f"The source of category {category} is empty, but the feature store holds documents of it.",
                "Nothing was deleted: an empty source is not taken for one whose documents were all deleted. Check "
                "`collection` and MONGO_DATABASE.",
            )
        table = pa.table([gone, pa.array([category] * len(gone))], schema=schema.DOCUMENT_IDS)
        write_part(folder, "removed", number, table)
        number += 1
        removed += len(gone)
    return removed


def _compact(document_ids: Iterable[str]) -> pa.Array:
    # 16 bytes a document are all that a full read keeps in memory.
    return pa.array((bytes.fromhex(text.replace("-", "")) for text in document_ids), pa.binary(16))


class _PendingRows:
    """Rows that wait for a part to be full."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[Row] = []
        self.characters = 0
        self.number = len(list_parts(folder, "raw"))

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.characters += len(row["fields"])
        if len(self.rows) >= ROWS_PER_PART or self.characters >= CHARACTERS_PER_PART:
            self.flush()

    def flush(self) -> None:
        if not self.rows:
            return
        write_part(self.folder, "raw", self.number, pa.Table.from_pylist(self.rows, schema=schema.RAW))
        self.number += 1
        self.rows, self.characters = [], 0
