"""Writing points, removing stale ones, and proving that the collection holds what it should."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
from qdrant_client import QdrantClient, models

from feature_store import schema, tables
from feature_store.errors import ReconciliationError
from feature_store.index import DENSE, SPARSE, chunk_counts_path, count_points, expected_points, retrying
from feature_store.parts import read_part
from feature_store.progress import Advance

DOCUMENTS_PER_REMOVAL = 256


def upsert_part(client: QdrantClient, collection: str, part: Path, batch_size: int, advance: Advance) -> int:
    """Write all points of one part and wait until they are stored; return their number."""
    rows = read_part(part)
    for batch in rows.to_batches(max_chunksize=batch_size):
        points = [_point(row) for row in batch.to_pylist()]
        retrying()(client.upsert, collection, points=points, wait=True)
        advance(len(points))
    return int(rows.num_rows)


def remove_stale(client: QdrantClient, collection: str, parts: Iterable[Path], version: int) -> None:
    """Remove the points of these documents that the load to ``version`` did not write.

    Call it after the upserts: every current point of a changed document carries ``table_version == version`` by then.
    """
    for part in parts:
        document_ids = read_part(part).column("document_id").to_pylist()
        for some in tables.batches_of(document_ids, DOCUMENTS_PER_REMOVAL):
            stale = models.Filter(must=[_of(some)], must_not=[_written_by(version)])
            retrying()(client.delete, collection, points_selector=models.FilterSelector(filter=stale), wait=True)


def record_chunk_counts(indexes_folder: Path, collection: str, parts: Sequence[Path], since: int) -> None:
    """Record how many chunks of each document the collection now holds; ``since`` 0 starts the record anew."""
    path = chunk_counts_path(indexes_folder, collection)
    if since == 0 or not tables.exists(path):
        indexes_folder.mkdir(parents=True, exist_ok=True)
        tables.create(path, schema.CHUNK_COUNTS, ["document_id"])
    for part in parts:
        tables.upsert(lance.dataset(str(path)), "document_id", _without_repetition(read_part(part)))
    if parts:
        tables.maintain(lance.dataset(str(path)))
        tables.forget_old_versions(lance.dataset(str(path)))


def reconcile(client: QdrantClient, collection: str, indexes_folder: Path, parts: Iterable[Path]) -> tuple[int, int]:
    """Return the number of points and that of the record, which must be equal.

    So must those of each group of the documents in ``parts``: a point too many here does not make up for one too few
    there.

    Raises:
        ReconciliationError: if they are not.
    """
    for part in parts:
        rows = read_part(part)
        for batch in rows.to_batches(max_chunksize=DOCUMENTS_PER_REMOVAL):
            documents = batch.column("document_id").to_pylist()
            own = models.Filter(must=[_of(documents)])
            found = retrying()(client.count, collection, count_filter=own, exact=True).count
            _require_equal(
                collection, found, sum(batch.column("chunks").to_pylist()), f" of {len(documents)} documents"
            )
    points, expected = count_points(client, collection), expected_points(indexes_folder, collection)
    _require_equal(collection, points, expected, "")
    return points, expected


def _require_equal(collection: str, points: int, expected: int, of_what: str) -> None:
    if points != expected:
        raise ReconciliationError(
            f"The collection {collection} holds {points:,} points{of_what}, which have {expected:,} chunks.",
            "Its version was not moved. If something else writes to this collection, stop that; then delete the "
            "collection and run again: it is rebuilt without embedding anything anew.",
        )


def _point(row: dict[str, Any]) -> models.PointStruct:
    sparse = models.SparseVector(indices=row["sparse_indices"], values=row["sparse_values"])
    return models.PointStruct(
        id=row["chunk_id"], vector={DENSE: row["dense"], SPARSE: sparse}, payload=json.loads(row["payload"])
    )


def _of(document_ids: list[str]) -> models.FieldCondition:
    return models.FieldCondition(key="document_id", match=models.MatchAny(any=document_ids))


def _written_by(version: int) -> models.FieldCondition:
    return models.FieldCondition(key="table_version", match=models.MatchValue(value=version))


def _without_repetition(rows: pa.Table) -> pa.Table:
    counts = {row["document_id"]: row["chunks"] for row in rows.to_pylist()}
    return pa.table([pa.array(counts.keys()), pa.array(counts.values(), pa.int64())], schema=schema.CHUNK_COUNTS)
