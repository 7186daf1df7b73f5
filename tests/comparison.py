"""Whether two installations hold the same: documents, rejects, and every point with payload and vectors."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from qdrant_client import QdrantClient

from feature_store.index import serving_collection, vector_names
from tests.flow import Document, Flow

# What depends on the order in which things became known, or on the number of runs.
_HISTORY = {"duplicate_of", "added_in", "changed_in", "rejected_in"}
_EXAMPLES = 3
# Qdrant stores float32 and normalises again.
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Points:
    """The points of a collection: payloads, vectors in the order of ``payloads``."""

    payloads: dict[str, Document]
    dense: npt.NDArray[np.float32]
    sparse: list[dict[int, float]]


@dataclass(frozen=True)
class State:
    """What an installation holds: live documents and rejects by id, points by index."""

    documents: dict[str, Document]
    rejects: dict[str, Document]
    points: dict[str, Points] = field(default_factory=dict)


def read_state(flow: Flow) -> State:
    """Return what the newest version of a store and the collections that serve its indexes hold."""
    points = {}
    for index in flow.config.indexes:
        collection = serving_collection(flow.client, index.name)
        assert collection is not None, f"nothing serves {index.name}"
        points[index.name] = read_points(flow.client, collection)
    return State(_keyed(flow.live()), _keyed(flow.rejects()), points)


def read_points(client: QdrantClient, collection: str) -> Points:
    """Return all points of a collection, sorted by id."""
    records, following = client.scroll(collection, limit=10_000_000, with_payload=True, with_vectors=True)
    assert following is None
    records.sort(key=lambda record: str(record.id))
    payloads = {str(record.id): dict(record.payload or {}) for record in records}
    dense, sparse = [], []
    for record, payload in zip(records, payloads.values(), strict=True):
        vectors: Any = record.vector
        dense_name, sparse_name = vector_names(payload.get("size"))
        dense.append(vectors[dense_name])
        sparse.append(dict(zip(vectors[sparse_name].indices, vectors[sparse_name].values, strict=True)))
    return Points(payloads, np.array(dense, np.float32), sparse)


def differences(ours: State, theirs: State) -> list[str]:
    """Return a line for each way in which ``ours`` differs from ``theirs``; none if they are equal."""
    found = _compared("documents", ours.documents, theirs.documents)
    found += _compared("rejects", ours.rejects, theirs.rejects)
    for index in sorted({*ours.points, *theirs.points}):
        found += differences_of_points(index, ours.points[index], theirs.points[index])
    return found


def differences_of_points(index: str, ours: Points, theirs: Points) -> list[str]:
    """Return a line for each way in which two collections differ: ids, payloads, dense and sparse vectors."""
    found = _compared(f"points of {index}", ours.payloads, theirs.payloads)
    if ours.payloads.keys() != theirs.payloads.keys() or not ours.payloads:
        return found
    ids = np.array(list(ours.payloads))
    apart = np.abs(ours.dense - theirs.dense).max(axis=1) > _TOLERANCE
    other_words = np.array(
        [
            one.keys() != other.keys() or any(abs(one[token] - other[token]) > _TOLERANCE for token in one)
            for one, other in zip(ours.sparse, theirs.sparse, strict=True)
        ]
    )
    for kind, differing in (("dense", apart), ("sparse", other_words)):
        if differing.any():
            found.append(f"points of {index}: {differing.sum()} {kind} vectors differ, as of {ids[differing][0]}")
    return found


def misplaced_duplicates(flow: Flow) -> list[str]:
    """Return a line for each group of equal texts in which not all but one point to that one."""
    groups: dict[str, dict[str, str | None]] = defaultdict(dict)
    for row in flow.live().values():
        groups[row["text_hash"]][row["document_id"]] = row["duplicate_of"]
    found = []
    for members in groups.values():
        firsts = [identifier for identifier, original in members.items() if original is None]
        others = {original for original in members.values() if original is not None}
        if len(firsts) != 1 or not others <= set(firsts):
            found.append(f"duplicates: {members}")
    return found


def _keyed(rows: Mapping[str, Document]) -> dict[str, Document]:
    return {row["document_id"]: _without(row, _HISTORY) for row in rows.values()}


def _without(row: Document, names: set[str]) -> Document:
    return {name: value for name, value in row.items() if name not in names}


def _compared(what: str, ours: Mapping[str, Document], theirs: Mapping[str, Document]) -> list[str]:
    found = []
    for label, names in (("too many", ours.keys() - theirs.keys()), ("missing", theirs.keys() - ours.keys())):
        if names:
            rows = [(ours.get(name) or theirs[name]) for name in sorted(names)[:_EXAMPLES]]
            found.append(f"{what}: {len(names)} {label}, as {rows}")
    for name in sorted(ours.keys() & theirs.keys()):
        keys = {*ours[name], *theirs[name]}
        other = {
            key: (ours[name].get(key), theirs[name].get(key))
            for key in sorted(keys)
            if ours[name].get(key) != theirs[name].get(key)
        }
        if other:
            found.append(f"{what}: {name} differs: {other}")
    return found[: 2 * _EXAMPLES]
