"""Cleaning one part of raw documents: what a worker does. It sees the part and what it is given, no feature store."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from feature_store import schema
from feature_store.config import CategoryConfig, CleaningConfig
from feature_store.extended_json import from_extended_json
from feature_store.ids import text_hash
from feature_store.parts import Folder, Part, part_number, read_part, write_part
from feature_store.records import LIVE, CleanedDocument, KnownDocument, RawDocument, Reject
from feature_store.suppression import FORGOTTEN

_METADATA_FIELDS = ("title", "url", "author", "published_at", "updated_at", "external_id", "language", "text_format")
_ROWS_AT_ONCE = 16
_TELLING_COLUMNS = ("source_hash", "reason", "detail", "excerpt")  # of a reject

Row = dict[str, Any]
CategoryCounts = dict[str, Counter[str]]


@dataclass(frozen=True, slots=True)
class RawPart:
    """A part of raw documents, with what the feature store knows of them.

    ``rejects`` are the rows of those that it holds as rejects. Documents that it does not know are in neither.
    """

    part: Part
    known: Mapping[str, KnownDocument] = field(default_factory=dict)
    rejects: Mapping[str, Row] = field(default_factory=dict)


def clean_part(
    raw: RawPart,
    categories: Mapping[str, CategoryConfig],
    cleaning: CleaningConfig,
    version: int,
    folder: Folder,
) -> CategoryCounts:
    """Clean one raw part into parts ``documents`` and ``rejects`` of the same number; return counts by category.

    Rows whose content is as it was keep their ``changed_in``: nothing downstream has to follow.
    """
    counts: CategoryCounts = {}
    documents, rejects = [], []
    for row in _rows(read_part(raw.part)):
        identifier = row["document_id"]
        outcome = _cleaned(row, categories[row["category"]], cleaning)
        counter = counts.setdefault(row["category"], Counter())
        if isinstance(outcome, Reject):
            reject = {**asdict(outcome), "rejected_in": version}
            is_held = _is_same_reject(reject, raw.rejects.get(identifier))
            counter["rejected_again" if is_held else "rejected"] += 1
            if not is_held:
                rejects.append(reject)
        else:
            document, change = _document_row(outcome, raw.known.get(identifier), version)
            documents.append(document)
            counter[change] += 1
    number = part_number(raw.part)
    if documents:
        write_part(folder, "documents", number, pa.Table.from_pylist(documents, schema=schema.DOCUMENTS))
    if rejects:
        write_part(folder, "rejects", number, pa.Table.from_pylist(rejects, schema=schema.REJECTS))
    return counts


def _rows(table: pa.Table) -> Iterator[Row]:
    """Yield the rows; only a few at a time are Python objects."""
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        yield from batch.to_pylist()


def _cleaned(row: dict[str, Any], category: CategoryConfig, cleaning: CleaningConfig) -> CleanedDocument | Reject:
    origin = {key: row[key] for key in ("document_id", "category", "source_id", "source_hash")}
    if row["forgotten"]:
        return Reject(**origin, reason=FORGOTTEN, detail="", excerpt="")
    if row["problem"] is not None:
        return Reject(**origin, reason="unsupported_id", detail=row["problem"], excerpt="")
    # The libraries that clean are many: a run without changes does without them.
    from steps.clean.clean import clean_document

    return clean_document(RawDocument(**origin, fields=from_extended_json(row["fields"])), category, cleaning)


def _is_same_reject(reject: Row, held: Row | None) -> bool:
    """Return whether the store holds the reject just so: the document was only tried again."""
    return held is not None and all(reject[name] == held[name] for name in _TELLING_COLUMNS)


def _document_row(document: CleanedDocument, known: KnownDocument | None, version: int) -> tuple[dict[str, Any], str]:
    hash_of_text = text_hash(document.text)
    metadata = json.dumps(document.metadata, sort_keys=True, ensure_ascii=False)
    described = [getattr(document, name) for name in _METADATA_FIELDS]
    hash_of_content = text_hash(json.dumps([hash_of_text, described, metadata]))
    change = _change(known, hash_of_text, hash_of_content)
    before = known if known is not None and known.state == LIVE else None
    row = {
        **{name: getattr(document, name) for name in _METADATA_FIELDS},
        "document_id": document.document_id,
        "category": document.category,
        "source_id": document.source_id,
        "source_hash": document.source_hash,
        "state": LIVE,
        "text": document.text,
        "metadata": metadata,
        "text_hash": hash_of_text,
        "content_hash": hash_of_content,
        "duplicate_of": before.duplicate_of if before else None,
        "characters": len(document.text),
        "added_in": before.added_in if before else version,
        "changed_in": before.changed_in if before and change == "unchanged" else version,
    }
    return row, change


def _change(known: KnownDocument | None, hash_of_text: str, hash_of_content: str) -> str:
    if known is None or known.state != LIVE:
        return "added"
    if known.content_hash == hash_of_content:
        return "unchanged"
    return "metadata_changed" if known.text_hash == hash_of_text else "changed"
