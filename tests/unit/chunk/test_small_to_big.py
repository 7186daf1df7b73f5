"""Parents and the children that tile them: for every document, and for those that a reader can check by eye."""

import time
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store.errors import TerminalError
from feature_store.ids import chunk_id, text_hash
from feature_store.index_config import ParentConfig, SmallToBigConfig, WindowSize
from steps.chunk.small_to_big import check_families, chunk_into_families
from steps.chunk.window import lay_out
from tests.unit.chunk.nasty import HUGE, assert_cut_is_allowed, texts

LIMIT = 254
SENTENCES = [f"Sentence {number} has exactly so many words as it has." for number in range(8)]


@st.composite
def configurations(draw):
    window = draw(st.integers(8, 60))
    child = WindowSize(window=window, overlap=draw(st.integers(0, window // 2)))
    parent = ParentConfig(unit=draw(st.sampled_from(["window", "section"])), window=draw(st.integers(window, 240)))
    return SmallToBigConfig(strategy="small_to_big", child=child, parent=parent, heading_prefix=draw(st.booleans()))


def families(child=12, parent=24, unit="window", overlap=0, prefix=False):
    return SmallToBigConfig(
        strategy="small_to_big",
        child=WindowSize(window=child, overlap=overlap),
        parent=ParentConfig(unit=unit, window=parent),
        heading_prefix=prefix,
    )


def split(chunks):
    return [chunk for chunk in chunks if chunk.is_parent], [chunk for chunk in chunks if not chunk.is_parent]


def of(parent, children):
    return [child for child in children if child.parent_id == parent.chunk_id]


def assert_holds(text, start, end, chunks):
    """Check that the chunks, in order, hold all of ``text[start:end]`` but white space, and nothing else."""
    covered = start
    for chunk in chunks:
        assert start <= chunk.start < chunk.end <= end
        assert text[covered : max(covered, chunk.start)].strip() == ""
        assert chunk.end > covered
        covered = chunk.end
    assert text[covered:end].strip() == ""


def assert_invariants(document, chunking, tokens, limit):
    chunks = chunk_into_families(document, chunking, tokens, limit)
    parents, children = split(chunks)
    text, window = document.text, min(chunking.child.window, limit)
    assert chunks == parents + children
    assert len({chunk.chunk_id for chunk in chunks}) == len(chunks)

    assert_holds(text, 0, len(text), parents)
    for parent, following in pairwise(parents):
        assert parent.end <= following.start
    for position, parent in enumerate(parents):
        assert (parent.position, parent.parent_id, parent.embedded_text) == (position, None, "")
        assert parent.text == text[parent.start : parent.end] == parent.text.strip() != ""
        assert len(tokens(parent.text)) == parent.token_count <= chunking.parent.window
        assert_cut_is_allowed(text, parent.end, tokens, chunking.parent.window)
        assert_holds(text, parent.start, parent.end, of(parent, children))

    smallest = min(window, limit - limit // 3) if chunking.heading_prefix else window
    for position, child in enumerate(children):
        assert (child.position, child.size) == (position, None)
        assert child.text == text[child.start : child.end] == child.text.strip() != ""
        assert child.embedded_text.endswith(child.text)
        assert len(tokens(child.embedded_text)) == child.token_count <= limit
        assert len(tokens(child.text)) <= window
        assert_cut_is_allowed(text, child.end, tokens, smallest)
    for child, following in pairwise(children):
        assert child.start < following.start
        assert child.end < following.end
        if following.start < child.end:
            assert child.parent_id == following.parent_id
            assert len(tokens(text[following.start : child.end])) <= chunking.child.overlap

    check_families(document, chunks, chunking, limit)
    return chunks


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(text=texts, text_format=st.sampled_from(["markdown", "text"]), chunking=configurations())
def test_every_invariant_holds_with_the_real_tokenizer(wordpiece, make_document, text, text_format, chunking):
    document = make_document(text, text_format, title="A title of the document")
    first = assert_invariants(document, chunking, wordpiece, LIMIT)
    assert first == chunk_into_families(document, chunking, wordpiece, LIMIT)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(text=texts, chunking=configurations(), limit=st.integers(16, 90))
def test_every_invariant_holds_where_characters_have_several_tokens(utf8_bytes, make_document, text, chunking, limit):
    assert_invariants(make_document(text, title="Títle 🏳️‍🌈"), chunking, utf8_bytes, limit)


@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
def test_a_hundred_thousand_nasty_characters_keep_the_invariants(wordpiece, make_document, text):
    started = time.process_time()
    chunking = families(64, 200, "section")
    chunks = chunk_into_families(make_document(text), chunking, wordpiece, LIMIT)
    check_families(make_document(text), chunks, chunking, LIMIT)
    # A quadratic step takes minutes here.
    assert time.process_time() - started < 15
    assert bool(chunks) == bool(text.strip())


@pytest.mark.parametrize("text", ["", " \n\t "], ids=["empty", "white space"])
def test_a_document_without_text_has_neither_parents_nor_children(words, make_document, text):
    assert chunk_into_families(make_document(text), families(), words, LIMIT) == []


def test_children_tile_their_parent_sentence_by_sentence(words, make_document):
    chunks = chunk_into_families(make_document(" ".join(SENTENCES), "text"), families(), words, LIMIT)
    parents, children = split(chunks)
    assert [[child.text for child in of(parent, children)] for parent in parents] == [
        SENTENCES[:2], SENTENCES[2:4], SENTENCES[4:6], SENTENCES[6:],
    ]  # fmt: skip
    assert [parent.text for parent in parents] == [" ".join(SENTENCES[start : start + 2]) for start in (0, 2, 4, 6)]


def test_children_overlap_within_their_parent_alone(words, make_document):
    chunking, text = families(24, 48, overlap=12), f"{' '.join(SENTENCES[:4])}\n\n{' '.join(SENTENCES[4:])}"
    parents, children = split(chunk_into_families(make_document(text, "text"), chunking, words, LIMIT))
    assert [parent.text for parent in parents] == [" ".join(SENTENCES[:4]), " ".join(SENTENCES[4:])]
    pairs = [[" ".join(SENTENCES[start : start + 2]) for start in group] for group in ((0, 1, 2), (4, 5, 6))]
    assert [[child.text for child in of(parent, children)] for parent in parents] == pairs


def test_the_limit_of_the_encoder_does_not_bound_parents(words, make_document):
    parents, children = split(
        chunk_into_families(make_document(" ".join(SENTENCES), "text"), families(24, 200), words, 13)
    )
    assert [parent.token_count for parent in parents] == [8 * 11]
    assert [child.text for child in children] == SENTENCES


def test_what_the_end_of_a_parent_cuts_off_counts_as_a_whole_piece(words, make_document):
    layout = lay_out(make_document("One two three four five six seven.", "text"), words)
    assert layout.end_of_fitting_piece(0, 5) is None
    assert layout.until(len("One two three")).end_of_fitting_piece(0, 5) == len("One two three")


SECTIONS = "\n\n".join(f"## Part {number}\n\n{' '.join(SENTENCES[number * 2 : number * 2 + 2])}" for number in range(3))


@pytest.mark.parametrize(
    ("unit", "starts"),
    [("window", ["## Part 0", "## Part 2"]), ("section", ["## Part 0", "## Part 1", "## Part 2"])],
)
def test_sections_are_parents_of_their_own_only_where_the_configuration_says_so(words, make_document, unit, starts):
    parents, _ = split(chunk_into_families(make_document(SECTIONS), families(12, 70, unit), words, LIMIT))
    assert [parent.text.splitlines()[0] for parent in parents] == starts
    assert [parent.heading_path for parent in parents] == [(start.removeprefix("## "),) for start in starts]


def test_a_section_that_is_too_long_is_cut_into_windows_and_the_next_one_begins_a_parent(words, make_document):
    text = f"# Long\n\n{' '.join(SENTENCES)}\n\n# Next\n\n{' '.join(SENTENCES[:3])}"
    parents, _ = split(chunk_into_families(make_document(text), families(12, 48, "section"), words, LIMIT))
    # The tail of the long section, two sentences, would fit with the next section's beginning.
    assert [parent.text.split("\n\n") for parent in parents] == [
        ["# Long", " ".join(SENTENCES[:4])], [" ".join(SENTENCES[4:8])], ["# Next", " ".join(SENTENCES[:3])],
    ]  # fmt: skip


def test_small_sections_share_a_parent(words, make_document):
    text = "\n\n".join(f"# Tiny {number}\n\nFew words." for number in range(7))  # six tokens each
    chunks = chunk_into_families(make_document(text), families(12, 48, "section"), words, LIMIT)
    parents, _ = split(chunks)
    assert [parent.token_count for parent in parents] == [12, 12, 12, 6]  # a quarter of the window is enough
    assert [parent.text.splitlines()[0] for parent in parents] == [f"# Tiny {number}" for number in (0, 2, 4, 6)]


def test_a_child_is_embedded_below_its_headings_and_a_parent_is_not(words, make_document):
    text = f"# Rivers\n\n{' '.join(SENTENCES[:3])}"
    parents, children = split(
        chunk_into_families(make_document(text, title="Water"), families(12, 48, prefix=True), words, LIMIT)
    )
    assert [parent.embedded_text for parent in parents] == [""]
    assert all(child.embedded_text == f"Water > Rivers\n\n{child.text}" for child in children)
    assert all(child.token_count == len(words(child.text)) + 3 for child in children)


def test_a_parent_with_the_text_of_its_only_child_has_another_id(words, make_document):
    parent, child = chunk_into_families(make_document("Few words."), families(), words, LIMIT)
    assert parent.text == child.text
    assert parent.chunk_id == chunk_id("document-1", text_hash("Few words."), 0, "parent") == child.parent_id
    assert child.chunk_id == chunk_id("document-1", text_hash("Few words."), 0)


def test_equal_texts_are_told_apart_by_their_number(words, make_document):
    text = " ".join(["The same sentence of eight words is here."] * 6)
    parents, children = split(chunk_into_families(make_document(text, "text"), families(9, 18), words, LIMIT))
    assert len({parent.text for parent in parents}) == len({child.text for child in children}) == 1
    assert len({parent.chunk_id for parent in parents}) == 3
    assert len({child.chunk_id for child in children}) == 6
    assert [len(of(parent, children)) for parent in parents] == [2, 2, 2]


def test_an_edit_leaves_other_parents_and_their_children_as_they_are(words, make_document):
    before = chunk_into_families(make_document(" ".join(SENTENCES), "text"), families(), words, LIMIT)
    edited = [*SENTENCES[:4], SENTENCES[4].replace("exactly", "nearly"), *SENTENCES[5:]]
    after = chunk_into_families(make_document(" ".join(edited), "text"), families(), words, LIMIT)
    fresh = {chunk.chunk_id for chunk in after} - {chunk.chunk_id for chunk in before}
    assert [(chunk.is_parent, chunk.position) for chunk in after if chunk.chunk_id in fresh] == [(True, 2), (False, 4)]
    (sibling,) = [chunk for chunk in after if not chunk.is_parent and chunk.position == 5]
    (parent,) = [chunk for chunk in after if chunk.is_parent and chunk.position == 2]
    assert sibling.parent_id == parent.chunk_id


def broken(chunks, position, is_parent, **changes):
    return [
        replace(chunk, **changes) if (chunk.is_parent, chunk.position) == (is_parent, position) else chunk
        for chunk in chunks
    ]


def respanned(document, chunks, position, is_parent, start, end):
    return broken(chunks, position, is_parent, start=start, end=end, text=document.text[start:end])


def left_to_the_next(document, chunks):
    """Let the last child of parent 1 end early, and the first of parent 2 begin there."""
    border = chunks[7].end - 12
    shorter = respanned(document, chunks, 3, False, chunks[7].start, border)
    return respanned(document, shorter, 4, False, border, chunks[8].end)


DEFECTS = {
    "a child without a parent": ("has no parent", lambda d, c: broken(c, 2, False, parent_id="other")),
    "a child of no parent": ("has no parent", lambda d, c: broken(c, 2, False, parent_id=None)),
    "a child in the wrong family": (
        "crosses the border of parent 0", lambda d, c: broken(c, 3, False, parent_id=c[0].chunk_id)
    ),
    "a child across the border": ("crosses the border", lambda d, c: respanned(d, c, 2, False, c[5].end - 5, c[6].end)),
    "a child is missing": ("No chunk holds the text", lambda d, c: renumbered(c[:-1])),
    "a child left its parent to another": (
        "No chunk holds the text", left_to_the_next
    ),
    "a child is too long": ("has 300 tokens", lambda d, c: broken(c, 1, False, token_count=300)),
    "a parent is too long": ("has 25 tokens", lambda d, c: broken(c, 1, True, token_count=25)),
    "a parent is missing": ("No chunk holds the text", lambda d, c: renumbered([c[0], *c[2:]])),
    "parents share text": (
        "Parents 0 and 1 share text", lambda d, c: respanned(d, c, 1, True, c[0].end - 5, c[1].end)
    ),
    "a text is not the document's": ("is not that of the document", lambda d, c: broken(c, 0, True, text="other")),
    "children out of order": ("out of order", lambda d, c: [*c[:4], c[5], c[4], *c[6:]]),
}  # fmt: skip


def renumbered(chunks):
    parents, children = split(chunks)
    return [replace(chunk, position=position) for kind in (parents, children) for position, chunk in enumerate(kind)]


@pytest.mark.parametrize(("problem", "tamper"), DEFECTS.values(), ids=DEFECTS)
def test_what_does_not_tile_is_refused(words, make_document, problem, tamper):
    document, chunking = make_document(" ".join(SENTENCES), "text"), families()
    chunks = chunk_into_families(document, chunking, words, LIMIT)
    check_families(document, chunks, chunking, LIMIT)
    with pytest.raises(TerminalError, match="document-1") as refusal:
        check_families(document, tamper(document, chunks), chunking, LIMIT)
    assert problem in str(refusal.value)
