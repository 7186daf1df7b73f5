"""The report: versions, runs, indexes, exports and quality over time, as one HTML page that needs nothing else.

It holds figures and names only, no text of a document.
"""

import webbrowser
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from feature_store import versions
from feature_store.config import PipelineConfig
from feature_store.errors import ConfigurationError, PipelineError
from feature_store.exports import ExportRecord, list_exports
from feature_store.handles import ResourceUse
from feature_store.history import list_versions
from feature_store.quality import Profile, read_profiles
from feature_store.settings import Settings
from feature_store.store import open_feature_store
from pipelines.status import IndexStatus, describe_status, describe_store

RUNS = 500  # the newest ones
CHANGES = ("added", "changed", "metadata_changed", "deleted", "newly_rejected")


class VersionRow(BaseModel):
    """One version: its number of documents, and what the run that made it changed."""

    number: int
    created_at: datetime
    message: str
    documents: int
    changes: dict[str, int]
    tags: list[str]
    releases: list[str]


class _PastBranch(BaseModel):
    model_config = ConfigDict(extra="ignore")

    embedded: int = 0
    reused: int = 0
    written: int = 0
    updated: int = 0
    removed: int = 0


class _PastStage(BaseModel):
    """What is read again of a stage; releases before this one did not note it."""

    model_config = ConfigDict(extra="ignore")

    seconds: float = 0.0
    tokens: int = 0
    gemm_share: float | None = None
    use: ResourceUse = Field(default_factory=ResourceUse)


class _PastRun(BaseModel):
    """The part of a run's summary that is told, whichever release wrote it."""

    model_config = ConfigDict(extra="ignore")

    run_id: str
    finished_at: datetime
    version: int
    version_before: int | None = None
    seconds: dict[str, float] = Field(default_factory=dict)
    indexes: list[_PastBranch] = Field(default_factory=list)
    stages: list[_PastStage] = Field(default_factory=list)


class RunRow(BaseModel):
    """One run: seconds by stage; texts embedded and reused, points written, updated and removed, of all indexes.

    ``token_rate`` is tokens a second while embedding, ``gemm_share`` the part of the speed of matrix multiplication
    that this reached, ``peak_memory`` the most that the process had in memory, in bytes. None is not known.
    """

    run_id: str
    finished_at: datetime
    version: int
    made_a_version: bool
    seconds: dict[str, float]
    embedded: int
    reused: int
    written: int
    updated: int
    removed: int
    token_rate: float | None = None
    gemm_share: float | None = None
    peak_memory: int | None = None


class ExportRow(BaseModel):
    """One registered training export."""

    export_id: str
    created_at: datetime
    version: int
    since: int | None
    format: str
    documents: int
    tokens: int


class QualityRow(BaseModel):
    """What the documents of one category are like at one version; ``shares`` are those that have a field, 0 to 1."""

    version: int
    category: str
    documents: int
    rejected: int
    mean_characters: int
    shares: dict[str, float]
    languages: dict[str, int]


class Report(BaseModel):
    """Everything that the page shows. ``indexes`` is None where Qdrant could not be asked; ``notes`` say why."""

    made_at: datetime
    documents: int
    rejects: int
    duplicates: int
    versions: list[VersionRow]
    runs: list[RunRow]
    indexes: list[IndexStatus] | None
    exports: list[ExportRow]
    quality: list[QualityRow]
    notes: list[str]


def write_report(settings: Settings, config: PipelineConfig, path: Path) -> Report:
    """Write the page to ``path``, whole or not at all, and return what it shows.

    Raises:
        ConfigurationError: if it cannot be written there.
    """
    from pipelines.report_page import render_report

    report = collect_report(settings, config)
    content = render_report(report)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(content, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        raise ConfigurationError(
            f"The report cannot be written to {path}: {error.strerror}.", "Give another file by --output."
        ) from error
    return report


def open_report(path: Path) -> None:
    """Show the page in the user's browser, where there is one."""
    webbrowser.open(path.resolve().as_uri())


def collect_report(settings: Settings, config: PipelineConfig) -> Report:
    """Return what is known of versions, runs, indexes, exports and quality; oldest first."""
    folder, notes = settings.feature_store_folder, list[str]()
    store = describe_store(open_feature_store(folder))
    return Report(
        made_at=datetime.now(UTC).replace(microsecond=0),
        documents=store.documents,
        rejects=store.rejects,
        duplicates=store.duplicates,
        versions=_versions(settings),
        runs=_runs(settings.reports_folder, notes),
        indexes=_indexes(settings, config, notes),
        exports=[_export(record) for record in list_exports(folder)],
        quality=[
            _quality(number, category, profile)
            for number, profiles in read_profiles(folder).items()
            for category, profile in profiles.items()
        ],
        notes=notes,
    )


def _versions(settings: Settings) -> list[VersionRow]:
    folder = settings.feature_store_folder
    return [
        VersionRow(
            number=summary.number,
            created_at=summary.created_at,
            message=summary.message,
            documents=summary.documents,
            changes={name: versions.read_version(folder, summary.number).counts.get(name, 0) for name in CHANGES},
            tags=summary.tags,
            releases=summary.releases,
        )
        for summary in reversed(list_versions(folder, settings.indexes_folder))
    ]


def _runs(folder: Path, notes: list[str]) -> list[RunRow]:
    newest = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)[-RUNS:]
    rows = []
    for path in newest:
        try:
            rows.append(_run(_PastRun.model_validate_json(path.read_bytes())))
        except ValidationError:
            notes.append(f"The report of a run in {path.name} is damaged; it is left out.")
    return sorted(rows, key=lambda row: row.finished_at)


def _run(run: _PastRun) -> RunRow:
    fields = ("embedded", "reused", "written", "updated", "removed")
    return RunRow(
        run_id=run.run_id,
        finished_at=run.finished_at,
        version=run.version,
        made_a_version=run.version != run.version_before,
        seconds=run.seconds,
        **{field: sum(getattr(branch, field) for branch in run.indexes) for field in fields},
        **_speed(run.stages),
    )


def _speed(stages: Sequence[_PastStage]) -> dict[str, Any]:
    embedding = [stage for stage in stages if stage.tokens and stage.seconds]
    seconds = sum(stage.seconds for stage in embedding)
    shared = [(stage.seconds, stage.gemm_share) for stage in embedding if stage.gemm_share is not None]
    return {
        "token_rate": sum(stage.tokens for stage in embedding) / seconds if embedding else None,
        "gemm_share": sum(time * share for time, share in shared) / sum(time for time, _ in shared) if shared else None,
        "peak_memory": max((stage.use.peak_memory for stage in stages), default=0) or None,
    }


def _indexes(settings: Settings, config: PipelineConfig, notes: list[str]) -> list[IndexStatus] | None:
    try:
        return describe_status(settings, config).indexes
    except PipelineError as error:  # as while a run has the embedded Qdrant open: all the rest can be told
        notes.append(f"The indexes could not be asked. {error}")
        return None


def _export(record: ExportRecord) -> ExportRow:
    told = record.model_dump(include={"export_id", "created_at", "version", "since", "format"})
    counts = {name: record.counts.get(name, 0) for name in ("documents", "tokens")}
    return ExportRow(**told, **counts)


def _quality(version: int, category: str, profile: Profile) -> QualityRow:
    return QualityRow(
        version=version,
        category=category,
        documents=profile.documents,
        rejected=profile.rejected,
        mean_characters=round(profile.share(profile.characters)),
        shares={name: profile.share(count) for name, count in profile.fields.items()},
        languages=profile.languages,
    )
