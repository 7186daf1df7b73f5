"""Chunking some documents: what a worker does. It sees them and what it is given, no feature store and no index."""

import json
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from feature_store import schema
from feature_store.encoders import TokenSpans
from feature_store.ids import text_hash
from feature_store.index_config import ChunkingConfig
from feature_store.parts import Folder, write_part
from feature_store.points import DocumentPoints, pack, payload_hash
from feature_store.records import LIVE, Chunk, CleanedDocument
from steps.chunk.coverage import dropped_spans
from steps.chunk.payload import make_payload, to_json
from steps.chunk.strategies import CHUNKERS, check_chunks, window_of

ROWS_PER_PART = 512
PARTS_PER_ITEM = 100_000  # numbers kept free for the parts of one item: a single document may fill many
TENTHS = 10
SAMPLES = 6
SAMPLE_CHARACTERS = 4000
_SAMPLE_LABEL = 200
DOCUMENT_COLUMNS = [
    "document_id",
    "category",
    "source_id",
    "source_hash",
    "text",
    "text_format",
    "title",
    "url",
    "author",
    "published_at",
    "updated_at",
    "external_id",
    "language",
]

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ChangedDocuments:
    """Rows of changed documents, and the points that the collection holds of each: None where nothing is known.

    ``number`` counts from 0; the parts that are made of them have numbers that follow it.
    """

    number: int
    rows: Sequence[Row]
    known: Mapping[str, DocumentPoints] | None


@dataclass(slots=True)
class Outcome:
    """What became of some documents. ``counts`` are those of `Chunks`; ``samples`` are what a `SampledDocument` takes.

    ``token_counts`` counts chunks by tenths of the window for which each was cut.
    """

    counts: Counter[str] = field(default_factory=Counter)
    token_counts: list[int] = field(default_factory=lambda: [0] * (TENTHS + 1))
    longest: int = 0
    samples: list[Row] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        """Take in what became of the documents that follow."""
        self.counts.update(other.counts)
        self.token_counts = [sum(both) for both in zip(self.token_counts, other.token_counts, strict=True)]
        self.longest = max(self.longest, other.longest)
        for sample in other.samples:
            self.keep_sample(sample)

    def keep_sample(self, sample: Row) -> None:
        """Keep the first documents; one of several chunks, which shows their overlap, drives out one of a single."""
        if len(self.samples) < SAMPLES:
            self.samples.append(sample)
        elif _has_several(sample) and (single := self._single()) is not None:
            self.samples[single] = sample

    def wants_sample(self, chunks: Sequence[Chunk]) -> bool:
        """Return whether a sample of a document with these chunks would be kept."""
        shown = [chunk for chunk in chunks if not chunk.is_parent and chunk.start < SAMPLE_CHARACTERS]
        if len(self.samples) < SAMPLES:
            return bool(shown)
        return any(chunk.position for chunk in shown) and self._single() is not None

    def _single(self) -> int | None:
        return next((place for place, held in enumerate(self.samples) if not _has_several(held)), None)


def chunk_part(
    changed: ChangedDocuments, folder: Folder, chunking: ChunkingConfig, tokens: TokenSpans, token_limit: int
) -> Outcome:
    """Chunk the live documents, and write what differs from their known points as parts into ``folder``.

    Raises:
        TerminalError: if the chunks of a document do not cover its text, or one is too long for the encoder.
    """
    writer, cut = _Writer(folder, changed.number * PARTS_PER_ITEM, chunking), CHUNKERS[chunking.strategy]
    for row in changed.rows:
        known = None if changed.known is None else changed.known.get(row["document_id"], {})
        if row["state"] != LIVE:
            writer.add_deleted(row["document_id"], known)
            continue
        document = _document(row)
        chunks = cut(document, chunking, tokens, token_limit)
        check_chunks(document, chunks, chunking, token_limit)
        writer.add(document, chunks, known)
    return writer.finish()


class _Buffer:
    """Rows on their way into the parts of one name; only a document that fills several parts is divided."""

    def __init__(self, folder: Folder, name: str, number: int, columns: pa.Schema) -> None:
        self.folder = folder
        self.name = name
        self.number = number
        self.columns = columns
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        self.rows.append(row)
        if len(self.rows) >= 2 * ROWS_PER_PART:
            self.write(ROWS_PER_PART)

    def end_document(self) -> None:
        if len(self.rows) >= ROWS_PER_PART:
            self.write()

    def write(self, limit: int | None = None) -> None:
        """Write what is waiting, or the first rows of it, as one part."""
        if rows := self.rows[:limit]:
            write_part(self.folder, self.name, self.number, pa.Table.from_pylist(rows, schema=self.columns))
            self.rows = self.rows[len(rows) :]
            self.number += 1


