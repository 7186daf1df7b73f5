"""Small indexes of every strategy, built through the stages, with an encoder that stands in."""

import random
from collections import Counter
from copy import copy
from pathlib import Path
from typing import Any

from qdrant_client import QdrantClient, models

from feature_store.index import read_metadata, serving_collection
from feature_store.serving import move_alias
from inference.retriever import Retriever
from tests.flow import Flow, note, notes_config
from tests.stand_in import HashEncoder
from tests.support import WORDS

INDEX = "notes_index"
CHUNKING: dict[str, dict[str, Any]] = {
    "sliding_window": {"strategy": "sliding_window", "window": 32, "overlap": 8},
    "small_to_big": {"strategy": "small_to_big", "child": {"window": 16}, "parent": {"window": 64}},
    "multi_size": {
        "strategy": "multi_size",
        "sizes": [{"window": 64, "overlap": 32}, {"window": 16, "overlap": 8}],
    },
}


class CountingClient(QdrantClient):
    """An embedded Qdrant that counts the requests that a search may make."""

    def __init__(self) -> None:
        super().__init__(":memory:")
        self.requests: Counter[str] = Counter()
        self.asked: list[Any] = []

    def query_batch_points(self, *arguments: Any, **options: Any) -> Any:
        self.asked += options["requests"]
        return self._counted("query_batch_points", *arguments, **options)

    def query_points_groups(self, *arguments: Any, **options: Any) -> Any:
        return self._counted("query_points_groups", *arguments, **options)

    def query_points(self, *arguments: Any, **options: Any) -> Any:
        return self._counted("query_points", *arguments, **options)

    def retrieve(self, *arguments: Any, **options: Any) -> Any:
        return self._counted("retrieve", *arguments, **options)

    def scroll(self, *arguments: Any, **options: Any) -> Any:
        return self._counted("scroll", *arguments, **options)

    def _counted(self, name: str, *arguments: Any, **options: Any) -> Any:
        self.requests[name] += 1
        return getattr(super(), name)(*arguments, **options)


class Index:
    """An index of ten notes of eight paragraphs, in which each paragraph has a word of its own."""

    def __init__(self, folder: Path, strategy: str, documents: list[dict[str, Any]] | None = None) -> None:
        self.client = CountingClient()
        index = notes_config().indexes[0].model_dump() | {"chunking": CHUNKING[strategy]}
        self.flow = Flow(folder, notes_config(indexes=[index]), self.client)
        self.encoder = HashEncoder()
        self.flow.load_encoder = lambda config: self.encoder
        self.flow.run(DOCUMENTS if documents is None else documents)

    def clone(self) -> "Index":
        """Return an index of the same points in a Qdrant of its own."""
        other = copy(self)
        other.client = CountingClient()
        copy_collection(self.client, self.collection, other.client, self.collection)
        move_alias(other.client, INDEX, self.collection)
        return other

    @property
    def collection(self) -> str:
        """The collection that serves."""
        found = serving_collection(self.client, INDEX)
        assert found is not None
        return found

    def retriever(self, **options: Any) -> Retriever:
        """Return a retriever of the index."""
        return Retriever.from_index(INDEX, self.client, self.encoder, **options)

    def texts(self) -> dict[str, str]:
        """Return the cleaned texts by document id."""
        return {row["document_id"]: row["text"] for row in self.flow.live().values()}

    def points(self) -> dict[str, dict[str, Any]]:
        """Return the payloads by point id."""
        return {identifier: payload for identifier, (payload, _) in self.flow.points(self.collection).items()}


def copy_collection(
    client: QdrantClient, source: str, target_client: QdrantClient, target: str, author: str | None = None, **said: Any
) -> None:
    """Copy a collection; ``author`` becomes that of all points, ``said`` is what the copy says of itself."""
    params = client.get_collection(source).config.params
    metadata = read_metadata(client, source)
    assert metadata is not None
    target_client.create_collection(
        target,
        vectors_config=params.vectors,
        sparse_vectors_config=params.sparse_vectors,
        metadata=metadata.model_copy(update=said).model_dump(mode="json"),
    )
    records, _ = QdrantClient.scroll(client, source, limit=10_000, with_payload=True, with_vectors=True)
    named = {} if author is None else {"author": author}
    points = [
        models.PointStruct(id=record.id, vector=record.vector or {}, payload={**(record.payload or {}), **named})
        for record in records
    ]
    target_client.upsert(target, points, wait=True)


def body(number: int, paragraphs: int = 8) -> str:
    """Return paragraphs of random words; the last word of each is there once, as ``mark<number>x<paragraph>``."""
    chosen = random.Random(number)
    return "\n\n".join(
        " ".join(chosen.choice(WORDS) for _ in range(chosen.randint(5, 25))) + f" mark{number}x{place}."
        for place in range(paragraphs)
    )


DOCUMENTS = [note(number, body(number), title=f"Note {number}", topic=f"t{number % 3}") for number in range(10)]
