"""What holds for every document, however nasty."""

import itertools
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store.index_config import SlidingWindowConfig, WindowSize
from steps.chunk.coverage import check_coverage, dropped_spans
from steps.chunk.sliding_window import chunk_document
from tests.unit.chunk.nasty import HUGE, SENTENCE_ENDS, assert_cut_is_allowed, texts

LIMIT = 254
sizes = st.integers(8, 80).flatmap(
    lambda window: st.builds(WindowSize, window=st.just(window), overlap=st.integers(0, window // 2))
)


def assert_invariants(document, chunking, tokens, limit):
    chunks = chunk_document(document, chunking, tokens, limit)
    size = chunking.size_for(document.category)
    window = min(size.window, limit)
    smallest_window = min(window, limit - limit // 3) if chunking.heading_prefix else window
    text = document.text

    rebuilt, covered = "", 0
    spans = [*((c.start, c.end, True) for c in chunks), *((*s, False) for s in dropped_spans(document, chunks))]
    for start, end, kept in sorted(spans):
        assert start <= covered, "a gap that is not recorded"
        assert kept or text[start:end].isspace()
        rebuilt += text[max(start, covered) : end]
        covered = max(covered, end)
    assert rebuilt == text

    for position, chunk in enumerate(chunks):
        assert chunk.position == position
        assert chunk.text == text[chunk.start : chunk.end] == chunk.text.strip() != ""
        assert chunk.embedded_text.endswith(chunk.text)
        assert len(tokens(chunk.embedded_text)) == chunk.token_count <= limit
        assert len(tokens(chunk.text)) <= window
        assert len(chunk.text) <= window * 16
        assert_cut_is_allowed(text, chunk.end, tokens, smallest_window)

    for chunk, following in itertools.pairwise(chunks):
        assert chunk.start < following.start
        assert chunk.end < following.end
        if following.start < chunk.end:
            assert len(tokens(text[following.start : chunk.end])) <= size.overlap
            before = text[following.start - 1]
            assert before.isspace() or before in SENTENCE_ENDS

    assert len({chunk.chunk_id for chunk in chunks}) == len(chunks)
    check_coverage(document, chunks, limit)
    return chunks


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(text=texts, text_format=st.sampled_from(["markdown", "text"]), size=sizes, prefix=st.booleans())
def test_every_invariant_holds_with_the_real_tokenizer(wordpiece, make_document, text, text_format, size, prefix):
    chunking = SlidingWindowConfig(window=size.window, overlap=size.overlap, heading_prefix=prefix)
    document = make_document(text, text_format, title="A title of the document")
    first = assert_invariants(document, chunking, wordpiece, LIMIT)
    assert first == chunk_document(document, chunking, wordpiece, LIMIT)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(text=texts, size=sizes, limit=st.integers(16, 90), prefix=st.booleans())
def test_every_invariant_holds_where_characters_have_several_tokens(
    utf8_bytes, make_document, text, size, limit, prefix
):
    chunking = SlidingWindowConfig(window=size.window, overlap=size.overlap, heading_prefix=prefix)
    assert_invariants(make_document(text, title="Títle 🏳️‍🌈"), chunking, utf8_bytes, limit)


@pytest.mark.parametrize("text_format", ["markdown", "text"])
@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
def test_a_hundred_thousand_nasty_characters_keep_the_invariants(wordpiece, make_document, text, text_format):
    started = time.process_time()
    chunks = assert_invariants(
        make_document(text, text_format), SlidingWindowConfig(window=200, overlap=40), wordpiece, LIMIT
    )
    # A quadratic step takes minutes here.
    assert time.process_time() - started < 15
    assert bool(chunks) == bool(text.strip())


def test_a_word_of_a_hundred_kilobytes_is_cut_into_several_chunks(wordpiece, make_document):
    chunks = chunk_document(make_document("x" * 100_000), SlidingWindowConfig(window=200, overlap=40), wordpiece, LIMIT)
    assert [len(chunk.text) for chunk in chunks[:-1]] == [3_200] * 31


@pytest.mark.parametrize(
    ("text", "window", "cut"),
    [
        ("aaaaaaae\u0301", 9, ["aaaaaaa", "e\u0301"]),
        ("aaa👍🏽", 8, ["aaa", "👍🏽"]),
        ("👩\u200d👩👩\u200d👩", 15, ["👩\u200d👩", "👩\u200d👩"]),
        ("👩\u200d👩", 8, ["👩\u200d", "👩"]),
    ],
    ids=["combining mark", "skin tone", "joined", "longer than the window"],
)
def test_what_is_seen_as_one_character_stays_together_where_it_fits(utf8_bytes, make_document, text, window, cut):
    chunks = chunk_document(make_document(text), SlidingWindowConfig(window=window, overlap=0), utf8_bytes, LIMIT)
    assert [chunk.text for chunk in chunks] == cut


def test_what_joins_prefix_and_text_counts_towards_the_limit(utf8_bytes, make_document):
    chunking = SlidingWindowConfig(window=40, overlap=0, heading_prefix=True)
    chunks = chunk_document(make_document("x" * 80, title="Title"), chunking, utf8_bytes, 40)
    assert [chunk.token_count for chunk in chunks] == [40, 40, 21]
