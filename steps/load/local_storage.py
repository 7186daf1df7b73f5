"""Qdrant's local mode commits, and flushes to disk, after every single point; a load flushes once, before it counts."""

import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from qdrant_client import QdrantClient
from qdrant_client.local.qdrant_local import QdrantLocal

from feature_store.index import collection_names, is_local


@contextmanager
def flushed_once(client: QdrantClient, collection: str) -> Iterator[None]:
    """Let the points written in this block reach the disk together, at its end; a server is left alone.

    A process that is killed loses nothing by that. A machine that loses power may lose points of this block, but the
    version pointer moves only after it. Measured: 50 to 90 points a second become about 800.
    """
    storage = _local_storage(client, collection)
    if storage is None:
        yield
        return
    storage.execute("PRAGMA journal_mode = WAL")
    storage.execute("PRAGMA synchronous = NORMAL")
    try:
        with warnings.catch_warnings():
            # The step says so itself, with the remedy.
            warnings.filterwarnings("ignore", message="Local mode is not recommended")
            yield
    finally:
        storage.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        storage.execute("PRAGMA synchronous = FULL")


def release_space(client: QdrantClient) -> bool:
    """Overwrite what deleted points have left in the files of every collection; return whether that is possible.

    SQLite only marks the pages of a deleted row as free. A server cleans up by itself, when its optimizer gets to it.
    """
    if not is_local(client):
        return False
    for collection in collection_names(client):
        storage = _local_storage(client, collection)
        if storage is not None:
            storage.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            storage.execute("VACUUM")
            storage.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return True


def _local_storage(client: QdrantClient, collection: str) -> sqlite3.Connection | None:
    # The connection is private to the pinned qdrant-client; there is no public way to set its durability.
    local = client._client  # noqa: SLF001
    if not isinstance(local, QdrantLocal) or not local.persistent:
        return None
    storage = local.collections[collection].storage
    return None if storage is None else storage.storage
