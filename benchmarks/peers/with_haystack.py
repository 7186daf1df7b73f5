"""Haystack 2: an indexing pipeline into QdrantDocumentStore, behind a CacheChecker.

As on https://docs.haystack.deepset.ai/docs/cachechecker and /docs/documentwriter. The cache field is a hash of the
text, so that an edited document is not taken for present. Nothing of Haystack removes what an edited or deleted one
leaves behind.
"""

import hashlib
from dataclasses import replace
from typing import Any

from haystack import Document, Pipeline, component
from haystack.components.caching import CacheChecker
from haystack.components.preprocessors import RecursiveDocumentSplitter
from haystack.components.writers import DocumentWriter
from haystack.document_stores.types import DuplicatePolicy
from haystack_integrations.document_stores.qdrant import QdrantDocumentStore

from benchmarks.peers import common

BATCH = 32  # the default of SentenceTransformersDocumentEmbedder


@component
class StandIn:
    def __init__(self, work: common.Work) -> None:
        self.work = work

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        done = []
        for start in range(0, len(documents), BATCH):
            some = documents[start : start + BATCH]
            vectors = self.work.embed([document.content for document in some])
            done += [replace(one, embedding=vector.tolist()) for one, vector in zip(some, vectors, strict=True)]
        return {"documents": done}


def main() -> None:
    work = common.begin()
    embedder = StandIn(work) if work.stand_in else load_model(work)
    store = QdrantDocumentStore(
        path=str(work.state / "qdrant"),
        index=common.COLLECTION,
        embedding_dim=common.DIMENSION,
        progress_bar=False,
    )
    store.count_documents()  # opens it
    work.opened()
    documents = {digest(document.text): document for document in work.read()}
    checker = CacheChecker(document_store=store, cache_field="meta.source_hash")
    missing = checker.run(items=list(documents))["misses"]
    done = indexing(store, embedder).run({"split": {"documents": [whole(documents[key], key) for key in missing]}})
    store._client.close()  # noqa: SLF001 - there is no public way
    work.finish(**done["write"])


def indexing(store: QdrantDocumentStore, embedder: Any) -> Pipeline:
    pipeline = Pipeline()
    splitter = RecursiveDocumentSplitter(
        split_length=common.CHUNK_CHARACTERS,
        split_overlap=0,
        split_unit="char",
        separators=["\n\n", "\n", " "],  # the default's sentences need a download
    )
    pipeline.add_component("split", splitter)
    pipeline.add_component("embed", embedder)
    pipeline.add_component("write", DocumentWriter(store, policy=DuplicatePolicy.OVERWRITE))
    pipeline.connect("split", "embed")
    pipeline.connect("embed", "write")
    return pipeline


def whole(document: common.Document, key: str) -> Document:
    return Document(content=document.text, meta={"source_id": document.id, "source_hash": key})


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def load_model(work: common.Work) -> Any:
    from haystack.components.embedders import SentenceTransformersDocumentEmbedder

    common.count_encoded(work)
    embedder = SentenceTransformersDocumentEmbedder(model=common.model_folder(), progress_bar=False)
    embedder.warm_up()
    return embedder


if __name__ == "__main__":
    main()
