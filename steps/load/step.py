"""The ZenML step that brings one Qdrant collection to the newest version."""

from typing import Annotated

from loguru import logger
from zenml import step

from feature_store.config import CategoryConfig
from feature_store.encoders import load_encoder
from feature_store.handles import CleanedDocuments, Embeddings, IndexReport
from feature_store.index import LOCAL_MODE_COMFORT, open_qdrant
from feature_store.index_config import IndexConfig
from feature_store.materializers import HandleMaterializer
from feature_store.profile import Meter
from steps.load.apply import bring_to_version
from steps.runtime import start_stage


@step(enable_cache=False, output_materializers=HandleMaterializer)
def load(
    embeddings: Embeddings, cleaned_documents: CleanedDocuments, index: IndexConfig, categories: list[CategoryConfig]
) -> Annotated[IndexReport, "index_report"]:
    """Write what differs, remove stale points, reconcile the counts, and move version and alias last."""
    settings, _ = start_stage()
    meter = Meter()
    folder, encoder = settings.indexes_folder, load_encoder(index.encoder)
    with open_qdrant(settings) as client:
        report = bring_to_version(client, folder, embeddings, cleaned_documents, index, categories, encoder)
    logger.info("{}: {:,} points in {}, at version {}", index.name, report.points, report.collection, report.version)
    if settings.qdrant_url is None and report.points > LOCAL_MODE_COMFORT:
        logger.warning(
            "{}: the embedded Qdrant searches {:,} points by brute force; set QDRANT_URL to a server",
            index.name, report.points,
        )  # fmt: skip
    return report.model_copy(update=meter.read())
