"""Points as the record of an index knows them: an id and the hash of a payload. Light to import: workers need it."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

ID_BYTES = 16
HASH_BYTES = 8

PARENT_ROLE = "parent"  # the payload's `role` of a point that has no vectors and is what a reader gets

DocumentPoints = dict[bytes, bytes]
"""The points of one document: chunk id (16 bytes) to the hash of its payload (8 bytes)."""

KnownPoints = Callable[[Sequence[str]], Mapping[str, DocumentPoints]]
"""Gives the points of those of the documents that the record knows."""

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def payload_hash(payload: dict[str, Any]) -> bytes:
    """Return 8 bytes that change with the payload, whatever the order of its keys."""
    return hashlib.blake2b(_CANONICAL.encode(payload).encode(), digest_size=HASH_BYTES).digest()


def pack(points: DocumentPoints) -> tuple[bytes, bytes]:
    """Return the columns ``chunk_ids`` and ``payload_hashes`` for the points of a document."""
    return b"".join(points), b"".join(points.values())


def unpack(chunk_ids: bytes, payload_hashes: bytes) -> DocumentPoints:
    """Return the points of a document from its two columns."""
    return dict(zip(_pieces(chunk_ids, ID_BYTES), _pieces(payload_hashes, HASH_BYTES), strict=True))


def _pieces(packed: bytes, size: int) -> Iterator[bytes]:
    return (packed[start : start + size] for start in range(0, len(packed), size))
