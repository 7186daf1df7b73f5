"""Charts as inline SVG: drawn by Vega-Lite through altair, with tooltips that need no script.

Colours are custom properties of the page (``var(--c0)``) and ``currentColor``, so that a chart follows light and dark.
Nothing of a document's text passes through Vega but labels of axes: a mark is described by its number, and the number
then stands for the tooltip and the document.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from feature_store.handles import MapPoint
from feature_store.views.page import COLOURS
from feature_store.views.text import counted, printable, shortened, shown

WIDTH = 440
ROW_HEIGHT = 24
COLUMNS_HEIGHT = 170
MAP_HEIGHT = 420
LABEL_CHARACTERS = 34
_PIXELS_A_CHARACTER = 7
_SVG = "http://www.w3.org/2000/svg"
_QUIET = "var(--quiet)"
CONFIG = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "padding": {"left": 2, "right": 12, "top": 4, "bottom": 4},
    "view": {"stroke": None},
    "axis": {
        "aria": False,
        "domain": False,
        "ticks": False,
        "grid": False,
        "labelColor": "currentColor",
        "labelFontSize": 12,
        "labelPadding": 6,
        "titleColor": _QUIET,
        "titleFontWeight": "normal",
        "titleFontSize": 12,
    },
    "legend": {
        "aria": False,
        "labelColor": "currentColor",
        "labelFontSize": 12,
        "orient": "top",
        "titleColor": _QUIET,
        "symbolOpacity": 1,
    },
}

Mark = dict[str, Any]
Marks = list[Mark]


def bars(title: str, counts: Mapping[str, float], unit: str) -> str:
    """Return a horizontal bar for each label, in the order given, with its figure; nothing for no counts."""
    if not counts:
        return ""
    import altair as alt

    marks: Marks = [
        {"label": shown_as, "count": count, "figure": _figure(count), "tip": _told(label, count, unit)}
        for shown_as, (label, count) in zip(_labels(list(counts)), counts.items(), strict=True)
    ]
    base = _chart(marks, WIDTH - 130, alt.Step(ROW_HEIGHT)).encode(
        y=alt.Y("label:N", sort=None, title=None, axis=_label_axis(marks)),
        x=alt.X("count:Q", title=None, axis=None),
    )
    rows = base.mark_bar(color="var(--c0)", cornerRadiusEnd=3, height=16).encode(
        x=alt.X("count:Q", title=None, axis=None, stack=None), description="row:N"
    )
    figures = base.mark_text(align="left", dx=6, color=_QUIET, fontSize=12, aria=False).encode(text="figure:N")
    return _drawn(title, alt.layer(rows, figures), marks)


def stacked_bars(title: str, parts: Mapping[str, Mapping[str, int]], unit: str) -> str:
    """Return a bar for each label, made of named parts: each part has its colour."""
    if not any(any(counts.values()) for counts in parts.values()):
        return ""
    import altair as alt

    names = list(dict.fromkeys(name for counts in parts.values() for name in counts))
    marks: Marks = [
        {"label": shown_as, "part": name, "count": count, "tip": _told(f"{label}, {name}", count, unit)}
        for shown_as, (label, counts) in zip(_labels(list(parts)), parts.items(), strict=True)
        for name, count in counts.items()
        if count
    ]
    for mark in marks:
        mark["order"] = names.index(mark["part"])
    chart = (
        _chart(marks, WIDTH * 2 - 130, alt.Step(ROW_HEIGHT + 6))
        .mark_bar(height=20)
        .encode(
            y=alt.Y("label:N", sort=None, title=None, axis=_label_axis(marks)),
            x=alt.X("count:Q", title=None, axis=alt.Axis(format="~s", tickCount=5)),
            color=alt.Color("part:N", title=None, sort=names, scale=_scale(names)),
            order=alt.Order("order:Q"),
            description="row:N",
        )
    )
    return _drawn(title, chart, marks)


def columns(title: str, counts: Mapping[str, int], unit: str, axis: str) -> str:
    """Return a histogram: a column for each step, in the order given; steps at both ends without any are left out."""
    steps = list(counts)
    filled = [place for place, step in enumerate(steps) if counts[step]]
    if not filled:
        return ""
    import altair as alt

    marks: Marks = [
        {"label": _first_number(step), "count": counts[step], "tip": _told(f"{step} {axis}", counts[step], unit)}
        for step in steps[filled[0] : filled[-1] + 1]
    ]
    chart = (
        _chart(marks, WIDTH - 40, COLUMNS_HEIGHT)
        .mark_bar(color="var(--c0)", cornerRadiusEnd=3)
        .encode(
            x=alt.X(
                "label:N",
                sort=None,
                title=f"{axis}, from",
                axis=alt.Axis(labelAngle=0),
                scale=alt.Scale(paddingInner=0.08),
            ),
            y=alt.Y("count:Q", title=None, stack=None, axis=alt.Axis(format="~s", tickCount=4, tickMinStep=1)),
            description="row:N",
        )
    )
    return _drawn(title, chart, marks)


def scatter(title: str, points: Sequence[MapPoint]) -> str:
    """Return a map of points, coloured by category; those without a document lie behind, in grey."""
    if not points:
        return ""
    import altair as alt

    place: dict[str, Any] = {"x": alt.X("x:Q", axis=None), "y": alt.Y("y:Q", axis=None)}
    behind = [{"x": point.x, "y": point.y} for point in points if point.document_id is None]
    marks: Marks = [
        {
            "x": point.x,
            "y": point.y,
            "category": shortened(printable(point.category), LABEL_CHARACTERS),
            "tip": f"{shortened(point.title, 120)} ({shortened(point.category, LABEL_CHARACTERS)})",
            "document_id": point.document_id,
        }
        for point in points
        if point.document_id is not None
    ]
    names = sorted({mark["category"] for mark in marks})
    grey = _chart(behind, WIDTH * 2, MAP_HEIGHT).mark_circle(size=22, color=_QUIET, opacity=0.3, aria=False)
    coloured = _chart(marks, WIDTH * 2, MAP_HEIGHT).mark_circle(size=42, opacity=0.75)
    colour = alt.Color("category:N", title=None, scale=_scale(names))
    layers = alt.layer(grey.encode(**place), coloured.encode(**place, color=colour, description="row:N"))
    return _drawn(title, layers, marks)


def colour(place: int) -> str:
    """Return the colour of the nth of some things; they come again after ``COLOURS``."""
    return f"var(--c{place % COLOURS})"


def with_tooltips(svg: str, marks: Marks) -> str:
    """Return the SVG with a ``<title>`` in each mark; what Vega wrote as a mark's label is the number of its row."""
    ET.register_namespace("", _SVG)
    root = ET.fromstring(svg)  # noqa: S314 - Vega made it just now
    for element in root.iter():
        label = element.attrib.pop("aria-label", None)
        role = element.attrib.pop("role", None)
        for name in ("aria-hidden", "aria-roledescription", "pointer-events"):
            element.attrib.pop(name, None)
        if role != "graphics-symbol" or label is None or not marks:
            continue
        mark = marks[int(label)]
        element.insert(0, _title(mark["tip"]))
        if mark.get("document_id"):
            element.set("data-document", mark["document_id"])
    root.set("role", "img")
    return ET.tostring(root, encoding="unicode")


