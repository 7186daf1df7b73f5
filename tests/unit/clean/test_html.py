import pytest

from steps.clean.errors import UnparseableError
from steps.clean.html import PageMetadata, clean_html, read_page_metadata

SENTENCE = "The main content of this page is a sentence with enough words in it. "
PAGE = f"""<!doctype html><html><head><title>Page title</title><meta name="author" content="Jane Roe">
<meta property="article:published_time" content="2023-05-06T10:00:00Z"><link rel="canonical" href="https://ex.com/a">
</head><body><nav><ul><li><a href="/">Start</a></li></ul></nav><div class="cookie-banner">We use cookies.</div>
<article><h1>Heading</h1><p>{SENTENCE * 6}</p><h2>Sub</h2><pre><code>def f():
    return "*x*"
</code></pre><table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table><p>{SENTENCE * 3}</p></article>
<footer>Imprint</footer><script>alert(1)</script></body></html>"""


def test_the_main_content_of_a_page_is_kept():
    cleaned = clean_html(PAGE)
    assert cleaned.startswith("# Heading\n\nThe main content")
    assert "## Sub" in cleaned
    assert '```\ndef f():\n    return "*x*"\n```' in cleaned
    assert "| A | B |\n| --- | --- |\n| 1 | 2 |" in cleaned


@pytest.mark.parametrize("chrome", ["Start", "cookies", "Imprint", "alert"])
def test_what_surrounds_the_content_is_left_out(chrome):
    assert chrome not in clean_html(PAGE)


def test_a_short_fragment_is_taken_as_a_whole():
    assert clean_html("<nav>no</nav><p>Hi <b>there</b></p><script>x</script>") == "Hi there"


@pytest.mark.parametrize("source", ["", "  ", "<html></html>", "<!-- c -->"])
def test_a_page_without_text_gives_none(source):
    assert clean_html(source) == ""


def test_text_without_tags_stays():
    assert clean_html("just text") == "just text"


def test_a_page_tells_about_itself():
    assert read_page_metadata(PAGE) == PageMetadata("Heading", "Jane Roe", "https://ex.com/a", "2023-05-06")


def test_a_fragment_tells_nothing_about_itself():
    assert read_page_metadata("<p>x</p>") == PageMetadata()


def test_tags_nested_without_end_are_refused():
    with pytest.raises(UnparseableError, match="nested too deep"):
        clean_html("<div>" * 5000)


def test_a_head_that_nobody_can_read_states_nothing(monkeypatch):
    monkeypatch.setattr("trafilatura.extract_metadata", lambda *_, **__: [].pop())
    assert read_page_metadata(PAGE) == PageMetadata()


def test_the_error_of_the_parser_is_passed_on(monkeypatch):
    def fail(*_arguments, **_options):
        raise TypeError("odd tree")

    monkeypatch.setattr("trafilatura.extract", fail)
    with pytest.raises(UnparseableError, match="odd tree"):
        clean_html(PAGE)


def test_a_page_of_tags_that_are_never_closed_is_refused_before_it_is_parsed():
    with pytest.raises(UnparseableError, match="500,000 tags are opened in a row"):
        clean_html("<a " * 500_000)


def test_comparisons_in_a_script_are_no_unclosed_tags():
    script = "".join(f"if (a < {number}) {{ b(); }}\n" for number in range(500))
    assert "The text." in clean_html(f"<html><body><script>{script}</script><p>The text.</p></body></html>")
