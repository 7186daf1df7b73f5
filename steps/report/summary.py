"""The summary of a run: what was added, changed, deleted, rejected, embedded and reused, and the proven invariants."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from feature_store.errors import ReconciliationError
from feature_store.handles import (
    Chunks,
    CleanCounts,
    CleanedDocuments,
    Embeddings,
    IndexReport,
    QualityFinding,
    RawDocuments,
    ServedIndex,
    ServingReport,
    StageFigures,
)
from feature_store.store import IS_LIVE
from feature_store.versions import now
from feature_store.views.profile import PROFILE_HEADER, describe_profile, profile_rows
from feature_store.views.text import escape_markdown
from steps.report.stages import stage_figures

BRANCH_COUNTS = (
    "documents",
    "chunks",
    "unchanged",
    "moved",
    "embedded",
    "reused",
    "written",
    "updated",
    "removed",
    "points",
)
DOCUMENT_COUNTS = ("read", "added", "changed", "metadata_changed", "unchanged", "deleted", "held_back", "rejected")


class Branch(BaseModel):
    """What the run did for one index.

    ``chunks`` are those of the documents that changed. ``unchanged`` ones cost nothing, for ``moved`` ones the payload
    is written (``updated``); texts of the others were ``embedded``, or ``reused`` where they had a vector.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: str
    collection: str
    version_before: int
    version: int
    documents: int
    chunks: int
    unchanged: int
    moved: int
    embedded: int
    reused: int
    written: int
    updated: int
    removed: int
    points: int
    precisions: list[str]
    seconds: dict[str, float]


class CaptureSummary(BaseModel):
    """How the changes of one category were found, and why so; ``more`` says that others wait in the source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: str
    whole: bool
    reason: str
    compared_ids: int
    more: bool


class Invariant(BaseModel):
    """A promise, with the figures that prove it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    holds: bool
    figures: str


