import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from steps.chunk import outline
from steps.chunk.outline import read_outline
from steps.chunk.splitting import skip_white_space, split_after, split_before
from tests.unit.chunk.nasty import texts


def sections(text):
    return [
        (text[section.start :].partition("\n")[0], section.path) for section in read_outline(text, "markdown").sections
    ]


def kinds(text):
    return [
        (text[block.start :].partition("\n")[0], block.kind, block.nested)
        for block in read_outline(text, "markdown").blocks
    ]


def test_a_heading_path_holds_the_headings_above_and_its_own():
    text = "Preface\n\n# Guide\n\n## Install\n\n### Linux\n\n## Use\n\n# Reference\n"
    assert sections(text) == [
        ("Preface", ()),
        ("# Guide", ("Guide",)),
        ("## Install", ("Guide", "Install")),
        ("### Linux", ("Guide", "Install", "Linux")),
        ("## Use", ("Guide", "Use")),
        ("# Reference", ("Reference",)),
    ]


def test_a_level_that_is_left_out_does_not_put_a_sibling_below():
    assert [path for _, path in sections("# A\n\n### Deep\n\n## B\n")][-1] == ("A", "B")


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("# The *first* `step`", "The first step"),
        ("# [Link](http://example.org) and ![image](x.png)", "Link and image"),
        ("# Closed ##", "Closed"),
        ("# A \\# b &amp; c", "A # b & c"),
        ("   # Indented", "Indented"),
        ("Two\nlines\n===", "Two lines"),
        ("# <b>Bold</b>", "Bold"),
    ],
    ids=["emphasis", "links", "closing marks", "escapes", "indented", "setext", "html"],
)
def test_a_heading_is_given_as_plain_text(heading, name):
    assert read_outline(f"{heading}\n\nText\n", "markdown").sections[-1].path == (name,)


def test_a_very_long_heading_is_cut_in_the_path():
    assert sections("# " + "x" * 1_000)[-1][1] == ("x" * 200,)


def test_an_empty_heading_ends_a_section_without_a_name():
    assert [path for _, path in sections("# A\n\n## B\n\n##\n\ntext\n")][-1] == ("A",)


@pytest.mark.parametrize(
    "text",
    [
        "```sh\n# comment\n```\n",
        "    # comment\n",
        "- # item\n",
        "> # quoted\n",
        "#hashtag\n",
        "text\n\n```\n# unclosed\n",
    ],
    ids=["fence", "indented code", "list", "quotation", "hashtag", "unclosed fence"],
)
def test_what_only_looks_like_a_heading_of_the_document_is_none(text):
    assert [path for _, path in sections(text)] == [()]


def test_plain_text_has_paragraphs_and_no_headings():
    text = "\n# Not a heading\nsecond line\n \n\n  Next\n"
    outline = read_outline(text, "text")
    assert [text[block.start :].partition("\n")[0] for block in outline.blocks] == ["# Not a heading", "Next"]
    assert [section.path for section in outline.sections] == [()]


def test_blocks_know_what_may_be_cut_only_between_lines():
    text = "Text\n\n```py\nx = 1\n```\n\n| a |\n|---|\n| b |\n\n- one\n- two\n\n  more\n\n> quote\n\n# H\n"
    assert kinds(text) == [
        ("Text", "prose", False),
        ("Text", "prose", False),
        ("```py", "lines", False),
        ("| a |", "lines", False),
        ("- one", "prose", False),
        ("- two", "prose", True),
        ("more", "prose", True),
        ("> quote", "prose", False),
        ("# H", "heading", False),
    ]
    assert [block.language for block in read_outline(text, "markdown").blocks if block.language] == ["py"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_headings_are_found_whatever_the_line_ends(line_end):
    text = line_end.join(["Page\x0cbreak\u2028and \x00", "", "# Second", "", "text"])
    section = read_outline(text, "markdown").sections[-1]
    assert text[section.start :].startswith("# Second")
    assert section.path == ("Second",)


def test_splitting_loses_nothing_and_puts_the_separator_where_it_is_asked():
    assert split_after("a, b,, c", ",") == ["a,", " b,", ",", " c"]
    assert split_before("a, b,, c", ",") == ["a", ", b", ",", ", c"]
    assert split_after("", ",") == []


def test_white_space_is_skipped_up_to_the_end():
    assert skip_white_space(" \u2028x ", 0) == 2
    assert skip_white_space("x  ", 1) == 3


def outline_by_commonmark_alone(text):
    """Read an outline with markdown-it's own rules for all blocks and all headings."""
    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])

    def plain_text(heading, references):
        return " ".join(
            "".join(outline._texts(MarkdownIt("commonmark").parseInline(heading[:200], references))).split()
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outline, "_block_parser", lambda: parser)
        patch.setattr(outline, "_plain_text", plain_text)
        return read_outline(text, "markdown")


INDENTS = ["", "", " ", "  ", "    ", "\t", "> ", ">", "- ", "1. ", "10) ", "* ", "\u00a0", "- > ", "  - "]
LINES = [
    "", "", "words", "Some words.", "(more)", "`code` first", "'quoted'", "\\# escaped", "é", "語", "===", "---", "--",
    "-", "- item", "+ item", "2. item", "2016 was", "1.", "# Heading", "# A *b* c", "#hash", "####### seven", "```",
    "~~~", "```py", "| a | b |", "a | b", "|---|---|", "--- | ---", ":-: | -", ":--", "<div>", "</div>", "<!-- note",
    "-->", "<b>word", "[ref]: /place", "[ref]: ", "'title'", "[ref]", "***", "_ _ _", "> quoted", "&amp;", "!", "Tail ",
    "x\\",
]  # fmt: skip
lines = st.lists(
    st.tuples(st.lists(st.sampled_from(INDENTS), max_size=2).map("".join), st.sampled_from(LINES)), max_size=14
).map(lambda pairs: "\n".join(indent + line for indent, line in pairs))


@settings(deadline=None, max_examples=300)
@given(st.one_of(lines, texts))
def test_evident_paragraphs_and_headings_are_those_of_commonmark(text):
    assert read_outline(text, "markdown") == outline_by_commonmark_alone(text)


@pytest.mark.parametrize("beginning", sorted(set(map(chr, range(33, 127))) | set("é語\u00a0…“•–١")))
def test_whatever_a_line_begins_with_the_outline_is_that_of_commonmark(beginning):
    for line in (beginning, beginning + " b", beginning * 3, beginning + "-|", beginning + "1. c"):
        for text in (line, f"One\n{line}\ntwo\n\nthree", f"- one\n  {line}\n\n  two", f"{line}\n{line}\n\n{line}"):
            assert read_outline(text, "markdown") == outline_by_commonmark_alone(text)
