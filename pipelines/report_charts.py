"""The interactive charts of the report, as Vega-Lite specifications; the page draws them by script, and without it."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from feature_store.views.charts import CONFIG, colour
from feature_store.views.text import printable
from pipelines.report import CHANGES, Report

WIDTH = 900
HEIGHT = 220
LANGUAGES = 6
_STAGES = ("extract", "clean", "chunk", "embed", "load")

Specification = dict[str, Any]
Drawn = alt.Chart | alt.LayerChart | alt.FacetChart
Values = list[dict[str, Any]]


def report_charts(report: Report) -> dict[str, Specification]:
    """Return the charts that there is something to show in, by name; all of their texts are printable."""
    drawn = {
        "documents": _documents(report),
        "changes": _changes(report),
        "seconds": _seconds(report),
        "texts": _texts(report),
        "length": _lengths(report),
        "fields": _fields(report),
        "languages": _languages(report),
    }
    return {name: {**chart.to_dict(), "config": CONFIG} for name, chart in drawn.items() if chart is not None}


def _documents(report: Report) -> Drawn | None:
    values = [
        {
            "version": row.number,
            "documents": row.documents,
            "made": f"{row.created_at:%Y-%m-%d %H:%M}",
            "why": row.message[:200],
            "names": ", ".join((*row.tags, *row.releases)),
        }
        for row in report.versions
    ]
    if not values:
        return None
    base = _chart(values).encode(x=_version_axis(), y=alt.Y("documents:Q", title="documents", axis=_figures()))
    shown = [alt.Tooltip(f"{name}:N") for name in ("version", "documents", "made", "why", "names")]
    line = base.mark_line(color=colour(0), strokeWidth=2)
    points = base.mark_circle(color=colour(0), size=50, opacity=1).encode(tooltip=shown)
    flags = base.mark_text(dy=-12, color=colour(1), fontSize=11).encode(text="names:N")
    return alt.layer(line, points, flags)


def _changes(report: Report) -> Drawn | None:
    values = [
        {"version": row.number, "change": name.replace("_", " "), "documents": row.changes[name]}
        for row in report.versions
        for name in CHANGES
        if row.changes.get(name)
    ]
    names = [name.replace("_", " ") for name in CHANGES]
    return _stacked(values, _version_axis(), "change", "documents", names)


def _seconds(report: Report) -> Drawn | None:
    values = [
        {"run": place, "stage": stage, "seconds": round(seconds, 2), **_told(row.finished_at, row.version)}
        for place, row in enumerate(report.runs, start=1)
        for stage, seconds in row.seconds.items()
    ]
    stages = [*_STAGES, *sorted({value["stage"] for value in values} - set(_STAGES))]
    return _stacked(values, _run_axis(), "stage", "seconds", stages)


def _texts(report: Report) -> Drawn | None:
    kinds = ("embedded", "reused", "updated", "removed")
    values = [
        {"run": place, "kind": kind, "count": getattr(row, kind), **_told(row.finished_at, row.version)}
        for place, row in enumerate(report.runs, start=1)
        for kind in kinds
        if getattr(row, kind)
    ]
    return _stacked(values, _run_axis(), "kind", "count", kinds)


def _lengths(report: Report) -> Drawn | None:
    values = [
        {"version": row.version, "category": row.category, "characters": row.mean_characters}
        for row in report.quality
        if row.documents
    ]
    return _lines(values, "category", "characters", alt.Axis(format="~s", tickCount=4))


def _fields(report: Report) -> Drawn | None:
    values = [
        {"version": row.version, "field": f"{row.category}: {name}", "share": round(share, 4)}
        for row in report.quality
        for name, share in row.shares.items()
        if share
    ]
    return _lines(values, "field", "share", alt.Axis(format="%", tickCount=4))


def _languages(report: Report) -> Drawn | None:
    totals: dict[int, dict[str, int]] = {}
    for row in report.quality:
        of_version = totals.setdefault(row.version, {})
        for language, count in row.languages.items():
            of_version[language] = of_version.get(language, 0) + count
    common = _most_common(totals.values())
    values = [
        {"version": version, "language": language if language in common else "other", "documents": count}
        for version, counts in totals.items()
        for language, count in counts.items()
    ]
    return _stacked(_summed(values), _version_axis(), "language", "documents", [*common, "other"])


def _most_common(totals: Any) -> list[str]:
    overall: dict[str, int] = {}
    for counts in totals:
        for language, count in counts.items():
            overall[language] = max(overall.get(language, 0), count)
    return sorted(overall, key=lambda language: (-overall[language], language))[: LANGUAGES - 1]


def _summed(values: Values) -> Values:
    sums: dict[tuple[int, str], int] = {}
    for value in values:
        key = (value["version"], value["language"])
        sums[key] = sums.get(key, 0) + value["documents"]
    return [
        {"version": version, "language": language, "documents": count} for (version, language), count in sums.items()
    ]


def _stacked(values: Values, x: alt.X, part: str, count: str, order: Sequence[str]) -> Drawn | None:
    """Return stacked columns; a click on the legend shows one part alone."""
    if not values:
        return None
    names = [name for name in order if any(value[part] == name for value in values)]
    chosen = alt.selection_point(fields=[part], bind="legend")
    places = {value[x.shorthand.split(":")[0]] for value in values}
    for value in values:
        value["order"] = names.index(value[part])
    columns = max(2.0, min(36.0, WIDTH * 0.8 / (max(places) - min(places) + 1)))
    chart: alt.Chart = _chart(values).mark_bar(size=columns).add_params(chosen)
    return chart.encode(
        x=x,
        y=alt.Y(f"{count}:Q", title=count, axis=_figures()),
        color=alt.Color(f"{part}:N", title=None, scale=_scale(names)),
        order="order:Q",
        opacity=alt.condition(chosen, alt.value(1), alt.value(0.12)),
        tooltip=[alt.Tooltip(f"{name}:N") for name in values[0] if name != "order"],
    )


def _lines(values: Values, part: str, figure: str, axis: alt.Axis) -> Drawn | None:
    """Return a line for each part over the versions; a click on the legend shows one alone."""
    if not values:
        return None
    names = sorted({value[part] for value in values})
    chosen = alt.selection_point(fields=[part], bind="legend")
    base = _chart(values).encode(
        x=_version_axis(),
        y=alt.Y(f"{figure}:Q", title=figure, axis=axis),
        color=alt.Color(f"{part}:N", title=None, scale=_scale(names)),
        opacity=alt.condition(chosen, alt.value(1), alt.value(0.12)),
    )
    points = base.mark_circle(size=40).encode(tooltip=[f"{name}:N" for name in ("version", part, figure)])
    return alt.layer(base.mark_line(strokeWidth=2), points.add_params(chosen))


def _chart(values: Values) -> alt.Chart:
    clean = [
        {name: printable(value) if isinstance(value, str) else value for name, value in row.items()} for row in values
    ]
    return alt.Chart(alt.InlineData(values=clean), width=WIDTH, height=HEIGHT)


def _told(finished_at: Any, version: int) -> Mapping[str, Any]:
    return {"finished": f"{finished_at:%Y-%m-%d %H:%M}", "version": version}


def _version_axis() -> alt.X:
    return alt.X("version:Q", title="version", scale=alt.Scale(zero=False, nice=False, padding=24), axis=_whole())


def _run_axis() -> alt.X:
    return alt.X("run:Q", title="run, oldest first", scale=alt.Scale(zero=False, nice=False, padding=24), axis=_whole())


def _whole() -> alt.Axis:
    return alt.Axis(format="d", tickMinStep=1, labelExpr="datum.value % 1 ? '' : datum.label")


def _figures() -> alt.Axis:
    return alt.Axis(format="~s", tickCount=4, grid=True, gridColor="currentColor", gridOpacity=0.12)


def _scale(names: Sequence[str]) -> alt.Scale:
    return alt.Scale(domain=[printable(name) for name in names], range=[colour(place) for place in range(len(names))])
