"""How fast the last runs were, by stage: what the time of the next one is estimated from."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from steps.report.summary import RunSummary

RUNS = 20

Throughput = dict[str, float]
"""Stage to units a second: documents read, documents cleaned, chunks cut, texts embedded, points touched."""


def read_throughput(reports_folder: Path, runs: int = RUNS) -> Throughput:
    """Return the throughput of the last ``runs`` runs together; a stage that did nothing in them is left out.

    Reports of other releases, which may have other fields, are left out.
    """
    units: Counter[str] = Counter()
    seconds: dict[str, float] = defaultdict(float)
    for summary in newest_summaries(reports_folder, runs):
        for stage, done in units_of(summary).items():
            if done:
                units[stage] += done
                seconds[stage] += summary.seconds.get(stage, 0.0)
    return {stage: done / seconds[stage] for stage, done in units.items() if seconds[stage] > 0}


def newest_summaries(reports_folder: Path, runs: int = RUNS) -> Iterator[RunSummary]:
    """Yield what the last ``runs`` runs reported, the newest first; reports of other releases are left out."""
    newest = sorted(reports_folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)[:runs]
    for path in newest:
        with suppress(ValidationError):
            yield RunSummary.model_validate_json(path.read_bytes())


def units_of(summary: RunSummary) -> dict[str, int]:
    """Return the units of work that each stage of a run did."""
    counts, branches = summary.categories.values(), summary.indexes
    return {
        "extract": sum(count.read for count in counts),
        "clean": sum(count.added + count.changed + count.metadata_changed for count in counts),
        "chunk": sum(branch.chunks for branch in branches),
        "embed": sum(branch.embedded for branch in branches),
        "load": sum(branch.written + branch.updated + branch.removed for branch in branches),
    }
