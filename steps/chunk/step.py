"""The ZenML step that chunks what changed since the version of one index."""

from typing import Annotated

from loguru import logger
from zenml import step

from feature_store.config import ExecutorConfig
from feature_store.encoders import load_encoder
from feature_store.executors.opening import open_executor
from feature_store.handles import Chunks, CleanedDocuments
from feature_store.index import configured_collection, open_qdrant
from feature_store.index_config import IndexConfig
from feature_store.materializers import HandleMaterializer
from feature_store.profile import Meter
from steps.chunk.apply import chunk_index
from steps.runtime import start_stage


@step(enable_cache=False, output_materializers=HandleMaterializer)
def chunk(
    cleaned_documents: CleanedDocuments, index: IndexConfig, executor: ExecutorConfig
) -> Annotated[Chunks, "chunks"]:
    """Cut the documents that changed since the index's version into chunks, and see which of them are new or moved."""
    settings, run_folder = start_stage()
    meter = Meter()
    encoder = load_encoder(index.encoder)
    collection = configured_collection(index, encoder, cleaned_documents.at().store_id)
    folder = run_folder / index.name
    records = settings.indexes_folder
    with open_qdrant(settings) as client, open_executor(executor) as workers:
        chunks = chunk_index(client, records, cleaned_documents, index, encoder, collection, folder, workers)
    parents = f" in {chunks.parents:,} parents" if chunks.parents else ""
    logger.info(
        "{}: {:,} chunks{} of {:,} documents ({:,} new, {:,} moved), {:,} documents gone (version {} to {})",
        index.name, chunks.chunks, parents, chunks.documents, chunks.new, chunks.moved, chunks.deleted_documents,
        chunks.since, chunks.version,
    )  # fmt: skip
    return chunks.model_copy(update=meter.read())
