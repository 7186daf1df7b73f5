"""Texts of documents in Markdown, HTML and CSV: shown as they are, and nothing else."""

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.views.page import LIMIT, html_table, page
from feature_store.views.statistics import LENGTH_LABELS, length_histogram
from feature_store.views.text import (
    counted,
    csv_table,
    difference,
    escape_markdown,
    markdown_table,
    printable,
    shortened,
    shown,
)
from tests.views import Reader, tables_of

cells = st.text("ab<>&|\n\"' 1*_`[]()!#@:/w.$~\\", max_size=12).map(lambda text: f"x{text}x")


@given(st.lists(st.lists(cells, min_size=2, max_size=2), min_size=1, max_size=4))
def test_a_table_shows_every_cell_as_it_is(rows):
    (table,) = tables_of(markdown_table(["one", "two"], rows))
    assert table == [["one", "two"], *([cell.replace("\n", " ") for cell in row] for row in rows)]


@pytest.mark.parametrize(
    "text",
    ["a\\|b", "*a*", "_a_", "`a`", "[a](http://b)", "![a](http://b)", "a\rb", "\\*", "http://a.b", "www.a.b", "a@b.c"],
)
def test_markdown_shows_an_escaped_text_as_it_is(text):
    (table,) = tables_of(f"| {escape_markdown('h')} | i |\n| --- | --- |\n| {escape_markdown(text)} | j |\n")
    assert table[1] == [text.replace("\r", " "), "j"]


@pytest.mark.parametrize("text", ["http://a.b", "HTTPS://a.b", "www.a.b", "WWW.a.b", "a@b.c"])
def test_no_bare_address_is_left_that_a_reader_would_make_a_link(text):
    assert not re.search(r"(?<!\\)(://|@)|www\.", escape_markdown(text), re.IGNORECASE)


def test_numbers_have_thousands_separators_and_no_rows_give_no_table():
    assert markdown_table(["n", "m"], [[1234567, 0.25]]) == "| n | m |\n| --- | ---: |\n| 1,234,567 | 0.2 |\n"
    assert markdown_table(["n"], []) == ""


@given(st.text())
def test_html_shows_a_text_as_it_is_but_for_what_cannot_be_printed(text):
    content = shown(text, 1000)
    assert not set("<>\"'\x00\x1b\u202e") & set(content)
    assert Reader(f"<p>{content}</p>").text == printable(text)


@given(st.text("ab", max_size=30), st.integers(1, 20))
def test_a_shortened_text_is_its_beginning(text, limit):
    short = shortened(text, limit)
    assert len(short) <= limit
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "\n=1"])
def test_a_spreadsheet_takes_no_text_as_a_formula(text):
    _, (cell, number) = csv.reader(io.StringIO(csv_table(["a", "b"], [[text, -5]])))
    assert cell.startswith("'")
    assert cell[1:].strip() == text.strip()
    assert number == "-5"


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2), max_size=3))
def test_rows_survive_csv(rows):
    read = list(csv.reader(io.StringIO(csv_table(["a", "b"], rows), newline="")))
    assert [[cell.removeprefix("'") for cell in row] for row in read[1:]] == [
        [printable(shortened(cell)).removeprefix("'") for cell in row] for row in rows
    ]


def test_the_title_of_a_page_is_escaped():
    assert Reader(page("<b>", "<p>x</p>")).tags.count("b") == 0


def test_a_page_that_would_be_too_long_says_that_there_is_more():
    parts = [f"<p>{'é' * 100_000}</p>"] * 9
    content = page("p", *parts)
    assert len(content.encode()) <= LIMIT
    assert Reader(content).tags.count("p") == 5
    assert "There is more" in content
    assert "There is more" not in page("p", *parts[:4])


def test_a_table_names_the_documents_of_its_rows_and_aligns_numbers():
    table = html_table(["a", "b"], [["x", 1], ["y", True]], ["d1", "d2"])
    assert Reader(table).documents == ["d1", "d2"]
    assert "class=number" not in table
    assert "class=number" in html_table(["a"], [[1], [2.5]])
    assert html_table(["a"], []) == ""


@given(st.lists(st.integers(0, 200_000)))
def test_a_histogram_of_lengths_counts_everything_once(lengths):
    counts = length_histogram(lengths)
    assert sum(counts.values()) == len(lengths)
    assert tuple(counts) == LENGTH_LABELS


@pytest.mark.parametrize(
    ("length", "label"),
    [
        (0, "0 to 250"),
        (249, "0 to 250"),
        (250, "250 to 500"),
        (999, "500 to 1,000"),
        (64_000, "64,000 and more"),
        (10**9, "64,000 and more"),
    ],
)
def test_a_length_is_counted_in_its_step(length, label):
    assert {name for name, count in length_histogram([length]).items() if count} == {label}


def test_counts_agree_with_their_nouns_and_differences_have_a_sign():
    assert [counted(count, "document") for count in (0, 1, 2000)] == ["0 documents", "1 document", "2,000 documents"]
    assert [difference(5, now) for now in (5, 1005, 3)] == ["=", "+1,000", "-2"]