def without_labels(svg: str) -> str:
    """Return the SVG without what Vega tells of each mark: a picture beside a table that tells the same."""
    return with_tooltips(svg, [])


def _chart(marks: Marks, width: int, height: Any) -> Any:
    import altair as alt

    numbered = [
        {name: _clean(value) for name, value in mark.items() if name not in {"tip", "document_id"}} | {"row": str(row)}
        for row, mark in enumerate(marks)
    ]
    return alt.Chart(alt.InlineData(values=numbered), width=width, height=height)


def _drawn(title: str, chart: Any, marks: Marks) -> str:
    import vl_convert

    specification = {**chart.to_dict(), "config": CONFIG}
    svg = with_tooltips(vl_convert.vegalite_to_svg(specification), marks)
    named = svg.replace("<svg ", f'<svg aria-label="{shown(title)}" ', 1)
    return f"<figure><figcaption>{shown(title)}</figcaption>{named}</figure>"


def _title(text: str) -> ET.Element:
    title = ET.Element(f"{{{_SVG}}}title")
    title.text = printable(text)
    return title


def _scale(names: Sequence[str]) -> Any:
    import altair as alt

    return alt.Scale(domain=[printable(name) for name in names], range=[colour(place) for place in range(len(names))])


def _label_axis(marks: Marks) -> Any:
    import altair as alt

    # The reader's font is not that by which Vega measures.
    longest = max(len(mark["label"]) for mark in marks)
    return alt.Axis(minExtent=min(longest, LABEL_CHARACTERS) * _PIXELS_A_CHARACTER + 6, labelLimit=0)


def _labels(texts: Sequence[str]) -> list[str]:
    # Rows of one label would lie upon each other: invisible signs keep those apart that begin alike.
    labels: list[str] = []
    for text in texts:
        label = shortened(printable(text), LABEL_CHARACTERS)
        while label in labels:
            label += "\u200b"
        labels.append(label)
    return labels


def _first_number(step: str) -> str:
    number = step.split(" ", 1)[0]
    return f"{number[:-4]}k" if number.endswith(",000") else number


def _clean(value: object) -> object:
    # A control character ends the whole process inside of vl_convert.
    return printable(value) if isinstance(value, str) else value


def _figure(count: float) -> str:
    return f"{count:,}" if isinstance(count, int) else f"{count:,.1f}"


def _told(label: str, count: float, unit: str) -> str:
    return f"{label}: {counted(count, unit) if isinstance(count, int) else f'{count:,.1f} {unit}s'}"
