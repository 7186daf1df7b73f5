import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from feature_store.errors import ConfigurationError
from inference.diversity import select_diverse

FINITE = {"allow_nan": False, "allow_infinity": False}


@st.composite
def results(draw):
    count, width = draw(st.integers(1, 8)), draw(st.integers(2, 4))
    vectors = draw(arrays.arrays(np.float64, (count, width), elements=st.floats(-1, 1, **FINITE)))
    assume((np.linalg.norm(vectors, axis=1) > 1e-3).all())
    scores = draw(arrays.arrays(np.float64, count, elements=st.floats(-10, 10, **FINITE)))
    return vectors, scores


@given(results(), st.integers(0, 10), st.floats(0, 1))
def test_each_is_taken_once_and_as_many_as_asked_for(given_results, k, diversity):
    vectors, scores = given_results
    taken = select_diverse(vectors, scores, k, diversity)
    assert len(taken) == len(set(taken)) == min(k, len(scores))
    assert set(taken) <= set(range(len(scores)))


@given(results())
def test_without_diversity_the_order_is_that_of_the_scores(given_results):
    vectors, scores = given_results
    taken = select_diverse(vectors, scores, len(scores), 0.0)
    assert taken == sorted(range(len(scores)), key=lambda place: -scores[place])


@given(results(), st.floats(0, 1))
def test_the_best_by_score_is_taken_first(given_results, diversity):
    vectors, scores = given_results
    assert select_diverse(vectors, scores, 1, diversity) == [int(np.argmax(scores))]


@given(results(), st.floats(0, 1), st.integers(1, 7))
def test_asking_for_more_changes_nothing_before(given_results, diversity, k):
    vectors, scores = given_results
    everything = select_diverse(vectors, scores, len(scores), diversity)
    assert select_diverse(vectors, scores, k, diversity) == everything[:k]


@given(results(), st.floats(0, 1), st.sampled_from([0.25, 4.0]), st.sampled_from([-8.0, 0.0, 8.0]))
def test_neither_lengths_nor_the_scale_of_scores_matter(given_results, diversity, factor, offset):
    vectors, scores = given_results
    scores = np.round(scores)  # so that scaling them is exact
    taken = select_diverse(vectors, scores, len(scores), diversity)
    assert select_diverse(vectors * factor, scores * factor + offset, len(scores), diversity) == taken


@given(st.integers(3, 8), st.data())
def test_a_copy_of_the_first_is_taken_last(count, data):
    directions = np.vstack([np.eye(count), np.eye(count)[:1]])
    others = data.draw(st.lists(st.floats(0, 0.9), min_size=count - 1, max_size=count - 1))
    taken = select_diverse(directions, np.array([1.0, *others, 0.99]), count + 1, 1.0)
    assert taken[0] == 0
    assert taken[-1] == count


@pytest.mark.parametrize(
    ("diversity", "expected"),
    [
        pytest.param(0.1, [0, 1, 2], id="the-near-copy-is-good-enough"),
        # (1 - d) * 0.9 - d * 0.8 against (1 - d) * 0: equal at d = 0.9 / 1.7 = 0.529
        pytest.param(0.52, [0, 1, 2], id="just-below-the-balance"),
        pytest.param(0.54, [0, 2, 1], id="just-above-the-balance"),
    ],
)
def test_similarity_and_score_are_weighed(diversity, expected):
    vectors = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    scores = np.array([2.0, 1.9, 1.0])  # 1, 0.9 and 0 of the whole range
    assert select_diverse(vectors, scores, 3, diversity) == expected


def test_similarity_counts_to_all_that_were_taken():
    # The last resembles the second, not the first: it comes after the one that resembles neither.
    vectors = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0.1, 1.0], [0, 1.0, 0.1]])
    assert select_diverse(vectors, np.array([4.0, 3.0, 1.0, 2.0]), 4, 0.9) == [0, 1, 2, 3]


def test_of_nothing_nothing_is_taken():
    assert select_diverse(np.empty((0, 4), np.float32), np.empty(0), 3, 0.5) == []


@pytest.mark.parametrize("diversity", [-0.1, 1.1, float("nan")])
def test_a_diversity_outside_of_its_range_is_refused(diversity):
    with pytest.raises(ConfigurationError, match="diversity"):
        select_diverse(np.eye(2), np.ones(2), 1, diversity)
