"""The usual measures of a ranking of documents, computed by trec_eval through pytrec_eval.

nDCG is that of trec_eval: gain is the grade itself, discounted by log2(rank + 1) (Järvelin and Kekäläinen, "Cumulated
gain-based evaluation of IR techniques", 2002).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import pytrec_eval

DEPTH = 100  # documents of a ranking that any of the measures looks at, but for the reciprocal rank
_MEASURES = {"ndcg_cut.10", "recall.10,100", "recip_rank"}


@dataclass(frozen=True)
class Scores:
    """How good one ranking is: each from 0 to 1."""

    ndcg_at_10: float
    recall_at_10: float
    recall_at_100: float
    reciprocal_rank: float


@dataclass(frozen=True)
class Metrics:
    """The means over ``queries``: each from 0 to 1."""

    ndcg_at_10: float
    recall_at_10: float
    recall_at_100: float
    mrr: float
    queries: int


def evaluate_rankings(judgements: Mapping[str, Mapping[str, int]], rankings: Mapping[str, Sequence[str]]) -> Metrics:
    """Return the means over all judged queries; one that has no ranking counts as 0.

    Args:
        judgements: for each query the grades of its documents; a grade above 0 is relevant.
        rankings: for each query the document ids, best first.

    Raises:
        ValueError: if nothing is judged, a query has no relevant document, or a ranking names a document twice.
    """
    return mean_scores(score_rankings(judgements, rankings).values())


def score_rankings(
    judgements: Mapping[str, Mapping[str, int]], rankings: Mapping[str, Sequence[str]]
) -> dict[str, Scores]:
    """Return the scores of each judged query, in the order of ``judgements``; see `evaluate_rankings`."""
    without = [query for query, grades in judgements.items() if max(grades.values(), default=0) <= 0]
    if without:
        raise ValueError(f"queries without a relevant document cannot be scored: {', '.join(without[:5])}")
    runs = {query: _falling_scores(query, rankings.get(query, ())) for query in judgements}
    evaluator = pytrec_eval.RelevanceEvaluator({query: dict(grades) for query, grades in judgements.items()}, _MEASURES)
    measured = evaluator.evaluate(runs)
    return {
        query: Scores(
            ndcg_at_10=measured[query]["ndcg_cut_10"],
            recall_at_10=measured[query]["recall_10"],
            recall_at_100=measured[query]["recall_100"],
            reciprocal_rank=measured[query]["recip_rank"],
        )
        for query in judgements
    }


def mean_scores(scores: Iterable[Scores]) -> Metrics:
    """Return the means of the scores of queries.

    Raises:
        ValueError: if there are none.
    """
    scores = list(scores)
    if not scores:
        raise ValueError("there is no judged query")
    return Metrics(
        ndcg_at_10=fmean(score.ndcg_at_10 for score in scores),
        recall_at_10=fmean(score.recall_at_10 for score in scores),
        recall_at_100=fmean(score.recall_at_100 for score in scores),
        mrr=fmean(score.reciprocal_rank for score in scores),
        queries=len(scores),
    )


def _falling_scores(query: str, ranking: Sequence[str]) -> dict[str, float]:
    # trec_eval goes by scores and breaks ties by document id, so no two may be equal.
    twice = [document for document, times in Counter(ranking).items() if times > 1]
    if twice:
        raise ValueError(f"the ranking of query {query} names documents more than once: {', '.join(twice[:5])}")
    return {document: float(len(ranking) - rank) for rank, document in enumerate(ranking)}
