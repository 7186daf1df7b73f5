"""Removing documents from every collection that this pipeline made, and from the records of what they hold."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loguru import logger
from qdrant_client import QdrantClient, models

from feature_store import tables
from feature_store.errors import LockedError
from feature_store.index import (
    IndexMetadata,
    count_points,
    is_local,
    our_collections,
    retrying,
    scroll,
    write_metadata,
)
from feature_store.index_record import IndexRecord
from feature_store.versions import now
from steps.load.lease import take_lease

IDS_PER_SCROLL = 10_000


@dataclass(slots=True)
class ErasedPoints:
    """What was removed: ``points`` by collection, ``recorded`` those of them that a record knew.

    ``foreign`` are collections made from another feature store, whose own data folder may bring the documents back.
    """

    points: dict[str, int] = field(default_factory=dict)
    recorded: int = 0
    foreign: list[str] = field(default_factory=list)


def require_no_load(client: QdrantClient, indexes_folder: Path) -> None:
    """Check that nobody writes to one of the collections.

    Raises:
        LockedError: if somebody may.
    """
    if is_local(client):
        return  # open in no other process
    for name, metadata in our_collections(client).items():
        lease = metadata.lease
        if lease is None or lease.expires_at <= now():
            continue
        if lease.token != IndexRecord(indexes_folder, name).lease_token():
            raise LockedError(
                f"A run is loading the collection {name}: {lease.holder} (host:process), until "
                f"{lease.expires_at:%Y-%m-%d %H:%M:%S} UTC at the latest.",
                "Wait until it is over, then forget again; nothing was begun.",
            )


def erase_points(
    client: QdrantClient, indexes_folder: Path, document_ids: Sequence[str], store_id: str | None
) -> ErasedPoints:
    """Remove the points of documents from every collection, serving, retired or rebuilt, and from their records.

    What a collection says of its version stays; so does the lease of a load that died, for it says that one began.

    Raises:
        LockedError: if a load has the lease of a collection.
    """
    erased = ErasedPoints()
    for name, metadata in our_collections(client).items():
        if metadata.store_id != store_id:
            erased.foreign.append(name)
        record = IndexRecord(indexes_folder, name)
        erased.points[name], recorded = _erase(client, name, metadata, record, document_ids)
        erased.recorded += recorded
        logger.info("{}: {:,} points erased", name, erased.points[name])
    return erased


def count_points_of(client: QdrantClient, collection: str, document_ids: Sequence[str]) -> int:
    """Return how many points of these documents a collection holds."""
    return sum(
        retrying()(client.count, collection, count_filter=_of(some), exact=True).count
        for some in tables.batches_of(document_ids, tables.LOOKUP_BATCH)
    )


def text_hashes(client: QdrantClient, collection: str) -> set[str]:
    """Return the hashes of all texts that points of a collection were embedded from."""
    hashes: set[str] = set()
    for records in scroll(client, collection, IDS_PER_SCROLL, with_payload=["text_hash"]):
        hashes.update(str((record.payload or {}).get("text_hash")) for record in records)
    return hashes


def _erase(
    client: QdrantClient, name: str, metadata: IndexMetadata, record: IndexRecord, document_ids: Sequence[str]
) -> tuple[int, int]:
    died = metadata.lease is not None and metadata.lease.loading != metadata.reflects
    loading = metadata.lease.loading if metadata.lease is not None else metadata.reflects
    with take_lease(client, name, metadata, metadata.reflects, loading, record.lease_token()) as lease:
        before = count_points(client, name)
        for some in tables.batches_of(document_ids, tables.LOOKUP_BATCH):
            selector = models.FilterSelector(filter=_of(some))
            retrying()(client.delete, name, points_selector=selector, wait=True)
            lease.keep()
        recorded = record.erase(document_ids)
        said, points = lease.renew(), count_points(client, name)
        left = lease.lease.model_copy(update={"expires_at": now()}) if died else None
        write_metadata(client, name, said.model_copy(update={"points": points, "lease": left}))
    return before - points, recorded


def _of(document_ids: Sequence[str]) -> models.Filter:
    condition = models.FieldCondition(key="document_id", match=models.MatchAny(any=list(document_ids)))
    return models.Filter(must=condition)
