"""From queries to ranked results: candidates, reranking, threshold, diversity."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from qdrant_client import QdrantClient

from feature_store.errors import ConfigurationError
from inference.candidates import Candidate, embed_queries, find_candidates
from inference.diversity import select_diverse
from inference.options import Rerank, Search
from inference.results import SearchResult
from inference.snapshot import Snapshot

RERANKED = 50
"""How many candidates a reranker reads, at least."""


def rank(
    client: QdrantClient, snapshot: Snapshot, queries: Sequence[str], search: Search, k: int
) -> list[list[SearchResult]]:
    """Return the ``k`` best results of each query, the best first."""
    asked = embed_queries(snapshot, queries, search)
    rankings = find_candidates(client, snapshot, asked, search, _depth(snapshot, search, k))
    return [
        [to_result(candidate, snapshot) for candidate in _chosen(query, candidates, snapshot, search, k)]
        for query, candidates in zip(queries, rankings, strict=True)
    ]


def _depth(snapshot: Snapshot, search: Search, k: int) -> int:
    """Return how many candidates the choice of ``k`` needs."""
    if len(snapshot.sizes) > 1:  # some repeat others
        return max(2 * k, snapshot.metadata.retrieval.candidates)
    if search.diversity:
        return max(k, snapshot.metadata.retrieval.candidates)
    return k if search.reranker is None else max(k, RERANKED)


def _chosen(
    query: str, candidates: Sequence[Candidate], snapshot: Snapshot, search: Search, k: int
) -> Sequence[Candidate]:
    if len(snapshot.sizes) > 1:
        candidates = without_repetition(candidates)
    if search.reranker is not None:
        candidates = _reranked(query, candidates[: max(k, RERANKED)], search.reranker)
    if search.min_score is not None:
        candidates = [candidate for candidate in candidates if candidate.score >= search.min_score]
    if search.diversity and candidates:
        vectors = np.stack([candidate.vector for candidate in candidates if candidate.vector is not None])
        scores = np.array([candidate.score for candidate in candidates])
        return [candidates[place] for place in select_diverse(vectors, scores, k, search.diversity)]
    return candidates[:k]


def without_repetition(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates without those of which more than half lies inside a better one of the same document."""
    kept: list[Candidate] = []
    spans: dict[str, list[tuple[int, int]]] = {}
    for candidate in candidates:
        start, end = candidate.payload["start"], candidate.payload["end"]
        better = spans.setdefault(candidate.payload["document_id"], [])
        if all(2 * (min(end, other_end) - max(start, other)) <= end - start for other, other_end in better):
            kept.append(candidate)
            better.append((start, end))
    return kept


def _reranked(query: str, candidates: Sequence[Candidate], reranker: Rerank) -> list[Candidate]:
    scores = reranker(query, [candidate.payload["text"] for candidate in candidates])
    if len(scores) != len(candidates):
        raise ConfigurationError(
            f"The reranker gave {len(scores)} scores for {len(candidates)} texts.", "It must give one for each text."
        )
    reranked = [
        replace(candidate, scores=candidate.scores.model_copy(update={"reranked": float(score)}))
        for candidate, score in zip(candidates, scores, strict=True)
    ]
    return sorted(reranked, key=lambda candidate: -candidate.score)


def to_result(candidate: Candidate, snapshot: Snapshot) -> SearchResult:
    """Return a candidate as a result."""
    payload = candidate.payload
    return SearchResult(
        chunk_id=candidate.chunk_id,
        score=candidate.score,
        scores=candidate.scores,
        text=payload["text"],
        start=payload["start"],
        end=payload["end"],
        spans=list(candidate.spans),
        document_id=payload["document_id"],
        category=payload["category"],
        title=payload.get("title"),
        url=payload.get("url"),
        author=payload.get("author"),
        published_at=payload.get("published_at"),
        heading_path=payload["heading_path"],
        version=snapshot.metadata.version,
        payload=payload,
    )
