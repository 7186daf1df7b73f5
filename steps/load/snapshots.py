"""Snapshots of a collection, kept by the Qdrant server."""

import time

import httpx
from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from feature_store.errors import TransientError
from feature_store.index import is_local, retrying

SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_FOR_A_SNAPSHOT = 1800.0


def take_snapshot(client: QdrantClient, collection: str) -> str | None:
    """Let the server write a snapshot of a collection and return its name; None from an embedded Qdrant, which cannot.

    The server works in the background, however long it takes; it lists a snapshot once it is whole.

    Raises:
        TransientError: if the server does not make it, or it is not there after half an hour.
    """
    if is_local(client):
        return None
    try:
        return _take_snapshot(client, collection)
    except (UnexpectedResponse, ResponseHandlingException, httpx.HTTPError) as error:
        raise TransientError(
            f"The server has made no snapshot of {collection}: {str(error)[:200]}.",
            f"Ask for it again: `POST /collections/{collection}/snapshots`.",
        ) from error


def _take_snapshot(client: QdrantClient, collection: str) -> str:
    before = _names(client, collection)
    client.create_snapshot(collection, wait=False)  # not tried again: an answer that got lost would make two of them
    started = time.monotonic()
    while time.monotonic() - started < SECONDS_FOR_A_SNAPSHOT:
        made = _names(client, collection) - before
        if made:
            return max(made)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    raise TransientError(
        f"The server has made no snapshot of {collection} within {SECONDS_FOR_A_SNAPSHOT / 60:.0f} minutes.",
        f"Look whether its disk is full; `GET /collections/{collection}/snapshots` lists those that are whole.",
    )


def _names(client: QdrantClient, collection: str) -> set[str]:
    return {snapshot.name for snapshot in retrying()(client.list_snapshots, collection)}
