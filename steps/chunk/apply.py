"""Chunking the documents that changed since the version of an index, and comparing with what its collection holds."""

import json
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
from qdrant_client import QdrantClient

from feature_store import schema
from feature_store.encoders import Encoder
from feature_store.executors.here import HERE
from feature_store.executors.interface import Executor
from feature_store.handles import Chunks, CleanedDocuments, SampledChunk, SampledDocument
from feature_store.ids import text_hash
from feature_store.index import read_metadata
from feature_store.index_config import ChunkingConfig, IndexConfig
from feature_store.index_record import DocumentPoints, IndexRecord, KnownPoints, pack, payload_hash, starting_point
from feature_store.parts import write_part
from feature_store.progress import Advance, progress
from feature_store.records import Chunk, CleanedDocument
from feature_store.store import LIVE
from steps.chunk.coverage import dropped_spans
from steps.chunk.payload import make_payload, to_json
from steps.chunk.strategies import CHUNKERS, check_chunks, window_of
from steps.chunk.tokens import TokenSpans

ROWS_PER_PART = 512
TENTHS = 10
SAMPLES = 6
SAMPLE_CHARACTERS = 4000
_SAMPLE_LABEL = 200
_DOCUMENT_COLUMNS = [
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
COLUMNS = [*_DOCUMENT_COLUMNS, "metadata", "state"]

Row = dict[str, Any]


class _Buffer:
    """Rows on their way into the parts of one name."""

    def __init__(self, folder: Path, name: str, columns: pa.Schema) -> None:
        self.folder = folder
        self.name = name
        self.columns = columns
        self.number = 0
        self.rows: list[Row] = []

    def write(self) -> None:
        """Write what is waiting as one part."""
        if self.rows:
            write_part(self.folder, self.name, self.number, pa.Table.from_pylist(self.rows, schema=self.columns))
            self.rows = []
            self.number += 1


class ChunkWriter:
    """Writes what has to be done for each document as parts, whole documents at a time, and counts."""

    def __init__(self, folder: Path, chunking: ChunkingConfig) -> None:
        self.chunking = chunking
        self.new = _Buffer(folder, "chunks", schema.CHUNKS)
        self.new_parents = _Buffer(folder, "parents", schema.PARENTS)
        self.moved = _Buffer(folder, "payloads", schema.PAYLOADS)
        self.stale = _Buffer(folder, "stale", schema.CHUNK_IDS)
        self.documents = _Buffer(folder, "documents", schema.INDEX_RECORD)
        self.counts = {"documents": 0, "deleted_documents": 0, "chunks": 0, "characters": 0, "dropped_characters": 0}
        self.counts |= {"new": 0, "moved": 0, "unchanged": 0, "stale": 0}
        self.counts |= {"parents": 0, "new_parents": 0, "moved_parents": 0}
        self.token_counts = [0] * (TENTHS + 1)
        self.longest = 0
        self.samples: list[SampledDocument] = []

    def add_deleted(self, document_id: str, known: DocumentPoints | None) -> None:
        """Note a document that is gone; ``known`` are the points that the collection holds of it."""
        self.counts["deleted_documents"] += 1
        self._finish_document(document_id, {}, known)

    def add(self, document: CleanedDocument, chunks: list[Chunk], known: DocumentPoints | None) -> None:
        """Add all chunks of one document; ``known`` are the points that the collection holds of it, None if unknown."""
        self.counts["documents"] += 1
        self._count(document, [chunk for chunk in chunks if not chunk.is_parent])
        points: DocumentPoints = {}
        for chunk in chunks:
            point = uuid.UUID(chunk.chunk_id).bytes
            add = self._add_parent if chunk.is_parent else self._add_chunk
            points[point] = add(document, chunk, (known or {}).get(point))
        self._sample(document, chunks)
        self._finish_document(document.document_id, points, known)

    def finish(self) -> dict[str, Any]:
        """Write what is still waiting; return the counts."""
        for buffer in self._buffers():
            buffer.write()
        windows = sorted(set(self.chunking.windows()), reverse=True)
        return {
            **self.counts,
            "window": windows[0],
            "windows": windows,
            "token_counts": self.token_counts,
            "longest": self.longest,
            "samples": self.samples,
        }

    def _count(self, document: CleanedDocument, chunks: list[Chunk]) -> None:
        self.counts["chunks"] += len(chunks)
        self.counts["characters"] += len(document.text)
        in_order = sorted(chunks, key=lambda chunk: chunk.start)
        self.counts["dropped_characters"] += sum(end - start for start, end in dropped_spans(document, in_order))
        for chunk in chunks:
            window = window_of(chunk, self.chunking, document.category)
            self.token_counts[min(chunk.token_count * TENTHS // window, TENTHS)] += 1
            self.longest = max(self.longest, chunk.token_count)

    def _sample(self, document: CleanedDocument, chunks: list[Chunk]) -> None:
        """Keep the first documents; one of several chunks, which shows their overlap, drives out one of a single."""
        sample = _sample(document, [chunk for chunk in chunks if chunk.start < SAMPLE_CHARACTERS])
        single = next((place for place, held in enumerate(self.samples) if not _has_several(held)), None)
        if sample.chunks and len(self.samples) < SAMPLES:
            self.samples.append(sample)
        elif _has_several(sample) and single is not None:
            self.samples[single] = sample

    def _add_chunk(self, document: CleanedDocument, chunk: Chunk, known_hash: bytes | None) -> bytes:
        embedded_hash = text_hash(chunk.embedded_text)
        payload = make_payload(document, chunk, embedded_hash)
        hash_of_payload = payload_hash(payload)
        if known_hash is None:
            self.counts["new"] += 1
            self.new.rows.append(_chunk_row(chunk, embedded_hash, to_json(payload)))
        elif known_hash != hash_of_payload:
            self.counts["moved"] += 1
            self.moved.rows.append({"chunk_id": chunk.chunk_id, "payload": to_json(payload)})
        else:
            self.counts["unchanged"] += 1
        return hash_of_payload

    def _add_parent(self, document: CleanedDocument, parent: Chunk, known_hash: bytes | None) -> bytes:
        payload = make_payload(document, parent, text_hash(parent.text))
        hash_of_payload = payload_hash(payload)
        row = {"chunk_id": parent.chunk_id, "payload": to_json(payload)}
        self.counts["parents"] += 1
        if known_hash is None:
            self.counts["new_parents"] += 1
            self.new_parents.rows.append({**row, "document_id": parent.document_id})
        elif known_hash != hash_of_payload:
            self.counts["moved_parents"] += 1
            self.moved.rows.append(row)
        return hash_of_payload

    def _finish_document(self, document_id: str, points: DocumentPoints, known: DocumentPoints | None) -> None:
        if points != known:
            chunk_ids, payload_hashes = pack(points)
            row = {"chunks": len(points), "chunk_ids": chunk_ids, "payload_hashes": payload_hashes}
            self.documents.rows.append({"document_id": document_id, **row})
        stale = (known or {}).keys() - points.keys()
        self.counts["stale"] += len(stale)
        self.stale.rows += [{"chunk_id": str(uuid.UUID(bytes=point))} for point in sorted(stale)]
        for buffer in self._buffers():
            if len(buffer.rows) >= ROWS_PER_PART:
                buffer.write()

    def _buffers(self) -> tuple[_Buffer, ...]:
        return self.new, self.new_parents, self.moved, self.stale, self.documents


def chunk_index(
    client: QdrantClient,
    indexes_folder: Path,
    documents: CleanedDocuments,
    index: IndexConfig,
    encoder: Encoder,
    collection: str,
    folder: Path,
    executor: Executor = HERE,  # noqa: ARG001
) -> Chunks:
    """Chunk what changed between the version of a collection and that of the documents; parts go into ``folder``.

    Raises:
        TerminalError: as `chunk_changes` does.
    """
    version, store = documents.at(), documents.store()
    record = IndexRecord(indexes_folder, collection)
    start = starting_point(read_metadata(client, collection), record, store, version)
    since = start.since.number
    handle = Chunks(
        folder=folder, index=index.name, collection=collection, since=since, version=version.number, record=start.record
    )
    known = None if start.record is None else record.known_points(start.record)
    with progress(f"chunking for {index.name}", store.count_changes(since, version, index.categories)) as advance:
        changes = store.changes(since, version, index.categories, COLUMNS)
        return chunk_changes(changes, index.chunking, encoder.token_spans, encoder.token_limit, handle, known, advance)


def chunk_changes(
    batches: Iterable[pa.RecordBatch],
    chunking: ChunkingConfig,
    tokens: TokenSpans,
    token_limit: int,
    handle: Chunks,
    known_points: KnownPoints | None,
    advance: Advance,
) -> Chunks:
    """Chunk every live document of ``batches`` and write what differs from the ``known_points`` of the collection.

    The parts go into ``handle.folder``; the handle is returned with its counts. Without ``known_points`` every chunk
    counts as new.

    Raises:
        TerminalError: if the chunks of a document do not cover its text, or one is too long for the encoder.
    """
    writer, cut = ChunkWriter(handle.folder, chunking), CHUNKERS[chunking.strategy]
    for batch in batches:
        rows = batch.to_pylist()
        known = None if known_points is None else known_points([row["document_id"] for row in rows])
        for row in rows:
            points = None if known is None else known.get(row["document_id"], {})
            if row["state"] != LIVE:
                writer.add_deleted(row["document_id"], points)
            else:
                document = _document(row)
                chunks = cut(document, chunking, tokens, token_limit)
                check_chunks(document, chunks, chunking, token_limit)
                writer.add(document, chunks, points)
            advance(1)
    return handle.model_copy(update={**writer.finish(), "token_limit": token_limit})


def _document(row: Row) -> CleanedDocument:
    return CleanedDocument(**{name: row[name] for name in _DOCUMENT_COLUMNS}, metadata=json.loads(row["metadata"]))


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


def _has_several(sample: SampledDocument) -> bool:
    return any(chunk.position for chunk in sample.chunks)


def _sample(document: CleanedDocument, chunks: list[Chunk]) -> SampledDocument:
    parents = {chunk.chunk_id: chunk.position for chunk in chunks if chunk.is_parent}
    sampled = [(chunk, _sampled_chunk(chunk, parents)) for chunk in chunks]
    return SampledDocument(
        document_id=document.document_id,
        category=document.category,
        title=(document.title or document.source_id)[:_SAMPLE_LABEL],
        text=document.text[:SAMPLE_CHARACTERS],
        characters=len(document.text),
        chunks=[shown for chunk, shown in sampled if not chunk.is_parent],
        parents=[shown for chunk, shown in sampled if chunk.is_parent],
    )


def _sampled_chunk(chunk: Chunk, parents: dict[str, int]) -> SampledChunk:
    return SampledChunk(
        position=chunk.position,
        start=chunk.start,
        end=chunk.end,
        tokens=chunk.token_count,
        heading_path=" > ".join(chunk.heading_path)[:_SAMPLE_LABEL],
        size=chunk.size,
        parent=None if chunk.parent_id is None else parents.get(chunk.parent_id),
    )
