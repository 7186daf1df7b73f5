"""The ZenML step that cleans documents and commits them to the feature store."""

import time
from collections import Counter
from functools import partial
from typing import Annotated

from feature_store.materializers import HandleMaterializer
from loguru import logger
from zenml import ArtifactConfig, step

from feature_store.commit import ChangeSet, RunDescription, commit
from feature_store.config import CategoryConfig, CleaningConfig
from feature_store.handles import CleanedDocuments, RawDocuments
from feature_store.parts import count_rows, list_parts, map_parts
from feature_store.progress import progress
from feature_store.store import open_feature_store
from steps.clean.apply import clean_part, describe_rejects, refuse_too_many_rejects, summed, total_counts
from steps.runtime import run_id, start_step


@step(enable_cache=False, output_materializers=HandleMaterializer)
def clean(
    raw_documents: RawDocuments, categories: list[CategoryConfig], cleaning: CleaningConfig, config_fingerprint: str
) -> Annotated[CleanedDocuments, ArtifactConfig(name="cleaned_documents", tags=["feature-store"])]:
    """Clean what was read and make it the next version of the feature store."""
    settings, run_folder = start_step()
    started = time.monotonic()
    folder = run_folder / "clean"
    store = open_feature_store(settings.feature_store_folder)
    newest = store.newest()
    parts = list_parts(raw_documents.folder, "raw")
    by_name = {category.name: category for category in categories}
    work = partial(
        clean_part,
        store=store,
        categories=by_name,
        cleaning=cleaning,
        version=newest.number + 1 if newest else 1,
        folder=folder,
    )
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in raw_documents.categories}
    with progress("cleaning", count_rows(parts)) as advance:
        for counts in map_parts(work, parts):
            for name, counter in counts.items():
                outcomes[name].update(counter)
            advance(sum(counter.total() for counter in counts.values()))
    for line in describe_rejects(list_parts(folder, "rejects")):
        logger.warning(line)
    changes = ChangeSet(
        documents=list_parts(folder, "documents"),
        rejects=list_parts(folder, "rejects"),
        removed=list_parts(raw_documents.folder, "removed"),
    )
    totals = {name: total_counts(captured, outcomes[name]) for name, captured in raw_documents.categories.items()}
    run = RunDescription(run_id(), config_fingerprint, counts=summed(totals.values()))
    version = commit(store, changes, run, check=partial(refuse_too_many_rejects, cleaning=cleaning))
    logger.info("The feature store is at version {}", version.number)
    return CleanedDocuments(
        folder=store.folder,
        version=version.number,
        previous_version=newest.number if newest else None,
        categories=totals,
        seconds=time.monotonic() - started,
    )
