"""The ZenML step that chunks what one index has not seen yet."""

import time
from typing import Annotated

from loguru import logger
from zenml import step

from feature_store.config import IndexConfig
from feature_store.encoders import load_encoder
from feature_store.handles import Chunks, CleanedDocuments
from feature_store.index import index_fingerprint, open_qdrant, physical_name, version_to_start_from
from feature_store.materializers import HandleMaterializer
from feature_store.progress import progress
from steps.chunk.apply import COLUMNS, chunk_changes
from steps.chunk.sliding_window import CHUNKER_VERSION
from steps.runtime import start_step


@step(enable_cache=False, output_materializers=HandleMaterializer)
def chunk(cleaned_documents: CleanedDocuments, index: IndexConfig) -> Annotated[Chunks, "chunks"]:
    """Cut the documents that changed since the index's version into chunks."""
    settings, run_folder = start_step()
    started = time.monotonic()
    encoder = load_encoder(index.encoder)
    version, store = cleaned_documents.at(), cleaned_documents.store()
    fingerprint = index_fingerprint(index, encoder, CHUNKER_VERSION, version.store_id)
    collection = physical_name(index.name, fingerprint)
    with open_qdrant(settings) as client:
        since = version_to_start_from(client, collection, settings.indexes_folder, version.number)
    handle = Chunks(
        folder=run_folder / index.name, index=index.name, collection=collection, since=since, version=version.number
    )
    total = store.count_changes(since, version, index.categories)
    with progress(f"chunking for {index.name}", total) as advance:
        changes = store.changes(since, version, index.categories, COLUMNS)
        chunks = chunk_changes(changes, index.chunking, encoder.token_spans, encoder.token_limit, handle, advance)
    logger.info(
        "{}: {:,} chunks of {:,} documents, {:,} documents gone (version {} to {})",
        index.name, chunks.chunks, chunks.documents, chunks.deleted_documents, since, version.number,
    )  # fmt: skip
    return chunks.model_copy(update={"seconds": time.monotonic() - started})
