"""Golden queries: does the new collection find what the serving one finds?"""

from collections.abc import Sequence

from feature_store.handles import GateCheck
from feature_store.tables import batches_of
from inference.evaluation.golden import GoldenQuery
from inference.evaluation.metrics import Metrics, evaluate_rankings
from inference.retriever import Retriever

# A document has many chunks: so many are asked for to get ten documents.
CHUNKS = 100
QUERIES = 64  # in one request


def compare_golden(
    queries: Sequence[GoldenQuery], new: Retriever, serving: Retriever, tolerance: float
) -> list[GateCheck]:
    """Search both collections, each as its own metadata say; judge by document.

    Args:
        queries: with the grades of their documents.
        new: searches the collection that wants to serve.
        serving: searches the one that does.
        tolerance: how much recall@10 and nDCG@10 may fall, each from 0 to 1.
    """
    ours, theirs = (_measured(retriever, queries) for retriever in (new, serving))
    return [
        _compared("recall@10", ours.recall_at_10, theirs.recall_at_10, ours.queries, tolerance),
        _compared("nDCG@10", ours.ndcg_at_10, theirs.ndcg_at_10, ours.queries, tolerance),
    ]


def _measured(retriever: Retriever, queries: Sequence[GoldenQuery]) -> Metrics:
    texts = [golden.query for golden in queries]
    results = [found for some in batches_of(texts, QUERIES) for found in retriever.search_batch(some, k=CHUNKS)]
    # Each document once, at the place of its best chunk.
    rankings = {
        golden.query_id: list(dict.fromkeys(result.document_id for result in found))
        for golden, found in zip(queries, results, strict=True)
    }
    return evaluate_rankings({golden.query_id: golden.relevant for golden in queries}, rankings)


def _compared(measure: str, ours: float, theirs: float, queries: int, tolerance: float) -> GateCheck:
    holds = ours >= theirs - tolerance
    figures = f"{ours:.3f}, the serving one {theirs:.3f} (tolerance {tolerance:g}, {queries:,} golden queries)"
    return GateCheck(name=f"{measure} is not worse", holds=holds, figures=figures)
