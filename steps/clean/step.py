"""The ZenML step that cleans documents and commits them to the feature store."""

from typing import Annotated

from loguru import logger
from zenml import ArtifactConfig, step

from feature_store.commit import RunDescription
from feature_store.config import CategoryConfig, CleaningConfig, ExecutorConfig, RunOptions
from feature_store.executors.opening import open_executor
from feature_store.handles import CleanedDocuments, RawDocuments
from feature_store.materializers import HandleMaterializer
from feature_store.parts import list_parts
from feature_store.profile import Meter
from feature_store.store import open_feature_store
from steps.clean.apply import clean_changes
from steps.clean.language import forget_model
from steps.runtime import run_id, start_stage
from warehouse.connection import open_warehouse
from warehouse.outbox import mark_done


@step(enable_cache=False, output_materializers=HandleMaterializer)
def clean(
    raw_documents: RawDocuments,
    categories: list[CategoryConfig],
    cleaning: CleaningConfig,
    config_fingerprint: str,
    executor: ExecutorConfig,
    options: RunOptions,
) -> Annotated[CleanedDocuments, ArtifactConfig(name="cleaned_documents", tags=["feature-store"])]:
    """Clean what was read and make it the next version of the feature store."""
    settings, run_folder = start_stage()
    meter = Meter()
    store = open_feature_store(settings.feature_store_folder)
    run = RunDescription(run_id(), config_fingerprint, message=options.message)
    folder, accepted = run_folder / "clean", options.accepted_quality
    with open_executor(executor) as workers:
        cleaned = clean_changes(store, raw_documents, categories, cleaning, folder, run, accepted, workers)
    forget_model()
    logger.info("The feature store is at version {}", cleaned.version)
    entries = list_parts(raw_documents.folder, "outbox")
    if entries:
        with open_warehouse(settings) as database:
            marked = mark_done(database, cleaned.at().store_id, entries)
        logger.info("{:,} entries of outboxes are done", marked)
    return cleaned.model_copy(update=meter.read())
