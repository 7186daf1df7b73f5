"""One load at a time for each collection, also from two data folders or two machines.

The lease lies in the collection's own metadata. Qdrant has no compare-and-set, so it is read back after it was written:
of two loads that take it in the same moment, the one whose lease was overwritten gives way.
"""

import os
import socket
import time
import uuid
from datetime import timedelta
from typing import NoReturn

from qdrant_client import QdrantClient

from feature_store.errors import LockedError, TransientError
from feature_store.index import IndexMetadata, Lease, VersionName, read_metadata, write_metadata
from feature_store.versions import now

DURATION = timedelta(minutes=10)
SECONDS_BETWEEN_RENEWALS = 60.0


class HeldLease:
    """The right to write to a collection, as long as it is kept."""

    def __init__(self, client: QdrantClient, collection: str, lease: Lease) -> None:
        self.client = client
        self.collection = collection
        self.lease = lease
        self.renewed_at = time.monotonic()

    def keep(self) -> None:
        """Renew the lease if that was a minute ago or longer.

        Raises:
            LockedError: if another load has taken it over.
        """
        if time.monotonic() - self.renewed_at >= SECONDS_BETWEEN_RENEWALS:
            metadata = self.confirm()
            self.lease = self.lease.model_copy(update={"expires_at": now() + DURATION})
            self.renewed_at = time.monotonic()
            write_metadata(self.client, self.collection, metadata.model_copy(update={"lease": self.lease}))

    def confirm(self) -> IndexMetadata:
        """Return what the collection says of itself now.

        Raises:
            LockedError: if another load has taken the lease over.
            TransientError: if the collection is gone.
        """
        metadata = _read(self.client, self.collection)
        if metadata.lease is None or metadata.lease.token != self.lease.token:
            _refuse(self.collection, metadata.lease)
        return metadata


def take_lease(
    client: QdrantClient, collection: str, seen: IndexMetadata | None, since: VersionName, version: VersionName
) -> HeldLease:
    """Take the lease of a collection for a load from ``since`` to ``version``.

    ``seen`` is what the collection said of itself when ``since`` was found out; None if it was not there. From here on
    until the end of the load the collection claims no more than ``since``.

    Raises:
        LockedError: if another load has the lease, naming it and until when.
        TransientError: if the collection is no longer what it was.
    """
    metadata = _read(client, collection)
    if metadata.lease is not None and not _is_over(metadata.lease):
        _refuse(collection, metadata.lease)
    if (metadata.reflects, metadata.lease) != ((seen.reflects, seen.lease) if seen else (VersionName(), None)):
        raise _changed(collection)
    holder = f"{socket.gethostname()}:{os.getpid()}"
    lease = Lease(holder=holder, token=uuid.uuid4().hex, expires_at=now() + DURATION, loading=version)
    claim = {"version": since.number, "version_run_id": since.run_id, "lease": lease}
    write_metadata(client, collection, metadata.model_copy(update=claim))
    held = HeldLease(client, collection, lease)
    held.confirm()
    return held


def _read(client: QdrantClient, collection: str) -> IndexMetadata:
    metadata = read_metadata(client, collection)
    if metadata is None:
        raise _changed(collection)
    return metadata


def _is_over(lease: Lease) -> bool:
    """Return whether a lease has expired, is this process's own, or that of a process of this host that is gone."""
    host, _, process = lease.holder.rpartition(":")
    if lease.expires_at <= now():
        return True
    return host == socket.gethostname() and (int(process) == os.getpid() or not _is_running(int(process)))


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _refuse(collection: str, lease: Lease | None) -> NoReturn:
    if lease is None:
        raise LockedError(f"Another run has finished a load of the collection {collection} meanwhile.", "Run again.")
    raise LockedError(
        f"Another run is loading the collection {collection}: {lease.holder} (host:process), until "
        f"{lease.expires_at:%Y-%m-%d %H:%M:%S} UTC at the latest.",
        "Wait until it is over, then run again.",
    )


def _changed(collection: str) -> TransientError:
    return TransientError(
        f"The collection {collection} was changed or removed while the run was at work.", "Run again."
    )
