"""What documents are recognised by, in tables and in files: to replace it there, and to look for what is left.

Nothing of this is stored: it is gathered from the feature store before anything is erased, and kept in memory.
"""

import json
import mmap
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import unescape
from pathlib import Path
from typing import Any

from feature_store import schema, tables
from feature_store.erasure import published_versions
from feature_store.exports import ExportRecord
from feature_store.journal import ErasedDocument
from feature_store.releases import Release, ReleasedIndex
from feature_store.store import FeatureStore
from feature_store.suppression import HIDDEN
from feature_store.versions import Version

SHORTEST = 8
SLICE = 48
SLICES_PER_TEXT = 64
SEARCHED = 64  # phrases that files are searched for
_POSITION_KEYS = {"mode", "rules", "source", "value"}
_TEXT_COLUMNS = ["title", "url", "external_id", "text", "metadata"]
_OTHER_COLUMNS = ["source_id", *_TEXT_COLUMNS, "author", "category", "language", "text_format"]
# What every file of the product is made of: whose `_id` or title is such a word cannot be told by it.
_OWN_WORDS = "\0".join(
    [
        *("documents", "rejects", "versions", "releases", "huggingface", "timestamp"),
        *(name for table in (schema.DOCUMENTS, schema.REJECTS, schema.INDEX_RECORD) for name in table.names),
        *(name for record in (Version, Release, ReleasedIndex, ExportRecord) for name in record.model_fields),
    ]
)


