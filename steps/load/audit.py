"""What a collection holds beside what it must hold: points by digests, then one by one only where these differ."""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import lance
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from qdrant_client import QdrantClient

from feature_store import tables
from feature_store.index import retrying, scroll
from feature_store.index_record import IndexRecord
from feature_store.points import payload_hash, unpack
from feature_store.progress import Advance
from feature_store.store import IS_LIVE, FeatureStore
from feature_store.versions import Version
from steps.load.audit_buckets import BucketDigests, bucket_of, differing_buckets, id_bytes
from steps.load.audit_points import POINTS_PER_REQUEST, Difference, VectorTruth, check_points, check_vectors

IDS_PER_SCROLL = 10_000
_WRONG = b"wrong vectors"

Mask = npt.NDArray[np.bool_]
ExpectedPoints = dict[bytes, tuple[str, bytes]]
"""Chunk id (16 bytes) to its document and the hash of its payload."""


class Members(NamedTuple):
    """Some members of a set: an id of 16 bytes each, and what is known of it."""

    ids: list[bytes]
    values: list[bytes]


@dataclass(frozen=True, slots=True)
class PointsAudit:
    """What an audit of all points found.

    ``points`` are in the collection, ``expected`` in the record. ``buckets`` differ; the ``looked_into`` points in them
    were compared one by one. ``unchecked`` counts the vectors that there was nothing to compare with.
    """

    points: int
    expected: int
    buckets: int = 0
    looked_into: int = 0
    unchecked: int = 0
    differences: list[Difference] = field(default_factory=list)


def audit_points(
    client: QdrantClient, record: IndexRecord, table: int, truth: VectorTruth, advance: Advance
) -> PointsAudit:
    """Compare ids, payloads and vectors of all points with the record at its Lance version ``table``.

    The collection is read once, in order of ids, and nothing is kept but digests. Memory and work beyond that follow
    the difference: ids alone are read once more, and points only of the buckets that differ.
    """
    unchecked = 0

    def stored() -> Iterator[Members]:
        nonlocal unchecked
        whole = scroll(client, record.collection, POINTS_PER_REQUEST, with_payload=True, with_vectors=True)
        for records in whole:
            values = []
            for point, findings in zip(records, check_vectors(records, truth), strict=True):
                values.append(payload_hash(point.payload or {}) + (_WRONG if findings.wrong else b""))
                unchecked += len(findings.unchecked)
            yield Members([id_bytes(point.id) for point in records], values)
            advance(len(records))

    held, due = _digested(stored()), _digested(_expected_members(record, table))
    apart = differing_buckets(held, due)
    if not apart.any():
        return PointsAudit(held.count, due.count, unchecked=unchecked)
    expected, foreign = _look_into(client, record, table, apart)
    wrong, _ = check_points(client, record.collection, expected, truth)
    looked_into = len(expected) + len(foreign)
    return PointsAudit(held.count, due.count, int(apart.sum()), looked_into, unchecked, [*wrong, *foreign])


def audit_ids(client: QdrantClient, record: IndexRecord, table: int, advance: Advance) -> PointsAudit:
    """Compare the ids of all points with the record at its Lance version ``table``; neither payloads nor vectors."""

    def stored() -> Iterator[Members]:
        for records in scroll(client, record.collection, IDS_PER_SCROLL, with_payload=False):
            yield Members([id_bytes(point.id) for point in records], [b""] * len(records))
            advance(len(records))

    due = _digested(Members(ids, [b""] * len(ids)) for ids, _ in _expected_members(record, table))
    held = _digested(stored())
    apart = differing_buckets(held, due)
    if not apart.any():
        return PointsAudit(held.count, due.count)
    expected, foreign = _look_into(client, record, table, apart)
    lost = list(find_lost(client, record.collection, expected))
    return PointsAudit(
        held.count, due.count, int(apart.sum()), len(expected) + len(foreign), differences=[*lost, *foreign]
    )


