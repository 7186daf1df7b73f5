"""Digests of two large sets, bucket by bucket, so that what differs is found without keeping either in memory.

A member is filed by the first bits of its id. Members are hashed, and the hashes of a bucket added, as in
``feature_store.digests``: here modulo 2**64 in two lanes, so that NumPy adds those of a whole batch.
"""

import hashlib
import uuid
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from qdrant_client import models

from feature_store.points import ID_BYTES

BUCKETS = 1 << 16
"""With a million points about 15 share one: that is how many are looked into for one that differs."""

_LANES = 2
_DIGEST_BYTES = 8 * _LANES


class BucketDigests:
    """One digest for each bucket of a growing set: 1 MB, whatever the number of members, which ``count`` is."""

    def __init__(self) -> None:
        self.sums = np.zeros((BUCKETS, _LANES), np.uint64)
        self.count = 0

    def add(self, ids: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Add members: an id of 16 bytes each, and what is known of it."""
        if not ids:
            return
        places = np.fromiter(map(bucket_of, ids), np.intp, len(ids))
        hashed = b"".join(
            hashlib.blake2b(identifier + value, digest_size=_DIGEST_BYTES).digest()
            for identifier, value in zip(ids, values, strict=True)
        )
        np.add.at(self.sums, places, np.frombuffer(hashed, np.uint64).reshape(-1, _LANES))
        self.count += len(ids)


def bucket_of(identifier: bytes) -> int:
    """Return the bucket of an id: its first 16 bits, which are as good as random in ids that are hashes."""
    return int.from_bytes(identifier[:2], "big")


def differing_buckets(ours: BucketDigests, theirs: BucketDigests) -> npt.NDArray[np.bool_]:
    """Return for each bucket whether the sets differ there, shape (BUCKETS,)."""
    apart: npt.NDArray[np.bool_] = (ours.sums != theirs.sums).any(axis=1)
    return apart


def id_bytes(point: models.ExtendedPointId) -> bytes:
    """Return 16 bytes for the id of any point; a number, which none of ours has, is hashed."""
    if isinstance(point, int):
        return hashlib.blake2b(str(point).encode(), digest_size=ID_BYTES).digest()
    return uuid.UUID(str(point)).bytes
