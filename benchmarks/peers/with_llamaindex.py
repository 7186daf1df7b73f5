"""LlamaIndex: an IngestionPipeline with a docstore and UPSERTS_AND_DELETE, into QdrantVectorStore.

As on https://developers.llamaindex.ai/python/framework/module_guides/loading/ingestion_pipeline: docstore and cache are
loaded at the start and persisted at the end. Its own wrapper of LangChain's splitter makes the chunks of the plain
script.
"""

from typing import Any

from langchain_text_splitters import RecursiveCharacterTextSplitter
from llama_index.core import Document
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import LangchainNodeParser
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.vector_stores.qdrant import QdrantVectorStore
from pydantic import PrivateAttr

from benchmarks.peers import common


class StandIn(BaseEmbedding):
    _work: common.Work = PrivateAttr()

    def __init__(self, work: common.Work, **options: Any) -> None:
        super().__init__(model_name="stand-in", **options)
        self._work = work

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._work.embed(texts).tolist()

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def main() -> None:
    work = common.begin()
    embeddings = StandIn(work) if work.stand_in else load_model(work)
    client = common.open_client(work)
    work.opened()
    splitter = RecursiveCharacterTextSplitter(chunk_size=common.CHUNK_CHARACTERS, chunk_overlap=0)
    pipeline = IngestionPipeline(
        transformations=[LangchainNodeParser(splitter), embeddings],
        vector_store=QdrantVectorStore(common.COLLECTION, client=client),
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
    )
    storage = work.state / "pipeline_storage"
    if storage.exists():
        pipeline.load(str(storage))
    nodes = pipeline.run(documents=[Document(text=document.text, id_=document.id) for document in work.read()])
    pipeline.persist(str(storage))
    client.close()
    work.finish(chunks=len(nodes))


def load_model(work: common.Work) -> BaseEmbedding:
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding

    common.count_encoded(work)
    return HuggingFaceEmbedding(model_name=common.model_folder())


if __name__ == "__main__":
    main()