def find_lost(client: QdrantClient, collection: str, expected: ExpectedPoints) -> Iterator[Difference]:
    """Yield those of the points that a collection lacks."""
    for some in tables.batches_of(expected, POINTS_PER_REQUEST):
        ids = [str(uuid.UUID(bytes=chunk_id)) for chunk_id in some]
        records = retrying()(client.retrieve, collection, ids=ids, with_payload=False, with_vectors=False)
        found = {str(record.id) for record in records}
        for chunk_id, text in zip(some, ids, strict=True):
            if text not in found:
                yield Difference("lost", text, expected[chunk_id][0])


@dataclass(frozen=True, slots=True)
class DocumentsAudit:
    """``missing`` are live documents that the record of an index does not know, ``stale`` those it knows in vain."""

    missing: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)


def audit_documents(
    store: FeatureStore, version: Version, categories: Sequence[str], record: IndexRecord, table: int
) -> DocumentsAudit:
    """Compare the documents that a record has points of with the live ones of some categories at ``version``."""
    recorded = lance.dataset(str(record.table_path), version=table)
    condition = f"{IS_LIVE} AND {tables.in_list('category', categories)}"

    def live() -> Iterator[pa.Array]:
        return _column(store.documents(version), condition)

    def known() -> Iterator[pa.Array]:
        return _column(recorded, "chunks > 0")

    apart = differing_buckets(_digested(map(_as_members, live())), _digested(map(_as_members, known())))
    if not apart.any():
        return DocumentsAudit()
    ours, theirs = _ids_within(live(), apart), _ids_within(known(), apart)
    return DocumentsAudit(sorted(ours - theirs), sorted(theirs - ours))


def _digested(batches: Iterable[Members]) -> BucketDigests:
    digests = BucketDigests()
    for ids, values in batches:
        digests.add(ids, values)
    return digests


def _expected_members(record: IndexRecord, table: int) -> Iterator[Members]:
    for batch in _record_batches(record, table):
        points = [point for _, some in batch for point in some.items()]
        yield Members([chunk_id for chunk_id, _ in points], [hash_of_payload for _, hash_of_payload in points])


def _record_batches(record: IndexRecord, table: int) -> Iterator[list[tuple[str, dict[bytes, bytes]]]]:
    """Yield documents with the points that they must have."""
    opened = lance.dataset(str(record.table_path), version=table)
    columns = ["document_id", "chunk_ids", "payload_hashes"]
    for batch in opened.scanner(columns=columns, batch_size=POINTS_PER_REQUEST).to_batches():
        yield [(row["document_id"], unpack(row["chunk_ids"], row["payload_hashes"])) for row in batch.to_pylist()]


def _look_into(
    client: QdrantClient, record: IndexRecord, table: int, apart: Mask
) -> tuple[ExpectedPoints, list[Difference]]:
    """Return the points that must be in the buckets of ``apart``, and those that are there and must not be."""
    expected = {
        chunk_id: (document_id, hash_of_payload)
        for batch in _record_batches(record, table)
        for document_id, points in batch
        for chunk_id, hash_of_payload in points.items()
        if _is_within(chunk_id, apart)
    }
    foreign = [
        Difference("foreign", str(point.id), None)
        for records in scroll(client, record.collection, IDS_PER_SCROLL, with_payload=False)
        for point in records
        if _is_within(identifier := id_bytes(point.id), apart) and identifier not in expected
    ]
    return expected, foreign


def _is_within(identifier: bytes, apart: Mask) -> bool:
    return bool(apart[bucket_of(identifier)])


def _column(table: lance.LanceDataset, condition: str) -> Iterator[pa.Array]:
    for batch in table.scanner(columns=["document_id"], filter=condition).to_batches():
        yield batch.column("document_id")


def _as_members(documents: pa.Array) -> Members:
    ids = [uuid.UUID(document).bytes for document in documents.to_pylist()]
    return Members(ids, [b""] * len(ids))


def _ids_within(columns: Iterable[pa.Array], apart: Mask) -> set[str]:
    found: set[str] = set()
    for column in columns:
        found.update(document for document in column.to_pylist() if _is_within(uuid.UUID(document).bytes, apart))
    return found
