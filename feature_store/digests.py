"""Digests of sets: short names for many things that do not depend on their order, made in one pass.

Each member is hashed and the hashes are added modulo 2**128: the additive multiset hash of Clarke et al., "Incremental
Multiset Hash Functions and Their Application to Memory Integrity Checking" (Asiacrypt 2003). It tells sets apart that
differ by accident or by a defect; against somebody who forges members it is too short.
"""

import hashlib
from pathlib import Path

import lance

from feature_store.index_record import IndexRecord
from feature_store.points import unpack
from feature_store.store import IS_LIVE, FeatureStore
from feature_store.versions import Version

_BYTES = 16
_MODULUS = 1 << (8 * _BYTES)


class SetDigest:
    """The digest of a growing set; ``count`` is the number of members."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0

    def add(self, *parts: bytes) -> None:
        """Add one member, which is a sequence of byte strings."""
        member = hashlib.blake2b(digest_size=_BYTES)
        for part in parts:
            member.update(len(part).to_bytes(8, "big") + part)
        self._sum = (self._sum + int.from_bytes(member.digest(), "big")) % _MODULUS
        self.count += 1

    def hexdigest(self) -> str:
        """Return 32 hexadecimal characters."""
        return f"{self._sum:0{2 * _BYTES}x}"


def documents_digest(store: FeatureStore, version: Version) -> SetDigest:
    """Return the digest of the ids and content hashes of all live documents at ``version``.

    The content hash covers text and metadata as cleaned.
    """
    digest = SetDigest()
    columns = ["document_id", "content_hash"]
    for batch in store.documents(version).scanner(columns=columns, filter=IS_LIVE).to_batches():
        ids, hashes = batch.column("document_id").to_pylist(), batch.column("content_hash").to_pylist()
        for document_id, content_hash in zip(ids, hashes, strict=True):
            digest.add(document_id.encode(), content_hash.encode())
    return digest


def points_digest(record: IndexRecord, table: int) -> SetDigest:
    """Return the digest of the chunk ids and payload hashes in an index's record, at its Lance version ``table``."""
    digest = SetDigest()
    opened = lance.dataset(str(record.table_path), version=table)
    for batch in opened.scanner(columns=["chunk_ids", "payload_hashes"]).to_batches():
        packed = zip(batch.column("chunk_ids").to_pylist(), batch.column("payload_hashes").to_pylist(), strict=True)
        for chunk_ids, payload_hashes in packed:
            for chunk_id, payload_hash in unpack(chunk_ids, payload_hashes).items():
                digest.add(chunk_id, payload_hash)
    return digest


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal, 64 characters."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
