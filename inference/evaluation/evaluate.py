"""Asks an index every judged query, and says how good its rankings of documents are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Unpack

from qdrant_client import QdrantClient

from feature_store.errors import ConfigurationError
from feature_store.index import IndexMetadata, read_metadata, serving_collection
from feature_store.index_config import EncoderConfig
from feature_store.tables import batches_of
from inference.evaluation.beir import read_queries
from inference.evaluation.golden import GoldenQuery, read_golden
from inference.evaluation.judged import CORPUS_FIELDS, DOCUMENT_FIELDS, Judged, find_judged
from inference.evaluation.metrics import Metrics, Scores, mean_scores, score_rankings
from inference.options import SearchOptions
from inference.retriever import Retriever

EvaluationFormat = Literal["golden", "beir"]
CHUNKS = 100
"""Chunks that a query asks for: the documents among them are ranked."""
_BATCH = 64
_READERS: dict[str, tuple[Callable[[Path], list[GoldenQuery]], Sequence[str]]] = {
    "golden": (read_golden, DOCUMENT_FIELDS),
    "beir": (read_queries, CORPUS_FIELDS),
}


@dataclass(frozen=True)
class QueryEvaluation:
    """What was found for one query: document ids, the best first."""

    query: GoldenQuery
    ranking: Sequence[str]
    scores: Scores


@dataclass(frozen=True)
class Evaluation:
    """How good the rankings are, query by query and on average; ``missing`` documents are not in the index."""

    metrics: Metrics
    queries: list[QueryEvaluation]
    missing: list[str]


@dataclass(frozen=True)
class IndexEvaluation:
    """An evaluation, and of what: the collection with what it said of itself before it was asked."""

    collection: str
    metadata: IndexMetadata
    evaluation: Evaluation


def evaluate_index(
    client: QdrantClient, index: str, data: Path, data_format: str, encoder: EncoderConfig | None = None
) -> IndexEvaluation:
    """Evaluate the collection that serves an index.

    ``data`` is a file of golden queries, or a folder in BEIR's layout whose ids of the corpus are the source ids or the
    external ids of documents in the index. ``encoder`` says where the model is on this machine.

    Raises:
        ConfigurationError: if there is no such format, the index does not serve, or the data is not as it must be or
            not about this index.
    """
    if data_format not in _READERS:
        raise ConfigurationError(f"There is no format {data_format!r}.", f"Formats are: {', '.join(_READERS)}.")
    read, fields = _READERS[data_format]
    queries = read(data)
    collection = serving_collection(client, index)
    metadata = read_metadata(client, collection) if collection else None
    if collection is None or metadata is None:
        raise ConfigurationError(
            f"There is no index {index!r} that serves.", "Run the feature pipeline; see `feature-pipeline status`."
        )
    judged = find_judged(client, collection, queries, fields)
    retriever = Retriever.from_index(index, client=client, encoder=encoder, collection=collection)
    return IndexEvaluation(collection, metadata, evaluate(retriever, judged))


def evaluate(retriever: Retriever, judged: Judged) -> Evaluation:
    """Ask every query, and score the rankings."""
    rankings = rank_documents(retriever, [query.query for query in judged.queries])
    by_id = {query.query_id: ranking for query, ranking in zip(judged.queries, rankings, strict=True)}
    scores = score_rankings({query.query_id: query.relevant for query in judged.queries}, by_id)
    evaluated = [QueryEvaluation(query, by_id[query.query_id], scores[query.query_id]) for query in judged.queries]
    return Evaluation(mean_scores(scores.values()), evaluated, judged.missing)


def rank_documents(retriever: Retriever, queries: Sequence[str], **options: Unpack[SearchOptions]) -> list[list[str]]:
    """Return for each query the ids of the documents of its best ``CHUNKS`` chunks, each at the place of its best."""
    return [
        list(dict.fromkeys(result.document_id for result in results))
        for some in batches_of(queries, _BATCH)
        for results in retriever.search_batch(some, k=CHUNKS, **options)
    ]
