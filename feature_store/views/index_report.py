"""What a person sees of a load: what was done to the collection, and whether it holds what it must."""

from typing import Any

from feature_store.handles import IndexReport
from feature_store.views.page import cards, heading, html_table, page, sentence
from feature_store.views.text import counted, escape_markdown, figure, markdown_table, paragraphs


def view_index_report(handle: IndexReport) -> dict[str, str]:
    """Return what was done, and the figures that were compared."""
    summary = paragraphs(
        f"# Index {escape_markdown(handle.index)}",
        f"**{_headline(handle)}**",
        "## Reconciled",
        markdown_table(["", "figure"], [[name, figure(value)] for name, value in _reconciled(handle)]),
        "## Done",
        markdown_table(["", "value"], _rows(handle)),
    )
    done = {
        "points": handle.points,
        "written": handle.written,
        "payloads updated": handle.updated,
        "removed": handle.removed,
    }
    drawn = page(
        f"Index {handle.index}",
        sentence(_headline(handle)),
        cards(done),
        heading("Reconciled"),
        html_table(["what was compared", "figure"], _reconciled(handle)),
        heading("Done"),
        html_table(["", "value"], _rows(handle)),
    )
    return {"summary.md": summary, "reconciled.html": drawn}


def describe_index_report(handle: IndexReport) -> dict[str, Any]:
    """Return figures for the metadata."""
    return {**handle.model_dump(exclude={"seconds", "use"}), "seconds": round(handle.seconds, 3)}


def _headline(handle: IndexReport) -> str:
    if not (handle.written or handle.updated or handle.removed):
        return f"Nothing had to be done: {counted(handle.points, 'point')} at version {handle.version}."
    return (
        f"{counted(handle.points, 'point')} at version {handle.version}: {handle.written:,} written, "
        f"{handle.updated:,} with another payload, {handle.removed:,} removed."
    )


def _reconciled(handle: IndexReport) -> list[list[object]]:
    return [
        ["points that the collection holds", handle.points],
        ["chunks that it must hold", handle.expected_points],
        ["difference", handle.points - handle.expected_points],
        ["as it must be", handle.points == handle.expected_points],
    ]


def _rows(handle: IndexReport) -> list[list[object]]:
    return [
        ["collection", handle.collection],
        ["version", f"{handle.version_before} to {handle.version}"],
        ["points written", figure(handle.written)],
        ["payloads updated", figure(handle.updated)],
        ["stale points removed", figure(handle.removed)],
        ["collection that served before", handle.previous_collection or "the same"],
    ]
