"""Writing points, updating payloads, removing stale points, and proving that the collection holds what it should."""

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from feature_store import tables
from feature_store.errors import ReconciliationError
from feature_store.index import count_points, is_local, retrying, scroll, vector_names
from feature_store.index_record import Keep
from feature_store.parts import Part, read_part
from feature_store.points import ID_BYTES
from feature_store.progress import Advance
from steps.load.bulk import in_streams

DOCUMENTS_PER_REMOVAL = 256
IDS_PER_REMOVAL = 10_000
IDS_PER_REQUEST = 1000
IDS_PER_SCROLL = 10_000
_NOT_FOUND = 404
_PACKED_ID = f"S{ID_BYTES}"


def upsert_part(client: QdrantClient, collection: str, part: Part, batch_size: int, advance: Advance) -> int:
    """Write all points of one part ``embedded`` and wait until they are stored; return their number."""
    return _upsert(client, collection, part, batch_size, advance, partial(_vectors, as_arrays=is_local(client)))


def upsert_parents(client: QdrantClient, collection: str, part: Part, batch_size: int, advance: Advance) -> int:
    """Write all points of one part ``parents``, which have no vectors; wait as `upsert_part` does, return their number.

    No search finds them; their children lead to them.
    """
    return _upsert(client, collection, part, batch_size, advance, _no_vectors)


def update_payloads(client: QdrantClient, collection: str, part: Part, batch_size: int, advance: Advance) -> int:
    """Replace the payloads of all points of one part ``payloads``; their vectors stay. Return their number.

    Raises:
        ReconciliationError: if the collection lacks one of the points.
    """
    rows = read_part(part)
    for batch in rows.to_batches(max_chunksize=batch_size):
        updates = [_payload_update(row) for row in batch.to_pylist()]
        try:
            retrying()(client.batch_update_points, collection, update_operations=updates, wait=True)
        except (KeyError, UnexpectedResponse) as error:  # local mode raises the one, a server answers the other
            if isinstance(error, UnexpectedResponse) and error.status_code != _NOT_FOUND:
                raise
            raise _does_not_add_up(f"The collection {collection} lacks a point that a load wrote: {error}.") from error
        advance(len(updates))
    return int(rows.num_rows)


def remove_part(client: QdrantClient, collection: str, part: Part, keep: Keep) -> None:
    """Remove the points of one part ``stale``."""
    for some in tables.batches_of(read_part(part).column("chunk_id").to_pylist(), IDS_PER_REQUEST):
        _remove(client, collection, models.PointIdsList(points=some))
        keep()


def remove_orphans(client: QdrantClient, collection: str, part: Part, keep: Keep) -> None:
    """Remove every point of the documents in one part ``documents`` that is none of their chunks."""
    for some in _removals(read_part(part)):
        of_documents = models.MatchAny(any=some.column("document_id").to_pylist())
        current = _ids_of(some)
        orphans = models.Filter(
            must=models.FieldCondition(key="document_id", match=of_documents),
            must_not=models.HasIdCondition(has_id=current) if current else None,
        )
        _remove(client, collection, models.FilterSelector(filter=orphans))
        keep()


def remove_all_but(client: QdrantClient, collection: str, parts: Sequence[Part], keep: Keep) -> None:
    """Remove every point, whatever it is, that is no chunk of the documents in parts ``documents``."""
    packed = bytearray()  # 16 MB for a million points
    for part in parts:
        packed += b"".join(read_part(part, ["chunk_ids"]).column("chunk_ids").to_pylist())
    current = np.frombuffer(packed, _PACKED_ID)
    current.sort()
    for records in scroll(client, collection, IDS_PER_SCROLL, with_payload=False):
        orphans = _not_among(current, [record.id for record in records])
        if orphans:
            _remove(client, collection, models.PointIdsList(points=orphans))
        keep()


def reconcile(client: QdrantClient, collection: str, expected: int, parts: Sequence[Part], keep: Keep) -> int:
    """Return the number of points, which must be ``expected``; and every chunk of the documents in ``parts`` is one.

    So a point too many here does not make up for one too few there.

    Raises:
        ReconciliationError: if it is not so.
    """
    for part in parts:
        for batch in read_part(part).to_batches(max_chunksize=DOCUMENTS_PER_REMOVAL):
            ids = _ids_of(batch)
            found = sum(_count_present(client, collection, some) for some in tables.batches_of(ids, IDS_PER_REQUEST))
            _require_equal(collection, found, len(ids), f" of {batch.num_rows} documents")
            keep()
    return require_points(client, collection, expected)


def require_points(client: QdrantClient, collection: str, expected: int) -> int:
    """Return the number of points, which must be ``expected``.

    Raises:
        ReconciliationError: if it is not.
    """
    points = count_points(client, collection)
    _require_equal(collection, points, expected, "")
    return points


