"""Chunking the documents that an index has not seen, part by part."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_store import schema
from feature_store.config import SlidingWindowConfig
from feature_store.handles import Chunks
from feature_store.ids import text_hash
from feature_store.parts import write_part
from feature_store.progress import Advance
from feature_store.records import Chunk, CleanedDocument
from feature_store.store import LIVE
from steps.chunk.payload import make_payload, to_json
from steps.chunk.sliding_window import check_coverage, chunk_document, dropped_spans
from steps.chunk.tokens import TokenSpans

CHUNKS_PER_PART = 512
TENTHS = 10
_SAMPLES = 12
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
COLUMNS = [*_DOCUMENT_COLUMNS, "metadata", "state", "content_hash"]

Row = dict[str, Any]


class ChunkWriter:
    """Writes parts ``chunks`` and ``documents``, whole documents at a time, and counts."""

    def __init__(self, folder: Path, version: int, window: int) -> None:
        self.folder = folder
        self.version = version
        self.window = window
        self.number = 0
        self.chunk_rows: list[Row] = []
        self.document_rows: list[Row] = []
        self.counts = {"documents": 0, "deleted_documents": 0, "chunks": 0, "characters": 0, "dropped_characters": 0}
        self.token_counts = [0] * (TENTHS + 1)
        self.longest = 0
        self.samples: list[dict[str, str]] = []

    def add_deleted(self, document_id: str) -> None:
        """Note a document that is gone."""
        self.counts["deleted_documents"] += 1
        self._add_document(document_id, 0)

    def add(self, document: CleanedDocument, content_hash: str, chunks: list[Chunk]) -> None:
        """Add all chunks of one document."""
        self.counts["documents"] += 1
        self.counts["chunks"] += len(chunks)
        self.counts["characters"] += len(document.text)
        self.counts["dropped_characters"] += sum(end - start for start, end in dropped_spans(document, chunks))
        for chunk in chunks:
            self.token_counts[min(chunk.token_count * TENTHS // self.window, TENTHS)] += 1
            self.longest = max(self.longest, chunk.token_count)
            self.chunk_rows.append(_chunk_row(document, chunk, content_hash, self.version))
        if len(self.samples) < _SAMPLES and chunks:
            middle = chunks[len(chunks) // 2]
            self.samples.append(
                {
                    "title": document.title or document.source_id,
                    "heading_path": " > ".join(middle.heading_path),
                    "span": f"{middle.start}-{middle.end}",
                    "tokens": str(middle.token_count),
                    "text": middle.text[:400],
                }
            )
        self._add_document(document.document_id, len(chunks))

    def finish(self) -> None:
        """Write what is still waiting."""
        if self.document_rows:
            write_part(
                self.folder,
                "documents",
                self.number,
                pa.Table.from_pylist(self.document_rows, schema=schema.CHUNK_COUNTS),
            )
        if self.chunk_rows:
            write_part(self.folder, "chunks", self.number, pa.Table.from_pylist(self.chunk_rows, schema=schema.CHUNKS))
        self.chunk_rows, self.document_rows = [], []
        self.number += 1

    def _add_document(self, document_id: str, chunks: int) -> None:
        self.document_rows.append({"document_id": document_id, "chunks": chunks})
        if len(self.chunk_rows) >= CHUNKS_PER_PART or len(self.document_rows) >= CHUNKS_PER_PART:
            self.finish()


def chunk_changes(
    batches: Iterable[pa.RecordBatch],
    chunking: SlidingWindowConfig,
    tokens: TokenSpans,
    token_limit: int,
    handle: Chunks,
    advance: Advance,
) -> Chunks:
    """Chunk every live document of ``batches`` into parts in ``handle.folder``; return the handle with its counts.

    Raises:
        TerminalError: if the chunks of a document do not cover its text, or one is too long for the encoder.
    """
    writer = ChunkWriter(handle.folder, handle.version, chunking.window)
    for batch in batches:
        for row in batch.to_pylist():
            if row["state"] != LIVE:
                writer.add_deleted(row["document_id"])
            else:
                document = _document(row)
                chunks = chunk_document(document, chunking, tokens, token_limit)
                check_coverage(document, chunks, token_limit)
                writer.add(document, row["content_hash"], chunks)
            advance(1)
    writer.finish()
    return handle.model_copy(
        update={
            **writer.counts,
            "window": chunking.window,
            "token_counts": writer.token_counts,
            "longest": writer.longest,
            "token_limit": token_limit,
            "samples": writer.samples,
        }
    )


def _document(row: Row) -> CleanedDocument:
    return CleanedDocument(**{name: row[name] for name in _DOCUMENT_COLUMNS}, metadata=json.loads(row["metadata"]))


def _chunk_row(document: CleanedDocument, chunk: Chunk, content_hash: str, version: int) -> Row:
    embedded_hash = text_hash(chunk.embedded_text)
    return {
        "chunk_id": chunk.chunk_id,
        "document_id": chunk.document_id,
        "position": chunk.position,
        "start": chunk.start,
        "end": chunk.end,
        "embedded_text": chunk.embedded_text,
        "text_hash": embedded_hash,
        "token_count": chunk.token_count,
        "payload": to_json(make_payload(document, chunk, embedded_hash, content_hash, version)),
    }
