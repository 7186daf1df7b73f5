"""The ZenML step that chunks what changed since the version of one index."""

import time
from typing import Annotated

from loguru import logger
from zenml import step

from feature_store.config import IndexConfig
from feature_store.encoders import load_encoder
from feature_store.handles import Chunks, CleanedDocuments
from feature_store.index import index_fingerprint, open_qdrant, physical_name, read_metadata
from feature_store.index_record import IndexRecord, starting_point
from feature_store.materializers import HandleMaterializer
from feature_store.progress import progress
from steps.chunk.apply import COLUMNS, chunk_changes
from steps.chunk.sliding_window import CHUNKER_VERSION
from steps.runtime import start_step


@step(enable_cache=False, output_materializers=HandleMaterializer)
def chunk(cleaned_documents: CleanedDocuments, index: IndexConfig) -> Annotated[Chunks, "chunks"]:
    """Cut the documents that changed since the index's version into chunks, and see which of them are new or moved."""
    settings, run_folder = start_step()
    started = time.monotonic()
    encoder = load_encoder(index.encoder)
    version, store = cleaned_documents.at(), cleaned_documents.store()
    collection = physical_name(index.name, index_fingerprint(index, encoder, CHUNKER_VERSION, version.store_id))
    record = IndexRecord(settings.indexes_folder, collection)
    with open_qdrant(settings) as client:
        start = starting_point(read_metadata(client, collection), record, store, version)
    since = start.since.number
    handle = Chunks(
        folder=run_folder / index.name,
        index=index.name,
        collection=collection,
        since=since,
        version=version.number,
        record=start.record,
    )
    known = None if start.record is None else record.known_points(start.record)
    with progress(f"chunking for {index.name}", store.count_changes(since, version, index.categories)) as advance:
        changes = store.changes(since, version, index.categories, COLUMNS)
        chunks = chunk_changes(
            changes, index.chunking, encoder.token_spans, encoder.token_limit, handle, known, advance
        )
    logger.info(
        "{}: {:,} chunks of {:,} documents ({:,} new, {:,} moved), {:,} documents gone (version {} to {})",
        index.name, chunks.chunks, chunks.documents, chunks.new, chunks.moved, chunks.deleted_documents,
        since, version.number,
    )  # fmt: skip
    return chunks.model_copy(update={"seconds": time.monotonic() - started})
