"""What a person sees of the end of a run: which collections serve, and what their gates found."""

from typing import Any

from feature_store.handles import ServedIndex, ServingReport
from feature_store.views.page import cards, heading, html_table, page, sentence
from feature_store.views.text import markdown_table, paragraphs

_HEADER = ["index", "serves", "version", "outcome", "waits", "why"]


def view_serving_report(handle: ServingReport) -> dict[str, str]:
    """Return which collections serve, and every check of the gates."""
    rows = [_row(item) for item in handle.indexes]
    summary = paragraphs("# Serving", f"**{_headline(handle)}**", markdown_table(_HEADER, rows))
    gates = [
        part
        for item in handle.indexes
        if item.checks
        for part in (
            heading(f"Gate of {item.index}"),
            html_table(["check", "holds", "figures"], [[each.name, each.holds, each.figures] for each in item.checks]),
        )
    ]
    drawn = page("Serving", sentence(_headline(handle)), cards(_figures(handle)), html_table(_HEADER, rows), *gates)
    return {"summary.md": summary, "serving.html": drawn}


def describe_serving_report(handle: ServingReport) -> dict[str, Any]:
    """Return figures for the metadata."""
    outcomes = {f"outcome_{item.index}": item.outcome for item in handle.indexes}
    return {**_figures(handle), **outcomes, "seconds": round(handle.seconds, 3)}


def _headline(handle: ServingReport) -> str:
    figures = _figures(handle)
    return f"Of {figures['indexes']:,} indexes {figures['promoted']:,} promoted, {figures['refused']:,} refused."


def _figures(handle: ServingReport) -> dict[str, Any]:
    return {
        "indexes": len(handle.indexes),
        "promoted": sum(item.outcome == "promoted" for item in handle.indexes),
        "refused": sum(item.outcome == "refused" for item in handle.indexes),
        "points_sampled": sum(item.sampled for item in handle.indexes),
        "lag": sum(item.lag for item in handle.indexes),
    }


def _row(item: ServedIndex) -> list[object]:
    why = " ".join(text for text in (item.reason, item.problem) if text)
    return [item.index, item.collection, item.version, item.outcome, item.candidate or "", why]
