"""Embedding a part of chunks: only texts without a vector go to the model."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from feature_store import schema
from feature_store.encoders import Encoder, SparseVector
from feature_store.errors import TerminalError
from feature_store.executors.here import HERE
from feature_store.executors.interface import Executor, LoadEncoder
from feature_store.handles import Chunks, Embeddings
from feature_store.parts import list_parts, read_part, write_part
from feature_store.progress import Advance, progress
from feature_store.tables import batches_of
from feature_store.vectors import VectorTable
from steps.embed.map import draw_map

TEXTS_PER_COMMIT = 256


@dataclass(frozen=True, slots=True)
class EmbeddedPart:
    """Distinct texts of one part: embedded now, or reused."""

    chunks: int
    embedded: int
    reused: int
    precisions: frozenset[str]


def embed_chunks(
    chunks: Chunks,
    encoder: Encoder,
    sparse: Callable[[str], SparseVector],
    vectors: VectorTable,
    executor: Executor = HERE,
    load: LoadEncoder | None = None,
) -> Embeddings:
    """Embed all parts ``chunks`` of an index: those that its collection lacks.

    Returns what was embedded and what was reused.
    """
    with progress(f"embedding for {chunks.index}", chunks.new) as advance:
        work = partial(
            embed_part, encoder=encoder, sparse=sparse, vectors=vectors, folder=chunks.folder, advance=advance
        )
        done = list(executor.map(work, list_parts(chunks.folder, "chunks")))
    if any(part.embedded for part in done):
        vectors.maintain()
    return Embeddings(
        folder=chunks.folder,
        index=chunks.index,
        collection=chunks.collection,
        since=chunks.since,
        version=chunks.version,
        record=chunks.record,
        model=encoder.name,
        encoder_fingerprint=encoder.fingerprint,
        dimension=encoder.dimension,
        precisions=sorted(frozenset[str]().union(*(part.precisions for part in done))),
        chunks=sum(part.chunks for part in done),
        embedded=sum(part.embedded for part in done),
        reused=sum(part.reused for part in done),
        samples=draw_map(list_parts(chunks.folder, "embedded"), vectors),
    )


def embed_part(
    part: Path,
    encoder: Encoder,
    sparse: Callable[[str], SparseVector],
    vectors: VectorTable,
    folder: Path,
    advance: Advance,
) -> EmbeddedPart:
    """Write part ``embedded`` of the same number: the chunks with their dense and sparse vectors.

    New vectors are stored after every 256 texts, so a crash loses at most those in flight.
    """
    rows = read_part(part)
    hashes = rows.column("text_hash").to_pylist()
    texts = dict(zip(hashes, rows.column("embedded_text").to_pylist(), strict=True))
    known = vectors.known(list(texts))
    missing = [text_hash for text_hash in texts if text_hash not in known]
    advance(len(hashes) - len(missing))
    for some in batches_of(missing, TEXTS_PER_COMMIT):
        _embed_and_store([texts[text_hash] for text_hash in some], some, encoder, vectors)
        advance(len(some))
    dense = vectors.read(hashes)
    sparse_vectors = [sparse(text) for text in rows.column("embedded_text").to_pylist()]
    number = int(part.stem.rsplit("-", 1)[1])
    write_part(folder, "embedded", number, _with_vectors(rows, dense, sparse_vectors, encoder.dimension))
    precisions = {*known.values(), *([encoder.precision] if missing else [])}
    return EmbeddedPart(len(hashes), len(missing), len(known), frozenset(precisions))


def _embed_and_store(texts: list[str], hashes: list[str], encoder: Encoder, vectors: VectorTable) -> None:
    matrix = encoder.embed_documents(texts)
    unusable = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(unusable):
        raise TerminalError(
            f"The model {encoder.name} gave no finite vector for the text with hash {hashes[unusable[0]]}.",
            "Set encoder.precision to float32.",
        )
    vectors.append(hashes, matrix, encoder.precision)


def _with_vectors(rows: pa.Table, dense: np.ndarray, sparse_vectors: list[SparseVector], dimension: int) -> pa.Table:
    flat = pa.array(np.ascontiguousarray(dense, dtype=np.float32).reshape(-1))
    columns = [
        rows.column("chunk_id"),
        rows.column("document_id"),
        rows.column("size"),
        rows.column("payload"),
        pa.FixedSizeListArray.from_arrays(flat, dimension),
        pa.array([vector.indices for vector in sparse_vectors], pa.list_(pa.uint32())),
        pa.array([vector.values for vector in sparse_vectors], pa.list_(pa.float32())),
    ]
    return pa.Table.from_arrays(columns, schema=schema.embedded_chunks(dimension))
