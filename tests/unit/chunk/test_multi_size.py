"""Windows of several sizes over one document: each size for itself, and all of one reading."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store.errors import TerminalError
from feature_store.ids import chunk_id, text_hash
from feature_store.index_config import MultiSizeConfig, SlidingWindowConfig, WindowSize
from steps.chunk.multi_size import check_sizes, chunk_in_sizes
from steps.chunk.sliding_window import chunk_document
from tests.unit.chunk.nasty import texts

LIMIT = 254
SENTENCES = [f"Sentence {number} has exactly so many words as it has." for number in range(8)]
SIZES = MultiSizeConfig(strategy="multi_size", sizes=(WindowSize(window=24, overlap=11), WindowSize(window=12)))


@st.composite
def configurations(draw):
    windows = draw(st.lists(st.integers(8, 300), min_size=2, max_size=4, unique=True))
    sizes = tuple(WindowSize(window=window, overlap=draw(st.integers(0, window // 2))) for window in windows)
    return MultiSizeConfig(strategy="multi_size", sizes=sizes, heading_prefix=draw(st.booleans()))


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(text=texts, text_format=st.sampled_from(["markdown", "text"]), chunking=configurations())
def test_every_size_is_cut_as_it_would_be_on_its_own(wordpiece, make_document, text, text_format, chunking):
    document = make_document(text, text_format, title="A title of the document")
    chunks = chunk_in_sizes(document, chunking, wordpiece, LIMIT)
    check_sizes(document, chunks, chunking, LIMIT)
    assert len({chunk.chunk_id for chunk in chunks}) == len(chunks)
    assert chunks == [
        replace(chunk, chunk_id=ours.chunk_id, size=size.window)
        for size in chunking.sizes
        for chunk, ours in zip(
            chunk_document(document, alone(size, chunking), wordpiece, LIMIT),
            [chunk for chunk in chunks if chunk.size == size.window],
            strict=True,
        )
    ]


def alone(size, chunking):
    return SlidingWindowConfig(window=size.window, overlap=size.overlap, heading_prefix=chunking.heading_prefix)


def test_positions_count_the_chunks_of_one_size(words, make_document):
    chunks = chunk_in_sizes(make_document(" ".join(SENTENCES), "text"), SIZES, words, LIMIT)
    assert [(chunk.size, chunk.position) for chunk in chunks] == [
        *((24, position) for position in range(7)), *((12, position) for position in range(8)),
    ]  # fmt: skip
    assert [chunk.text for chunk in chunks[:2]] == [" ".join(SENTENCES[:2]), " ".join(SENTENCES[1:3])]
    assert [chunk.text for chunk in chunks[7:]] == SENTENCES


def test_equal_texts_at_two_sizes_have_different_ids(words, make_document):
    large, small = chunk_in_sizes(make_document("Few words.", title="T"), SIZES, words, LIMIT)
    assert large.embedded_text == small.embedded_text
    digest = text_hash("Few words.")
    assert large.chunk_id == chunk_id("document-1", digest, 0, "24")
    assert small.chunk_id == chunk_id("document-1", digest, 0, "12")
    assert chunk_id("document-1", digest, 0) not in {large.chunk_id, small.chunk_id}


def test_a_document_without_text_has_no_chunks(words, make_document):
    assert chunk_in_sizes(make_document(" \n"), SIZES, words, LIMIT) == []


def test_the_whole_document_is_tokenised_once_for_all_sizes(words, make_document):
    seen = []

    def watched(text):
        seen.append(text)
        return words(text)

    document = make_document(" ".join(SENTENCES), "text")
    chunk_in_sizes(document, SIZES, watched, LIMIT)
    assert seen.count(document.text) == 1


def renumbered(chunks):
    return [replace(chunk, position=position) for position, chunk in enumerate(chunks)]


DEFECTS = {
    "a size that there is not": ("is of size 13", lambda c: [*c[:-1], replace(c[-1], size=13)]),
    "no size": ("is of size None", lambda c: [*c[:-1], replace(c[-1], size=None)]),
    "the smaller size is missing": ("No chunk holds", lambda c: c[:7]),
    "the last of a size is missing": ("No chunk holds", lambda c: [*c[:6], *c[7:]]),
    "a hole in one size": ("No chunk holds", lambda c: [*c[:7], *renumbered([*c[7:9], *c[10:]])]),
    "out of order": ("out of order", lambda c: [c[1], c[0], *c[2:]]),
    "too long": ("has 255 tokens", lambda c: [*c[:-1], replace(c[-1], token_count=255)]),
}


@pytest.mark.parametrize(("problem", "tamper"), DEFECTS.values(), ids=DEFECTS)
def test_a_size_that_does_not_hold_the_document_is_refused(words, make_document, problem, tamper):
    document = make_document(" ".join(SENTENCES), "text")
    chunks = chunk_in_sizes(document, SIZES, words, LIMIT)
    with pytest.raises(TerminalError, match="document-1") as refusal:
        check_sizes(document, tamper(chunks), SIZES, LIMIT)
    assert problem in str(refusal.value)
