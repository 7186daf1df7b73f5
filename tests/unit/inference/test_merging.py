"""Contexts: overlaps there once, nothing lost, never more tokens than the budget, in reading order."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.merging import Piece, build_context, head_within, join_text, merge, passages_of
from inference.results import Scores, SearchResult

TEXT = "The old harbour sleeps. Boats come back at noon, one by one. Nobody counts them. The evening is long."
WORD = re.compile(r"\S+")


def words(text):
    return [match.span() for match in WORD.finditer(text)]


def count(text):
    return len(words(text))


def piece(start, end, position=0, size=0, text=TEXT):
    return Piece(start, end, text[start:end], size, position)


def result(start, end, position=0, *, document="a", size=None, spans=None, text=TEXT, score=1.0):
    payload = {"start": start, "end": end, "text": text[start:end], "position": position}
    payload |= {} if size is None else {"size": size}
    return SearchResult(
        chunk_id=f"{document}-{size}-{position}", score=score, scores=Scores(fused=score), text=text[start:end],
        start=start, end=end, spans=spans or [(start, end)], document_id=document, category="notes", title=None,
        url=None, author=None, published_at=None, heading_path=[], version=3, payload=payload,
    )  # fmt: skip


def merged(*results):
    return [passage.to_result() for passage in merge(passages_of(results))]


def context(results, budget):
    return build_context(passages_of(results), budget, words)


@st.composite
def cut_texts(draw):
    """Return a text and chunks that cover it but for white space, in order, as chunkers make them."""
    text = draw(st.text(alphabet="abü 𝒳\n", min_size=1, max_size=60).filter(str.strip))
    borders = sorted(draw(st.sets(st.integers(0, len(text)), max_size=6)) | {0, len(text)})
    overlap = draw(st.integers(0, 3))
    spans = []
    for border, end in pairwise(borders):
        start = max(0, border - overlap)
        inner = text[start:end]
        if inner.strip():
            left = start + len(inner) - len(inner.lstrip())
            spans.append((left, left + len(inner.strip())))
    return text, [Piece(start, end, text[start:end], 0, place) for place, (start, end) in enumerate(spans)]


@given(cut_texts(), st.randoms())
def test_joined_chunks_are_the_text_but_for_the_kind_of_white_space(cut, shuffled):
    text, pieces = cut
    start, end = min(pieces).start, max(piece.end for piece in pieces)
    shuffled.shuffle(pieces)
    joined = join_text(sorted(pieces))
    assert len(joined) == end - start
    assert all(
        one == other or (one == "\n" and other.isspace()) for one, other in zip(joined, text[start:end], strict=True)
    )


def test_an_overlap_is_there_once():
    assert join_text([piece(0, 23), piece(14, 60)]) == TEXT[:60]


def test_a_chunk_inside_another_adds_nothing():
    assert join_text([piece(0, 60), piece(10, 20, size=16)]) == TEXT[:60]


@pytest.mark.parametrize(
    ("second", "met"),
    [
        (result(20, 60, 5), True),
        (result(23, 60, 5), True),
        (result(24, 60, 1), True),
        (result(24, 60, 2), False),
        (result(24, 60, 1, size=16), False),
        (result(20, 60, 1, document="b"), False),
    ],
    ids=["overlapping", "touching", "next", "after next", "next of another size", "of another document"],
)
def test_only_passages_that_overlap_or_follow_each_other_become_one(second, met):
    first = result(0, 23, 0)
    assert len(merged(first, second)) == len(merged(second, first)) == (1 if met else 2)


def test_a_merged_passage_has_the_scores_of_its_best_result_and_all_spans_the_best_first():
    best, worse = result(24, 60, 1, score=0.9), result(0, 23, 0, score=0.4)
    (only,) = merged(best, worse)
    assert (only.chunk_id, only.score, only.payload) == (best.chunk_id, 0.9, best.payload)
    assert (only.start, only.end, only.spans) == (0, 60, [(24, 60), (0, 23)])
    assert only.text == TEXT[:23] + "\n" + TEXT[24:60]


def test_results_that_a_third_one_joins_are_one_passage():
    (only,) = merged(result(0, 23, 0), result(50, 80, 3), result(20, 55, 2))
    assert only.text == TEXT[:80]


def test_merged_passages_keep_the_order_of_their_best():
    found = merged(result(61, 80, 4), result(0, 30, 0, document="b"), result(0, 23, 0), result(20, 40, 1))
    assert [(each.document_id, each.start) for each in found] == [("a", 61), ("b", 0), ("a", 0)]


def test_a_context_reads_document_by_document_each_in_the_order_of_its_text():
    ranked = [result(61, 80, 4), result(24, 60, 1, document="b"), result(0, 23, 0), result(81, 101, 5, document="b")]
    made = context(ranked, 100)
    assert [(each.document_id, each.start) for each in made.results] == [("a", 0), ("a", 61), ("b", 24), ("b", 81)]
    assert made.text == "\n\n".join(each.text for each in made.results)


def test_a_context_takes_results_as_long_as_they_fit():
    ranked = [result(0, 23, 0), result(61, 80, 4), result(24, 60, 2, document="b")]
    assert [count(each.text) for each in ranked] == [4, 3, 8]
    assert [context(ranked, budget).tokens for budget in (4, 6, 7, 14, 15)] == [4, 4, 7, 7, 15]


def test_what_overlaps_costs_its_tokens_once():
    ranked = [result(0, 40, 0), result(15, 60, 1)]
    assert context(ranked, count(TEXT[:60])).text == TEXT[:60]


def test_the_best_passage_is_cut_to_the_budget_from_where_it_matched_best():
    made = context([result(0, len(TEXT), 0, spans=[(61, 80), (0, 23)])], 3)
    (only,) = made.results
    assert (made.text, made.tokens) == ("Nobody counts them.", 3)
    assert (only.start, only.end, only.spans) == (61, 80, [(61, 80)])
    assert only.text == TEXT[only.start : only.end]


def test_a_cut_passage_whose_match_is_at_its_end_begins_before_it():
    made = context([result(0, len(TEXT), 0, spans=[(81, 101)])], 6)
    assert made.text == "counts them. The evening is long."


def test_no_results_give_an_empty_context():
    made = context([], 10)
    assert (made.results, made.text, made.tokens, made.to_prompt()) == ([], "", 0, "")


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 90), st.integers(2, 40)), min_size=1, max_size=8),
    st.integers(1, 40),
)
def test_a_context_never_has_more_tokens_than_its_budget_nor_a_text_that_is_not_there(places, budget):
    ranked = [
        result(start, min(start + length, len(TEXT)), number * 10, document=document)
        for number, (document, start, length) in enumerate(places)
        if TEXT[start : start + length].strip()
    ]
    made = context(ranked, budget)
    assert made.tokens == count(made.text) <= budget
    assert bool(made.results) is bool(ranked)
    for each in made.results:
        assert each.text == TEXT[each.start : each.end]
        assert all(each.start <= start < end <= each.end for start, end in each.spans)


def test_the_head_of_a_ranking_grows_with_the_budget():
    passages = passages_of([result(0, 23, 0), result(61, 80, 4), result(24, 60, 2, document="b")])
    assert [head_within(passages, budget, count) for budget in (3, 4, 7, 15)] == [0, 1, 2, 3]


def test_a_prompt_numbers_the_passages_and_names_their_sources():
    cited = result(0, 23).model_copy(
        update={"title": "Harbours", "url": "https://example.org/h", "heading_path": ["Harbours", "Evening"]}
    )
    bare = result(61, 80, 4, document="b")
    assert context([cited, bare], 50).to_prompt() == (
        "[1] Harbours | Evening | https://example.org/h\nThe old harbour sleeps.\n\n[2] b\nNobody counts them."
    )
