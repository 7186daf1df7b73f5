"""Whether points are what they must be: payload, names of vectors, dense and BM25 vectors, each compared exactly.

A point says of what text its vectors must be: its payload has the text, and the hash of what was embedded. The dense
vector of that hash is in the vectors table, the BM25 vector is computed again. That the payload itself is right, the
record of the index says.
"""

import random
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import lance
import numpy as np
import numpy.typing as npt
from qdrant_client import QdrantClient, models

from feature_store import tables
from feature_store.encoders import SparseVector, load_sparse_encoder
from feature_store.errors import TerminalError
from feature_store.ids import text_hash
from feature_store.index import NOTHING, IndexMetadata, distance, retrying, vector_names
from feature_store.index_config import SparseConfig
from feature_store.index_record import IndexRecord
from feature_store.points import PARENT_ROLE, payload_hash, unpack
from feature_store.vectors import Vectors, VectorTable

Kind = Literal["lost", "foreign", "payload", "dense", "sparse", "missing_vector", "surplus_vector"]

TOLERANCE = 1e-5  # Qdrant keeps float32 and normalises again; relative to the length of the vector
POINTS_PER_REQUEST = 1000
_PREFIX_SEPARATOR = " > "


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a point is not what it must be; ``document_id`` is None for one that nobody knows."""

    kind: Kind
    chunk_id: str
    document_id: str | None
    detail: str = ""


@dataclass(frozen=True)
class VectorTruth:
    """From what the right vectors of a collection's points follow.

    ``normalises`` says that Qdrant brings dense vectors to length 1, so that their direction alone counts.
    """

    vectors: VectorTable
    sparse: Callable[[str], SparseVector]
    normalises: bool


@dataclass(slots=True)
class VectorFindings:
    """What is wrong with the vectors of one point, and which of its vectors nothing could be compared with."""

    wrong: list[tuple[Kind, str]] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SampleAudit:
    """``points`` were compared exactly; ``wrong`` is empty if all are what they must be."""

    points: int
    wrong: list[Difference]


def vector_truth(metadata: IndexMetadata, vectors: VectorTable, sparse: Callable[[str], SparseVector]) -> VectorTruth:
    """Return what the vectors of a collection with that ``metadata`` are compared with."""
    return VectorTruth(vectors, sparse, distance(metadata.encoder.similarity) is models.Distance.COSINE)


def load_truth(metadata: IndexMetadata, vectors_folder: Path) -> VectorTruth:
    """Return the same, with the vectors table in that folder and the BM25 that the ``metadata`` name."""
    encoder = metadata.encoder
    sparse, _ = load_sparse_encoder(SparseConfig.model_validate(metadata.sparse))
    return vector_truth(metadata, VectorTable(vectors_folder, encoder.fingerprint, encoder.dimension), sparse)


def audit_sample(client: QdrantClient, record: IndexRecord, truth: VectorTruth, size: int, seed: int) -> SampleAudit:
    """Compare ``size`` points of a collection exactly, chosen at random from all that its record names.

    Raises:
        TerminalError: if there is no record.
    """
    note = record.read_note()
    if note is None or note.version == NOTHING:
        raise TerminalError(
            f"Nothing says what the collection {record.collection} must hold.", "Run again: it is written anew."
        )
    expected: dict[bytes, tuple[str, bytes]] = {}
    for document_id, chunk_id, hash_of_payload in _choose(record, note.table, size, seed):
        expected[chunk_id] = (document_id, hash_of_payload)
    wrong, _ = check_points(client, record.collection, expected, truth)
    return SampleAudit(len(expected), wrong)


def check_points(
    client: QdrantClient, collection: str, expected: Mapping[bytes, tuple[str, bytes]], truth: VectorTruth
) -> tuple[list[Difference], int]:
    """Compare points exactly: chunk id to document and hash of the payload, as the record has them.

    Returns what differs, and how many vectors there was nothing to compare with. Of a point whose payload is wrong the
    vectors are not judged: nothing says of what text they must be.
    """
    wrong: list[Difference] = []
    unchecked = 0
    for some in tables.batches_of(expected, POINTS_PER_REQUEST):
        ids = [str(uuid.UUID(bytes=chunk_id)) for chunk_id in some]
        records = retrying()(client.retrieve, collection, ids=ids, with_payload=True, with_vectors=True)
        found = {uuid.UUID(str(record.id)).bytes: record for record in records}
        right = []
        for chunk_id, text_of_id in zip(some, ids, strict=True):
            document_id, hash_of_payload = expected[chunk_id]
            if chunk_id not in found:
                wrong.append(Difference("lost", text_of_id, document_id))
            elif payload_hash(found[chunk_id].payload or {}) != hash_of_payload:
                wrong.append(Difference("payload", text_of_id, document_id))
            else:
                right.append((text_of_id, document_id, found[chunk_id]))
        for (text_of_id, document_id, _), findings in zip(
            right, check_vectors([record for _, _, record in right], truth), strict=True
        ):
            wrong += [Difference(kind, text_of_id, document_id, detail) for kind, detail in findings.wrong]
            unchecked += len(findings.unchecked)
    return wrong, unchecked


def check_vectors(records: Sequence[models.Record], truth: VectorTruth) -> list[VectorFindings]:
    """Compare the vectors of points with what their own payloads say, in order."""
    findings = [VectorFindings() for _ in records]
    dense: list[tuple[int, str, str, Any]] = []  # place, name, text hash, vector
    for place, record in enumerate(records):
        payload, held = record.payload or {}, _held_vectors(record)
        is_parent = payload.get("role") == PARENT_ROLE
        dense_name, sparse_name = vector_names(payload.get("size"))
        for name in held.keys() - (set() if is_parent else {dense_name, sparse_name}):
            findings[place].wrong.append(("surplus_vector", name))
        if is_parent:
            continue
        if dense_name in held:
            dense.append((place, dense_name, str(payload.get("text_hash")), held[dense_name]))
        else:
            findings[place].wrong.append(("missing_vector", dense_name))
        _check_sparse(payload, sparse_name, held.get(sparse_name), truth, findings[place])
    _check_dense(dense, truth, findings)
    return findings


def embedded_text(payload: Mapping[str, Any]) -> str | None:
    """Return the text that a chunk was embedded from: the one that has the hash in its payload.

    That is the chunk's text, or that after its title and heading path, of which the outermost parts may be left out.
    None if it is neither: a chunk that begins in the section before has the path of the section that it is about.
    """
    text, wanted = str(payload.get("text")), payload.get("text_hash")
    path = [str(part) for part in payload.get("heading_path") or ()]
    title = " ".join(str(payload.get("title") or "").split())
    parts = [title, *path] if title and not (path and path[0].casefold() == title.casefold()) else path
    prefixes = ("", *(f"{_PREFIX_SEPARATOR.join(parts[first:])}\n\n" for first in range(len(parts))))
    return next((prefix + text for prefix in prefixes if text_hash(prefix + text) == wanted), None)


def _choose(record: IndexRecord, table: int, size: int, seed: int) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield document, id and payload hash of points, all equally likely."""
    opened = lance.dataset(str(record.table_path), version=table)
    counts = opened.to_table(columns=["chunks"]).column("chunks").to_numpy()
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    # Not for secrets: which points are looked at must be the same for the same seed.
    chosen = np.array(sorted(random.Random(seed).sample(range(total), min(size, total))), np.int64)  # noqa: S311
    rows = np.searchsorted(ends, chosen, side="right")
    distinct, places = np.unique(rows, return_inverse=True)
    found = opened.take(distinct.tolist(), columns=["document_id", "chunk_ids", "payload_hashes"]).to_pylist()
    points = [list(unpack(row["chunk_ids"], row["payload_hashes"]).items()) for row in found]
    for point, row, place in zip(chosen, rows, places, strict=True):
        chunk_id, hash_of_payload = points[place][int(point - ends[row] + counts[row])]
        yield found[place]["document_id"], chunk_id, hash_of_payload