class RunSummary(BaseModel):
    """Everything worth telling of a run.

    ``quality`` is what it found other than expected, and went on; ``serving`` says which collections serve now.
    ``seconds`` are those of each kind of stage, ``stages`` has what each one did and cost, ``run_seconds`` are those
    since the run began, up to its report (0: not known). ``config_fingerprint`` names its configuration.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    finished_at: datetime
    version_before: int | None
    version: int
    categories: dict[str, CleanCounts]
    captures: dict[str, CaptureSummary]
    duplicates: int
    indexes: list[Branch]
    invariants: list[Invariant]
    seconds: dict[str, float]
    quality: list[QualityFinding] = Field(default_factory=list)
    serving: list[ServedIndex] = Field(default_factory=list)
    stages: list[StageFigures] = Field(default_factory=list)
    run_seconds: float = 0.0
    config_fingerprint: str = ""

    def changed_nothing(self) -> bool:
        """Return whether the run found everything up to date."""
        same_version = self.version == self.version_before
        written = any(branch.written or branch.updated or branch.removed for branch in self.indexes)
        kept = any(item.written or item.updated or item.removed for item in self.serving)
        promoted = any(item.outcome == "promoted" for item in self.serving)
        return same_version and not (written or kept or promoted)

    def refused(self) -> list[str]:
        """Return the indexes whose new collection was refused by its gate."""
        return [item.index for item in self.serving if item.outcome == "refused"]

    def held_back(self) -> dict[str, int]:
        """Return the number of deletions that were held back, by category."""
        return {name: counts.held_back for name, counts in self.categories.items() if counts.held_back}


def summarise_run(
    run_id: str,
    raw: RawDocuments,
    cleaned: CleanedDocuments,
    stages: Sequence[tuple[Chunks, Embeddings, IndexReport]],
    serving: ServingReport,
    run_seconds: float = 0.0,
) -> RunSummary:
    """Return the summary of a run, which took ``run_seconds`` so far, from what its stages handed on.

    Raises:
        ReconciliationError: if a promise does not hold.
    """
    branches = [summarise_branch(*stage) for stage in stages]
    return RunSummary(
        run_id=run_id,
        finished_at=now(),
        version_before=cleaned.previous_version,
        version=cleaned.version,
        categories=cleaned.categories,
        captures={
            name: CaptureSummary(**capture.model_dump(include=set(CaptureSummary.model_fields)))
            for name, capture in raw.captures.items()
        },
        duplicates=cleaned.store().count_duplicates(cleaned.at()),
        indexes=branches,
        invariants=prove_invariants(raw, cleaned, stages),
        seconds={**stage_seconds(raw, cleaned, branches), "serve": serving.seconds},
        quality=cleaned.quality,
        serving=serving.indexes,
        stages=stage_figures(raw, cleaned, stages, serving),
        run_seconds=run_seconds,
        config_fingerprint=cleaned.config_fingerprint,
    )


def summarise_branch(chunks: Chunks, embeddings: Embeddings, report: IndexReport) -> Branch:
    """Return what the three stages of one index did, in one record."""
    return Branch(
        index=report.index,
        collection=report.collection,
        version_before=report.version_before,
        version=report.version,
        documents=chunks.documents,
        chunks=chunks.chunks,
        unchanged=chunks.unchanged,
        moved=chunks.moved,
        embedded=embeddings.embedded,
        reused=embeddings.reused,
        written=report.written,
        updated=report.updated,
        removed=report.removed,
        points=report.points,
        precisions=embeddings.precisions,
        seconds={"chunk": chunks.seconds, "embed": embeddings.seconds, "load": report.seconds},
    )


def prove_invariants(
    raw: RawDocuments, cleaned: CleanedDocuments, branches: Sequence[tuple[Chunks, Embeddings, IndexReport]]
) -> list[Invariant]:
    """Compare the figures of the run with each other and with the tables.

    Raises:
        ReconciliationError: if one does not hold; the message names it with its figures.
    """
    invariants = [_everything_is_accounted_for(raw, cleaned)]
    for chunks, embeddings, report in branches:
        invariants += [
            Invariant(
                name=f"{chunks.index}: the chunks cover their documents",
                holds=True,  # the chunk step fails on the first document for which it is not so
                figures=f"{chunks.characters:,} characters, {chunks.dropped_characters:,} of white space dropped",
            ),
            Invariant(
                name=f"{chunks.index}: no chunk is longer than the model's limit",
                holds=chunks.longest <= chunks.token_limit,
                figures=f"longest {chunks.longest} of {chunks.token_limit} tokens",
            ),
            Invariant(
                name=f"{chunks.index}: every new chunk has its vector",
                holds=embeddings.chunks == chunks.new,
                figures=f"{chunks.new:,} new chunks, {embeddings.chunks:,} with vectors",
            ),
            Invariant(
                name=f"{report.index}: points = chunks at version {report.version}",
                holds=report.points == report.expected_points and report.version == cleaned.version,
                figures=f"{report.points:,} points, {report.expected_points:,} chunks",
            ),
        ]
    broken = [f"{invariant.name} ({invariant.figures})" for invariant in invariants if not invariant.holds]
    if broken:
        raise ReconciliationError(
            f"The run ended, but does not add up: {'; '.join(broken)}.", "Please report this: it is a defect."
        )
    return invariants


def _everything_is_accounted_for(raw: RawDocuments, cleaned: CleanedDocuments) -> Invariant:
    version, store = cleaned.at(), cleaned.store()
    before = added = deleted = kept = rejected = 0
    for name, capture in raw.captures.items():
        counts = raw.categories[name]
        before += capture.held_before
        added += counts.added
        deleted += counts.deleted
        kept += store.count_documents(version, f"category = '{name}' AND {IS_LIVE}")
        rejected += int(store.rejects(version).count_rows(filter=f"category = '{name}'"))
    return Invariant(
        name="documents before + added - deleted = kept + rejected",
        holds=before + added - deleted == kept + rejected,
        figures=f"{before:,} before, {added:,} added, {deleted:,} deleted, {kept:,} kept, {rejected:,} rejected",
    )


def stage_seconds(raw: RawDocuments, cleaned: CleanedDocuments, branches: Sequence[Branch]) -> dict[str, float]:
    """Return the seconds of each stage, those of the indexes added up."""
    seconds = {"extract": raw.seconds, "clean": cleaned.seconds}
    for branch in branches:
        for stage, value in branch.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + value
    return seconds


def to_lines(summary: RunSummary) -> list[str]:
    """Return the summary in a few lines for a log."""
    lines = [headline(summary)]
    for name, counts in summary.categories.items():
        figures = ", ".join(f"{getattr(counts, field):,} {field.replace('_', ' ')}" for field in DOCUMENT_COUNTS)
        lines.append(f"{name}: {figures}")
    lines += [describe_capture(name, capture) for name, capture in summary.captures.items()]
    lines += describe_quality(summary)
    lines += [
        f"{branch.index}: {branch.chunks:,} chunks ({branch.unchanged:,} unchanged, {branch.moved:,} moved), "
        f"{branch.embedded:,} texts embedded, {branch.reused:,} reused, {branch.written:,} points written, "
        f"{branch.updated:,} updated, {branch.removed:,} removed, {branch.points:,} points"
        for branch in summary.indexes
    ]
    return [*lines, *describe_serving(summary)]


def describe_serving(summary: RunSummary) -> list[str]:
    """Return a line for each index with more to tell than that its one collection serves."""
    return [line for item in summary.serving for line in _serving_lines(item)]


def _serving_lines(item: ServedIndex) -> Iterator[str]:
    if item.outcome == "promoted":
        checks = f"{len(item.checks)} checks"
        yield f"{item.index}: {item.collection} was promoted after {checks}, in the place of {item.previous}"
    elif item.outcome == "refused":
        yield f"{item.index}: {item.candidate} was refused by its gate, {item.collection} serves on: {item.reason}"
    elif item.outcome != "serves":
        yield f"{item.index}: {item.candidate} waits, {item.collection} serves on: {item.reason}"
    if item.problem:
        yield (
            f"{item.index}: {item.collection} serves at version {item.version} and lacks the changes of {item.lag:,} "
            f"documents since, deletions included, for it cannot be kept up to date here. {item.problem}"
        )
    elif item.candidate and (item.written or item.updated or item.removed):
        yield (
            f"{item.index}: {item.collection} was kept up to date: {item.embedded:,} texts embedded, {item.written:,} "
            f"points written, {item.updated:,} updated, {item.removed:,} removed"
        )


def describe_capture(category: str, capture: CaptureSummary) -> str:
    """Return a sentence: how the changes of a category were found, and why so."""
    more = " More changes wait in the source: run again." if capture.more else ""
    return f"{category}: captured by {capture.mode}; {capture.reason}.{more}"


def describe_held_back(summary: RunSummary) -> list[str]:
    """Return a line for each category whose deletions were held back, with the way to approve them."""
    return [
        f"{name}: {count:,} deletions were held back: more than the guard lets through. Look whether the source is as "
        f"it should be; if it is: feature-pipeline run --approve-deletions {name}={count}"
        for name, count in summary.held_back().items()
    ]


def describe_changes(summary: RunSummary) -> str:
    """Return a sentence: how many documents changed, and what that cost; it names only what there was."""
    documents = {
        field: sum(getattr(counts, field) for counts in summary.categories.values())
        for field in ("added", "changed", "metadata_changed", "deleted", "newly_rejected")
    }
    work = {
        field: sum(getattr(branch, field) for branch in summary.indexes)
        for field in ("embedded", "reused", "written", "updated", "removed")
    }
    told = [
        f"{what}: " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count)
        for what, counts in (("documents", documents), ("texts and points", work))
        if any(counts.values())
    ]
    return f"{'; '.join(told).capitalize()}." if told else ""


def describe_quality(summary: RunSummary) -> list[str]:
    """Return a line for each expectation of the configuration that the documents do not fulfil."""
    return [f"not as expected: {finding}" for finding in summary.quality]


def to_markdown(summary: RunSummary) -> str:
    """Return the summary as Markdown tables."""
    lines = [
        "# Run report",
        "",
        f"**{headline(summary)}** {describe_changes(summary)} Finished {summary.finished_at:%Y-%m-%d %H:%M} UTC.",
        "",
        "## Documents",
        "",
        *_table(["category", *DOCUMENT_COUNTS], [_category_row(item) for item in summary.categories.items()]),
        "",
        *(
            f"**{escape_markdown(line, 1000)}**\n"
            for line in (*describe_held_back(summary), *describe_quality(summary))
        ),
        f"{summary.duplicates:,} live documents have a text that another one has too.",
        "",
        "## How changes were found",
        "",
        *(f"- {escape_markdown(describe_capture(*item), 1000)}" for item in summary.captures.items()),
        "",
        "## Indexes",
        "",
        *_table(["index", "collection", *BRANCH_COUNTS], [_branch_row(branch) for branch in summary.indexes]),
        "",
        *(f"- {escape_markdown(line, 1000)}" for line in describe_serving(summary)),
        "",
        "## Invariants",
        "",
        *_table(
            ["promise", "holds", "figures"],
            [[item.name, "yes" if item.holds else "no", item.figures] for item in summary.invariants],
        ),
        "",
        "## Where the time went",
        "",
        *_table(PROFILE_HEADER, profile_rows(summary.stages, summary.run_seconds)),
        "",
        *describe_profile(summary.stages),
    ]
    return "\n".join(lines) + "\n"


def headline(summary: RunSummary) -> str:
    """Return one sentence: what the run moved from where to where."""
    if summary.changed_nothing():
        return f"Everything was up to date at version {summary.version}."
    if summary.version == summary.version_before:
        return f"No document changed; the indexes were brought to version {summary.version}."
    before = "nothing" if summary.version_before is None else f"version {summary.version_before}"
    return f"From {before} to version {summary.version}."


def _category_row(item: tuple[str, CleanCounts]) -> list[object]:
    name, counts = item
    return [name, *(getattr(counts, field) for field in DOCUMENT_COUNTS)]


def _branch_row(branch: Branch) -> list[object]:
    return [branch.index, branch.collection, *(getattr(branch, field) for field in BRANCH_COUNTS)]


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    cells = [[f"{value:,}" if isinstance(value, int) else str(value) for value in row] for row in rows]
    escaped = [[escape_markdown(cell) for cell in row] for row in (header, *cells)]
    return [f"| {' | '.join(row)} |" for row in (escaped[0], ["---"] * len(header), *escaped[1:])]
