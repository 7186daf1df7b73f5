"""What a person sees of the chunks of an index: their sizes, and documents with the borders drawn in."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from feature_store.handles import Chunks, SampledChunk, SampledDocument
from feature_store.views import charts
from feature_store.views.page import COLOURS, cards, heading, note, of_document, page, side_by_side
from feature_store.views.text import counted, escape_markdown, markdown_table, paragraphs, shown

_TENTHS = 10
# A chunk has a colour of its own, or that of its parent and a bar at its start; where two overlap, there are stripes.
_STYLE = (
    ".split{display:grid;grid-template-columns:minmax(0,1fr) 260px;gap:16px}"
    "@media(max-width:720px){.split{grid-template-columns:1fr}}"
    ".legend{list-style:none;margin:8px 0 0;padding:0;font-size:12px;overflow-wrap:anywhere}.legend li{padding:3px 0}"
    ".swatch{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:6px}"
    "pre span{border-radius:2px;box-decoration-break:clone;-webkit-box-decoration-break:clone}"
    + "".join(
        f".k{place}{{background:color-mix(in srgb,var(--c{place}) 20%,transparent)}}"
        f".b{place}{{background:color-mix(in srgb,var(--c{place}) 20%,transparent);"
        f"box-shadow:inset 2px 0 0 var(--c{place})}}"
        f".s{place}{{background:var(--c{place})}}"
        f".o{place}{{background:repeating-linear-gradient(135deg,"
        f"color-mix(in srgb,var(--c{place}) 50%,transparent) 0 5px,"
        f"color-mix(in srgb,var(--c{(place + 1) % COLOURS}) 50%,transparent) 5px 10px)}}"
        for place in range(COLOURS)
    )
)


def view_chunks(handle: Chunks) -> dict[str, str]:
    """Return what the chunks cost; where there are any, also their sizes and some documents with their chunks."""
    summary = paragraphs(
        f"# Chunks for {escape_markdown(handle.index)}",
        f"**{_headline(handle)}**",
        markdown_table(["", "count"], _rows(handle)),
    )
    if not handle.chunks:
        return {"summary.md": summary}
    # One window is told in tokens; the chunks of several are alike only in what they fill of theirs.
    scale, axis = (handle.window, "tokens") if len(handle.windows) <= 1 else (100, "% of the window")
    sizes = {_size_label(step, scale): count for step, count in enumerate(handle.token_counts)}
    drawn = page(
        f"Chunks for {handle.index}",
        cards(_figures(handle)),
        side_by_side(
            charts.columns("Size of the chunks", sizes, "chunk", axis),
            charts.bars("What becomes of them", _fate(handle), "chunk"),
        ),
        heading("Documents and their chunks"),
        note(_colours_of(handle)),
        *(_split(document) for document in handle.samples),
        style=_STYLE,
    )
    return {"summary.md": summary, "chunks.html": drawn}


def describe_chunks(handle: Chunks) -> dict[str, Any]:
    """Return figures for the metadata."""
    names = ("documents", "deleted_documents", "chunks", "new", "moved", "unchanged", "parents", "stale", "characters")
    return {
        "index": handle.index,
        "collection": handle.collection,
        "version": handle.version,
        "version_before": handle.since,
        **{name: getattr(handle, name) for name in names},
        "characters_dropped": handle.dropped_characters,
        "window_tokens": handle.window,
        **({"windows_tokens": ", ".join(map(str, handle.windows))} if len(handle.windows) > 1 else {}),
        "longest_tokens": handle.longest,
        "token_limit": handle.token_limit,
        "seconds": round(handle.seconds, 3),
    }


def _headline(handle: Chunks) -> str:
    span = f"from version {handle.since} to {handle.version}"
    if handle.since == handle.version:
        span = f"at version {handle.version}"
    if not (handle.documents or handle.deleted_documents):
        return f"No document of this index changed {span}."
    gone = f"; {counted(handle.deleted_documents, 'document')} gone" if handle.deleted_documents else ""
    cost = f"{handle.new:,} of them are new" if handle.new else "none of them is new"
    changed = f"{counted(handle.documents, 'document')} changed"
    return f"{changed} {span} and gave {counted(handle.chunks, 'chunk')}: {cost}{gone}."


def _figures(handle: Chunks) -> dict[str, object]:
    parents = {"parents": handle.parents} if handle.parents else {}
    return {
        "documents": handle.documents,
        **parents,
        "chunks": handle.chunks,
        "new": handle.new,
        "longest": handle.longest,
    }


def _colours_of(handle: Chunks) -> str:
    shared = "stripes are text that two of them share. Point at a text to see its chunk."
    if handle.parents:
        return f"Each parent has its colour, and each of its chunks a bar at its start; {shared}"
    if any(chunk.size is not None for document in handle.samples for chunk in document.chunks):
        return f"Each document is shown once for every size. Each chunk has its colour; {shared}"
    return f"Each chunk has its colour; {shared}"


def _fate(handle: Chunks) -> dict[str, int]:
    fate = {"new": handle.new, "moved": handle.moved, "as they were": handle.unchanged, "stale": handle.stale}
    return {name: count for name, count in fate.items() if count}


def _rows(handle: Chunks) -> list[list[object]]:
    return [
        ["documents chunked", handle.documents],
        ["documents gone", handle.deleted_documents],
        ["chunks", handle.chunks],
        ["new: to be embedded and written", handle.new],
        ["moved: payload to be updated", handle.moved],
        ["as they were", handle.unchanged],
        *_parent_rows(handle),
        ["stale: to be removed", handle.stale],
        ["longest chunk, tokens", handle.longest],
        ["the model's limit, tokens", handle.token_limit],
        ["characters", handle.characters],
        ["white space dropped, characters", handle.dropped_characters],
    ]


def _parent_rows(handle: Chunks) -> list[list[object]]:
    if not handle.parents:
        return []
    return [
        ["parents", handle.parents],
        ["new parents: to be written", handle.new_parents],
        ["moved parents: payload to be updated", handle.moved_parents],
    ]


def _split(document: SampledDocument) -> str:
    cut = f", the first {len(document.text):,} are shown" if document.characters > len(document.text) else ""
    facts = f"{document.category} · {document.characters:,} characters{cut}"
    sizes = dict.fromkeys(chunk.size for chunk in document.chunks)
    return (
        f"<div class=sample{of_document(document.document_id)}><h3>{shown(document.title)}</h3>"
        f'<div class="quiet small">{shown(facts)}</div><div class=id>{shown(document.document_id)}</div>'
        f"{''.join(_drawn(document, size) for size in sizes)}</div>"
    )


def _drawn(document: SampledDocument, size: int | None) -> str:
    """Return the text beside its chunks of one size, or beside their parents."""
    chunks = [chunk for chunk in document.chunks if chunk.size == size]
    legend = "".join(
        f"<li><span class='swatch s{chunk.position % COLOURS}'></span>{shown(text)}</li>"
        for chunk, text in ([(parent, _family(parent, chunks)) for parent in document.parents] or _told(chunks))
    )
    name = "" if size is None else f"<h3>{size:,} tokens</h3>"
    return f"{name}<div class=split><pre>{_coloured(document.text, chunks)}</pre><ul class=legend>{legend}</ul></div>"


def _coloured(text: str, chunks: Sequence[SampledChunk]) -> str:
    """Return the text, cut at every border of a chunk; each piece says which chunks hold it."""
    length = len(text)
    borders = {0, length, *(min(end, length) for chunk in chunks for end in (chunk.start, chunk.end))}
    pieces = []
    for start, end in pairwise(sorted(borders)):
        holding = [chunk for chunk in chunks if chunk.start <= start and end <= chunk.end]
        # The piece that the sample's end cuts off belongs to the chunks that go on behind it.
        piece = shown(text[start:end], length)
        if not holding:
            pieces.append(piece)
            continue
        told = " and ".join(_described(chunk) for chunk in holding[:3])
        pieces.append(f'<span class={_kind(holding, start)} title="{shown(told, 600)}">{piece}</span>')
    return "".join(pieces)


def _kind(holding: Sequence[SampledChunk], start: int) -> str:
    """Return the class of a piece of text that begins at ``start``."""
    first = holding[0]
    kind = "k"
    if len(holding) > 1:
        kind = "o"
    elif first.parent is not None and first.start == start:
        kind = "b"
    return f"{kind}{(first.position if first.parent is None else first.parent) % COLOURS}"


def _told(chunks: Sequence[SampledChunk]) -> list[tuple[SampledChunk, str]]:
    return [(chunk, _described(chunk)) for chunk in chunks]


def _family(parent: SampledChunk, chunks: Sequence[SampledChunk]) -> str:
    children = sum(chunk.parent == parent.position for chunk in chunks)
    return f"{_described(parent, 'parent')}, {counted(children, 'chunk')}"


def _described(chunk: SampledChunk, kind: str = "chunk") -> str:
    path = f", {chunk.heading_path}" if chunk.heading_path else ""
    within = f", of parent {chunk.parent}" if chunk.parent is not None else ""
    place = f"{counted(chunk.tokens, 'token')}, characters {chunk.start:,}-{chunk.end:,}"
    return f"{kind} {chunk.position}: {place}{within}{path}"


def _size_label(step: int, window: int) -> str:
    # Rounded up: the first size that `tokens * 10 // window` counts in this step.
    low, following = -(-step * window // _TENTHS), -(-(step + 1) * window // _TENTHS)
    return f"{low} to {following}" if following <= window else f"{low} and more"
