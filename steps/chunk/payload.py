"""The payload of a point: all that an answer needs to quote and cite a chunk, and all that a filter may ask for."""

import hashlib
import json
from typing import Any

from feature_store.config import DOCUMENT_FIELDS
from feature_store.index_record import HASH_BYTES
from feature_store.records import Chunk, CleanedDocument


def make_payload(document: CleanedDocument, chunk: Chunk, chunk_text_hash: str) -> dict[str, Any]:
    """Return the payload of one chunk; fields that the document lacks are left out.

    ``start`` and ``end`` are character positions in the cleaned text of the document.
    """
    described = {name: getattr(document, name) for name in DOCUMENT_FIELDS}
    return {
        "text": chunk.text,
        "document_id": document.document_id,
        "category": document.category,
        "source_id": document.source_id,
        **{name: value for name, value in described.items() if value is not None},
        **({"metadata": dict(document.metadata)} if document.metadata else {}),
        "heading_path": list(chunk.heading_path),
        "position": chunk.position,
        "start": chunk.start,
        "end": chunk.end,
        "token_count": chunk.token_count,
        "text_hash": chunk_text_hash,
    }


def payload_hash(payload: dict[str, Any]) -> bytes:
    """Return 8 bytes that change with the payload, whatever the order of its keys."""
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=HASH_BYTES).digest()


def to_json(payload: dict[str, Any]) -> str:
    """Return the payload as JSON."""
    return json.dumps(payload, ensure_ascii=False)
