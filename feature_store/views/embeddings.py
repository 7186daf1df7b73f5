"""What a person sees of the embeddings of an index: what was embedded, and where it lies."""

from typing import Any

from feature_store.handles import Embeddings
from feature_store.views import charts
from feature_store.views.page import cards, note, page
from feature_store.views.text import counted, escape_markdown, markdown_table, paragraphs


def view_embeddings(handle: Embeddings) -> dict[str, str]:
    """Return how many texts were embedded and how many reused; with new chunks, also a map of them."""
    summary = paragraphs(
        f"# Embeddings for {escape_markdown(handle.index)}",
        f"**{_headline(handle)}**",
        markdown_table(["", "value"], _rows(handle)),
    )
    shown = sum(point.document_id is not None for point in handle.samples)
    if not shown:
        return {"summary.md": summary}
    drawn = page(
        f"Map of the embeddings for {handle.index}",
        cards({"new chunks": handle.chunks, "embedded": handle.embedded, "reused": handle.reused}),
        note(
            f"{counted(shown, 'new chunk')} of {handle.chunks:,} in the plane of the two principal components of what "
            "is shown: what lies close together reads alike. Point at one to see its document. Grey dots are other "
            "texts that this encoder has embedded."
        ),
        charts.scatter("By category", handle.samples),
    )
    return {"summary.md": summary, "map.html": drawn}


def describe_embeddings(handle: Embeddings) -> dict[str, Any]:
    """Return figures for the metadata."""
    return {
        "index": handle.index,
        "collection": handle.collection,
        "version": handle.version,
        "version_before": handle.since,
        "chunks": handle.chunks,
        "embedded": handle.embedded,
        "reused": handle.reused,
        "texts_per_second": round(_rate(handle), 1) if handle.embedded else None,
        "tokens": handle.tokens or None,
        "tokens_per_second": round(handle.tokens / handle.seconds, 1) if handle.tokens and handle.seconds else None,
        "model": handle.model,
        "dimension": handle.dimension,
        "precisions": ", ".join(handle.precisions) or None,
        "encoder_fingerprint": handle.encoder_fingerprint,
        "seconds": round(handle.seconds, 3),
    }


def _headline(handle: Embeddings) -> str:
    if not handle.chunks:
        return "No chunk is new: nothing was embedded."
    texts = counted(handle.embedded, "text")
    return f"{counted(handle.chunks, 'new chunk')}: {texts} embedded, {handle.reused:,} had a vector already."


def _rows(handle: Embeddings) -> list[list[object]]:
    return [
        ["chunks", handle.chunks],
        ["texts embedded", handle.embedded],
        ["texts reused", handle.reused],
        ["texts a second", _rate(handle) if handle.embedded else "-"],
        ["tokens a second", round(handle.tokens / handle.seconds) if handle.tokens and handle.seconds else "-"],
        ["model", handle.model],
        ["dimensions", handle.dimension],
        ["precision", ", ".join(handle.precisions) or "-"],
        ["encoder fingerprint", handle.encoder_fingerprint],
    ]


def _rate(handle: Embeddings) -> float:
    return handle.embedded / handle.seconds if handle.seconds else 0.0
