"""A part of chunks before and after the model: which texts lack a vector, and the chunks with those that they got."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from feature_store import schema
from feature_store.encoders import SparseVector
from feature_store.parts import Folder, Part, part_number, read_part, write_part
from feature_store.vectors import Vectors, VectorTable

EmbedSparse = Callable[[str], SparseVector]


@dataclass(slots=True)
class OpenPart:
    """A part of chunks on its way.

    Attributes:
        part: the part ``chunks``.
        chunks: how many of its chunks have a text, by the hash of that.
        missing: the texts that have to be embedded for it, by their hash.
        lacking: hashes of texts whose vector is awaited: the missing ones, and those that another part had missed.
        precisions: those of the vectors that were there.
        vectors: what was awaited and has come, by hash; all others are in the table of vectors.
    """

    part: Part
    chunks: Counter[str]
    missing: dict[str, str]
    lacking: set[str]
    precisions: frozenset[str]
    vectors: dict[str, Vectors] = field(default_factory=dict)


def open_part(part: Part, vectors: VectorTable, awaited: Collection[str]) -> OpenPart:
    """Look up which texts of a part have no vector; ``awaited`` are hashes of texts that the model has already."""
    rows = read_part(part, ["text_hash", "embedded_text"])
    hashes = rows.column("text_hash").to_pylist()
    texts = dict(zip(hashes, rows.column("embedded_text").to_pylist(), strict=True))
    # First who is awaited, then who is there: a vector that is stored in between is one or the other.
    lacking = {text_hash for text_hash in texts if text_hash in awaited}
    known = vectors.known([text_hash for text_hash in texts if text_hash not in lacking])
    missing = {text_hash: text for text_hash, text in texts.items() if text_hash not in lacking | known.keys()}
    return OpenPart(part, Counter(hashes), missing, lacking | missing.keys(), frozenset(known.values()))


def finish_part(opened: OpenPart, sparse: EmbedSparse, vectors: VectorTable, folder: Folder) -> None:
    """Write part ``embedded`` of the same number: the chunks with their dense and sparse vectors."""
    rows = read_part(opened.part)
    stored = [text_hash for text_hash in opened.chunks if text_hash not in opened.vectors]
    found = opened.vectors | dict(zip(stored, vectors.read(stored), strict=True))
    dense = np.stack([found[text_hash] for text_hash in rows.column("text_hash").to_pylist()])
    sparse_vectors = [sparse(text) for text in rows.column("embedded_text").to_pylist()]
    write_part(folder, "embedded", part_number(opened.part), _with_vectors(rows, dense, sparse_vectors))


def _with_vectors(rows: pa.Table, dense: Vectors, sparse_vectors: list[SparseVector]) -> pa.Table:
    dimension = dense.shape[1]
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
