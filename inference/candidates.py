"""The candidates of a query: what Qdrant is asked for, and how the lists that it answers become one ranking."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from qdrant_client import QdrantClient, models
from tenacity import Retrying, stop_after_attempt

from feature_store.index import is_local, retrying, vector_names
from feature_store.index_config import SmallToBigConfig
from inference.filters import build_filter
from inference.fusion import convex_combination
from inference.options import Search
from inference.results import Scores, Span
from inference.snapshot import Snapshot

_CHILDREN = 32  # of one parent that rank it, where the server groups
_DISTANCES = {"euclidean", "manhattan"}
_OF_A_CHILD = ["parent_id", "start", "end"]

Kind = Literal["dense", "keywords"]


@dataclass(frozen=True)
class Query:
    """A query as it is asked for: a list that has no part in the ranking has no vector."""

    text: str
    dense: list[float] | None
    keywords: models.SparseVector | None


@dataclass(frozen=True)
class Candidate:
    """A chunk or a parent that may become a result.

    ``spans`` are what matched of it, the best first; ``vector`` is there where diversity needs it.
    """

    chunk_id: str
    scores: Scores
    payload: dict[str, Any]
    spans: tuple[Span, ...]
    vector: npt.NDArray[np.float32] | None

    @property
    def score(self) -> float:
        """The score that ranks: the reranked one where there is one."""
        return self.scores.fused if self.scores.reranked is None else self.scores.reranked


@dataclass(frozen=True)
class _Hit:
    """A point that one or both lists of its size found."""

    point: models.ScoredPoint
    scores: Scores


Rankings = list[list[Candidate]]


def embed_queries(snapshot: Snapshot, texts: Sequence[str], search: Search) -> list[Query]:
    """Return the queries with the vectors that this search needs; the model embeds all of them at once."""
    alpha = _alpha(snapshot, search)
    dense: list[list[float] | None] = [None] * len(texts)
    if alpha is None or alpha > 0:
        with snapshot.alone:
            dense = list(snapshot.encoder.embed_queries(texts).tolist())
    asks_keywords = alpha is None or alpha < 1
    return [
        Query(text, vector, _keywords(snapshot, text) if asks_keywords else None)
        for text, vector in zip(texts, dense, strict=True)
    ]


def find_candidates(
    client: QdrantClient, snapshot: Snapshot, queries: Sequence[Query], search: Search, wanted: int
) -> Rankings:
    """Return at least ``wanted`` candidates a query, the best first; fewer where the index has no more.

    One request for all queries; a second one for the parents of all where they are not looked up by the server, and one
    request a query where it groups.
    """
    find = _FINDERS[isinstance(snapshot.chunking, SmallToBigConfig), search.fusion]
    return find(client, snapshot, queries, search, wanted)


def children_of_a_parent(snapshot: Snapshot) -> int:
    """Return how many points one result may be made of: 1 where chunks are results."""
    chunking = snapshot.chunking
    return math.ceil(chunking.parent.window / chunking.child.window) if isinstance(chunking, SmallToBigConfig) else 1


def asking() -> Retrying:
    """Return the policy for requests that somebody waits for."""
    return retrying().copy(stop=stop_after_attempt(3))


def _chunks_by_score(
    client: QdrantClient, snapshot: Snapshot, queries: Sequence[Query], search: Search, wanted: int
) -> Rankings:
    rankings = _scored(client, snapshot, queries, search, wanted, with_payload=True)
    return [[_chunk(hit) for hit in hits] for hits in rankings]


def _chunks_by_rank(
    client: QdrantClient, snapshot: Snapshot, queries: Sequence[Query], search: Search, wanted: int
) -> Rankings:
    """Ask for the reciprocal rank fusion of all lists (Cormack, Clarke and Büttcher, SIGIR 2009), made by Qdrant."""
    requests = [
        models.QueryRequest(
            prefetch=[each.prefetch for each in _lists(client, snapshot, query, search, wanted)],
            query=models.FusionQuery(fusion=models.Fusion.RRF),
            limit=wanted,
            with_payload=True,
            with_vector=_vectors(snapshot, search),
        )
        for query in queries
    ]
    responses = asking()(client.query_batch_points, snapshot.collection, requests=requests)
    return [[_chunk(_Hit(point, Scores(fused=point.score))) for point in response.points] for response in responses]


def _parents_by_score(
    client: QdrantClient, snapshot: Snapshot, queries: Sequence[Query], search: Search, wanted: int
) -> Rankings:
    rankings = _scored(client, snapshot, queries, search, wanted, with_payload=_OF_A_CHILD)
    grouped = [_by_parent(hits, wanted) for hits in rankings]
    ids = list(dict.fromkeys(parent for groups in grouped for parent in groups))
    records = asking()(client.retrieve, snapshot.collection, ids, with_payload=True) if ids else []
    payloads = {str(record.id): record.payload or {} for record in records}
    # A parent may go between the two requests, when its document is edited.
    return [
        [_parent(parent, payloads[parent], hits) for parent, hits in groups.items() if parent in payloads]
        for groups in grouped
    ]


def _parents_by_rank(
    client: QdrantClient, snapshot: Snapshot, queries: Sequence[Query], search: Search, wanted: int
) -> Rankings:
    return [_parents_of(client, snapshot, query, search, wanted) for query in queries]


def _parents_of(client: QdrantClient, snapshot: Snapshot, query: Query, search: Search, wanted: int) -> list[Candidate]:
    """Ask for children by reciprocal rank, grouped by their parent, which is looked up in the same request."""
    found = asking()(
        client.query_points_groups,
        snapshot.collection,
        group_by="parent_id",
        prefetch=[each.prefetch for each in _lists(client, snapshot, query, search, wanted)],
        query=models.FusionQuery(fusion=models.Fusion.RRF),
        limit=wanted,
        group_size=_CHILDREN,
        with_payload=_OF_A_CHILD,
        with_vectors=_vectors(snapshot, search),
        with_lookup=models.WithLookup(collection=snapshot.collection, with_payload=True),
    )
    return [
        _parent(str(group.id), group.lookup.payload, [_Hit(hit, Scores(fused=hit.score)) for hit in group.hits])
        for group in found.groups
        if group.lookup is not None and group.lookup.payload
    ]


_Finder = Callable[[QdrantClient, Snapshot, Sequence[Query], Search, int], Rankings]
_FINDERS: dict[tuple[bool, str], _Finder] = {
    (False, "convex"): _chunks_by_score,
    (False, "rrf"): _chunks_by_rank,
    (True, "convex"): _parents_by_score,
    (True, "rrf"): _parents_by_rank,
}


@dataclass(frozen=True)
class _List:
    """One of the lists that are asked for: the nearest vectors, or the best by BM25, of one size of chunks."""

    size: int | None
    kind: Kind
    prefetch: models.Prefetch


def _lists(client: QdrantClient, snapshot: Snapshot, query: Query, search: Search, wanted: int) -> list[_List]:
    condition = build_filter(search.filters, snapshot.metadata.payload_indexes)
    limit = max(wanted * children_of_a_parent(snapshot), snapshot.metadata.retrieval.candidates)
    lists: list[_List] = []
    for size in snapshot.sizes:
        dense, keywords = vector_names(size)
        if query.dense is not None:
            params = _search_params(client, snapshot)
            asked = models.Prefetch(query=query.dense, using=dense, filter=condition, params=params, limit=limit)
            lists.append(_List(size, "dense", asked))
        if query.keywords is not None:
            asked = models.Prefetch(query=query.keywords, using=keywords, filter=condition, limit=limit)
            lists.append(_List(size, "keywords", asked))
    return lists


def _search_params(client: QdrantClient, snapshot: Snapshot) -> models.SearchParams | None:
    quantization = snapshot.metadata.server.quantization
    if quantization is None or is_local(client):  # local mode has nothing quantized, and warns
        return None
    again = models.QuantizationSearchParams(rescore=quantization.rescore, oversampling=quantization.oversampling)
    return models.SearchParams(quantization=again)


def _scored(
    client: QdrantClient,
    snapshot: Snapshot,
    queries: Sequence[Query],
    search: Search,
    wanted: int,
    with_payload: models.WithPayloadInterface,
) -> list[list[_Hit]]:
    """Return the hits of each query by the convex combination of their scores; all sizes in one ranking."""
    asked = [_lists(client, snapshot, query, search, wanted) for query in queries]
    vectors = _vectors(snapshot, search)
    requests = [_request(each.prefetch, with_payload, vectors) for lists in asked for each in lists]
    responses = iter(asking()(client.query_batch_points, snapshot.collection, requests=requests) if requests else [])
    alpha = _alpha(snapshot, search) or 0.0
    sign = -1 if snapshot.metadata.encoder.similarity in _DISTANCES else 1
    rankings: list[list[_Hit]] = []
    for lists in asked:
        found = [(each, next(responses).points) for each in lists]
        hits: list[_Hit] = []
        for size in snapshot.sizes:
            of_this_size = {each.kind: points for each, points in found if each.size == size and points}
            hits += _combined(of_this_size, alpha, sign)
        rankings.append(sorted(hits, key=lambda hit: (-hit.scores.fused, str(hit.point.id))))
    return rankings


def _request(
    prefetch: models.Prefetch, with_payload: models.WithPayloadInterface, with_vector: models.WithVector
) -> models.QueryRequest:
    return models.QueryRequest(
        query=prefetch.query,
        using=prefetch.using,
        filter=prefetch.filter,
        params=prefetch.params,
        limit=prefetch.limit,
        with_payload=with_payload,
        with_vector=with_vector,
    )


def _combined(found: Mapping[Kind, Sequence[models.ScoredPoint]], alpha: float, sign: int) -> list[_Hit]:
    """Return the hits of one size by the convex combination of their scores.

    A list that is empty has no say: the other one then counts alone. ``sign`` is -1 where the nearest vectors have the
    lowest scores.
    """
    points = {str(point.id): point for some in found.values() for point in some}
    scores = {kind: {str(point.id): point.score for point in some} for kind, some in found.items()}
    dense, keywords = scores.get("dense", {}), scores.get("keywords", {})
    weight = float(alpha > 0) if not keywords else alpha if dense else 0.0
    upwards = {point: sign * score for point, score in dense.items()}
    return [
        _Hit(points[point], Scores(dense=dense.get(point), keywords=keywords.get(point), fused=fused))
        for point, fused in convex_combination(upwards, keywords, weight).items()
    ]


def _by_parent(hits: Iterable[_Hit], wanted: int) -> dict[str, list[_Hit]]:
    """Return the children of the best parents, each parent where its best child is."""
    groups: dict[str, list[_Hit]] = {}
    for hit in hits:
        groups.setdefault((hit.point.payload or {})["parent_id"], []).append(hit)
    return {parent: groups[parent] for parent in list(groups)[:wanted]}


def _chunk(hit: _Hit) -> Candidate:
    payload = hit.point.payload or {}
    return Candidate(str(hit.point.id), hit.scores, payload, ((payload["start"], payload["end"]),), _vector(hit.point))


def _parent(parent: str, payload: dict[str, Any], children: Sequence[_Hit]) -> Candidate:
    """Return a parent with the scores and the vector of its best child, the first one."""
    best = children[0]
    payloads = [hit.point.payload or {} for hit in children]
    spans = tuple((child["start"], child["end"]) for child in payloads)
    return Candidate(parent, best.scores, payload, spans, _vector(best.point))


def _vector(point: models.ScoredPoint) -> npt.NDArray[np.float32] | None:
    vectors = point.vector
    if not isinstance(vectors, dict):
        return None
    (dense,) = vectors.values()
    return np.asarray(dense, np.float32)


def _vectors(snapshot: Snapshot, search: Search) -> models.WithVector:
    if not search.diversity:
        return False
    return [vector_names(size)[0] for size in snapshot.sizes]


def _alpha(snapshot: Snapshot, search: Search) -> float | None:
    """Return the weight of the vectors; None where ranks are fused."""
    if search.fusion == "rrf":
        return None
    return snapshot.metadata.retrieval.alpha if search.alpha is None else search.alpha


def _keywords(snapshot: Snapshot, text: str) -> models.SparseVector | None:
    """Return the BM25 vector of a query; None where it has only stop words."""
    sparse = snapshot.embed_keywords(text)
    return models.SparseVector(indices=sparse.indices, values=sparse.values) if sparse.indices else None
