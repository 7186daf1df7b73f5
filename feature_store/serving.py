"""Which collection of an index serves: the one that its alias points to.

The alias is the truth, and it moves in one operation. What the collections say of themselves follows it: a process that
dies in between leaves that to `settle`, which every run and every command calls.
"""

from typing import Any

from qdrant_client import QdrantClient, models

from feature_store.index import (
    IndexMetadata,
    Promotion,
    index_collections,
    read_metadata,
    retrying,
    serving_collection,
)
from feature_store.versions import now


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


def promote(client: QdrantClient, index: str, collection: str) -> str | None:
    """Let a collection serve from now on; return the one that served before, which is retired."""
    previous = move_alias(client, index, collection)
    settle(client, index)
    return previous


def settle(client: QdrantClient, index: str) -> None:
    """Let the collections of an index say what its alias says: one serves, and no other does.

    One that says that it serves and does not is retired now. The one that serves came after the newest of these, unless
    that one is held: then somebody went back, and what was there before stays as it was.
    """
    known = index_collections(client, index)
    claiming = {name: said.promotion for name, said in known.items() if _says_that_it_serves(said.promotion)}
    serving = serving_collection(client, index)
    if serving in known:
        said = known[serving].promotion
        if serving not in claiming or said.held or said.refused:
            left = [(str(promotion.promoted_at), name) for name, promotion in claiming.items() if not promotion.held]
            previous = max((pair for pair in left if pair[1] != serving), default=("", said.previous))[1]
            began = said.promoted_at if serving in claiming else now()
            begun = {"promoted_at": began, "retired_at": None, "previous": previous, "refused": None, "held": None}
            note_promotion(client, serving, known[serving], **begun)
    for name in claiming.keys() - {serving}:
        note_promotion(client, name, known[name], retired_at=now())


def hold(client: QdrantClient, collection: str, why: str) -> None:
    """Keep a collection from being promoted by a run."""
    metadata = read_metadata(client, collection)
    if metadata is not None:
        note_promotion(client, collection, metadata, held=why)


def note_promotion(client: QdrantClient, collection: str, metadata: IndexMetadata, **changes: Any) -> None:
    """Change what a collection says of its promotion; whatever else it says stays, also if a load renews its lease."""
    noted = metadata.promotion.model_copy(update=changes)
    if noted != metadata.promotion:
        retrying()(client.update_collection, collection, metadata={"promotion": noted.model_dump(mode="json")})


def _says_that_it_serves(promotion: Promotion) -> bool:
    return promotion.promoted_at is not None and promotion.retired_at is None
