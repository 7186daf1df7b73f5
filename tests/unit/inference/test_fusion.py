import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.fusion import convex_combination, normalise

SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-50, 50).map(lambda score: score / 4), max_size=8)
ALPHAS = st.integers(0, 8).map(lambda eighths: eighths / 8)


def by_score(scores):
    return sorted(scores, key=lambda item: (-scores[item], item))


@given(SCORES)
def test_normalised_scores_reach_from_0_to_1_and_keep_their_order(scores):
    normalised = normalise(scores)
    assert by_score(normalised) == by_score(scores)
    if len(set(scores.values())) > 1:
        assert (min(normalised.values()), max(normalised.values())) == (0, 1)


@given(SCORES, st.integers(1, 9), st.integers(-9, 9))
def test_normalised_scores_do_not_depend_on_scale_and_origin(scores, scale, origin):
    moved = {item: scale * score + origin for item, score in scores.items()}
    assert normalise(moved) == pytest.approx(normalise(scores))


def test_equal_scores_are_all_the_best():
    assert normalise({"a": 0.3, "b": 0.3}) == {"a": 1, "b": 1}
    assert normalise({"a": -2.0}) == {"a": 1}


def test_an_empty_list_stays_empty():
    assert normalise({}) == {}
    assert convex_combination({}, {}, 0.5) == {}


@given(SCORES, SCORES)
def test_alpha_1_is_the_dense_order_and_alpha_0_that_of_the_keywords(dense, keywords):
    assert list(convex_combination(dense, keywords, 1)) == by_score(dense)
    assert list(convex_combination(dense, keywords, 0)) == by_score(keywords)


@given(SCORES, SCORES, ALPHAS)
def test_a_combination_lies_between_its_parts_and_is_ordered(dense, keywords, alpha):
    fused = convex_combination(dense, keywords, alpha)
    left, right = normalise(dense), normalise(keywords)
    assert list(fused) == by_score(fused)
    for item, score in fused.items():
        parts = left.get(item, 0), right.get(item, 0)
        assert min(parts) - 1e-9 <= score <= max(parts) + 1e-9


@given(SCORES, SCORES, ALPHAS)
def test_the_two_lists_change_places_with_alpha(dense, keywords, alpha):
    mirrored = convex_combination(keywords, dense, 1 - alpha)
    assert mirrored == pytest.approx(convex_combination(dense, keywords, alpha))


def test_what_a_list_lacks_counts_as_its_worst():
    fused = convex_combination({"both": 0.9, "dense": 0.5, "worst": 0.1}, {"both": 7.0, "keywords": 3.0}, 0.5)
    assert fused == pytest.approx({"both": 1.0, "dense": 0.25, "keywords": 0.0, "worst": 0.0})
    assert list(fused) == ["both", "dense", "keywords", "worst"]


@pytest.mark.parametrize("alpha", [-0.01, 1.01, float("nan")])
def test_an_alpha_outside_of_0_to_1_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha is"):
        convex_combination({"a": 1.0}, {}, alpha)
