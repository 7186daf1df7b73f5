"""Searches an index with nothing of this project: the same results as its `Retriever.search`.

    python examples/plain_client.py http://localhost:6333 INDEX "QUERY"

For windows of one size and of several. A service keeps the encoders and what it read of the index between queries; see
docs/inference.md. Needs: pip install qdrant-client qdrant-edge-py sentence-transformers
"""

import sys

from qdrant_client import QdrantClient, models
from qdrant_edge import Bm25, Bm25Config
from sentence_transformers import SentenceTransformer


def search(client: QdrantClient, index: str, query: str, k: int = 3) -> list[models.ScoredPoint]:
    """Return the best points by vectors and BM25, the scores of each list brought to 0..1 and weighed by alpha."""
    collection = next(each.collection_name for each in client.get_aliases().aliases if each.alias_name == index)
    metadata = client.get_collection(collection).config.metadata
    alpha, limit = metadata["retrieval"]["alpha"], metadata["retrieval"]["candidates"]
    dense = SentenceTransformer(metadata["encoder"]["model"]).encode_query(query).tolist()
    words = Bm25(Bm25Config(language=metadata["sparse"]["language"])).embed_query(query)
    kinds = [("dense", dense), ("bm25", models.SparseVector(indices=words.indices, values=words.values))]
    sizes = [f"_{size['window']}" for size in metadata["chunking"].get("sizes", [])] or [""]
    asked = [models.QueryRequest(query=v, using=u + s, limit=limit, with_payload=True) for s in sizes for u, v in kinds]
    scores, points, kept = {}, {}, []
    answers = client.query_batch_points(collection, asked)
    for weight, answer in zip([alpha, 1 - alpha] * len(sizes), answers, strict=True):
        for point in answer.points:  # the best one first
            best, worst = answer.points[0].score, answer.points[-1].score
            share = (point.score - worst) / (best - worst) if best != worst else 1
            scores[point.id] = scores.get(point.id, 0) + weight * share
            points[point.id] = point
    for point in sorted(points.values(), key=lambda point: (-scores[point.id], point.id)):
        if len(sizes) == 1 or not any(repeats(point.payload, better.payload) for better in kept):
            kept.append(point)
    return kept[:k]


def repeats(one: dict, better: dict) -> bool:
    """Return whether more than half of a chunk lies inside of a better one of the same document."""
    common = min(one["end"], better["end"]) - max(one["start"], better["start"])
    return one["document_id"] == better["document_id"] and 2 * common > one["end"] - one["start"]


if __name__ == "__main__":
    print(*search(QdrantClient(sys.argv[1]), *sys.argv[2:]), sep="\n")
