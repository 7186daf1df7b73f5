"""What is kept of an evaluation."""

from dataclasses import replace

import pytest

from feature_store.index import IndexMetadata
from feature_store.index_config import EncoderConfig
from feature_store.versions import now
from inference.evaluation.config import EvaluationConfig
from inference.evaluation.evaluate import Evaluation, IndexEvaluation, QueryEvaluation
from inference.evaluation.golden import GoldenQuery
from inference.evaluation.metrics import Metrics, Scores
from steps.evaluate.handle import to_handle

METADATA = IndexMetadata.model_validate(
    {
        "index": "notes",
        "fingerprint": "f" * 12,
        "store_id": "store",
        "version": 3,
        "version_run_id": "run",
        "points": 12,
        "categories": ["notes"],
        "encoder": {
            "model": "mini",
            "fingerprint": "e",
            "dimension": 3,
            "token_limit": 128,
            "document_prompt": "",
            "query_prompt": "",
            "normalised": True,
            "similarity": "cosine",
        },
        "encoder_config": EncoderConfig(),
        "chunking": {"strategy": "multi_size"},
        "sparse": {},
        "created_at": now(),
        "updated_at": now(),
    }
)
CONFIG = EvaluationConfig(index="notes", data="golden.jsonl", worst=2)
METRICS = Metrics(0.5, 0.6, 0.7, 0.8, 4)


def answered(number, ndcg, relevant, ranking, recall=0.0):
    query = GoldenQuery(str(number), f"query {number}", relevant)
    return QueryEvaluation(query, ranking, Scores(ndcg, recall, recall, 0.0))


@pytest.fixture
def evaluated():
    queries = [
        answered(1, 1.0, {"a": 1}, ["a"], recall=1.0),
        answered(2, 0.0, {"a": 1, "b": 3, "c": 0}, ["x", "c", "y", "z", "b"], recall=0.5),
        answered(3, 0.65, {"a": 1}, ["x", "a"], recall=1.0),
        answered(4, 0.0, {"a": 1}, []),
    ]
    return IndexEvaluation("notes__f", METADATA, Evaluation(METRICS, queries, ["gone"]))


def test_an_evaluation_names_what_was_asked(evaluated):
    made = to_handle(evaluated, CONFIG)
    assert (made.index, made.collection, made.fingerprint) == ("notes", "notes__f", "f" * 12)
    assert (made.store_id, made.version, made.version_run_id, made.points) == ("store", 3, "run", 12)
    assert (made.model, made.chunking, made.data, made.format) == ("mini", "multi_size", "golden.jsonl", "golden")
    assert (made.ndcg_at_10, made.recall_at_10, made.recall_at_100, made.mrr) == (0.5, 0.6, 0.7, 0.8)
    assert (made.queries, made.missing) == (4, 1)


def test_the_worst_queries_come_first_and_the_others_are_left_out(evaluated):
    made = to_handle(evaluated, CONFIG)
    assert [query.query_id for query in made.worst] == ["4", "2"]
    assert made.worst[0].rank is None
    assert made.worst[1].relevant == ["b", "a"]
    assert made.worst[1].rank == 5
    assert made.worst[1].found == ["x", "c", "y"]


def test_queries_are_counted_by_tenths(evaluated):
    assert to_handle(evaluated, CONFIG).ndcg_counts == [2, 0, 0, 0, 0, 0, 1, 0, 0, 1]


def test_a_relevant_document_behind_the_hundredth_place_was_not_found(evaluated):
    late = answered(5, 0.0, {"a": 1}, [*(f"x{number}" for number in range(100)), "a"])
    made = to_handle(replace(evaluated, evaluation=Evaluation(METRICS, [late], [])), CONFIG)
    assert made.worst[0].rank is None
