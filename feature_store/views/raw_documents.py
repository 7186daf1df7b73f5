"""What a person sees of the raw documents of a run."""

from typing import Any

from feature_store.handles import RawDocuments
from feature_store.parts import first_rows, list_parts
from feature_store.views import charts
from feature_store.views.page import cards, heading, html_table, note, page, side_by_side
from feature_store.views.text import counted, csv_table, escape_markdown, markdown_table, paragraphs

SAMPLES = 20
EXCERPT = 400
FIELDS = ("read", "added", "changed", "unchanged", "rejected", "deleted", "held_back")
_CHANGES = ("added", "changed", "deleted")
_COLUMNS = ["document_id", "category", "source_id", "fields"]


def view_raw_documents(handle: RawDocuments) -> dict[str, str]:
    """Return what was found in the warehouse; where that is something, also a chart and a sample of rows."""
    totals = _totals(handle)
    rows = [[name, *(getattr(counts, field) for field in FIELDS)] for name, counts in handle.categories.items()]
    modes = [
        f"- **{escape_markdown(name)}** was captured by {escape_markdown(capture.mode)}: "
        f"{escape_markdown(capture.reason)}."
        for name, capture in handle.captures.items()
    ]
    summary = paragraphs(
        "# Raw documents",
        f"**{_headline(totals)}**",
        markdown_table(["category", *(field.replace("_", " ") for field in FIELDS)], rows),
        "## How changes were found" if modes else "",
        "\n".join(modes),
    )
    samples = _samples(handle)
    if not samples:
        return {"summary.md": summary}
    parts = {
        name: {field: getattr(counts, field) for field in (*_CHANGES, "unchanged", "rejected")}
        for name, counts in handle.categories.items()
    }
    ids = [row["document_id"] for row in samples]
    found = page(
        "Raw documents",
        cards({field: totals[field] for field in ("read", *_CHANGES)}),
        side_by_side(charts.stacked_bars("What was found, by category", parts, "document")),
        heading("A sample of what is new or changed"),
        note("The mapped fields as the warehouse has them, cut short."),
        html_table(["category", "id in the warehouse", "fields"], [list(row.values())[1:] for row in samples], ids),
    )
    table = csv_table(_COLUMNS, [list(row.values()) for row in samples], EXCERPT)
    return {"summary.md": summary, "found.html": found, "samples.csv": table}


def describe_raw_documents(handle: RawDocuments) -> dict[str, Any]:
    """Return figures for the metadata."""
    by_category = {
        f"{name}_{field}": getattr(counts, field)
        for name, counts in handle.categories.items()
        for field in FIELDS
        if getattr(counts, field)
    }
    modes = {f"{name}_captured_by": capture.mode for name, capture in handle.captures.items()}
    return {**_totals(handle), **by_category, **modes, "seconds": round(handle.seconds, 3)}


def _totals(handle: RawDocuments) -> dict[str, int]:
    return {field: sum(getattr(counts, field) for counts in handle.categories.values()) for field in FIELDS}


def _headline(totals: dict[str, int]) -> str:
    told = [f"{totals[field]:,} {field}" for field in _CHANGES if totals[field]]
    read = counted(totals["read"], "document")
    if not told:
        return f"{read} read; none is new, changed or gone."
    held = f" {totals['held_back']:,} deletions were held back." if totals["held_back"] else ""
    return f"{read} read: {', '.join(told)}.{held}"


def _samples(handle: RawDocuments) -> list[dict[str, str]]:
    for part in list_parts(handle.folder, "raw")[:1]:
        rows: list[dict[str, str]] = first_rows(part, SAMPLES, _COLUMNS).to_pylist()
        return rows
    return []
