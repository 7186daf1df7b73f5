"""Searching an index: everything that is needed to embed a query is read from the collection itself."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict
from qdrant_client import QdrantClient, models

from feature_store.encoders import Encoder, load_encoder, load_sparse_encoder
from feature_store.errors import ConfigurationError
from feature_store.index import DENSE, SPARSE, IndexMetadata, read_metadata, serving_collection
from feature_store.index_config import EncoderConfig, SparseConfig

CANDIDATES = 100


class SearchResult(BaseModel):
    """One chunk, with what an answer needs to cite it. ``payload`` is the whole payload of the point.

    At the version of the index, ``text`` is the document's cleaned text from ``start`` to ``end``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    chunk_id: str
    score: float
    text: str
    title: str | None
    url: str | None
    author: str | None
    heading_path: list[str]
    start: int
    end: int
    document_id: str
    category: str
    payload: dict[str, Any]


@dataclass(frozen=True)
class Retriever:
    """Hybrid search over the collection that serves an index."""

    client: QdrantClient
    index: str
    collection: str
    metadata: IndexMetadata
    encoder: Encoder

    @classmethod
    def from_index(cls, client: QdrantClient, index: str, encoder: EncoderConfig | None = None) -> "Retriever":
        """Return a retriever for an index, its model loaded.

        ``encoder`` says where the model is on this machine, and whether its own code may run; without it, the model's
        name is read from the collection.

        Raises:
            ConfigurationError: if the index does not serve, or the model here is not the one that made its vectors.
        """
        collection = serving_collection(client, index)
        metadata = read_metadata(client, collection) if collection else None
        if collection is None or metadata is None:
            raise ConfigurationError(
                f"There is no index {index!r} that serves.", "Run the feature pipeline; see `feature-pipeline status`."
            )
        if encoder is None and metadata.encoder_config.trust_remote_code:
            raise ConfigurationError(
                f"The model of {index!r} brings its own code, and what is in Qdrant must not decide to run it.",
                "Give the encoder of your own configuration to Retriever.from_index.",
            )
        loaded = load_encoder(encoder or metadata.encoder_config)
        if loaded.fingerprint != metadata.encoder.fingerprint:
            raise ConfigurationError(
                f"{metadata.encoder.model} on this machine is not the model that made the vectors of {index!r}.",
                "Use the same weights here, or run the feature pipeline with these.",
            )
        return cls(client, index, collection, metadata, loaded)

    def search(self, query: str, k: int = 3) -> list[SearchResult]:
        """Return the ``k`` best chunks for ``query``, best first.

        Dense and BM25 candidates are fused by reciprocal rank (Cormack, Clarke and Büttcher, SIGIR 2009).

        Raises:
            ConfigurationError: for an empty query or a ``k`` below 1.
        """
        if not query.strip():
            raise ConfigurationError("The query is empty.", "Ask for something.")
        if k < 1:
            raise ConfigurationError(f"k is {k}.", "Ask for at least one result.")
        response = self.client.query_points(
            self.collection,  # not the alias: it may move to a collection of another model
            prefetch=self._candidates(query, max(CANDIDATES, k)),
            query=models.FusionQuery(fusion=models.Fusion.RRF),
            limit=k,
            with_payload=True,
        )
        return [_result(point) for point in response.points]

    def _candidates(self, query: str, limit: int) -> list[models.Prefetch]:
        _, embed_sparse = load_sparse_encoder(SparseConfig.model_validate(self.metadata.sparse))
        sparse = embed_sparse(query)
        dense = self.encoder.embed_query(query).tolist()
        candidates = [models.Prefetch(query=dense, using=DENSE, limit=limit)]
        if sparse.indices:  # a query of stop words alone has no keywords
            keywords = models.SparseVector(indices=sparse.indices, values=sparse.values)
            candidates.append(models.Prefetch(query=keywords, using=SPARSE, limit=limit))
        return candidates


def _result(point: models.ScoredPoint) -> SearchResult:
    payload = point.payload or {}
    return SearchResult(
        chunk_id=str(point.id),
        score=point.score,
        text=payload["text"],
        title=payload.get("title"),
        url=payload.get("url"),
        author=payload.get("author"),
        heading_path=payload["heading_path"],
        start=payload["start"],
        end=payload["end"],
        document_id=payload["document_id"],
        category=payload["category"],
        payload=payload,
    )
