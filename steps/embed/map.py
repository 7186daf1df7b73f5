"""A map of the embeddings: what was embedded now, in the plane of the two principal components."""

import json
from collections.abc import Sequence

import lance
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_store.handles import MapPoint
from feature_store.parts import Part, count_rows, read_part
from feature_store.vectors import Vectors, VectorTable

CHUNKS_ON_MAP = 400
TEXTS_BEHIND = 300
PARTS_READ = 8
_LABEL = 120


def draw_map(parts: Sequence[Part], vectors: VectorTable) -> list[MapPoint]:
    """Return a map of up to ``CHUNKS_ON_MAP`` chunks of the parts ``embedded``, spread evenly over them.

    Where all of them are on it, texts from the table of vectors lie behind them, so that a few have a context.
    """
    rows = _spread(parts, CHUNKS_ON_MAP)
    if rows.num_rows == 0:
        return []
    matrix = _matrix(rows.column("dense"), vectors.dimension)
    are_all = rows.num_rows == count_rows(parts)
    behind = _others(vectors, min(TEXTS_BEHIND, CHUNKS_ON_MAP - rows.num_rows) if are_all else 0)
    places = project(np.concatenate([matrix, behind]))
    chunks = zip(rows.column("document_id").to_pylist(), rows.column("payload").to_pylist(), strict=True)
    points = [
        _point(document_id, json.loads(payload), place)
        for (document_id, payload), place in zip(chunks, places[: len(matrix)], strict=True)
    ]
    return points + [MapPoint(x=float(x), y=float(y)) for x, y in places[len(matrix) :].round(4)]


def project(matrix: Vectors) -> npt.NDArray[np.float64]:
    """Return the first two principal components of the rows: shape (rows, 2); 0 where there are fewer.

    By the eigenvectors of the covariance, which is smaller than the rows are many (I. T. Jolliffe, Principal Component
    Analysis, 2002, section 3.1). Each axis points to where its largest value in absolute terms is positive.
    """
    centred = (matrix - matrix.mean(axis=0)).astype(np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)  # the largest come last
    places = centred @ axes[:, ::-1][:, :2]
    extremes = places[np.abs(places).argmax(axis=0), np.arange(places.shape[1])]
    places *= np.where(extremes < 0, -1.0, 1.0)
    return np.pad(places, ((0, 0), (0, 2 - places.shape[1])))


def _spread(parts: Sequence[Part], limit: int) -> pa.Table:
    """Return up to ``limit`` rows at even distances, of up to ``PARTS_READ`` parts at even distances."""
    some = parts[:: max(1, -(-len(parts) // PARTS_READ))]
    step = max(1, -(-count_rows(some) // limit))
    chosen: list[pa.Table] = []
    passed = 0
    for part in some:
        rows = read_part(part, ["document_id", "payload", "dense"])
        chosen.append(rows.take(list(range(-passed % step, rows.num_rows, step))))
        passed += rows.num_rows
    return pa.concat_tables(chosen) if chosen else pa.table({})


def _others(vectors: VectorTable, limit: int) -> Vectors:
    table = lance.dataset(str(vectors.path))
    rows = table.count_rows()
    if limit <= 0 or rows == 0:
        return np.empty((0, vectors.dimension), np.float32)
    places = np.unique(np.linspace(0, rows - 1, min(limit, rows)).astype(np.int64))
    return _matrix(table.take(places.tolist(), columns=["vector"]).column("vector"), vectors.dimension)


def _matrix(column: pa.ChunkedArray, dimension: int) -> Vectors:
    return np.asarray(column.combine_chunks().flatten(), dtype=np.float32).reshape(-1, dimension)


def _point(document_id: str, payload: dict[str, object], place: npt.NDArray[np.float64]) -> MapPoint:
    return MapPoint(
        document_id=document_id,
        category=str(payload.get("category", "")),
        title=str(payload.get("title") or payload.get("source_id", ""))[:_LABEL],
        x=round(float(place[0]), 4),
        y=round(float(place[1]), 4),
    )
