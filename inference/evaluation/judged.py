"""Judgements in the terms of an index: by document id, and which of the judged documents it does not have."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from qdrant_client import QdrantClient, models

from feature_store.errors import ConfigurationError
from feature_store.index import retrying
from feature_store.tables import batches_of
from inference.evaluation.golden import GoldenQuery

DOCUMENT_FIELDS = ("document_id",)
CORPUS_FIELDS = ("source_id", "external_id")
_BATCH = 500


@dataclass(frozen=True)
class Judged:
    """Queries that are judged by document id; ``missing`` names the judged documents that the index does not have.

    A missing document stays in the judgements: whoever looks for it does not find it.
    """

    queries: list[GoldenQuery]
    missing: list[str]


def find_judged(
    client: QdrantClient, collection: str, queries: Sequence[GoldenQuery], fields: Sequence[str] = DOCUMENT_FIELDS
) -> Judged:
    """Return the queries with the document ids that the names in their judgements stand for.

    ``fields`` are those of the payload that may hold such a name.

    Raises:
        ConfigurationError: if the index has none of the documents, or two for one name.
    """
    names = list(dict.fromkeys(name for query in queries for name in query.relevant))
    found: dict[str, set[str]] = defaultdict(set)
    for some in batches_of(names, _BATCH):
        wanted = set(some)
        for payload in _first_chunks(client, collection, some, fields):
            for name in wanted & {payload.get(field, "") for field in fields}:
                found[name].add(payload["document_id"])
    if not found:
        raise ConfigurationError(
            f"{collection} has none of the {len(names):,} documents that were judged, such as {names[0]!r}.",
            f"Judge documents that are in this index, by {' or '.join(fields)}.",
        )
    for name, documents in found.items():
        if len(documents) > 1:
            raise ConfigurationError(
                f"{name!r} stands for several documents of {collection}: {', '.join(sorted(documents))}.",
                "Judge them as golden queries, by category:source id.",
            )
    known = {name: next(iter(documents)) for name, documents in found.items()}
    named = [
        replace(query, relevant={known.get(name, name): grade for name, grade in query.relevant.items()})
        for query in queries
    ]
    return Judged(named, [name for name in names if name not in known])


def _first_chunks(
    client: QdrantClient, collection: str, names: list[str], fields: Sequence[str]
) -> Iterator[dict[str, str]]:
    """Yield, of the first chunks of the documents that bear one of the names, what says which they are."""
    first = models.FieldCondition(key="position", match=models.MatchValue(value=0))
    named: list[models.Condition] = [
        models.FieldCondition(key=field, match=models.MatchAny(any=names)) for field in fields
    ]
    offset: models.ExtendedPointId | None = None
    while True:
        records, offset = retrying()(
            client.scroll,
            collection,
            scroll_filter=models.Filter(must=[first], should=named),
            limit=_BATCH,
            offset=offset,
            with_payload=list({"document_id", *fields}),
            with_vectors=False,
        )
        yield from (record.payload or {} for record in records)
        if offset is None:
            return
