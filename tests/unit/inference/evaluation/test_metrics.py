"""The measures of rankings, against values computed by hand."""

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.evaluation.metrics import Metrics, evaluate_rankings, score_rankings


def test_the_measures_of_one_ranking_are_those_computed_by_hand():
    (scores,) = score_rankings({"q": {"a": 2, "b": 1, "c": 0, "d": 1}}, {"q": ["c", "b", "x", "a"]}).values()
    gain, ideal = 1 / log2(3) + 2 / log2(5), 2 / log2(2) + 1 / log2(3) + 1 / log2(4)
    assert scores.ndcg_at_10 == pytest.approx(gain / ideal)
    assert scores.recall_at_10 == pytest.approx(2 / 3)
    assert scores.recall_at_100 == pytest.approx(2 / 3)
    assert scores.reciprocal_rank == pytest.approx(1 / 2)


def test_what_is_behind_the_tenth_place_counts_for_recall_at_100_only():
    others = [f"other {number}" for number in range(10)]
    (scores,) = score_rankings({"q": {"a": 1}}, {"q": [*others, "a"]}).values()
    assert (scores.ndcg_at_10, scores.recall_at_10, scores.recall_at_100) == (0, 0, 1)
    assert scores.reciprocal_rank == pytest.approx(1 / 11)


def test_what_is_behind_the_hundredth_place_is_not_found():
    others = [f"other {number}" for number in range(100)]
    (scores,) = score_rankings({"q": {"a": 1}}, {"q": [*others, "a"]}).values()
    assert scores.recall_at_100 == 0


def test_queries_without_a_ranking_count_as_not_found():
    metrics = evaluate_rankings({"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 1}}, {"q1": ["a"], "q2": []})
    assert metrics == Metrics(*(pytest.approx(1 / 3),) * 4, queries=3)


def test_rankings_of_queries_that_nobody_judged_do_not_count():
    metrics = evaluate_rankings({"q1": {"a": 1}}, {"q1": ["a"], "unjudged": ["x"]})
    assert metrics == Metrics(1.0, 1.0, 1.0, 1.0, 1)


@given(st.permutations([f"{number:02d}" for number in range(30)]))
def test_the_order_of_a_ranking_decides_whatever_the_ids_are(ranking):
    (scores,) = score_rankings({"q": {"07": 1}}, {"q": ranking}).values()
    rank = ranking.index("07") + 1
    assert scores.reciprocal_rank == pytest.approx(1 / rank)
    assert scores.ndcg_at_10 == pytest.approx(1 / log2(rank + 1) if rank <= 10 else 0)


def test_a_query_without_a_relevant_document_is_refused():
    with pytest.raises(ValueError, match="cannot be scored: q2"):
        evaluate_rankings({"q1": {"a": 1}, "q2": {"a": 0}}, {"q1": ["a"], "q2": ["a"]})


def test_a_ranking_that_names_a_document_twice_is_refused():
    with pytest.raises(ValueError, match="query q names documents more than once: b"):
        evaluate_rankings({"q": {"a": 1}}, {"q": ["a", "b", "b"]})


def test_no_judgement_at_all_is_refused():
    with pytest.raises(ValueError, match="no judged query"):
        evaluate_rankings({}, {})
