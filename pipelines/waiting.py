"""Whether a run would find something to do, without starting one: ZenML alone takes seconds for that."""

from collections.abc import Iterator

from pymongo.database import Database

from feature_store.config import PipelineConfig
from feature_store.settings import Settings
from feature_store.store import FeatureStore, open_feature_store
from pipelines.status import IndexStatus, describe_status
from pipelines.throughput import newest_summaries
from steps.clean.rules import CLEANING_VERSION
from steps.extract.apply import CapturePolicy, find_waiting
from steps.extract.source import Document
from warehouse.connection import open_warehouse


def first_reason_to_run(settings: Settings, config: PipelineConfig) -> str | None:
    """Return why a run would have something to do, in a sentence; None where it would change nothing.

    What costs least is looked at first. The warehouse is asked as cheaply as the mode of each category can tell.

    Raises:
        PipelineError: if the warehouse or Qdrant does not answer, or a run has the embedded one open.
    """
    return next(_reasons(settings, config), None)


def waiting_categories(database: Database[Document], store: FeatureStore, config: PipelineConfig) -> Iterator[str]:
    """Yield the names of categories of which a run would have something to look at, asked one after the other.

    Raises:
        PipelineError: if the warehouse does not answer, or a mode cannot do its work.
    """
    policy = CapturePolicy(config.cleaning.fingerprint(CLEANING_VERSION), config.deletions, config.options)
    for category in config.categories:
        if find_waiting(database, store, category, policy):
            yield category.name


def _reasons(settings: Settings, config: PipelineConfig) -> Iterator[str]:
    store = open_feature_store(settings.feature_store_folder)
    newest = store.newest()
    if newest is None:
        yield "The feature store has no version yet."
        return
    if not _has_run(settings, config, newest.number):
        yield f"No run with this configuration has come to its end at version {newest.number} of the feature store."
        return
    if config.options.retry_rejects:
        yield "Rejected documents are to be cleaned again."
    for index in describe_status(settings, config).indexes:
        if index.configured and (wrong := _lacks(index)):
            yield f"Index {index.index} {wrong}."
    with open_warehouse(settings) as database:
        for name in waiting_categories(database, store, config):
            yield f"Changes of {name} wait in the warehouse."


def _has_run(settings: Settings, config: PipelineConfig, version: int) -> bool:
    wanted = (version, config.fingerprint())
    return any(
        (summary.version, summary.config_fingerprint) == wanted for summary in newest_summaries(settings.reports_folder)
    )


def _lacks(index: IndexStatus) -> str | None:
    if not index.serving:
        return "is not served by the collection that the configuration asks for"
    if index.lag:
        return f"lacks the changes of {index.lag:,} documents"
    if index.points != index.expected_points:
        return f"holds {index.points:,} points, and must hold {index.expected_points:,}"
    return None
