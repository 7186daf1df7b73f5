import re
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.chunk.borders import _SENTENCE_END, Strength, find_borders
from steps.chunk.outline import read_outline
from steps.chunk.splitting import skip_white_space, split_after, split_before
from tests.unit.chunk.nasty import FRAGMENTS, HUGE, texts


def cuts(text, text_format="markdown"):
    borders = find_borders(text, read_outline(text, text_format).blocks)
    ends = [*(border.offset for border in borders[1:]), len(text)]
    return [(text[b.offset : end].strip(), b.strength) for b, end in zip(borders, ends, strict=True)]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One is here. Two is here! Is three? Yes", ["One is here.", "Two is here!", "Is three?", "Yes"]),
        (
            "Use e.g. Foo, or J. Smith's way, version 1.2 or so.",
            ["Use e.g. Foo, or J. Smith's way, version 1.2 or so."],
        ),
        ("It ended. and went on", ["It ended. and went on"]),
        ("He said “no.” Then he left.", ["He said “no.”", "Then he left."]),
        ("これは文です。次の文です！", ["これは文です。", "次の文です！"]),
        ("wrapped\nline", ["wrapped\nline"]),
        ("list\n- one\n* two\n 3) three", ["list", "- one", "* two", "3) three"]),
    ],
    ids=["stops", "abbreviations", "lower case", "quotes", "CJK", "wrapped lines", "list lines"],
)
def test_plain_text_is_cut_between_sentences(text, sentences):
    assert [sentence for sentence, _ in cuts(text, "text")] == sentences


def test_headings_are_stronger_the_higher_they_are_and_paragraphs_stronger_than_sentences():
    assert cuts("Text here. More\n\nNext\n\n# A\n\nText\n\n## B\n\nText\n") == [
        ("Text here.", Strength.BLOCK),
        ("More", Strength.SENTENCE),
        ("Next", Strength.BLOCK),
        ("# A\n\nText", Strength.HEADING - 1),
        ("## B\n\nText", Strength.HEADING - 2),
    ]


def test_there_is_no_border_directly_behind_a_heading_not_even_in_front_of_another():
    assert cuts("# A\n\n## B\n\nText. More.\n") == [
        ("# A\n\n## B\n\nText.", Strength.HEADING - 1),
        ("More.", Strength.SENTENCE),
    ]


def test_what_follows_a_colon_is_held_only_weakly_apart():
    assert cuts("Run this:\n\n    make\n\nThen that.\n") == [
        ("Run this:", Strength.BLOCK),
        ("make", Strength.SENTENCE),
        ("Then that.", Strength.BLOCK),
    ]


def test_items_of_a_list_are_weaker_than_the_list():
    assert [strength for _, strength in cuts("Text\n\n- one\n- two\n\n  three\n")] == [
        Strength.BLOCK,
        Strength.BLOCK,
        Strength.ITEM,
        Strength.ITEM,
    ]


def test_tables_are_cut_between_rows():
    assert cuts("| a. B |\n|---|\n| c |\n") == [
        ("| a. B |", Strength.BLOCK),
        ("|---|", Strength.LINE),
        ("| c |", Strength.LINE),
    ]


@pytest.mark.parametrize("language", ["python", "py", "Python title=x"])
def test_code_is_cut_between_lines_and_better_at_definitions_of_its_language(language):
    code = cuts(f"```{language}\nx = 1\ndef f():\n    pass\n```\n")
    assert ("def f():", Strength.DEFINITION) in code
    assert ("pass", Strength.LINE) in code


@pytest.mark.parametrize("language", ["", "nonsense", "perl", "markdown"])
def test_code_of_unknown_languages_is_cut_between_lines(language):
    assert ("def f():", Strength.LINE) in cuts(f"```{language}\nx = 1\ndef f():\n    pass\n```\n")


# What ends a sentence, as it was written before a search could leap through it.
PLAIN_SENTENCE_END = (
    r"(?:(?<![.!?…])(?<!\b\w)(?<!\b\d\d)[.!?…]++[\"'”’»)\]*_`]*+\s++(?=[^\sa-z])"
    r"|[。！？｡]++[」』”’）]*+\s*+"
    r"|\n(?=[^\S\n]*+(?:[-*+•‣]|\d{1,3}[.)])[^\S\n]))"
)
SENTENCES = [
    "A. B. C. ",
    "12. Next. ",
    "1. One",
    " 3.\n",
    "(See it.) Then ",
    "end.\n\n",
    "end:\n\n",
    " \n \n",
    "?!\r\n- ",
]
sentences = st.lists(st.sampled_from(FRAGMENTS + SENTENCES), max_size=40).map("".join)


def sentence_ends_of_each_block(text, text_format):
    blocks = read_outline(text, text_format).blocks
    for block, (start, end) in zip(blocks, pairwise([*(b.start for b in blocks), len(text)]), strict=True):
        if block.kind == "prose":
            for length in accumulate(map(len, split_after(text[start:end], PLAIN_SENTENCE_END)[:-1])):
                yield skip_white_space(text, start + length)


@given(st.one_of(texts, sentences), st.sampled_from(["markdown", "text"]))
def test_sentences_end_where_they_do_in_each_block_on_its_own(text, text_format):
    blocks = read_outline(text, text_format).blocks
    expected = {*sentence_ends_of_each_block(text, text_format)} - {len(text)}
    found = {border.offset: border.strength for border in find_borders(text, blocks)}
    assert expected <= found.keys()
    inside_code = {offset for offset, strength in found.items() if strength < Strength.SENTENCE}
    assert found.keys() - expected - inside_code <= {block.start for block in blocks}
    assert all(found[offset] >= Strength.SENTENCE for offset in expected)


@given(st.one_of(texts, sentences))
def test_a_sentence_ends_where_it_did_before_a_search_could_leap(text):
    assert split_after(text, _SENTENCE_END) == split_after(text, PLAIN_SENTENCE_END)


@given(st.one_of(texts, sentences), st.sampled_from(["end", "start"]))
def test_pieces_are_those_that_the_separators_leave(text, side):
    ends = [getattr(match, side)() for match in re.finditer(PLAIN_SENTENCE_END, text)]
    split = split_after if side == "end" else split_before
    cuts = [0, *ends, len(text)]
    assert split(text, PLAIN_SENTENCE_END) == [text[a:b] for a, b in pairwise(cuts) if b > a]


@pytest.mark.parametrize("name", HUGE)
def test_the_sentences_of_a_large_text_end_where_they_did(name):
    assert split_after(HUGE[name], _SENTENCE_END) == split_after(HUGE[name], PLAIN_SENTENCE_END)
