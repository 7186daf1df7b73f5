"""Searches an index with nothing of this project: one request, in which the server joins vectors and BM25 by rank.

    python examples/plain_client_one_request.py http://localhost:6333 INDEX "QUERY"

For indexes of every strategy: of small children it gives the parents. The same results as
`Retriever.search(…, fusion="rrf")`. Needs: pip install qdrant-client qdrant-edge-py sentence-transformers
"""

import sys

from plain_client import repeats
from qdrant_client import QdrantClient, models
from qdrant_edge import Bm25, Bm25Config
from sentence_transformers import SentenceTransformer


def search(client: QdrantClient, index: str, query: str, k: int = 3) -> list[models.ScoredPoint | models.Record]:
    """Return the best points by the reciprocal ranks of vectors and BM25."""
    collection = next(each.collection_name for each in client.get_aliases().aliases if each.alias_name == index)
    metadata = client.get_collection(collection).config.metadata
    limit, strategy = metadata["retrieval"]["candidates"], metadata["chunking"]["strategy"]
    dense = SentenceTransformer(metadata["encoder"]["model"]).encode_query(query).tolist()
    words = Bm25(Bm25Config(language=metadata["sparse"]["language"])).embed_query(query)
    kinds = [("dense", dense), ("bm25", models.SparseVector(indices=words.indices, values=words.values))]
    sizes = [f"_{size['window']}" for size in metadata["chunking"].get("sizes", [])] or [""]
    lists = [models.Prefetch(query=v, using=u + s, limit=limit) for s in sizes for u, v in kinds]
    fused = {"prefetch": lists, "query": models.FusionQuery(fusion=models.Fusion.RRF), "limit": limit}
    if strategy == "small_to_big":
        found = client.query_points_groups(collection, "parent_id", **fused, group_size=8, with_lookup=collection)
        return [group.lookup for group in found.groups][:k]
    kept = []
    for point in client.query_points(collection, **fused).points:
        if strategy != "multi_size" or not any(repeats(point.payload, better.payload) for better in kept):
            kept.append(point)
    return kept[:k]


if __name__ == "__main__":
    print(*search(QdrantClient(sys.argv[1]), *sys.argv[2:]), sep="\n")
