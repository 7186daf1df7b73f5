"""Recall, precision and IoU of spans, against sets of characters."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.evaluation.spans import Span, SpanScores, mean_span_scores, merge, score_spans

SPANS = st.builds(
    lambda document, start, length: Span(document, start, start + length),
    st.sampled_from("ab"),
    st.integers(0, 30),
    st.integers(0, 12),
)


def characters(spans):
    return {(span.document, place) for span in spans for place in range(span.start, span.end)}


@given(st.lists(SPANS, max_size=8), st.lists(SPANS, min_size=1, max_size=5).filter(characters))
def test_the_measures_are_those_of_sets_of_characters(retrieved, relevant):
    scores = score_spans(retrieved, relevant)
    wanted = characters(relevant)
    common = len(characters(retrieved) & wanted)
    length = sum(span.end - span.start for span in retrieved)
    assert scores.recall == pytest.approx(common / len(wanted))
    assert scores.precision == pytest.approx(common / length if length else 0)
    assert scores.iou == pytest.approx(common / (length + len(wanted) - common))


@given(st.lists(SPANS, max_size=10))
def test_merged_spans_are_the_same_characters_in_order_and_apart(spans):
    merged = merge(spans)
    assert characters(merged) == characters(spans)
    assert merged == sorted(merged)
    for one, other in pairwise(merged):
        assert one.document < other.document or one.end < other.start


def test_a_text_that_is_retrieved_twice_costs_precision_and_no_recall():
    relevant = [Span("a", 0, 10)]
    once, twice = score_spans([Span("a", 0, 20)], relevant), score_spans([Span("a", 0, 20)] * 2, relevant)
    assert once == SpanScores(recall=1, precision=0.5, iou=0.5)
    assert twice == SpanScores(recall=1, precision=0.25, iou=0.25)


def test_the_same_place_in_another_document_is_not_relevant():
    assert score_spans([Span("b", 0, 10)], [Span("a", 0, 10)]) == SpanScores(0, 0, 0)


def test_nothing_retrieved_is_nothing_found():
    assert score_spans([], [Span("a", 0, 10)]) == SpanScores(0, 0, 0)


def test_without_a_relevant_character_there_is_nothing_to_score():
    with pytest.raises(ValueError, match="nothing can be scored"):
        score_spans([Span("a", 0, 1)], [Span("a", 3, 3)])


def test_means_are_over_questions():
    assert mean_span_scores([SpanScores(1, 0.5, 0.25), SpanScores(0, 0, 0)]) == SpanScores(0.5, 0.25, 0.125)
    with pytest.raises(ValueError, match="no question"):
        mean_span_scores([])
