"""The payload of a point: all that an answer needs to quote and cite a chunk, and all that a filter may ask for."""

import json
from typing import Any

from feature_store.config import DOCUMENT_FIELDS
from feature_store.points import PARENT_ROLE
from feature_store.records import Chunk, CleanedDocument

_ENCODER = json.JSONEncoder(ensure_ascii=False)


def make_payload(document: CleanedDocument, chunk: Chunk, chunk_text_hash: str) -> dict[str, Any]:
    """Return the payload of one chunk; fields that the document lacks are left out.

    ``start`` and ``end`` are character positions in the cleaned text of the document. ``size`` is there where the index
    has several, ``parent_id`` for children, ``role`` for parents.
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
        **({"size": chunk.size} if chunk.size is not None else {}),
        **({"parent_id": chunk.parent_id} if chunk.parent_id is not None else {}),
        **({"role": PARENT_ROLE} if chunk.is_parent else {}),
    }


def to_json(payload: dict[str, Any]) -> str:
    """Return the payload as JSON."""
    return _ENCODER.encode(payload)
