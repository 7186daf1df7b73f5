from dataclasses import replace
from itertools import pairwise

import pytest

from feature_store.errors import TerminalError
from feature_store.ids import chunk_id, text_hash
from feature_store.index_config import SlidingWindowConfig, WindowSize
from steps.chunk.coverage import check_coverage, dropped_spans
from steps.chunk.sliding_window import chunk_document


def sentence(name, length=10):
    """A sentence of ``length`` words and marks, the stop included; its words tell which one it is."""
    return f"{name.capitalize()} {' '.join(f'{name}{i}' for i in range(length - 2))}."


@pytest.fixture
def chunk(words, make_document):
    def chunk(text, window=40, overlap=0, limit=1_000, text_format="markdown", title=None, **chunking):
        config = SlidingWindowConfig(window=window, overlap=overlap, **chunking)
        return chunk_document(make_document(text, text_format, title), config, words, limit)

    return chunk


def texts(chunks):
    return [chunk.text for chunk in chunks]


def test_a_short_document_is_one_chunk_without_the_space_around_it(chunk):
    (only,) = chunk("\n\n  Hello there.\n\n")
    assert (only.text, only.start, only.end, only.position, only.token_count) == ("Hello there.", 4, 16, 0, 3)
    assert only.embedded_text == "Hello there."
    assert only.heading_path == ()


@pytest.mark.parametrize("text", ["", " \n\t\u2028 "], ids=["empty", "white space"])
def test_a_document_without_text_has_no_chunks(chunk, text):
    assert chunk(text) == []


def test_a_heading_in_the_middle_starts_a_new_chunk(chunk):
    first, second = f"# One\n\n{sentence('a', 30)}", f"# Two\n\n{sentence('b', 30)}"
    chunks = chunk(f"{first}\n\n{second}\n", overlap=20)
    assert texts(chunks) == [first, second]
    assert [c.heading_path for c in chunks] == [("One",), ("Two",)]


def test_small_sections_share_a_chunk_and_a_higher_heading_ends_it(chunk):
    text = "# A\n\n" + "".join(f"## A{i}\n\n{sentence(f'a{i}', 7)}\n\n" for i in range(3))
    text += "# B\n\n" + "".join(f"## B{i}\n\n{sentence(f'b{i}', 7)}\n\n" for i in range(3))
    assert [c.text.split("\n")[0] for c in chunk(text)] == ["# A", "# B"]


def test_a_heading_stays_with_the_text_below_it(chunk):
    text = f"{sentence('a', 36)}\n\n## Heading\n\n{sentence('b', 12)}\n"
    assert texts(chunk(text)) == [sentence("a", 36), f"## Heading\n\n{sentence('b', 12)}"]


def test_a_chunk_that_starts_inside_of_a_section_ends_with_it(chunk):
    text = (
        f"# A\n\n{sentence('a', 35)} {sentence('b', 20)}\n\n# B\n\n{sentence('c', 4)}\n\n# C\n\n{sentence('d', 30)}\n"
    )
    _, inside, following = texts(chunk(text))
    assert inside == sentence("b", 20)
    assert following.startswith("# B")


def test_a_paragraph_border_is_preferred_to_a_later_sentence_border(chunk):
    text = f"{sentence('a', 12)} {sentence('b', 12)}\n\n{sentence('c', 12)} {sentence('d', 12)}"
    assert texts(chunk(text)) == text.split("\n\n")


def test_a_sentence_border_is_preferred_to_a_later_word_border(chunk):
    text = f"{sentence('a', 30)} {sentence('b', 30)}"
    assert texts(chunk(text)) == [sentence("a", 30), sentence("b", 30)]


def test_a_sentence_longer_than_the_window_is_cut_between_words(chunk):
    text = " ".join(f"w{i}" for i in range(100))
    assert [c.token_count for c in chunk(text)] == [40, 40, 20]
    assert " ".join(texts(chunk(text))) == text


def test_a_long_word_that_fits_into_a_window_is_not_cut(chunk):
    assert texts(chunk(f"you may see {'x/' * 19}")) == ["you may see", "x/" * 19]


