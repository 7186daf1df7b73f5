"""Charts: valid SVG that follows the page's colours, with tooltips that need no script."""

import itertools
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.handles import MapPoint
from feature_store.views.charts import bars, columns, scatter, stacked_bars
from tests.views import EVIL, Reader

SVG = {"s": "http://www.w3.org/2000/svg"}


def marks_of(figure):
    """Return the tooltip of each mark of a chart, with its element."""
    root = ET.fromstring(figure[figure.index("<svg") : figure.index("</figure>")])
    found = [element for element in root.iter() if element.find("s:title", SVG) is not None]
    return {element.find("s:title", SVG).text: element for element in found}


def width_of(element):
    """Return the width of a bar: it is drawn from the left edge, by a horizontal line first."""
    numbers = [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e[-+]?\d+)?", element.get("d"))]
    return max(numbers[::2])


labels = st.text("abc<>&\"'| \x00𝒳", min_size=1, max_size=40)


@given(st.dictionaries(labels, st.integers(0, 10**9), min_size=1, max_size=6))
@settings(max_examples=30)
def test_every_bar_has_its_figure_and_the_longest_is_the_largest_count(counts):
    figure = bars("<title> & 'more'", counts, "document")
    Reader(figure)
    marks = marks_of(figure)
    assert len(marks) == len({f"{label.replace(chr(0), chr(0xFFFD))}: {count}" for label, count in counts.items()})
    widths = {title: width_of(element) for title, element in marks.items()}
    figures = {title: int(title.rsplit(": ", 1)[1].split()[0].replace(",", "")) for title in widths}
    for one, other in itertools.product(widths, repeat=2):
        assert figures[one] > figures[other] or widths[one] <= widths[other] + 1e-6


def test_labels_that_begin_alike_keep_a_bar_each():
    counts = {"x" * 100 + "a": 1, "x" * 100 + "b": 2}
    marks = marks_of(bars("t", counts, "document"))
    places = [re.search(r"[\d.]+", element.get("d")) for element in marks.values()]
    assert len(marks) == len(places) == 2
    assert sorted(marks) == [f"{'x' * 100}a: 1 document", f"{'x' * 100}b: 2 documents"]
    assert len({element.get("d") for element in marks.values()}) == 2


def test_a_histogram_leaves_out_the_empty_steps_at_both_ends_only():
    steps = {"0 to 5": 0, "5 to 10": 3, "10 to 15": 0, "15 to 20": 1, "20 and more": 0}
    assert list(marks_of(columns("t", steps, "chunk", "tokens"))) == [
        "5 to 10 tokens: 3 chunks",
        "10 to 15 tokens: 0 chunks",
        "15 to 20 tokens: 1 chunk",
    ]


def test_parts_of_a_bar_have_colours_of_their_own():
    marks = marks_of(
        stacked_bars("t", {"notes": {"added": 3, "changed": 1, "gone": 0}, "mails": {"added": 2}}, "document")
    )
    assert {title: element.get("fill") for title, element in marks.items()} == {
        "notes, added: 3 documents": "var(--c0)",
        "notes, changed: 1 document": "var(--c1)",
        "mails, added: 2 documents": "var(--c0)",
    }


def test_points_on_a_map_name_document_and_title_and_those_behind_name_nothing():
    points = [
        MapPoint(document_id="d1", category="notes", title=EVIL, x=1, y=2),
        MapPoint(document_id="d2", category="mails", title="two", x=-1, y=0),
        MapPoint(x=0, y=0),
    ]
    figure = scatter("t", points)
    assert sorted(Reader(figure).documents) == ["d1", "d2"]
    marks = marks_of(figure)
    assert len(marks) == 2
    assert marks["two (mails)"].get("fill") == "var(--c0)"
    assert marks["two (mails)"].get("data-document") == "d2"


@pytest.mark.parametrize(
    "figure",
    [
        bars("t", {}, "document"),
        columns("t", {"0 to 5": 0}, "chunk", "tokens"),
        stacked_bars("t", {"notes": {"added": 0}}, "document"),
        scatter("t", []),
    ],
    ids=["bars", "columns", "stacked bars", "scatter"],
)
def test_nothing_to_show_draws_nothing(figure):
    assert figure == ""


def test_a_chart_has_no_colours_of_one_mode_only():
    for figure in (bars("t", {"a": 1}, "document"), columns("t", {"0 to 5": 1}, "chunk", "tokens")):
        colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', figure))
        assert colours <= {"none", "currentColor", "var(--c0)", "var(--quiet)", "transparent"}


def test_charts_of_one_page_have_no_ids_in_common():
    figures = [bars("t", {"a": 1, "b": 2}, "document"), bars("t", {"c": 3}, "document")]
    assert not any(re.findall(r'\bid="|clip-path', figure) for figure in figures)