class _Writer:
    """Writes what has to be done for each document as parts, and counts."""

    def __init__(self, folder: Folder, number: int, chunking: ChunkingConfig) -> None:
        self._chunking = chunking
        self._new = _Buffer(folder, "chunks", number, schema.CHUNKS)
        self._new_parents = _Buffer(folder, "parents", number, schema.PARENTS)
        self._moved = _Buffer(folder, "payloads", number, schema.PAYLOADS)
        self._stale = _Buffer(folder, "stale", number, schema.CHUNK_IDS)
        self._documents = _Buffer(folder, "documents", number, schema.INDEX_RECORD)
        self._outcome = Outcome()

    def add_deleted(self, document_id: str, known: DocumentPoints | None) -> None:
        """Note a document that is gone; ``known`` are the points that the collection holds of it."""
        self._outcome.counts["deleted_documents"] += 1
        self._finish_document(document_id, {}, known)

    def add(self, document: CleanedDocument, chunks: list[Chunk], known: DocumentPoints | None) -> None:
        """Add all chunks of one document; ``known`` are the points that the collection holds of it, None if unknown."""
        self._outcome.counts["documents"] += 1
        self._count(document, [chunk for chunk in chunks if not chunk.is_parent])
        points: DocumentPoints = {}
        for chunk in chunks:
            point = bytes.fromhex(chunk.chunk_id.replace("-", ""))
            add = self._add_parent if chunk.is_parent else self._add_chunk
            points[point] = add(document, chunk, (known or {}).get(point))
        if self._outcome.wants_sample(chunks):
            shown = [chunk for chunk in chunks if chunk.start < SAMPLE_CHARACTERS]
            self._outcome.keep_sample(_sample(document, shown))
        self._finish_document(document.document_id, points, known)

    def finish(self) -> Outcome:
        """Write what is still waiting; return what became of the documents."""
        for buffer in self._buffers():
            buffer.write()
        return self._outcome

    def _count(self, document: CleanedDocument, chunks: list[Chunk]) -> None:
        outcome = self._outcome
        outcome.counts["chunks"] += len(chunks)
        outcome.counts["characters"] += len(document.text)
        in_order = sorted(chunks, key=lambda chunk: chunk.start)
        outcome.counts["dropped_characters"] += sum(end - start for start, end in dropped_spans(document, in_order))
        for chunk in chunks:
            window = window_of(chunk, self._chunking, document.category)
            outcome.token_counts[min(chunk.token_count * TENTHS // window, TENTHS)] += 1
            outcome.longest = max(outcome.longest, chunk.token_count)

    def _add_chunk(self, document: CleanedDocument, chunk: Chunk, known_hash: bytes | None) -> bytes:
        embedded_hash = text_hash(chunk.embedded_text)
        payload = make_payload(document, chunk, embedded_hash)
        hash_of_payload = payload_hash(payload)
        if known_hash is None:
            self._outcome.counts["new"] += 1
            self._new.add(_chunk_row(chunk, embedded_hash, to_json(payload)))
        elif known_hash != hash_of_payload:
            self._outcome.counts["moved"] += 1
            self._moved.add({"chunk_id": chunk.chunk_id, "payload": to_json(payload)})
        else:
            self._outcome.counts["unchanged"] += 1
        return hash_of_payload

    def _add_parent(self, document: CleanedDocument, parent: Chunk, known_hash: bytes | None) -> bytes:
        payload = make_payload(document, parent, text_hash(parent.text))
        hash_of_payload = payload_hash(payload)
        row = {"chunk_id": parent.chunk_id, "payload": to_json(payload)}
        self._outcome.counts["parents"] += 1
        if known_hash is None:
            self._outcome.counts["new_parents"] += 1
            self._new_parents.add({**row, "document_id": parent.document_id})
        elif known_hash != hash_of_payload:
            self._outcome.counts["moved_parents"] += 1
            self._moved.add(row)
        return hash_of_payload

    def _finish_document(self, document_id: str, points: DocumentPoints, known: DocumentPoints | None) -> None:
        if points != known:
            chunk_ids, payload_hashes = pack(points)
            row = {"chunks": len(points), "chunk_ids": chunk_ids, "payload_hashes": payload_hashes}
            self._documents.add({"document_id": document_id, **row})
        stale = (known or {}).keys() - points.keys()
        self._outcome.counts["stale"] += len(stale)
        for point in sorted(stale):
            self._stale.add({"chunk_id": str(uuid.UUID(bytes=point))})
        for buffer in self._buffers():
            buffer.end_document()

    def _buffers(self) -> tuple[_Buffer, ...]:
        return self._new, self._new_parents, self._moved, self._stale, self._documents


def _document(row: Row) -> CleanedDocument:
    return CleanedDocument(**{name: row[name] for name in DOCUMENT_COLUMNS}, metadata=json.loads(row["metadata"]))


def _chunk_row(chunk: Chunk, embedded_hash: str, payload: str) -> Row:
    return {
        "chunk_id": chunk.chunk_id,
        "document_id": chunk.document_id,
        "position": chunk.position,
        "start": chunk.start,
        "end": chunk.end,
        "embedded_text": chunk.embedded_text,
        "text_hash": embedded_hash,
        "token_count": chunk.token_count,
        "size": chunk.size,
        "payload": payload,
    }


def _has_several(sample: Row) -> bool:
    return any(chunk["position"] for chunk in sample["chunks"])


def _sample(document: CleanedDocument, chunks: list[Chunk]) -> Row:
    parents = {chunk.chunk_id: chunk.position for chunk in chunks if chunk.is_parent}
    sampled = [(chunk, _sampled_chunk(chunk, parents)) for chunk in chunks]
    return {
        "document_id": document.document_id,
        "category": document.category,
        "title": (document.title or document.source_id)[:_SAMPLE_LABEL],
        "text": document.text[:SAMPLE_CHARACTERS],
        "characters": len(document.text),
        "chunks": [shown for chunk, shown in sampled if not chunk.is_parent],
        "parents": [shown for chunk, shown in sampled if chunk.is_parent],
    }


def _sampled_chunk(chunk: Chunk, parents: dict[str, int]) -> Row:
    return {
        "position": chunk.position,
        "start": chunk.start,
        "end": chunk.end,
        "tokens": chunk.token_count,
        "heading_path": " > ".join(chunk.heading_path)[:_SAMPLE_LABEL],
        "size": chunk.size,
        "parent": None if chunk.parent_id is None else parents.get(chunk.parent_id),
    }
