import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.clean.errors import UnparseableError
from steps.clean.rst import clean_rst, sphinx_target


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("Title\n=====\n\nSub\n---\n\ntext", "# Title\n\n## Sub\n\ntext", id="headings"),
        pytest.param("``x*y`` and *em* and `link <http://x.org>`_", "`x*y` and em and link", id="inline"),
        pytest.param(
            ".. code-block:: python\n   :unknown: yes\n\n   x = 1\n", "```python\nx = 1\n```", id="code with options"
        ),
        pytest.param("So::\n\n    a  b\n", "So:\n\n```\na  b\n```", id="literal block"),
        pytest.param(":func:`~a.b.c` and :ref:`text <t>`", "`c` and text", id="roles of Sphinx"),
        pytest.param(":strange:`kept`", "kept", id="unknown role"),
        pytest.param(
            ".. strange:: argument\n   :option: 1\n\n   Body *here*.", "argument\n\nBody here.", id="unknown directive"
        ),
        pytest.param(".. versionadded:: 1.2\n\n   More.", "Added in version 1.2:\n\nMore.", id="version"),
        pytest.param(".. toctree::\n\n   a\n   b\n\ntext", "text", id="table of contents"),
        pytest.param(".. image:: https://img.shields.io/x.svg\n   :target: http://x.org\n\ntext", "text", id="badge"),
        pytest.param("|b| text\n\n.. |b| image:: https://img.shields.io/x", "text", id="badge by substitution"),
        pytest.param(".. include:: /etc/hostname\n\ntext", "text", id="inclusion"),
        pytest.param(".. raw:: html\n\n   <b>x</b>\n\ntext", "text", id="raw"),
        pytest.param("term\n  definition", "- term\n\n  definition", id="definition"),
        pytest.param("= =\nA B\n= =\n1 2\n= =", "| A | B |\n| --- | --- |\n| 1 | 2 |", id="table"),
        pytest.param("== ==\n**x", "```\n== ==\n**x\n```", id="broken table"),
        pytest.param(
            ".. list-table::\n   :bad: 1\n\n   * - a", "```\n.. list-table::\n   :bad: 1\n\n   * - a\n```", id="failed"
        ),
    ],
)
def test_restructured_text_becomes_markdown(source, expected):
    assert clean_rst(source) == expected


def test_nothing_is_written_to_the_terminal(capfd):
    clean_rst("Title\n==\n\n`broken\n\n.. unknown::\n\n.. image::\n")
    assert capfd.readouterr() == ("", "")


def test_roles_of_one_document_do_not_reach_the_next():
    before = clean_rst(":mine:`text`")
    clean_rst(".. role:: mine(code)\n\n.. default-role:: code\n\n:mine:`text` `x`")
    assert clean_rst(":mine:`text`") == before == "text"
    assert clean_rst("`x`") == "x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("~a.B", "B"), ("a.B", "a.B"), ("title <a.B>", "title"), ("!x", "x"), ("~B", "B"), (".B", "B")],
)
def test_a_role_shows_what_sphinx_shows(text, expected):
    assert sphinx_target(text) == expected


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("ab *_`:.|\n=-~#>[]<\\ "), max_size=60))
def test_marks_in_any_order_do_not_raise(text):
    assert clean_rst(text) == clean_rst(text)


def test_a_paragraph_without_end_is_refused_before_it_is_parsed():
    with pytest.raises(UnparseableError, match="a paragraph has 400,000 characters"):
        clean_rst("**a " * 100_000)


def test_a_long_text_of_many_paragraphs_is_read():
    assert clean_rst("A paragraph of some words.\n\n" * 3000).count("A paragraph") == 3000
