"""CocoIndex 1: an app whose documents are memoised, into its Qdrant target.

As on https://cocoindex.io/docs/examples/text-embedding-qdrant/; it keeps what it knows in
an embedded LMDB. It has no source for MongoDB, so the documents are handed to `mount_each` as they are.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import cocoindex as coco
import numpy as np
from cocoindex.connectors import qdrant
from cocoindex.ops.sentence_transformers import SentenceTransformerEmbedder
from cocoindex.ops.text import RecursiveSplitter
from cocoindex.resources.id import IdGenerator
from cocoindex.resources.schema import VectorSchema
from qdrant_client import QdrantClient
from qdrant_client.models import PointStruct

from benchmarks.peers import common

CLIENT = coco.ContextKey[QdrantClient]("client")
EMBEDDER = coco.ContextKey[Any]("embedder")
SPLITTER = RecursiveSplitter()
SCHEMA = VectorSchema(dtype=np.dtype(np.float32), size=common.DIMENSION)


@dataclass(frozen=True)
class Source:
    """A document as a dataclass: its value decides whether a result is remembered."""

    id: str
    text: str


class StandIn:
    """Has the methods of SentenceTransformerEmbedder: memoised texts, batches of at most 64."""

    def __init__(self, work: common.Work) -> None:
        self.work = work

    @coco.fn.as_async(batching=True, max_batch_size=64)
    def _embed(self, texts: list[str]) -> list[np.ndarray]:
        return list(self.work.embed(texts))

    @coco.fn(memo=True, version=1, logic_tracking="self")
    async def embed(self, text: str) -> np.ndarray:
        return await self._embed(text)

    def __coco_memo_key__(self) -> object:
        return "stand-in"


@coco.fn
async def process_chunk(chunk: Any, document: str, ids: IdGenerator, target: qdrant.CollectionTarget) -> None:
    vector = await coco.use_context(EMBEDDER).embed(chunk.text)
    payload = {"document": document, "text": chunk.text}
    target.declare_point(PointStruct(id=await ids.next_id(chunk.text), vector=vector.tolist(), payload=payload))


@coco.fn(memo=True)
async def process_document(document: Source, target: qdrant.CollectionTarget) -> None:
    chunks = SPLITTER.split(document.text, chunk_size=common.CHUNK_CHARACTERS, chunk_overlap=0)
    await coco.map(process_chunk, chunks, document.id, IdGenerator(), target)


def main() -> None:
    work = common.begin()
    embedder = StandIn(work) if work.stand_in else load_model(work)
    client = common.open_client(work)

    @coco.lifespan
    async def provide(builder: coco.EnvironmentBuilder) -> AsyncIterator[None]:
        builder.settings.db_path = work.state / "cocoindex"
        builder.provide(CLIENT, client)
        builder.provide(EMBEDDER, embedder)
        yield

    @coco.fn
    async def update() -> None:
        schema = await qdrant.CollectionSchema.create(vectors=qdrant.QdrantVectorDef(schema=SCHEMA))
        target = await qdrant.mount_collection_target(CLIENT, common.COLLECTION, schema)
        items = [(document.id, Source(*document)) for document in work.read()]
        await coco.mount_each(process_document, items, target)

    app = coco.App(coco.AppConfig(name="peers"), update)
    work.opened()
    app.update_blocking()
    client.close()
    work.finish()


def load_model(work: common.Work) -> SentenceTransformerEmbedder:
    common.count_encoded(work)
    embedder = SentenceTransformerEmbedder(common.model_folder())
    embedder._get_model()  # noqa: SLF001 - loaded before the work begins, as for all others
    return embedder


if __name__ == "__main__":
    main()
