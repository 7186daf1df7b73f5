"""An evaluation as an artifact: its measures, and the queries that were answered worst."""

from feature_store.handles import AnsweredQuery, RetrievalEvaluation
from inference.evaluation.config import EvaluationConfig
from inference.evaluation.evaluate import IndexEvaluation, QueryEvaluation
from inference.evaluation.metrics import DEPTH

_TENTHS = 10
_FOUND = 3  # documents that are named of those that were found
_RELEVANT = 5  # and of those that should have been


def to_handle(evaluated: IndexEvaluation, config: EvaluationConfig) -> RetrievalEvaluation:
    """Return the handle of an evaluation."""
    metadata, evaluation = evaluated.metadata, evaluated.evaluation
    metrics = evaluation.metrics
    return RetrievalEvaluation(
        index=config.index,
        collection=evaluated.collection,
        fingerprint=metadata.fingerprint,
        store_id=metadata.store_id,
        version=metadata.version,
        version_run_id=metadata.version_run_id,
        points=metadata.points,
        model=metadata.encoder.model,
        chunking=str(metadata.chunking.get("strategy", "sliding_window")),
        data=str(config.data),
        format=config.format,
        queries=metrics.queries,
        ndcg_at_10=metrics.ndcg_at_10,
        recall_at_10=metrics.recall_at_10,
        recall_at_100=metrics.recall_at_100,
        mrr=metrics.mrr,
        missing=len(evaluation.missing),
        ndcg_counts=_by_tenths([answered.scores.ndcg_at_10 for answered in evaluation.queries]),
        worst=[_answered(query) for query in sorted(evaluation.queries, key=_badness)[: config.worst]],
    )


def _badness(evaluated: QueryEvaluation) -> tuple[float, float, float, str]:
    scores = evaluated.scores
    return scores.ndcg_at_10, scores.recall_at_100, scores.reciprocal_rank, evaluated.query.query_id


def _answered(evaluated: QueryEvaluation) -> AnsweredQuery:
    grades = evaluated.query.relevant
    relevant = sorted((name for name, grade in grades.items() if grade > 0), key=lambda name: (-grades[name], name))
    ranks = (rank for rank, document in enumerate(evaluated.ranking[:DEPTH], start=1) if grades.get(document, 0) > 0)
    return AnsweredQuery(
        query_id=evaluated.query.query_id,
        query=evaluated.query.query,
        ndcg_at_10=evaluated.scores.ndcg_at_10,
        recall_at_100=evaluated.scores.recall_at_100,
        rank=next(ranks, None),
        relevant=relevant[:_RELEVANT],
        found=list(evaluated.ranking[:_FOUND]),
    )


def _by_tenths(shares: list[float]) -> list[int]:
    """Return how many of the shares are in each tenth of 0 to 1; 1 is in the last."""
    counts = [0] * _TENTHS
    for share in shares:
        counts[min(int(share * _TENTHS), _TENTHS - 1)] += 1
    return counts