def test_a_word_longer_than_the_window_is_cut_and_leaves_no_tiny_chunk_in_front(chunk):
    assert [c.token_count for c in chunk(f"see {'x/' * 40}", overlap=10)] == [40, 40, 1]


def test_a_long_sentence_is_cut_at_a_late_line_end_rather_than_between_words(chunk):
    line = " ".join(f"w{i}" for i in range(15))
    assert texts(chunk("\n".join([line] * 6))) == ["\n".join([line] * 2)] * 3


def test_the_overlap_is_whole_sentences_of_the_same_section(chunk):
    names = ["a", "b", "c", "d", "e", "f", "g"]
    text = " ".join(sentence(name) for name in names)
    chunks = chunk(text, overlap=15)
    assert all(c.text.startswith(tuple(name.upper() for name in names)) for c in chunks)
    for before, after in pairwise(chunks):
        shared = text[after.start : before.end]
        assert shared == before.text.split(". ")[-1]
        assert shared.endswith(".")


def test_the_overlap_is_whole_words_where_no_sentence_is_short_enough(chunk):
    text = f"{sentence('a', 38)} {sentence('b', 38)}"
    first, second = chunk(text, overlap=5, window=50)
    assert text[second.start : first.end] == "a32 a33 a34 a35."


def test_the_overlap_gives_way_to_a_sentence_that_would_not_fit_beside_it(chunk):
    text = f"{sentence('a', 15)} {sentence('b', 15)} {sentence('c', 40)}"
    assert texts(chunk(text, overlap=20)) == [f"{sentence('a', 15)} {sentence('b', 15)}", sentence("c", 40)]


def test_code_that_fits_into_a_window_stays_whole(chunk):
    code = "```\n" + "\n".join(f"call {i}" for i in range(14)) + "\n```"  # 34 tokens
    assert texts(chunk(f"{sentence('a', 12)}\n\n{code}\n\n{sentence('b', 30)}")) == [
        sentence("a", 12),
        code,
        sentence("b", 30),
    ]


def test_long_code_is_cut_at_definitions_and_long_tables_between_rows(chunk):
    code = "```python\n" + "".join(f"def f{i}():\n    first = {i}\n    second = {i}\n\n" for i in range(9)) + "```"
    assert all(text.startswith(("```python", "def ")) for text in texts(chunk(code)))
    rows = [f"| row {i} | value {i} |" for i in range(20)]
    table = "\n".join(["| a | b |", "|---|---|", *rows])
    assert all(text.startswith("|") and text.endswith("|") for text in texts(chunk(table)))
    assert "\n".join(texts(chunk(table))) == table


def test_headings_mean_nothing_in_plain_text(chunk):
    text = f"{sentence('a', 20)}\n# Two\n{sentence('b', 15)}"
    assert [c.heading_path for c in chunk(text, text_format="text")] == [()]


def test_a_category_can_have_its_own_window(words, make_document):
    chunking = SlidingWindowConfig(window=100, overlap=0, categories={"posts": WindowSize(window=10)})
    text = " ".join(["word"] * 100)
    assert len(chunk_document(make_document(text), chunking, words, 1_000)) == 1
    assert len(chunk_document(make_document(text, category="posts"), chunking, words, 1_000)) == 10


def test_the_window_is_clipped_to_the_limit_of_the_encoder(chunk):
    assert [c.token_count for c in chunk("word " * 120, window=1_000, overlap=500, limit=50)] == [50, 50, 50]


def test_the_heading_path_is_embedded_in_front_of_the_text(chunk):
    chunks = chunk("# Guide\n\n## *Install*\n\nRun it.\n", title="The  Manual", heading_prefix=True)
    assert [c.embedded_text for c in chunks] == ["The Manual > Guide\n\n# Guide\n\n## *Install*\n\nRun it."]
    assert chunks[0].text.startswith("# Guide")


def test_the_heading_path_is_not_embedded_without_the_option(chunk):
    assert [c.embedded_text for c in chunk("# Guide\n\nRun it.\n", title="Manual")] == ["# Guide\n\nRun it."]


