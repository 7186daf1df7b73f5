"""The feature pipeline: warehouse to feature store, and from there one branch for each index."""

from pathlib import Path
from typing import Any

from zenml.enums import ExecutionMode
from zenml.models import PipelineRunResponse
from zenml.pipelines.pipeline_definition import Pipeline

from feature_store import lock
from feature_store.config import (
    CategoryConfig,
    CleaningConfig,
    DeletionGuard,
    ExecutorConfig,
    PipelineConfig,
    RunOptions,
    load_config,
)
from feature_store.errors import PlanOutdatedError
from feature_store.executors import opening
from feature_store.index_config import IndexConfig
from feature_store.settings import load_settings
from pipelines.light import LightPipeline
from pipelines.serve import serve
from steps.chunk.step import chunk
from steps.clean.rules import CLEANING_VERSION
from steps.clean.step import clean
from steps.embed.step import embed
from steps.extract.step import extract
from steps.load.step import load
from steps.preflight.step import preflight
from steps.report.step import report
from warehouse import keeping

_GUARD = DeletionGuard()
_NO_OPTIONS = RunOptions()
_EXECUTOR = ExecutorConfig()


class CheckedPipeline(LightPipeline):
    """A pipeline that refuses a configuration file with misspelt keys, which ZenML would ignore in silence."""

    def __call__(self, *args: Any, **kwargs: Any) -> PipelineRunResponse | None:
        with keeping.kept_between_steps(), opening.kept_between_steps():
            return super().__call__(*args, **kwargs)

    def with_options(self, *args: Any, **options: Any) -> Pipeline:
        if options.get("config_path") is not None:
            load_config(Path(options["config_path"]))
        return super().with_options(*args, **options)


def run_stages(
    categories: list[CategoryConfig],
    cleaning: CleaningConfig,
    indexes: list[IndexConfig],
    deletions: DeletionGuard = _GUARD,
    executor: ExecutorConfig = _EXECUTOR,
    options: RunOptions = _NO_OPTIONS,
) -> None:
    """Bring the feature store and every index to the state of the warehouse."""
    config = PipelineConfig(
        categories=categories,
        cleaning=cleaning,
        deletions=deletions,
        indexes=indexes,
        executor=executor,
        options=options,
    )
    require_same_configuration(config)
    preflight(categories, indexes, executor, options)
    raw_documents = extract(categories, cleaning.fingerprint(CLEANING_VERSION), deletions, options, after=["preflight"])
    cleaned_documents = clean(raw_documents, categories, cleaning, config.fingerprint(), executor, options)
    chunks, embeddings, index_reports = [], [], []
    for index in indexes:
        chunks.append(chunk(cleaned_documents, index, executor, id=f"chunk_{index.name}"))
        embeddings.append(embed(chunks[-1], index, executor, id=f"embed_{index.name}"))
        index_reports.append(load(embeddings[-1], cleaned_documents, index, categories, id=f"load_{index.name}"))
    serving_report = serve(cleaned_documents, index_reports, indexes, categories, executor)
    report(raw_documents, cleaned_documents, chunks, embeddings, index_reports, serving_report)


def require_same_configuration(config: PipelineConfig) -> None:
    """Refuse a plan that was made for another configuration.

    Raises:
        PlanOutdatedError: before anything was started.
    """
    plan = config.options.plan
    if plan is not None and plan.config_fingerprint != config.fingerprint():
        raise PlanOutdatedError("The plan was made for another configuration.", "Make a new plan.")


def release_lock() -> None:
    """Give the lock of the data folder back after a failure; a process that dies loses it anyway."""
    lock.release(load_settings().data_dir)


feature_pipeline = CheckedPipeline(
    name="feature_pipeline",
    entrypoint=run_stages,
    enable_cache=False,  # the feature store knows what has changed; ZenML cannot
    execution_mode=ExecutionMode.FAIL_FAST,
    on_failure=release_lock,
)
