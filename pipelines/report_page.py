"""The report as one HTML page: tables and charts that are there without script, and come to life with it."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from feature_store.views.charts import without_labels
from feature_store.views.page import STYLE, cards, html_table, note
from feature_store.views.profile import megabytes
from feature_store.views.text import counted, shown
from pipelines.report import CHANGES, Report, RunRow

ROWS = 100  # the newest ones, in a table
_SPEED = ("tokens/s", "of GEMM speed", "peak memory")
_STYLE = """
body{max-width:1040px;padding:36px 28px 64px}h1{font-size:28px}h2{font-size:20px;margin:0 0 4px}
nav{position:sticky;top:0;background:Canvas;border-bottom:1px solid var(--line);margin:20px 0 8px;padding:10px 0;
display:flex;gap:20px;flex-wrap:wrap;z-index:1}nav a{color:var(--c0);text-decoration:none}
nav a:hover{text-decoration:underline}
section{padding:28px 0 8px;scroll-margin-top:44px}figure{margin:20px 0}
.plot{overflow-x:auto;min-height:60px}.plot svg{max-width:100%}
details{margin:10px 0}summary{cursor:pointer;color:var(--quiet)}
#vg-tooltip-element{background:Canvas!important;color:CanvasText!important;border:1px solid var(--line)!important;
font:12px/1.5 system-ui,sans-serif!important;border-radius:8px!important;box-shadow:0 4px 16px #0003!important}
#vg-tooltip-element td.key{color:var(--quiet)!important}#vg-tooltip-element td{border:0;padding:1px 8px 1px 0}
@media print{nav{display:none}}
"""
_TITLES = {
    "documents": "Documents by version",
    "changes": "What each version changed",
    "seconds": "Seconds by stage",
    "texts": "Texts embedded and reused, points updated and removed",
    "length": "Characters of a document, on average",
    "fields": "Documents that have a field",
    "languages": "Languages",
}
# A plot that cannot be drawn leaves the picture that is there.
_DRAW = """
const specifications = JSON.parse(document.getElementById("specifications").textContent);
for (const [name, specification] of Object.entries(specifications)) {
  const place = document.getElementById("plot-" + name), picture = place.innerHTML;
  vegaEmbed(place, specification, {actions: false, renderer: "svg", ast: true, tooltip: {theme: "custom"}})
    .then(() => { place.dataset.drawn = "by script"; })
    .catch((error) => { place.innerHTML = picture; console.error(error); });
}
"""


def render_report(report: Report) -> str:
    """Return the page: no network, light and dark, readable without script."""
    import vl_convert

    from pipelines.report_charts import report_charts

    charts = report_charts(report)
    figures = {name: _figure(name, vl_convert.vegalite_to_svg(chart)) for name, chart in charts.items()}
    sections = {name: section(report, figures) for name, section in _SECTIONS.items()}
    scripts = [_harmless(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")), _DRAW] if charts else []
    policy = "; ".join(
        [
            "default-src 'none'",
            "style-src 'unsafe-inline'",
            f"script-src {' '.join(map(_fingerprint, scripts)) or chr(39) + 'none' + chr(39)}",
        ]
    )
    return "".join(
        [
            "<!doctype html><html lang=en><head><meta charset=utf-8>",
            '<meta name=viewport content="width=device-width,initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            f"<title>Feature pipeline</title><style>{STYLE}{_STYLE}</style></head><body>",
            _head(report),
            f"<nav>{''.join(f'<a href=#{name}>{_name(name)}</a>' for name in sections)}</nav>",
            *(f"<section id={name}><h2>{_name(name)}</h2>{content}</section>" for name, content in sections.items()),
            f"<script type=application/json id=specifications>{_as_data(charts)}</script>" if charts else "",
            *(f"<script>{script}</script>" for script in scripts),
            "</body></html>",
        ]
    )


def _head(report: Report) -> str:
    newest = report.versions[-1] if report.versions else None
    points = sum(index.points for index in report.indexes or [] if index.serving)
    key = {
        "documents": report.documents,
        "version": newest.number if newest else "none yet",
        "points served": points if report.indexes is not None else "not known",
        "rejected": report.rejects,
        "duplicates": report.duplicates,
        "runs": len(report.runs),
        "training exports": len(report.exports),
    }
    notes = "".join(note(text) for text in report.notes)
    return f"<h1>Feature pipeline</h1>{note(f'As of {report.made_at:%Y-%m-%d %H:%M} UTC.')}{cards(key)}{notes}"


def _versions(report: Report, figures: Mapping[str, str]) -> str:
    if not report.versions:
        return note("There is no version yet: run the feature pipeline.")
    header = ["version", "made (UTC)", "why", "documents", *(name.replace("_", " ") for name in CHANGES), "names"]
    rows = [
        [
            row.number,
            f"{row.created_at:%Y-%m-%d %H:%M}",
            row.message,
            row.documents,
            *(row.changes.get(name, 0) for name in CHANGES),
            ", ".join([*row.tags, *(f"release {name}" for name in row.releases)]),
        ]
        for row in reversed(report.versions[-ROWS:])
    ]
    return _both(figures, ("documents", "changes"), _table(header, rows, len(report.versions), "version"))


def _runs(report: Report, figures: Mapping[str, str]) -> str:
    if not report.runs:
        return note("No run has finished yet.")
    stages = list(dict.fromkeys(stage for row in report.runs for stage in row.seconds))
    work = ("embedded", "reused", "written", "updated", "removed")
    newest = list(reversed(report.runs[-ROWS:]))
    done = [
        [
            _finished(row),
            row.version,
            "yes" if row.made_a_version else "",
            *(getattr(row, name) for name in work),
        ]
        for row in newest
    ]
    cost = [
        [
            _finished(row),
            *(row.seconds.get(stage, 0.0) for stage in stages),
            "" if row.token_rate is None else round(row.token_rate),
            "" if row.gemm_share is None else f"{row.gemm_share:.0%}",
            megabytes(row.peak_memory or 0),
        ]
        for row in newest
    ]
    tables = [
        _table(["finished (UTC)", "version", "made it", *work], done, len(report.runs), "run"),
        _folded("What they cost", html_table(["finished (UTC)", *(f"{stage}, s" for stage in stages), *_SPEED], cost)),
    ]
    return _both(figures, ("seconds", "texts"), "".join(tables))


def _finished(row: RunRow) -> str:
    return f"{row.finished_at:%Y-%m-%d %H:%M}"


def _indexes(report: Report, _figures: Mapping[str, str]) -> str:
    if report.indexes is None:
        return note("They could not be asked.")
    header = ["index", "serves", "points", "must hold", "version", "lag, documents", "model", "collection"]
    rows = [
        [
            index.index,
            "yes" if index.serving else "no",
            index.points,
            index.expected_points,
            index.version,
            index.lag,
            index.model,
            index.collection or "not built as configured",
        ]
        for index in report.indexes
    ]
    return html_table(header, rows) or note("The configuration has no index.")


def _exports(report: Report, _figures: Mapping[str, str]) -> str:
    header = ["export", "made (UTC)", "version", "since", "format", "documents", "tokens"]
    rows = [
        [
            row.export_id,
            f"{row.created_at:%Y-%m-%d %H:%M}",
            row.version,
            "" if row.since is None else row.since,
            row.format,
            row.documents,
            row.tokens,
        ]
        for row in reversed(report.exports[-ROWS:])
    ]
    return html_table(header, rows) or note("There is none yet: `feature-pipeline export` makes one.")


def _quality(report: Report, figures: Mapping[str, str]) -> str:
    if not report.quality:
        return note("There is no profile of a version yet.")
    names = sorted({name for row in report.quality for name in row.shares})
    header = [
        "version",
        "category",
        "documents",
        "rejected",
        "characters a document",
        *(f"with {name}" for name in names),
    ]
    rows = [
        [
            row.version,
            row.category,
            row.documents,
            row.rejected,
            row.mean_characters,
            *(f"{row.shares.get(name, 0):.0%}" for name in names),
        ]
        for row in reversed(report.quality[-ROWS:])
    ]
    return _both(figures, ("length", "fields", "languages"), _table(header, rows, len(report.quality), "row"))


_SECTIONS: dict[str, Callable[[Report, Mapping[str, str]], str]] = {
    "versions": _versions,
    "runs": _runs,
    "indexes": _indexes,
    "exports": _exports,
    "quality": _quality,
}


def _both(figures: Mapping[str, str], names: tuple[str, ...], table: str) -> str:
    return "".join(figures[name] for name in names if name in figures) + table


def _table(header: list[str], rows: list[list[Any]], total: int, noun: str) -> str:
    told = counted(total, noun) if total <= ROWS else f"The newest {ROWS:,} of {counted(total, noun)}"
    return _folded(f"{told} as a table", html_table(header, rows))


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{shown(title)}</summary>{content}</details>"


def _figure(name: str, svg: str) -> str:
    title = shown(_TITLES[name])
    return (
        f"<figure><figcaption>{title}</figcaption><div class=plot id=plot-{name}>{without_labels(svg)}</div></figure>"
    )


def _name(section: str) -> str:
    return section.capitalize()


def _as_data(charts: Mapping[str, Any]) -> str:
    # Inside of a script element only `<` can end it or begin a comment.
    return json.dumps(charts, ensure_ascii=True).replace("<", "\\u003c")


def _harmless(script: str) -> str:
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _fingerprint(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
