"""A Qdrant collection: made with its payload indexes before the first point, and moved to a version at the end."""

import warnings
from collections.abc import Iterable

from qdrant_client import QdrantClient, models

from feature_store.config import CategoryConfig
from feature_store.encoders import Encoder
from feature_store.index import (
    DENSE,
    SPARSE,
    IndexMetadata,
    describe_encoder,
    distance,
    read_metadata,
    retrying,
)
from feature_store.index_config import IndexConfig
from feature_store.versions import now

_KEYWORD = models.PayloadSchemaType.KEYWORD
_DATETIME = models.PayloadSchemaType.DATETIME
_INTEGER = models.PayloadSchemaType.INTEGER
_INDEXED_FIELDS = {
    "document_id": _KEYWORD,
    "category": _KEYWORD,
    "source_id": _KEYWORD,
    "title": _KEYWORD,
    "url": _KEYWORD,
    "author": _KEYWORD,
    "published_at": _DATETIME,
    "updated_at": _DATETIME,
    "external_id": _KEYWORD,
    "language": _KEYWORD,
    "heading_path": _KEYWORD,
    "position": _INTEGER,
    "text_hash": _KEYWORD,
}


def indexed_fields(categories: Iterable[CategoryConfig]) -> dict[str, models.PayloadSchemaType]:
    """Return the payload fields that get an index: every one that a filter may name."""
    further = {f"metadata.{name}": _KEYWORD for category in categories for name in category.metadata}
    return {**_INDEXED_FIELDS, **further}


def ensure_collection(
    client: QdrantClient,
    collection: str,
    index: IndexConfig,
    encoder: Encoder,
    fields: dict[str, models.PayloadSchemaType],
    store_id: str,
) -> IndexMetadata:
    """Make the collection if it is missing, and whatever payload indexes it lacks; return what it says of itself."""
    metadata = read_metadata(client, collection)
    if metadata is None:
        metadata = _new_metadata(collection, index, encoder, store_id)
        retrying()(_create, client, collection, encoder, metadata)
    present = set(retrying()(client.get_collection, collection).payload_schema)
    for field, kind in fields.items():
        if field not in present:
            _index_field(client, collection, field, kind)
    return metadata


def _new_metadata(collection: str, index: IndexConfig, encoder: Encoder, store_id: str) -> IndexMetadata:
    return IndexMetadata(
        index=index.name,
        fingerprint=collection.rsplit("__", 1)[1],
        store_id=store_id,
        categories=sorted(set(index.categories)),
        encoder=describe_encoder(encoder),
        encoder_config=index.encoder,
        chunking=index.chunking.model_dump(mode="json"),
        sparse=index.sparse.model_dump(mode="json"),
        created_at=now(),
        updated_at=now(),
    )


def _create(client: QdrantClient, collection: str, encoder: Encoder, metadata: IndexMetadata) -> None:
    if client.collection_exists(collection):
        return  # an earlier attempt got through, only its answer did not
    client.create_collection(
        collection,
        vectors_config={DENSE: models.VectorParams(size=encoder.dimension, distance=distance(encoder.similarity))},
        sparse_vectors_config={SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
        metadata=metadata.model_dump(mode="json"),
    )


def _index_field(client: QdrantClient, collection: str, field: str, kind: models.PayloadSchemaType) -> None:
    with warnings.catch_warnings():
        # Local mode accepts payload indexes, and says that it does not use them.
        warnings.filterwarnings("ignore", message="Payload indexes have no effect")
        retrying()(client.create_payload_index, collection, field, field_schema=kind, wait=True)
