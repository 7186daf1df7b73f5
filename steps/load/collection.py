"""A Qdrant collection: made with its payload indexes before the first point, and kept as its configuration has it."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from qdrant_client import QdrantClient, models

from feature_store.config import CategoryConfig, PayloadType
from feature_store.encoders import Encoder
from feature_store.index import (
    CHUNKER_VERSION,
    IndexMetadata,
    describe_encoder,
    is_local,
    read_metadata,
    retrying,
)
from feature_store.index_config import IndexConfig
from feature_store.payload_schema import indexed_fields, schema_type
from feature_store.versions import now
from steps.load.settings import creation_options, tell_what_has_no_effect, update_settings

_TENANT = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)


def ensure_collection(
    client: QdrantClient,
    collection: str,
    index: IndexConfig,
    categories: Iterable[CategoryConfig],
    encoder: Encoder,
    store_id: str,
) -> IndexMetadata:
    """Make the collection if it is missing, and whatever it lacks of its configuration; return what it says of itself.

    Its points and its version stay as they are, whoever loads it meanwhile.
    """
    mapped = [category for category in categories if category.name in index.categories]
    fields = indexed_fields(mapped)
    if is_local(client):
        tell_what_has_no_effect(index)
    metadata = read_metadata(client, collection)
    indexed: Mapping[str, PayloadType] = {}
    if metadata is not None and is_local(client):
        indexed = metadata.payload_indexes  # nothing else says so there, and each one costs a file
    if metadata is None:
        metadata = _new_metadata(collection, index, fields, encoder, store_id)
        retrying()(_create, client, collection, metadata, creation_options(index, encoder))
    if len(mapped) < len(set(index.categories)):
        # One that is configured no more: nothing says which fields it has but the collection, which serves them still.
        fields = {**metadata.payload_indexes, **fields}
    info = retrying()(client.get_collection, collection)
    update_settings(client, collection, info.config, index, metadata.server)
    lacking = {field: kind for field, kind in fields.items() if indexed.get(field) != kind}
    index_fields(client, collection, info.payload_schema, lacking, index.server.tenant)
    return _describe(client, collection, metadata, index, fields)


def _new_metadata(
    collection: str, index: IndexConfig, fields: dict[str, PayloadType], encoder: Encoder, store_id: str
) -> IndexMetadata:
    return IndexMetadata(
        index=index.name,
        fingerprint=collection.rsplit("__", 1)[1],
        store_id=store_id,
        categories=sorted(set(index.categories)),
        encoder=describe_encoder(encoder),
        encoder_config=index.encoder,
        chunking=index.chunking.model_dump(mode="json"),
        sparse=index.sparse.model_dump(mode="json"),
        chunker_version=CHUNKER_VERSION,
        payload_indexes=fields,
        retrieval=index.retrieval,
        server=index.server,
        created_at=now(),
        updated_at=now(),
    )


def _create(client: QdrantClient, collection: str, metadata: IndexMetadata, options: dict[str, Any]) -> None:
    if client.collection_exists(collection):
        return  # an earlier attempt got through, only its answer did not
    client.create_collection(collection, metadata=metadata.model_dump(mode="json"), **options)


def index_fields(
    client: QdrantClient,
    collection: str,
    present: Mapping[str, models.PayloadIndexInfo],
    fields: Mapping[str, PayloadType],
    tenant: str | None,
) -> None:
    """Make the payload indexes that are missing or of another kind; the server replaces one that is there."""
    for field, payload_type in fields.items():
        kind = schema_type(payload_type)
        if not _is_indexed(present.get(field), kind, is_tenant=field == tenant):
            schema = _TENANT if field == tenant else kind
            _index_field(client, collection, field, schema)


def _is_indexed(info: models.PayloadIndexInfo | None, kind: models.PayloadSchemaType, *, is_tenant: bool) -> bool:
    if info is None or info.data_type != kind:
        return False
    return is_tenant == bool(isinstance(info.params, models.KeywordIndexParams) and info.params.is_tenant)


def _index_field(
    client: QdrantClient,
    collection: str,
    field: str,
    schema: models.PayloadSchemaType | models.KeywordIndexParams,
) -> None:
    with warnings.catch_warnings():
        # Local mode accepts payload indexes, and says that it does not use them.
        warnings.filterwarnings("ignore", message="Payload indexes have no effect")
        retrying()(client.create_payload_index, collection, field, field_schema=schema, wait=True)


def _describe(
    client: QdrantClient,
    collection: str,
    metadata: IndexMetadata,
    index: IndexConfig,
    fields: dict[str, PayloadType],
) -> IndexMetadata:
    """Let the collection say what the configuration says now of filters, searches and the server."""
    described = metadata.model_copy(
        update={"payload_indexes": fields, "retrieval": index.retrieval, "server": index.server}
    )
    if described != metadata:
        # Only these keys: a load of somebody else may be renewing its lease. Qdrant merges them into the others.
        changes: dict[str, Any] = described.model_dump(mode="json", include={"payload_indexes", "retrieval", "server"})
        retrying()(client.update_collection, collection, metadata=changes)
    return described
