"""A plain script: read, split, encode, upsert. Everything again each time, and nothing is ever removed."""

import uuid

from langchain_text_splitters import RecursiveCharacterTextSplitter
from qdrant_client.models import PointStruct

from benchmarks.peers import common

BATCH = 100


def main() -> None:
    work = common.begin()
    embed = work.embed
    if not work.stand_in:
        embed = load_model(work)
    client = common.open_client(work)
    work.opened()
    common.create_collection(client)
    splitter = RecursiveCharacterTextSplitter(chunk_size=common.CHUNK_CHARACTERS, chunk_overlap=0)
    chunks = [
        (document.id, number, text)
        for document in work.read()
        for number, text in enumerate(splitter.split_text(document.text))
    ]
    vectors = embed([text for _, _, text in chunks])
    for start in range(0, len(chunks), BATCH):
        points = [
            PointStruct(
                id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{document}#{number}")),
                vector=vector.tolist(),
                payload={"document": document, "text": text},
            )
            for (document, number, text), vector in zip(
                chunks[start : start + BATCH], vectors[start : start + BATCH], strict=True
            )
        ]
        client.upsert(common.COLLECTION, points)
    client.close()
    work.finish(chunks=len(chunks))


def load_model(work: common.Work):  # noqa: ANN201
    from sentence_transformers import SentenceTransformer

    common.count_encoded(work)
    return SentenceTransformer(common.model_folder()).encode


if __name__ == "__main__":
    main()
