"""The report of a run as an artifact: the summary in words, and its figures by stage."""

from collections.abc import Iterator

from feature_store.handles import ProvenPromise, RunReport, StageFigures
from steps.report.summary import DOCUMENT_COUNTS, Branch, RunSummary, headline, to_markdown

_CLEANED = ("added", "changed", "metadata_changed", "newly_rejected")
_POINT_COUNTS = ("chunks", "embedded", "reused", "written", "updated", "removed", "points")


def to_report(summary: RunSummary) -> RunReport:
    """Return the report of a run from its summary."""
    documents = {field: _total(summary, field) for field in DOCUMENT_COUNTS}
    points = {field: sum(getattr(branch, field) for branch in summary.indexes) for field in _POINT_COUNTS}
    return RunReport(
        run_id=summary.run_id,
        headline=headline(summary),
        markdown=to_markdown(summary),
        version_before=summary.version_before,
        version=summary.version,
        changed=not summary.changed_nothing(),
        counts={**documents, **points, "duplicates": summary.duplicates, "quality_findings": len(summary.quality)},
        promises=[ProvenPromise(**invariant.model_dump()) for invariant in summary.invariants],
        stages=list(_stages(summary)),
    )


def _stages(summary: RunSummary) -> Iterator[StageFigures]:
    cleaned = sum(_total(summary, field) for field in _CLEANED)
    yield StageFigures(
        stage="extract", seconds=summary.seconds.get("extract", 0.0), rows=_total(summary, "read"), unit="document"
    )
    yield StageFigures(stage="clean", seconds=summary.seconds.get("clean", 0.0), rows=cleaned, unit="document")
    for branch in summary.indexes:
        for stage, (rows, unit) in _rows(branch).items():
            seconds = branch.seconds.get(stage, 0.0)
            yield StageFigures(stage=stage, index=branch.index, seconds=seconds, rows=rows, unit=unit)
    if summary.serving:
        kept = sum(item.written + item.updated + item.removed for item in summary.serving)
        yield StageFigures(stage="serve", seconds=summary.seconds.get("serve", 0.0), rows=kept, unit="point")


def _rows(branch: Branch) -> dict[str, tuple[int, str]]:
    return {
        "chunk": (branch.chunks, "chunk"),
        "embed": (branch.embedded, "text"),
        "load": (branch.written + branch.updated + branch.removed, "point"),
    }


def _total(summary: RunSummary, field: str) -> int:
    return sum(getattr(counts, field) for counts in summary.categories.values())
