"""The ZenML step that gives chunks their vectors."""

from functools import partial
from typing import Annotated

from loguru import logger
from zenml import step

from feature_store.config import ExecutorConfig
from feature_store.encoders import load_encoder, load_sparse_encoder
from feature_store.executors.opening import end_processes, open_executor
from feature_store.handles import Chunks, Embeddings
from feature_store.index_config import IndexConfig
from feature_store.materializers import HandleMaterializer
from feature_store.profile import Meter
from feature_store.vectors import VectorTable
from steps.embed.apply import embed_chunks
from steps.embed.model_meter import ModelMeter
from steps.runtime import start_stage


@step(enable_cache=False, output_materializers=HandleMaterializer)
def embed(chunks: Chunks, index: IndexConfig, executor: ExecutorConfig) -> Annotated[Embeddings, "embeddings"]:
    """Embed the texts that have no vector yet, and read the vectors of all others."""
    settings, _ = start_stage()
    meter = Meter()
    end_processes()  # those that cleaned and chunked: the model needs their cores and their memory
    encoder = load_encoder(index.encoder)
    sparse, _ = load_sparse_encoder(index.sparse)
    vectors = VectorTable(settings.vectors_folder, encoder.fingerprint, encoder.dimension)
    model = ModelMeter(encoder)
    with open_executor(executor) as workers:
        embeddings = embed_chunks(chunks, encoder, sparse, vectors, workers, partial(load_encoder, index.encoder))
    used = meter.read()
    made = embeddings.model_copy(update={**used, "gemm_speed": model.gemm_speed(embeddings.embedded)})
    figures = f"{made.embedded:,} texts embedded, {made.reused:,} reused"
    precisions = f", at {' and '.join(made.precisions)}" if made.precisions else ""
    logger.info("{}: {}{}, in {:.1f} s", index.name, figures, precisions, made.seconds)
    return made
