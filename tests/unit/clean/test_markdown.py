from textwrap import indent

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from steps.clean.markdown import clean_markdown

CODE_LINES = st.lists(
    st.text(st.sampled_from("ab[](){}<>*_`#!|&;:\\$~ =-+.\"'/\t"), max_size=30).filter(lambda line: "```" not in line),
    min_size=1,
    max_size=6,
)
BLOCKS = st.sampled_from(
    [
        "# Title",
        "Sub\n===",
        "## A *b* `c`",
        "para one\nwraps",
        "a [link](http://x.org) b",
        "![alt text](p.png)",
        "- one\n- two",
        "* x\n\n* y",
        "1. a\n2. b",
        "3) c",
        "> quote",
        "```py\nx = 1\n```",
        "    code",
        "a | b\n--|--\n1 | 2",
        "---",
        "<div>hi</div>",
        "<!-- c -->",
        "[ref]: http://x.org",
        "text [ref]",
        "\\- x  \n\\- y",
        "\\# no",
        "\\*x\\*",
        "`a ``b",
        "&lt;div&gt; &amp; x",
        "<package>",
        "__init__ and *args",
        "a_b_c",
        "$x_1 * y_1$",
        "- [ ] task",
        "~~~\nz\n~~~",
        "- a\n  - b\n    - c",
        "> - q\n> - r",
        "1986\\. A year",
        "C:\\new\\*x",
        "Share",
        "Share this post",
        "__Icon",
        "***x***",
        "- [One](#one)\n- [Two](#two)",
        "<b>bold</b><br>next",
        "<details><summary>More</summary>\n\ninside\n\n</details>",
    ]
)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("Title\n===\n\nSub\n---\n\ntext", "# Title\n\n## Sub\n\ntext", id="setext headings"),
        pytest.param("# Title ##\n\nx", "# Title\n\nx", id="closed heading"),
        pytest.param("hard\nwrapped line", "hard wrapped line", id="hard wrap"),
        pytest.param("fine-\ntuning", "fine-tuning", id="wrap at a hyphen"),
        pytest.param("pre-\nand post-war", "pre- and post-war", id="suspended hyphen"),
        pytest.param("汉字\n汉字", "汉字汉字", id="wrap in Chinese"),
        pytest.param("[text](http://x.org) and <http://y.org>", "text and http://y.org", id="links"),
        pytest.param("see [this][r]\n\n[r]: http://x.org 'T'", "see this", id="link definitions"),
        pytest.param("[![PyPI version](https://img.shields.io/x)](https://example.org) Text", "Text", id="badge"),
        pytest.param("![A chart of sales](c.png)", "A chart of sales", id="described image"),
        pytest.param("![logo](logo.png)\n\nx", "x", id="image without description"),
        pytest.param("a <!-- hidden --> b\n\n<!-- more\n\nhidden -->\n\nc", "a b\n\nc", id="comments"),
        pytest.param("<p align='center'>Some <b>bold</b> text</p>", "Some bold text", id="tags"),
        pytest.param("press <kbd>Enter</kbd>", "press Enter", id="inline tags"),
        pytest.param("install <package> from List<String>", "install <package> from List<String>", id="placeholders"),
        pytest.param("<details>\n<summary>More</summary>\n\nInside\n\n</details>", "More\n\nInside", id="details"),
        pytest.param("---\ntitle: X\ntags:\n  - a\n---\n\nText", "Text", id="front matter"),
        pytest.param("---\n\nnot: front matter\n\n---", "not: front matter", id="rulers around text"),
        pytest.param("a &amp; b &eacute;", "a & b é", id="entities"),
        pytest.param("`&amp;` stays", "`&amp;` stays", id="entities in code"),
        pytest.param("**bold** and _em_ and ~~old~~", "bold and em and old", id="emphasis"),
        pytest.param("call __init__ of snake_case", "call __init__ of snake_case", id="underscores of identifiers"),
        pytest.param("an actually**** meant", "an actually meant", id="leftover of html2text"),
        pytest.param("a | b\n---|---\n[x](y) | `p`", "| a | b |\n| --- | --- |\n| x | `p` |", id="table"),
        pytest.param("    indented *code*\n\n      more", "```\nindented *code*\n\n  more\n```", id="indented code"),
        pytest.param("* a\n\n* b\n  * c", "- a\n- b\n  - c", id="lists"),
        pytest.param("To do:  \n\\- one  \n\\- two", "To do:\n\n- one\n- two", id="list typed with line breaks"),
        pytest.param("<https://x.org/a> `a  b`\u00a0c", "https://x.org/a `a  b` c", id="spaces"),
        pytest.param("loss $a_1 * b_1 * c$ is", "loss $a_1 * b_1 * c$ is", id="formula"),
        pytest.param("costs $5 and *not* $6", "costs $5 and not $6", id="prices"),
        pytest.param("> [!NOTE]\n> Careful.", "> Note: Careful.", id="alert"),
        pytest.param("text[^1]\n\n[^1]: http://x.org", "text", id="footnote mark"),
        pytest.param("<table><tr><th>A</th></tr><tr><td>1</td></tr></table>", "| A |\n| --- |\n| 1 |", id="HTML table"),
        pytest.param("a<br>b", "a\n\nb", id="line break"),
        pytest.param("\\# not a heading", "\\# not a heading", id="escaped heading"),
        pytest.param("a \\<div> b", "a \\<div> b", id="escaped tag"),
    ],
)
def test_markdown_is_cleaned(source, expected):
    assert clean_markdown(source) == expected


