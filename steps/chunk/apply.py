"""Chunking the documents that changed since the version of an index, and comparing with what its collection holds."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
from qdrant_client import QdrantClient

from feature_store.encoders import Encoder, TokenSpans
from feature_store.executors.here import HERE
from feature_store.executors.interface import Executor
from feature_store.handles import Chunks, CleanedDocuments, SampledDocument
from feature_store.index import read_metadata
from feature_store.index_config import ChunkingConfig, IndexConfig
from feature_store.index_record import IndexRecord, starting_point
from feature_store.parts import Folder
from feature_store.points import KnownPoints
from feature_store.progress import Advance, progress
from steps.chunk.part import DOCUMENT_COLUMNS, ChangedDocuments, Outcome, Row, chunk_part
from steps.chunk.tokens import tokens_of

COLUMNS = [*DOCUMENT_COLUMNS, "metadata", "state"]
CHARACTERS_PER_ITEM = 250_000
DOCUMENTS_PER_ITEM = 1024
_ROWS_AT_ONCE = 16


def chunk_index(
    client: QdrantClient,
    indexes_folder: Path,
    documents: CleanedDocuments,
    index: IndexConfig,
    encoder: Encoder,
    collection: str,
    folder: Folder,
    executor: Executor = HERE,
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
    total = store.count_changes(since, version, index.categories)
    with progress(f"chunking for {index.name}", total, "document") as advance:
        changes = store.changes(since, version, index.categories, COLUMNS)
        tokens, limit = tokens_of(encoder), encoder.token_limit
        return chunk_changes(changes, index.chunking, tokens, limit, handle, known, advance, executor)


def chunk_changes(
    batches: Iterable[pa.RecordBatch],
    chunking: ChunkingConfig,
    tokens: TokenSpans,
    token_limit: int,
    handle: Chunks,
    known_points: KnownPoints | None,
    advance: Advance,
    executor: Executor = HERE,
) -> Chunks:
    """Chunk every live document of ``batches`` and write what differs from the ``known_points`` of the collection.

    The parts go into ``handle.folder``; the handle is returned with its counts. Without ``known_points`` every chunk
    counts as new. The parts are the same whatever the executor.

    Raises:
        TerminalError: if the chunks of a document do not cover its text, or one is too long for the encoder.
    """
    work = partial(chunk_part, folder=handle.folder, chunking=chunking, tokens=tokens, token_limit=token_limit)
    total = Outcome()
    for outcome in executor.map(work, _items(batches, known_points)):
        total.add(outcome)
        advance(outcome.counts["documents"] + outcome.counts["deleted_documents"])
    windows = sorted(set(chunking.windows()), reverse=True)
    found = {
        **total.counts,
        "window": windows[0],
        "windows": windows,
        "token_counts": total.token_counts,
        "longest": total.longest,
        "token_limit": token_limit,
        "samples": [SampledDocument(**sample) for sample in total.samples],
    }
    return handle.model_copy(update=found)


def _items(batches: Iterable[pa.RecordBatch], known_points: KnownPoints | None) -> Iterator[ChangedDocuments]:
    for number, rows in enumerate(_enough_rows(batches)):
        known = None if known_points is None else known_points([row["document_id"] for row in rows])
        yield ChangedDocuments(number, rows, known)


def _enough_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[list[Row]]:
    """Yield rows that are worth a worker's while together: about a megabyte of text, or a single larger document."""
    rows: list[Row] = []
    characters = 0
    for row in _rows(batches):
        length = len(row["text"] or "")
        if rows and (characters + length > CHARACTERS_PER_ITEM or len(rows) >= DOCUMENTS_PER_ITEM):
            yield rows
            rows, characters = [], 0
        rows.append(row)
        characters += length
    if rows:
        yield rows


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[Row]:
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
            yield from batch.slice(start, _ROWS_AT_ONCE).to_pylist()
