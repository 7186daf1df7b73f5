"""Deterministic ids and hashes: the same source gives the same ids on every machine and in every run."""

import hashlib
import json
import uuid
from typing import Any

from bson import Binary, ObjectId

from feature_store.errors import TerminalError

DOCUMENT_NAMESPACE = uuid.UUID("6a0c1c0e-54b5-5b55-9a0e-0b0f0d7c1a01")
CHUNK_NAMESPACE = uuid.UUID("6a0c1c0e-54b5-5b55-9a0e-0b0f0d7c1a02")
_SEPARATOR = "\x1f"
_UUID_SUBTYPES = {0, 3, 4}
_UUID_BYTES = 16
_TYPE_PREFIXES = ("ObjectId:", "int:", "UUID:", "str:", "unsupported:")


class UnsupportedIdError(TerminalError):
    """An ``_id`` of a type that has no stable text form."""


def source_id(raw_id: object) -> str:
    """Return the text form of a MongoDB ``_id``, different for different types.

    A string stays as it is, unless it looks like one of the prefixed forms; ``ObjectId``, int and UUID (binary,
    whatever the subtype that the server reports) get a prefix that a reader recognises.

    Raises:
        UnsupportedIdError: for any other type.
    """
    match raw_id:
        case str():
            return f"str:{raw_id}" if raw_id.startswith(_TYPE_PREFIXES) else raw_id
        case ObjectId():
            return f"ObjectId:{raw_id}"
        case bool():
            pass
        case int():
            return f"int:{raw_id}"
        case uuid.UUID():
            return f"UUID:{raw_id}"
        case bytes() if len(raw_id) == _UUID_BYTES and getattr(raw_id, "subtype", 0) in _UUID_SUBTYPES:
            return f"UUID:{uuid.UUID(bytes=bytes(raw_id))}"
        case _:
            pass
    kind = "binary" if isinstance(raw_id, bytes | Binary) else type(raw_id).__name__
    raise UnsupportedIdError(
        f"The _id {_shortened(raw_id)} is of type {kind}.",
        "Supported are ObjectId, UUID (string or binary), int and string.",
    )


def document_id(category: str, source: str) -> str:
    """Return the id of a document: a UUID made of its category and its source id."""
    return str(uuid.uuid5(DOCUMENT_NAMESPACE, f"{category}{_SEPARATOR}{source}"))


def chunk_id(document: str, embedded_text_hash: str, occurrence: int, kind: str = "") -> str:
    """Return the id of a chunk, which is also its point id.

    It follows the text within the document, so that a chunk keeps its id when others move around it; ``occurrence``
    counts equal texts of the same document and kind from 0. ``kind`` tells apart chunks of one text: those of another
    size, and parents.
    """
    parts = (document, embedded_text_hash, str(occurrence), *([kind] if kind else []))
    return str(uuid.uuid5(CHUNK_NAMESPACE, _SEPARATOR.join(parts)))


def text_hash(text: str) -> str:
    """Return the SHA-256 of a text's UTF-8 bytes, in hexadecimal, 64 characters."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def fingerprint(value: Any) -> str:
    """Return 12 hexadecimal characters that name a JSON-serialisable value, whatever the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004
