"""The ZenML step that gives chunks their vectors."""

import time
from functools import partial
from typing import Annotated

from loguru import logger
from zenml import step

from feature_store.config import ExecutorConfig
from feature_store.encoders import load_encoder, load_sparse_encoder
from feature_store.executors.opening import open_executor
from feature_store.handles import Chunks, Embeddings
from feature_store.index_config import IndexConfig
from feature_store.materializers import HandleMaterializer
from feature_store.vectors import VectorTable
from steps.embed.apply import embed_chunks
from steps.runtime import start_step


@step(enable_cache=False, output_materializers=HandleMaterializer)
def embed(chunks: Chunks, index: IndexConfig, executor: ExecutorConfig) -> Annotated[Embeddings, "embeddings"]:
    """Embed the texts that have no vector yet, and read the vectors of all others."""
    settings, _ = start_step()
    started = time.monotonic()
    encoder = load_encoder(index.encoder)
    sparse, _ = load_sparse_encoder(index.sparse)
    vectors = VectorTable(settings.vectors_folder, encoder.fingerprint, encoder.dimension)
    with open_executor(executor) as workers:
        embeddings = embed_chunks(chunks, encoder, sparse, vectors, workers, partial(load_encoder, index.encoder))
    seconds = time.monotonic() - started
    figures = f"{embeddings.embedded:,} texts embedded at {encoder.precision}, {embeddings.reused:,} reused"
    logger.info("{}: {}, in {:.1f} s", index.name, figures, seconds)
    return embeddings.model_copy(update={"seconds": seconds})
