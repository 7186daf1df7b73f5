"""The report of a run as an artifact: the summary in words, and its figures by stage."""

from feature_store.handles import ProvenPromise, RunReport
from steps.report.summary import DOCUMENT_COUNTS, RunSummary, headline, to_markdown

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
        stages=summary.stages,
        seconds=summary.run_seconds,
    )


def _total(summary: RunSummary, field: str) -> int:
    return sum(getattr(counts, field) for counts in summary.categories.values())