def _require_equal(collection: str, points: int, expected: int, of_what: str) -> None:
    if points != expected:
        raise _does_not_add_up(
            f"The collection {collection} holds {points:,} points{of_what}, which have {expected:,} chunks."
        )


def _does_not_add_up(problem: str) -> ReconciliationError:
    return ReconciliationError(
        problem,
        "Run again: the collection is written anew, nothing is embedded for it. If it happens again, something else "
        "writes to this collection.",
    )


def _upsert(
    client: QdrantClient,
    collection: str,
    part: Part,
    batch_size: int,
    advance: Advance,
    vectors_of: Callable[[pa.RecordBatch], list[models.VectorStruct]],
) -> int:
    def write(batch: pa.RecordBatch) -> int:
        retrying()(client.upsert, collection, points=_points(batch, vectors_of(batch)), wait=True)
        return int(batch.num_rows)

    rows = read_part(part)
    for written in in_streams(client, write, rows.to_batches(max_chunksize=batch_size)):
        advance(written)
    return int(rows.num_rows)


def _points(batch: pa.RecordBatch, vectors: list[models.VectorStruct]) -> list[models.PointStruct]:
    # Not validated: that takes longer than all else here, and the columns of a part have these types.
    ids, payloads = batch.column("chunk_id").to_pylist(), batch.column("payload").to_pylist()
    return [
        models.PointStruct.model_construct(id=chunk_id, vector=vector, payload=json.loads(payload))
        for chunk_id, vector, payload in zip(ids, vectors, payloads, strict=True)
    ]


def _vectors(batch: pa.RecordBatch, *, as_arrays: bool) -> list[models.VectorStruct]:
    """Return the named vectors of each row; the dense one as an array where that need not become JSON.

    The embedded Qdrant stores what it is given: an array takes half the space of a list and a third of the time.
    """
    matrix = batch.column("dense").flatten().to_numpy().reshape(batch.num_rows, -1)
    columns = (batch.column(name).to_pylist() for name in ("size", "sparse_indices", "sparse_values"))
    found: list[models.VectorStruct] = []
    for vector, size, indices, values in zip(matrix if as_arrays else matrix.tolist(), *columns, strict=True):
        dense, sparse = vector_names(size)
        found.append({dense: vector, sparse: models.SparseVector.model_construct(indices=indices, values=values)})
    return found


def _no_vectors(batch: pa.RecordBatch) -> list[models.VectorStruct]:
    return [{} for _ in range(batch.num_rows)]


def _payload_update(row: dict[str, Any]) -> models.OverwritePayloadOperation:
    update = models.SetPayload(payload=json.loads(row["payload"]), points=[row["chunk_id"]])
    return models.OverwritePayloadOperation(overwrite_payload=update)


def _remove(client: QdrantClient, collection: str, points: models.PointsSelector) -> None:
    retrying()(client.delete, collection, points_selector=points, wait=True)


def _count_present(client: QdrantClient, collection: str, ids: list[str]) -> int:
    return len(retrying()(client.retrieve, collection, ids=ids, with_payload=False, with_vectors=False))


def _removals(documents: pa.Table) -> Iterator[pa.Table]:
    """Cut rows of the record into groups whose chunk ids fit into one request; a document is never cut."""
    start = ids = 0
    for place, chunks in enumerate(documents.column("chunks").to_pylist()):
        if place > start and (place - start == DOCUMENTS_PER_REMOVAL or ids + chunks > IDS_PER_REMOVAL):
            yield documents.slice(start, place - start)
            start, ids = place, 0
        ids += chunks
    if documents.num_rows:
        yield documents.slice(start)


def _ids_of(documents: pa.RecordBatch | pa.Table) -> list[str]:
    """Return the ids of all chunks of some rows of the record."""
    packed = b"".join(documents.column("chunk_ids").to_pylist())
    return [str(uuid.UUID(bytes=packed[start : start + ID_BYTES])) for start in range(0, len(packed), ID_BYTES)]


def _not_among(current: npt.NDArray[np.bytes_], ids: list[models.ExtendedPointId]) -> list[models.ExtendedPointId]:
    """Return those of ``ids`` that are not in ``current``: sorted ids of 16 bytes each. Numbers never are."""
    texts = [found for found in ids if not isinstance(found, int)]
    packed = np.frombuffer(b"".join(uuid.UUID(str(found)).bytes for found in texts), _PACKED_ID)
    places = np.searchsorted(current, packed)
    is_current = np.zeros(len(packed), bool)
    within = places < len(current)
    is_current[within] = current[places[within]] == packed[within]
    numbers = [found for found in ids if isinstance(found, int)]
    return [*numbers, *(found for found, kept in zip(texts, is_current, strict=True) if not kept)]
