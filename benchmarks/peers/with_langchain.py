"""LangChain: `index()` with a record manager on SQLite and full clean-up, into QdrantVectorStore.

As on https://qdrant.tech/documentation/frameworks/langchain/ and in the reference of
`langchain_core.indexing.index`; sizes of batches are the defaults. So is SHA-1 for the keys, of which LangChain itself
warns: the other encoders give keys that Qdrant does not take for ids.
"""

from collections.abc import Iterator

from langchain_classic.indexes import SQLRecordManager
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.indexing import index
from langchain_qdrant import QdrantVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter

from benchmarks.peers import common


class StandIn(Embeddings):
    def __init__(self, work: common.Work) -> None:
        self.work = work

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.work.embed(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def main() -> None:
    work = common.begin()
    embeddings = StandIn(work) if work.stand_in else load_model(work)
    client = common.open_client(work)
    work.opened()
    common.create_collection(client)
    store = QdrantVectorStore(client, common.COLLECTION, embeddings)
    records = SQLRecordManager("qdrant/documents", db_url=f"sqlite:///{work.state / 'records.sqlite'}")
    records.create_schema()
    splitter = RecursiveCharacterTextSplitter(chunk_size=common.CHUNK_CHARACTERS, chunk_overlap=0)

    def chunks() -> Iterator[Document]:
        for document in work.read():
            whole = Document(document.text, metadata={"source": document.id})
            yield from splitter.split_documents([whole])

    done = index(chunks(), records, store, cleanup="full", source_id_key="source", key_encoder="sha1")
    client.close()
    work.finish(**done)


def load_model(work: common.Work) -> Embeddings:
    from langchain_huggingface import HuggingFaceEmbeddings

    common.count_encoded(work)
    return HuggingFaceEmbeddings(model_name=common.model_folder())


if __name__ == "__main__":
    main()