@dataclass(frozen=True)
class Traces:
    """``documents`` are those that are erased; ``phrases`` pieces of their texts that no other document has."""

    documents: Mapping[str, ErasedDocument]
    phrases: frozenset[str] = frozenset()
    shared: frozenset[str] = frozenset()

    @cached_property
    def source_ids(self) -> list[str]:
        """The source ids that are known."""
        return sorted({known.source_id for known in self.documents.values() if known.source_id})

    @cached_property
    def _names(self) -> re.Pattern[str]:
        # A short id is no more than a word, unless it is quoted.
        names = [*self.documents, *(name for name in self.source_ids if _is_telling(name))]
        quoted = [form for name in self.source_ids for form in (repr(name), json.dumps(name))]
        whole = [rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in sorted(names, key=len, reverse=True)]
        return re.compile("|".join([*whole, *(re.escape(form) for form in quoted)]))

    @cached_property
    def _flat_phrases(self) -> list[str]:
        return sorted({_flat(phrase) for phrase in self.phrases} - {""})

    @cached_property
    def _in_tokens(self) -> list[str]:
        """Ids as a resume token spells them: in hexadecimal."""
        names = [name.rpartition(":")[2] for name in self.source_ids if not name.startswith("int:")]
        spelled = {name.encode("utf-8", "surrogatepass").hex() for name in names} | {
            name.replace("-", "").lower() for name in names
        }
        return sorted(form for form in spelled if len(form) >= SHORTEST)

    def names_in(self, text: str) -> bool:
        """Return whether a text names one of the documents."""
        return bool(self.documents) and self._names.search(text) is not None

    def are_in(self, text: str) -> bool:
        """Return whether a text names one of the documents or quotes it, as it is or escaped for HTML or Markdown."""
        flat = _flat(text)
        return self.names_in(text) or self.names_in(flat) or any(phrase in flat for phrase in self._flat_phrases)

    def hidden(self, text: str) -> str:
        """Return a text without the names of the documents."""
        return self._names.sub(HIDDEN, text) if self.documents else text

    def hidden_in(self, value: Any) -> Any:
        """Return a JSON value without them: rows of lists that belong to one are left out, names in texts replaced.

        Rows of a list of samples that do not say of which document they are go too. A position that a capture reached
        loses its value where that spells an id: the next capture compares everything.
        """
        match value:
            case str():
                return HIDDEN if any(phrase in _flat(value) for phrase in self._flat_phrases) else self.hidden(value)
            case list():
                return [self.hidden_in(item) for item in value if not (isinstance(item, dict) and self._is_of(item))]
            case dict() if value.keys() >= _POSITION_KEYS:
                return {**value, "value": None} if self._spelled_in(value["value"]) else value
            case dict():
                kept = {key: self._without_unnamed(key, item) for key, item in value.items()}
                # A key that could be the name of a field is one: without it the file could not be read any more.
                return {
                    key if key.isidentifier() else self.hidden(key): self.hidden_in(item) for key, item in kept.items()
                }
            case _:
                return value

    def in_bytes(self) -> list[bytes]:
        """Return what files are searched for: ids, and phrases of which no other document has any."""
        phrases = sorted(self.phrases)
        step = -(-len(phrases) // SEARCHED) or 1
        names = [name for name in self.source_ids if _is_telling(name) and name not in self.shared]
        return [text.encode("utf-8", "surrogatepass") for text in [*self.documents, *names, *phrases[::step]]]

    def _is_of(self, row: dict[str, Any]) -> bool:
        return self.are_in(json.dumps(row, ensure_ascii=False))

    def _without_unnamed(self, key: str, value: Any) -> Any:
        if key != "samples" or not isinstance(value, list):
            return value
        return [item for item in value if not isinstance(item, dict) or "document_id" in item]

    def _spelled_in(self, value: Any) -> bool:
        text = str(value or "").lower()
        return self.names_in(str(value or "")) or any(form in text for form in self._in_tokens)


def known_documents(store: FeatureStore, documents: Mapping[str, ErasedDocument]) -> dict[str, ErasedDocument]:
    """Return the documents with the names that the feature store has for them at any version."""
    known = dict(documents)
    for row in _rows(store, documents, ["category", "source_id"]):
        if row["source_id"] != HIDDEN:
            known[row["document_id"]] = ErasedDocument(category=row["category"], source_id=row["source_id"])
    return known


def gather(store: FeatureStore, documents: Mapping[str, ErasedDocument]) -> Traces:
    """Return what these documents are recognised by, from all that the feature store holds of them at any version."""
    known = known_documents(store, documents)
    rows = _rows(store, documents, [*_TEXT_COLUMNS, "excerpt"])
    phrases = {phrase for row in rows for phrase in _phrases_of(row) if _is_telling(phrase)}
    names = {document.source_id for document in known.values() if document.source_id}
    shared = _shared(store, {*phrases, *names}, known.keys())
    return Traces(known, frozenset(phrases - shared), frozenset(shared))


def search_files(paths: Iterable[Path], needles: Sequence[bytes]) -> Iterator[Path]:
    """Yield the files that hold one of the byte strings."""
    for path in paths:
        if path.stat().st_size == 0:
            continue
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if any(content.find(needle) >= 0 for needle in needles):
                yield path


def _rows(store: FeatureStore, document_ids: Iterable[str], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield some columns of the rows of documents, of both tables and at every version."""
    wanted = list(document_ids)
    for version in published_versions(store):
        for table in (store.documents(version), store.rejects(version)):
            present = [name for name in columns if name in table.schema.names]
            yield from tables.look_up(table, "document_id", wanted, ["document_id", *present])


def _phrases_of(row: Mapping[str, Any]) -> Iterator[str]:
    for name in ("title", "url", "external_id", "excerpt"):
        yield from _slices(row.get(name) or "", 1)
    for value in _texts_in(json.loads(row.get("metadata") or "null")):
        yield from _slices(value, 1)
    yield from _slices(row.get("text") or "", SLICES_PER_TEXT)


def _is_telling(text: str) -> bool:
    return len(text) >= SHORTEST and text not in _OWN_WORDS


def _slices(text: str, most: int) -> Iterator[str]:
    """Yield pieces of lines, spread evenly."""
    pieces = [line[start : start + SLICE] for line in text.splitlines() for start in range(0, len(line), 4 * SLICE)]
    pieces = [piece.strip() for piece in pieces if len(piece.strip()) >= SHORTEST]
    yield from pieces[:: -(-len(pieces) // most) or 1]


def _texts_in(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from _texts_in(item)
        case dict():
            for item in value.values():
                yield from _texts_in(item)


def _shared(store: FeatureStore, phrases: Iterable[str], erased: Iterable[str]) -> set[str]:
    """Return those of the phrases that other documents have too, at any version."""
    left, shared, ours = set(phrases), set[str](), set(erased)
    before = 0
    for version in published_versions(store):
        columns = ["document_id", *_OTHER_COLUMNS]
        written = f"changed_in > {before}"
        for batch in store.documents(version).scanner(columns=columns, filter=written).to_batches():
            rows = [row for row in batch.to_pylist() if row.pop("document_id") not in ours]
            content = "\0".join(str(value) for row in rows for value in row.values() if value is not None)
            found = {phrase for phrase in left if phrase in content}
            left, shared = left - found, shared | found
        before = version.number
    return shared


def _flat(text: str) -> str:
    return " ".join(unescape(text).replace("\\", "").split())