def test_a_heading_that_html2text_wrapped_becomes_one_line_again():
    words = "## The fundamentals of the FTI architecture that will help you build modular"
    assert clean_markdown(f"{words}\nand scalable **ML") == f"{words} and scalable **ML"


def test_a_short_heading_keeps_the_paragraph_below_it_apart():
    assert clean_markdown("## Short\nparagraph") == "## Short\n\nparagraph"


@given(CODE_LINES)
def test_fenced_code_survives_byte_for_byte(lines):
    fence = "```python\n" + "\n".join([*lines, "end"]) + "\n```"
    assert clean_markdown(f"before\n\n{fence}\n\nafter") == f"before\n\n{fence}\n\nafter"


@given(CODE_LINES)
def test_fenced_code_in_a_list_survives(lines):
    code = indent("\n".join(["```", *lines, "end", "```"]), "  ", lambda line: line != "\n")
    assert clean_markdown(f"- item\n\n{code}") == f"- item\n\n{code}"


@given(st.text())
@example("\u1fef\u1fefa")
@example("[a]:\x00")
def test_no_text_makes_it_raise(text):
    assert clean_markdown(text) == clean_markdown(text)


@settings(max_examples=300)
@given(st.lists(BLOCKS, min_size=1, max_size=8))
def test_cleaning_twice_changes_nothing(blocks):
    once = clean_markdown("\n\n".join(blocks))
    assert clean_markdown(once) == once


@settings(max_examples=300)
@given(st.text(st.sampled_from('ab *_`[]()<>#-+.1!&;|\\\n~$:=/"'), max_size=40))
def test_text_full_of_marks_becomes_stable(text):
    once = clean_markdown(text)
    assert clean_markdown(once) == once


@given(st.lists(BLOCKS, min_size=1, max_size=8))
def test_nothing_is_left_between_and_around_blocks(blocks):
    cleaned = clean_markdown("\n\n".join(blocks))
    assert cleaned == cleaned.strip()
    assert "\n\n\n" not in cleaned


def test_deep_nesting_neither_raises_nor_takes_long():
    assert clean_markdown("> " * 3000 + "core") == "core"
    assert clean_markdown("- " * 25 + "core") == "- " * 25 + "core"
    assert clean_markdown("[" * 5000 + "x") == "[" * 5000 + "x"
