"""One load at a time for each collection, also from two data folders or two machines.

The lease lies in the collection's own metadata. Qdrant has no compare-and-set, so it is read back after it was written:
of two loads that take it in the same moment, the one whose lease was overwritten gives way.
"""

import hashlib
import os
import socket
import time
import uuid
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from loguru import logger
from qdrant_client import QdrantClient

from feature_store.errors import LockedError, TransientError
from feature_store.index import IndexMetadata, Lease, VersionName, is_local, read_metadata, write_metadata
from feature_store.versions import now

DURATION = timedelta(minutes=10)
SECONDS_BETWEEN_RENEWALS = 60.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PROCESS_NAMESPACE = Path("/proc/self/ns/pid")


class HeldLease:
    """The right to write to a collection, as long as it is kept; given up if a ``with`` block of it fails."""

    def __init__(self, client: QdrantClient, collection: str, lease: Lease) -> None:
        self.client = client
        self.collection = collection
        self.lease = lease
        self.renewed_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._give_up()

    def keep(self) -> None:
        """Renew the lease if that was a minute ago or longer.

        Raises:
            LockedError: if another load has taken it over.
            TransientError: if the collection is gone.
        """
        # Both clocks: the monotonic one stands still while a machine sleeps, the other may be set back.
        by_wall_clock = now() - (self.lease.expires_at - DURATION)
        seconds = max(time.monotonic() - self.renewed_at, by_wall_clock.total_seconds())
        if seconds >= SECONDS_BETWEEN_RENEWALS:
            self.renew()

    def renew(self) -> IndexMetadata:
        """Extend the lease, if it is still held; return what the collection says of itself then.

        Raises:
            LockedError: if another load has taken it over.
            TransientError: if the collection is gone.
        """
        metadata = self.confirm()
        self.lease = self.lease.model_copy(update={"expires_at": now() + DURATION})
        self.renewed_at = time.monotonic()
        renewed = metadata.model_copy(update={"lease": self.lease})
        write_metadata(self.client, self.collection, renewed)
        return renewed

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

    def _give_up(self) -> None:
        """Let the lease expire now; it stays, for it says which load began. Only tries: the first error is the one."""
        try:
            said = self.client.get_collection(self.collection).config.metadata or {}
            if (said.get("lease") or {}).get("token") == self.lease.token:
                over = self.lease.model_copy(update={"expires_at": now()})
                self.client.update_collection(self.collection, metadata={"lease": over.model_dump(mode="json")})
        except Exception as error:  # noqa: BLE001 (whatever it is, it must not hide why the load failed)
            logger.warning(
                "The lease of {} could not be given back: {!r}. It ends at {:%Y-%m-%d %H:%M:%S} UTC.",
                self.collection, error, self.lease.expires_at,
            )  # fmt: skip


def take_lease(
    client: QdrantClient,
    collection: str,
    seen: IndexMetadata | None,
    since: VersionName,
    version: VersionName,
    own_token: str | None,
) -> HeldLease:
    """Take the lease of a collection for a load from ``since`` to ``version``.

    ``seen`` is what the collection said of itself when ``since`` was found out; None if it was not there. From here on
    until the end of the load the collection claims no more than ``since``. A lease with ``own_token`` is that of an
    earlier load from the same data folder; as this run has the lock of that folder, it is over.

    Raises:
        LockedError: if another load has the lease, naming it and until when.
        TransientError: if the collection is no longer what it was.
    """
    metadata = _read(client, collection)
    if metadata.lease is not None and not _is_over(client, metadata.lease, own_token):
        _refuse(collection, metadata.lease)
    if (metadata.reflects, metadata.lease) != ((seen.reflects, seen.lease) if seen else (VersionName(), None)):
        raise _changed(collection)
    lease = Lease(
        holder=f"{_host()}:{os.getpid()}", token=uuid.uuid4().hex, expires_at=now() + DURATION, loading=version
    )
    claim = {"version": since.number, "version_run_id": since.run_id, "lease": lease}
    with HeldLease(client, collection, lease) as held:
        write_metadata(client, collection, metadata.model_copy(update=claim))
        held.confirm()
    return held


def _read(client: QdrantClient, collection: str) -> IndexMetadata:
    metadata = read_metadata(client, collection)
    if metadata is None:
        raise _changed(collection)
    return metadata


def _is_over(client: QdrantClient, lease: Lease, own_token: str | None) -> bool:
    """Return whether a lease has expired, or its load cannot be at work any more.

    So it is for one of this data folder or of this process, for one of a process of this machine that is gone, and for
    every one in an embedded Qdrant: that is open in no other process.
    """
    if lease.expires_at <= now() or lease.token == own_token or is_local(client):
        return True
    host, _, process = lease.holder.rpartition(":")
    return host == _host() and (int(process) == os.getpid() or not _is_running(int(process)))


def _host() -> str:
    """Return the name of this host with what tells it apart from others where processes have the same numbers."""
    return f"{socket.gethostname()}-{hashlib.sha256(_machine().encode()).hexdigest()[:8]}"


@cache
def _machine() -> str:
    try:
        return f"{_BOOT_ID.read_text().strip()} {_PROCESS_NAMESPACE.readlink()}"
    except OSError:
        return uuid.uuid4().hex  # nothing tells machines apart: only this process knows itself again


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
