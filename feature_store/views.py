"""What a person sees of an artifact: Markdown for the overview, HTML for charts, CSV for rows. Pure functions.

The dashboard shows HTML in a frame that runs no script and loads nothing, so charts are inline SVG. Every text that
comes from a document is escaped.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from feature_store import tables
from feature_store.handles import Chunks, CleanedDocuments, Embeddings, Handle, IndexReport, RawDocuments
from feature_store.parts import list_parts, read_part
from feature_store.store import IS_LIVE

SAMPLES = 10
EXCERPT = 300
_LENGTH_STEPS = (0, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000)
_STYLE = (
    "<style>:root{color-scheme:light dark}body{font:14px/1.5 system-ui,sans-serif;margin:16px;max-width:900px}"
    "table{border-collapse:collapse;margin:8px 0}td,th{padding:4px 12px;border-bottom:1px solid #8884;text-align:left}"
    "td.n{text-align:right}pre{white-space:pre-wrap;background:#8881;padding:8px;border-radius:6px}"
    ".bar{fill:#5b8def}text{fill:currentColor;font:12px system-ui,sans-serif}.meta{opacity:.7}</style>"
)

_MARKDOWN_SIGNS = re.compile(r"[\\`*_\[\]|~]")

Views = dict[str, str]


def views_of(handle: Handle) -> Views:
    """Return file name to content for a handle; the first is what the dashboard offers first."""
    return VIEWS[type(handle)](handle)


def view_raw_documents(handle: RawDocuments) -> Views:
    """Return counts by category and a sample of rows."""
    fields = ("read", "added", "changed", "unchanged", "rejected", "deleted")
    rows = [[name, *(getattr(counts, field) for field in fields)] for name, counts in handle.categories.items()]
    summary = "# Raw documents\n\n" + markdown_table(["category", *fields], rows)
    return {"summary.md": summary, "samples.csv": _raw_samples(handle)}


def view_cleaned_documents(handle: CleanedDocuments) -> Views:
    """Return what the version holds: counts by category, lengths, ten samples."""
    statistics = _statistics(handle)
    fields = ("read", "added", "changed", "metadata_changed", "unchanged", "deleted", "rejected")
    rows = [[name, *(getattr(counts, field) for field in fields)] for name, counts in handle.categories.items()]
    before = f"version {handle.previous_version}" if handle.previous_version else "an empty store"
    summary = [
        f"# Cleaned documents, version {handle.version}",
        f"{statistics['documents']:,} documents, {statistics['characters']:,} characters. Made from {before}.",
        "## This run",
        markdown_table(["category", *fields], rows),
        "## Documents by category",
        markdown_table(["category", "documents"], sorted(statistics["categories"].items())),
        "## Documents by language",
        markdown_table(["language", "documents"], statistics["languages"].most_common(12)),
        "## Rejected documents by reason",
        markdown_table(["reason", "documents"], sorted(statistics["reasons"].items())) or "None.",
    ]
    charts = page(
        f"Cleaned documents, version {handle.version}",
        histogram("Length in characters", statistics["lengths"]),
        histogram("Documents by category", dict(sorted(statistics["categories"].items()))),
    )
    return {"summary.md": "\n\n".join(summary) + "\n", "charts.html": charts, "samples.html": _samples_page(handle)}


def view_chunks(handle: Chunks) -> Views:
    """Return counts, the sizes of chunks, and some of them."""
    rows = [
        ["documents chunked", handle.documents],
        ["documents gone", handle.deleted_documents],
        ["chunks", handle.chunks],
        ["new: to be embedded and written", handle.new],
        ["moved: payload to be updated", handle.moved],
        ["as they were", handle.unchanged],
        ["stale: to be removed", handle.stale],
        ["longest chunk, tokens", handle.longest],
        ["the model's limit, tokens", handle.token_limit],
        ["characters", handle.characters],
        ["white space dropped, characters", handle.dropped_characters],
    ]
    summary = f"# Chunks for {escape_markdown(handle.index)}\n\nFrom version {handle.since} to {handle.version}.\n\n"
    sizes = {_size_label(step, handle.window): count for step, count in enumerate(handle.token_counts)}
    samples = [
        f"<h3>{escape(sample['title'])}</h3><p class=meta>{escape(sample['heading_path'])} · characters "
        f"{escape(sample['span'])} · {escape(sample['tokens'])} tokens</p><pre>{escape(sample['text'])}</pre>"
        for sample in handle.samples
    ]
    charts = page(f"Chunks for {handle.index}", histogram("Tokens a chunk", sizes), *samples)
    return {"summary.md": summary + markdown_table(["", "count"], rows), "chunks.html": charts}


def view_embeddings(handle: Embeddings) -> Views:
    """Return how many texts were embedded and how many reused."""
    rate = handle.embedded / handle.seconds if handle.seconds else 0
    rows = [
        ["chunks", f"{handle.chunks:,}"],
        ["texts embedded", f"{handle.embedded:,}"],
        ["texts reused", f"{handle.reused:,}"],
        ["texts a second", f"{rate:,.1f}" if handle.embedded else "-"],
        ["model", handle.model],
        ["dimensions", str(handle.dimension)],
        ["precision", ", ".join(handle.precisions) or "-"],
        ["encoder fingerprint", handle.encoder_fingerprint],
    ]
    return {"summary.md": f"# Embeddings for {escape_markdown(handle.index)}\n\n" + markdown_table(["", ""], rows)}


def view_index_report(handle: IndexReport) -> Views:
    """Return what the collection holds, and what was done to it."""
    rows = [
        ["collection", handle.collection],
        ["version", f"{handle.version_before} to {handle.version}"],
        ["points written", f"{handle.written:,}"],
        ["payloads updated", f"{handle.updated:,}"],
        ["stale points removed", f"{handle.removed:,}"],
        ["points", f"{handle.points:,}"],
        ["chunks that it must hold", f"{handle.expected_points:,}"],
        ["collection that served before", handle.previous_collection or "the same"],
    ]
    return {"summary.md": f"# Index {escape_markdown(handle.index)}\n\n" + markdown_table(["", ""], rows)}


VIEWS: dict[type[Handle], Callable[[Any], Views]] = {
    RawDocuments: view_raw_documents,
    CleanedDocuments: view_cleaned_documents,
    Chunks: view_chunks,
    Embeddings: view_embeddings,
    IndexReport: view_index_report,
}


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table, or nothing for no rows; numbers get thousands separators."""
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, in a table too."""
    return escape(_MARKDOWN_SIGNS.sub(r"\\\g<0>", " ".join(text.splitlines())), quote=False)


def histogram(title: str, counts: Mapping[str, int], width: int = 640) -> str:
    """Return horizontal bars as inline SVG, with the figures as text and as tooltips."""
    largest = max(counts.values(), default=0) or 1
    bars = []
    for row, (label, count) in enumerate(counts.items()):
        y, length = 8 + row * 24, round(count / largest * (width - 260))
        bars.append(
            f'<g><title>{escape(label)}: {count:,}</title><text x="0" y="{y + 13}">{escape(label)}</text>'
            f'<rect class="bar" x="170" y="{y}" width="{length}" height="18" rx="3"/>'
            f'<text x="{178 + length}" y="{y + 13}">{count:,}</text></g>'
        )
    height = 16 + 24 * len(counts)
    label = escape(title)
    return (
        f"<h2>{label}</h2><svg xmlns='http://www.w3.org/2000/svg' role='img' aria-label='{label}' "
        f"viewBox='0 0 {width} {height}' width='{width}' height='{height}'>{''.join(bars)}</svg>"
    )


def page(title: str, *parts: str) -> str:
    """Return a whole HTML page without script."""
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{escape(title)}</title>{_STYLE}</head>"
        f"<body><h1>{escape(title)}</h1>{''.join(parts)}</body></html>"
    )


def length_histogram(lengths: Sequence[int]) -> dict[str, int]:
    """Return counts of lengths in steps that double."""
    labels = [f"{low:,} to {high:,}" for low, high in pairwise(_LENGTH_STEPS)]
    counts = dict.fromkeys([*labels, f"{_LENGTH_STEPS[-1]:,} and more"], 0)
    for length in lengths:
        step = sum(length >= low for low in _LENGTH_STEPS) - 1
        counts[list(counts)[step]] += 1
    return counts


def _statistics(handle: CleanedDocuments) -> dict[str, Any]:
    categories: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    lengths: Counter[str] = Counter()
    documents = characters = 0
    columns = ["category", "language", "characters"]
    for batch in handle.dataset().scanner(columns=columns, filter=IS_LIVE).to_batches():
        rows = batch.to_pydict()
        documents += batch.num_rows
        characters += sum(rows["characters"])
        categories.update(rows["category"])
        languages.update(language or "not told" for language in rows["language"])
        lengths.update(length_histogram(rows["characters"]))
    return {
        "documents": documents,
        "characters": characters,
        "categories": categories,
        "languages": languages,
        "lengths": {label: lengths[label] for label in length_histogram([])},
        "reasons": tables.count_values(handle.store().rejects(handle.at()), "reason"),
    }


def _samples_page(handle: CleanedDocuments) -> str:
    columns = ["document_id", "category", "title", "url", "author", "characters", "text"]
    rows = handle.dataset().scanner(columns=columns, filter=IS_LIVE, limit=SAMPLES).to_table().to_pylist()
    samples = [
        f"<h3>{escape(row['title'] or row['document_id'])}</h3><p class=meta>{escape(row['category'])} · "
        f"{row['characters']:,} characters · {escape(row['author'] or 'no author')} · {escape(row['url'] or 'no url')}"
        f"</p><pre>{escape(row['text'][:EXCERPT])}</pre>"
        for row in rows
    ]
    return page(f"Ten cleaned documents of version {handle.version}", *samples)


def _raw_samples(handle: RawDocuments) -> str:
    output = io.StringIO()
    writer = csv.writer(output)
    writer.writerow(["category", "source_id", "fields"])
    for part in list_parts(handle.folder, "raw")[:1]:
        for row in read_part(part).slice(0, SAMPLES).to_pylist():
            writer.writerow([row["category"], row["source_id"], row["fields"][:EXCERPT]])
    return output.getvalue()


def _size_label(step: int, window: int) -> str:
    # Rounded up: the first size that `tokens * 10 // window` counts in this step.
    low, following = -(-step * window // 10), -(-(step + 1) * window // 10)
    return f"{low} to {following}" if following <= window else f"{low} and more"


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else escape_markdown(str(value))