def _held_vectors(record: models.Record) -> dict[str, Any]:
    if record.vector is None:
        return {}
    return dict(record.vector) if isinstance(record.vector, dict) else {"": record.vector}


def _check_sparse(
    payload: Mapping[str, Any], name: str, held: Any, truth: VectorTruth, findings: VectorFindings
) -> None:
    text = embedded_text(payload)
    if text is None:
        if held is None:
            findings.wrong.append(("missing_vector", name))
        else:
            findings.unchecked.append(name)
        return
    expected = truth.sparse(text)
    if held is None:
        if expected.indices:  # a text of stop words has no keywords: nothing is as good as an empty vector
            findings.wrong.append(("missing_vector", name))
    elif not _is_same(held, expected):
        findings.wrong.append(("sparse", name))


def _is_same(held: Any, expected: SparseVector) -> bool:
    if not isinstance(held, models.SparseVector) or len(held.indices) != len(expected.indices):
        return False
    weights = dict(zip(expected.indices, expected.values, strict=True))
    return all(
        token in weights and abs(weight - weights[token]) <= TOLERANCE * max(1.0, abs(weights[token]))
        for token, weight in zip(held.indices, held.values, strict=True)
    )


def _check_dense(
    dense: Sequence[tuple[int, str, str, Any]], truth: VectorTruth, findings: Sequence[VectorFindings]
) -> None:
    expected, is_known = _expected_vectors(truth, [text for _, _, text, _ in dense])
    comparable: list[int] = []
    for row, (place, name, _, held) in enumerate(dense):
        if not is_known[row]:
            findings[place].unchecked.append(name)
        elif not isinstance(held, list) or len(held) != truth.vectors.dimension:
            findings[place].wrong.append(("dense", f"{name} is of another dimension"))
        else:
            comparable.append(row)
    if not comparable:
        return
    stored = np.array([dense[row][3] for row in comparable], np.float32)
    if truth.normalises:
        stored = _of_length_one(stored)  # the embedded Qdrant keeps on disk what it was given
    for row, held, right in zip(comparable, stored, expected[comparable], strict=True):
        place, name, _, _ = dense[row]
        error = float(np.abs(held - right).max())
        if not error <= TOLERANCE * max(1.0, float(np.linalg.norm(right))):  # not: a NaN is no number to compare
            findings[place].wrong.append(("dense", f"{name} is off by {error:.2g}"))


def _expected_vectors(truth: VectorTruth, hashes: Sequence[str]) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """Return the right dense vectors, a row for each hash, and which of them the table has."""
    is_known = np.ones(len(hashes), bool)
    try:
        expected = truth.vectors.read(hashes)
    except KeyError:
        known = truth.vectors.known(list(dict.fromkeys(hashes)))
        is_known = np.array([text in known for text in hashes], bool)
        expected = np.zeros((len(hashes), truth.vectors.dimension), np.float32)
        expected[is_known] = truth.vectors.read([text for text in hashes if text in known])
    return _of_length_one(expected) if truth.normalises else expected, is_known


def _of_length_one(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = np.divide(vectors, lengths, out=vectors.copy(), where=lengths != 0)  # NaN stays NaN
    return unit
