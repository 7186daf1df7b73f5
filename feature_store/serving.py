"""Which collection of an index serves: the one that its alias points to."""

from qdrant_client import QdrantClient, models

from feature_store.index import retrying, serving_collection


def move_alias(client: QdrantClient, index: str, collection: str) -> str | None:
    """Let a collection serve, in one operation; return the one that served before, if it was another."""
    serving = serving_collection(client, index)
    if serving == collection:
        return None
    operations: list[models.AliasOperations] = []
    if serving is not None:
        operations.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=index)))
    operations.append(
        models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=index))
    )
    retrying()(client.update_collection_aliases, change_aliases_operations=operations)
    return serving
