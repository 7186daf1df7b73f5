"""Capture by hash: every document is read and compared. It works on any collection, and judges the other modes."""

from steps.extract.compare import Comparison
from steps.extract.source import Outcome, Source, compare_everything


def capture_by_hash(source: Source, comparison: Comparison) -> Outcome:
    """Compare every document. The positions of other modes stay: they find their own way from there."""
    return compare_everything(source, comparison, "this mode reads every document")


def hash_waits(source: Source, comparison: Comparison) -> bool:
    """Return whether a document differs: only reading everything tells, but that is less than a run."""
    compare_everything(source, comparison, "")
    comparison.flush()
    differing = comparison.counts["added"] + comparison.counts["changed"]
    return bool(differing or len(comparison.candidates - comparison.seen))
