"""The ZenML step that decides, after all loads, which collection of each index serves."""

from typing import Annotated

from loguru import logger
from zenml import step

from feature_store.config import CategoryConfig, ExecutorConfig
from feature_store.encoders import load_encoder
from feature_store.executors.opening import open_executor
from feature_store.handles import CleanedDocuments, IndexReport, ServingReport
from feature_store.index import open_qdrant
from feature_store.index_config import IndexConfig
from feature_store.materializers import HandleMaterializer
from feature_store.profile import Meter
from pipelines.serving import Workplace, serve_index
from steps.runtime import start_stage


@step(enable_cache=False, output_materializers=HandleMaterializer)
def serve(
    cleaned_documents: CleanedDocuments,
    index_reports: list[IndexReport],
    indexes: list[IndexConfig],
    categories: list[CategoryConfig],
    executor: ExecutorConfig,
) -> Annotated[ServingReport, "serving_report"]:
    """Promote each newly built collection through its gate, or bring the one that serves to the newest version too."""
    settings, run_folder = start_stage()
    meter = Meter()
    if not indexes:
        return ServingReport()
    with open_qdrant(settings) as client, open_executor(executor) as workers:
        folder = run_folder / "serve"
        place = Workplace(client, settings, cleaned_documents, indexes, categories, folder, load_encoder, workers)
        served = [serve_index(place, index, report) for index, report in zip(indexes, index_reports, strict=True)]
    for item in served:
        logger.info("{}: {} serves, at version {}", item.index, item.collection, item.version)
    return ServingReport(indexes=served, **meter.read())
