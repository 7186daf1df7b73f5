"""The context of a query: the best results, or what the sizes of an index agree on, within a budget of tokens."""

from collections.abc import Sequence
from typing import TypeVar

from qdrant_client import QdrantClient

from feature_store.index_config import SmallToBigConfig
from inference import voting
from inference.candidates import Candidate, children_of_a_parent, embed_queries, find_candidates
from inference.merging import build_context, cut, head_within, in_this_order, passages_of
from inference.neighbours import with_neighbours
from inference.options import Search
from inference.ranking import rank, to_result
from inference.results import Context, SearchResult
from inference.snapshot import Snapshot

_Found = TypeVar("_Found", Candidate, SearchResult)


def find_contexts(
    client: QdrantClient, snapshot: Snapshot, queries: Sequence[str], search: Search, budget: int
) -> list[Context]:
    """Return the context of each query: by votes where sizes can vote, otherwise of the best results."""
    find = _by_votes if _can_vote(snapshot, search) else _by_rank
    return find(client, snapshot, queries, search, budget)


def _can_vote(snapshot: Snapshot, search: Search) -> bool:
    """Return whether there are several sizes, and nothing but their own scores ranks."""
    others = search.reranker is not None or search.diversity or search.neighbours or search.fusion == "rrf"
    return len(snapshot.sizes) > 1 and not others


def _by_rank(
    client: QdrantClient, snapshot: Snapshot, queries: Sequence[str], search: Search, budget: int
) -> list[Context]:
    """Return for each query as many of the best results as fit, merged where they meet."""
    rankings = [
        _each_text_once(_above(search.threshold, results))
        for results in rank(client, snapshot, queries, search, _enough_for(snapshot, budget))
    ]
    passages = [passages_of(results) for results in rankings]
    if search.neighbours:  # of those alone that may fit
        heads = [some[: max(1, head_within(some, budget, snapshot.count_tokens))] for some in passages]
        passages = with_neighbours(client, snapshot, heads, search.neighbours)
    return [build_context(some, budget, snapshot.token_spans) for some in passages]


def _by_votes(
    client: QdrantClient, snapshot: Snapshot, queries: Sequence[str], search: Search, budget: int
) -> list[Context]:
    """Return for each query the passages on which its candidates of all sizes agree."""
    asked = embed_queries(snapshot, queries, search)
    wanted = snapshot.metadata.retrieval.candidates
    rankings = find_candidates(client, snapshot, asked, search, wanted)
    if search.min_score is not None:
        least = search.min_score
        rankings = [[candidate for candidate in candidates if candidate.score >= least] for candidates in rankings]
    return [_elected(_each_text_once(candidates), snapshot, search, budget) for candidates in rankings]


def _enough_for(snapshot: Snapshot, budget: int) -> int:
    """Return how many results fill a budget of tokens: twice as many as fit, for some overlap and some are short."""
    chunking = snapshot.chunking
    tokens = chunking.parent.window if isinstance(chunking, SmallToBigConfig) else min(chunking.windows())
    return max(2 * budget // tokens, snapshot.metadata.retrieval.candidates // children_of_a_parent(snapshot), 1)


def _above(threshold: float | None, results: list[SearchResult]) -> list[SearchResult]:
    if threshold is None or not results or results[0].score <= 0:
        return results
    return [result for result in results if result.score >= threshold * results[0].score]


def _each_text_once(ranking: Sequence[_Found]) -> list[_Found]:
    """Return a ranking without the texts that a better document has too: said twice, they only use up the budget."""
    documents = list(dict.fromkeys(_document(found) for found in ranking))
    owners: dict[tuple[int | None, str], str] = {}
    for found in sorted(ranking, key=lambda found: documents.index(_document(found))):
        owners.setdefault(_text(found), _document(found))
    return [found for found in ranking if owners[_text(found)] == _document(found)]


def _document(found: Candidate | SearchResult) -> str:
    return str(found.payload["document_id"])


def _text(found: Candidate | SearchResult) -> tuple[int | None, str]:
    return found.payload.get("size"), found.payload["text"]


def _elected(candidates: Sequence[Candidate], snapshot: Snapshot, search: Search, budget: int) -> Context:
    """Return what the candidates of one query vote for; voting only estimates tokens, here they are counted."""
    by_id = {candidate.chunk_id: candidate for candidate in candidates}
    voters = [_voter(candidate) for candidate in candidates]
    threshold = snapshot.metadata.retrieval.threshold if search.threshold is None else search.threshold
    ceiling = budget
    while True:
        elected = voting.vote(voters, voting.VotingOptions(token_budget=ceiling, threshold=threshold))
        results = [_result(passage, by_id[passage.chunk_ids[0]], snapshot) for passage in elected]
        context = in_this_order(results, snapshot.count_tokens)
        if context.tokens <= budget:
            return context
        best_alone = sum(passage.tokens for passage in elected) > ceiling
        ceiling = min(ceiling - 1, ceiling * budget // context.tokens)
        if best_alone or ceiling < 1:  # a single sentence is too long
            return in_this_order([cut(results[0], budget, snapshot.token_spans)], snapshot.count_tokens)


def _voter(candidate: Candidate) -> voting.Voter:
    payload = candidate.payload
    return voting.Voter(
        chunk_id=candidate.chunk_id,
        document_id=payload["document_id"],
        size=payload["size"],
        position=payload["position"],
        start=payload["start"],
        end=payload["end"],
        token_count=payload["token_count"],
        score=candidate.scores.fused,
        text=payload["text"],
    )


def _result(passage: voting.AgreedPassage, best: Candidate, snapshot: Snapshot) -> SearchResult:
    """Return a passage with its votes as its score; all else is that of its best candidate."""
    elected = {
        "score": passage.score,
        "text": passage.text,
        "start": passage.start,
        "end": passage.end,
        "spans": [(passage.start, passage.end)],
    }
    return to_result(best, snapshot).model_copy(update=elected)