def test_a_title_that_is_also_the_first_heading_is_embedded_once(chunk):
    (only,) = chunk("# the manual\n\nRun it.\n", title="The Manual", heading_prefix=True)
    assert only.embedded_text == "the manual\n\n# the manual\n\nRun it."


def test_the_outermost_parts_go_where_the_prefix_takes_more_than_a_third_of_the_limit(chunk):
    long_title = " ".join(["title"] * 6)
    text = f"# Guide\n\n{sentence('a', 20)}\n"
    assert chunk(text, title=long_title, heading_prefix=True, limit=24)[0].embedded_text.startswith(f"{long_title} > ")
    assert chunk(text, title=long_title, heading_prefix=True, limit=23)[0].embedded_text.startswith("Guide\n\n#")
    (*_, last) = chunk(f"# {long_title}\n\nText.\n", heading_prefix=True, limit=16)
    assert last.embedded_text == last.text


def test_the_prefix_takes_its_tokens_from_the_text_only_where_both_exceed_the_limit(chunk):
    text = "# Guide\n\n" + "word " * 60
    assert [c.token_count for c in chunk(text, heading_prefix=True, window=40, limit=41)] == [41, 23]
    assert [c.token_count for c in chunk(text, heading_prefix=True, window=40, limit=40)] == [40, 24]


def test_equal_texts_of_one_document_have_different_ids_by_their_order(chunk):
    chunks = chunk("word " * 120)
    assert len({c.text for c in chunks}) == 1
    assert [c.chunk_id for c in chunks] == [chunk_id("document-1", text_hash(chunks[0].text), i) for i in range(3)]


def test_the_id_follows_what_is_embedded(chunk):
    plain, prefixed = chunk("Text.", title="T"), chunk("Text.", title="T", heading_prefix=True)
    assert prefixed[0].chunk_id == chunk_id("document-1", text_hash("T\n\nText."), 0) != plain[0].chunk_id


def test_a_character_with_more_tokens_than_fit_is_an_error_that_names_the_document(make_document):
    with pytest.raises(TerminalError, match=r"document-1.*offset 2.*Raise the window"):
        chunk_document(
            make_document("  x"), SlidingWindowConfig(window=8, overlap=0), lambda text: [(0, 1)] * 9 * len(text), 100
        )


def test_what_no_chunk_holds_is_reported(chunk, make_document):
    document = make_document("  One.  Two.  ")
    (only,) = chunk(document.text)
    one, two = (
        replace(only, text=t, start=s, end=s + 4, position=p) for p, (t, s) in enumerate([("One.", 2), ("Two.", 8)])
    )
    assert dropped_spans(document, [one, two]) == [(0, 2), (6, 8), (12, 14)]
    assert dropped_spans(document, []) == [(0, 14)]
    check_coverage(document, [one, two], limit=10)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda chunks: chunks[:1], "offsets 42 to"),
        (lambda chunks: chunks[1:], "Chunk 0 .* out of order"),
        (lambda chunks: [], "offsets 0 to"),
        (lambda chunks: [chunks[0], replace(chunks[0], position=1)], "Chunk 1 .* out of order"),
        (lambda chunks: [replace(chunks[0], text="Other."), chunks[1]], "text of chunk 0"),
        (lambda chunks: [chunks[0], replace(chunks[1], token_count=41)], "Chunk 1 has 41 tokens, over the limit of 40"),
    ],
    ids=["last missing", "first missing", "all missing", "same start", "other text", "too long"],
)
def test_broken_coverage_is_an_error_that_names_the_document(chunk, make_document, damage, problem):
    document = make_document(f"{'a' * 35} {'b' * 5}. {sentence('c', 39)}")
    chunks = chunk(document.text)
    check_coverage(document, chunks, limit=40)
    with pytest.raises(TerminalError, match=f"document-1.*{problem}"):
        check_coverage(document, damage(chunks), limit=40)


def test_a_long_end_of_characters_without_tokens_is_cut_too(wordpiece, make_document):
    text = "Some words here. " * 20 + "\u200b " * 300
    document, chunking = make_document(text, "text"), SlidingWindowConfig(window=8, overlap=0)
    check_coverage(document, chunk_document(document, chunking, wordpiece, 254), 254)
