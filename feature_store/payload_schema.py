"""The fields of a payload that Qdrant indexes, so that a filter may name them, and what their values are."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from feature_store.config import CategoryConfig, PayloadType
from feature_store.errors import ConfigurationError

if TYPE_CHECKING:
    from qdrant_client import models

_FIELDS: dict[str, PayloadType] = {
    "document_id": "keyword",
    "category": "keyword",
    "source_id": "keyword",
    "title": "keyword",
    "url": "keyword",
    "author": "keyword",
    "published_at": "datetime",
    "updated_at": "datetime",
    "external_id": "keyword",
    "language": "keyword",
    "heading_path": "keyword",
    "position": "integer",
    "text_hash": "keyword",
    "size": "integer",
    "parent_id": "keyword",
    "role": "keyword",
}


def indexed_fields(categories: Iterable[CategoryConfig]) -> dict[str, PayloadType]:
    """Return the payload fields that get an index, with their types; metadata are named ``metadata.<name>``.

    Raises:
        ConfigurationError: if two of the categories give one name two types.
    """
    fields = dict(_FIELDS)
    first_to_say: dict[str, str] = {}
    for category in categories:
        for name in category.metadata:
            field, payload_type = f"metadata.{name}", category.metadata_types.get(name, "keyword")
            if fields.setdefault(field, payload_type) != payload_type:
                raise ConfigurationError(
                    f"{field} is {fields[field]} in category {first_to_say[field]} and {payload_type} in "
                    f"{category.name}, which share an index.",
                    "Give it one type in the `metadata_types` of both, or another name in one of them.",
                )
            first_to_say.setdefault(field, category.name)
    return fields


def schema_type(payload_type: PayloadType) -> "models.PayloadSchemaType":
    """Return what Qdrant calls a payload index of that type."""
    from qdrant_client import models  # not at the top: whoever reads a configuration needs the names alone

    return models.PayloadSchemaType(payload_type)
