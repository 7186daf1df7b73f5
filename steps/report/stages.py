"""What each stage of a run did and cost, from what it handed on."""

from collections.abc import Sequence
from typing import Any

from feature_store.handles import (
    Chunks,
    CleanedDocuments,
    Embeddings,
    IndexReport,
    RawDocuments,
    ServingReport,
    StageFigures,
)

_CLEANED = ("added", "changed", "metadata_changed", "newly_rejected")
_Handle = RawDocuments | CleanedDocuments | Chunks | Embeddings | IndexReport | ServingReport


def stage_figures(
    raw: RawDocuments,
    cleaned: CleanedDocuments,
    branches: Sequence[tuple[Chunks, Embeddings, IndexReport]],
    serving: ServingReport,
) -> list[StageFigures]:
    """Return what each stage of a run did and cost, in the order of the stages."""
    counts = cleaned.categories.values()
    figures = [
        _figures("extract", raw, sum(count.read for count in counts), "document"),
        _figures("clean", cleaned, sum(getattr(count, field) for count in counts for field in _CLEANED), "document"),
    ]
    for chunks, embeddings, report in branches:
        touched = report.written + report.updated + report.removed
        model = embeddings.model_dump(include={"tokens", "operations", "gemm_speed"})
        figures += [
            _figures("chunk", chunks, chunks.chunks, "chunk", index=chunks.index),
            _figures("embed", embeddings, embeddings.embedded, "text", index=chunks.index, **model),
            _figures("load", report, touched, "point", index=chunks.index),
        ]
    if serving.indexes:
        kept = sum(item.written + item.updated + item.removed for item in serving.indexes)
        figures.append(_figures("serve", serving, kept, "point"))
    return figures


def _figures(stage: str, handle: _Handle, rows: int, unit: str, **more: Any) -> StageFigures:
    return StageFigures(stage=stage, seconds=handle.seconds, rows=rows, unit=unit, use=handle.use, **more)
