import pytest

from steps.clean.html_fragments import fragment_to_markdown, literal_soup_to_markdown, parse_html


@pytest.mark.parametrize(
    ("fragment", "expected"),
    [
        pytest.param("<h2>T</h2><p>x</p>", "## T\n\nx", id="heading"),
        pytest.param("<script>evil()</script><style>p{}</style>x", "x", id="script and style"),
        pytest.param("<!-- a --> <!-- b -->", "", id="comments only"),
        pytest.param("<p>a <!-- b --> c</p>", "a  c", id="comment inside"),
        pytest.param("use <your-name> here", "use \\<your-name> here", id="placeholder"),
        pytest.param("<p>**bold**</p>", "**bold**", id="Markdown inside"),
        pytest.param('<p><a href="u"> <a href="v">x</a></a></p>', "[x](u)", id="link in a link"),
        pytest.param("  ", "", id="nothing"),
    ],
)
def test_fragments_become_markdown(fragment, expected):
    assert fragment_to_markdown(fragment) == expected


def test_tags_nested_without_end_lose_their_structure_but_not_their_text():
    assert fragment_to_markdown("<div>" * 5000 + "core &amp; more").strip() == "core & more"


def test_definitions_become_a_list():
    assert literal_soup_to_markdown(parse_html("<dl><dt>a</dt><dd>first</dd></dl>")) == "- afirst"
