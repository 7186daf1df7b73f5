"""The ZenML step that gives chunks their vectors."""

import time
from functools import partial
from typing import Annotated

from loguru import logger
from zenml import step

from feature_store.config import IndexConfig
from feature_store.encoders import load_encoder, load_sparse_encoder
from feature_store.handles import Chunks, Embeddings
from feature_store.materializers import HandleMaterializer
from feature_store.parts import list_parts, map_parts
from feature_store.progress import progress
from feature_store.vectors import VectorTable
from steps.embed.apply import embed_part
from steps.runtime import start_step


@step(enable_cache=False, output_materializers=HandleMaterializer)
def embed(chunks: Chunks, index: IndexConfig) -> Annotated[Embeddings, "embeddings"]:
    """Embed the texts that have no vector yet, and read the vectors of all others."""
    settings, _ = start_step()
    started = time.monotonic()
    encoder = load_encoder(index.encoder)
    sparse, _ = load_sparse_encoder(index.sparse)
    vectors = VectorTable(settings.vectors_folder, encoder.fingerprint, encoder.dimension)
    parts = list_parts(chunks.folder, "chunks")
    done = []
    with progress(f"embedding for {index.name}", chunks.chunks) as advance:
        work = partial(
            embed_part, encoder=encoder, sparse=sparse, vectors=vectors, folder=chunks.folder, advance=advance
        )
        done = list(map_parts(work, parts))
    if any(part.embedded for part in done):
        vectors.maintain()
    embeddings = Embeddings(
        folder=chunks.folder,
        index=chunks.index,
        collection=chunks.collection,
        version=chunks.version,
        model=encoder.name,
        encoder_fingerprint=encoder.fingerprint,
        dimension=encoder.dimension,
        precision=encoder.precision,
        chunks=sum(part.chunks for part in done),
        embedded=sum(part.embedded for part in done),
        reused=sum(part.reused for part in done),
        seconds=time.monotonic() - started,
    )
    logger.info(
        "{}: {:,} texts embedded at {}, {:,} reused, in {:.1f} s",
        index.name, embeddings.embedded, encoder.precision, embeddings.reused, embeddings.seconds,
    )  # fmt: skip
    return embeddings
