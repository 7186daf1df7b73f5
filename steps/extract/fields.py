"""Mapped fields of a raw document: what the category reads, and a hash of exactly that."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import bson
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions

from feature_store.extended_json import to_extended_json

_CODEC: CodecOptions[dict[str, Any]] = CodecOptions(uuid_representation=UuidRepresentation.STANDARD)
_MISSING = object()


def top_level(paths: Iterable[str]) -> list[str]:
    """Return the top-level fields of dotted paths: what is asked of the server, which then sends them whole."""
    return sorted({path.split(".", 1)[0] for path in paths})


def mapped_fields(document: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """Return the value at each dotted path; paths that the document lacks are left out.

    Where a path goes through a list, the values of its elements are collected in a list.
    """
    found = ((path, _value_at(document, path.split("."))) for path in paths)
    return {path: value for path, value in found if value is not _MISSING}


def value_at(document: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path as ``mapped_fields`` finds it, or None where there is none."""
    return mapped_fields(document, [path]).get(path)


def encode_fields(fields: Mapping[str, Any]) -> bytes:
    """Return mapped fields as BSON, sorted by path: values with their types, several times as fast as JSON."""
    try:
        return bson.encode(dict(sorted(fields.items())), codec_options=_CODEC)
    except UnicodeEncodeError:  # a lone surrogate, which is no UTF-8
        return to_extended_json(fields).encode()


def source_hash(encoded_fields: bytes, rules: str) -> str:
    """Return the hash that changes when the mapped fields or the ``rules`` that clean them change."""
    return hashlib.sha256(rules.encode() + b"\x1f" + encoded_fields).hexdigest()


def _value_at(value: Any, keys: list[str]) -> Any:
    if not keys:
        return value
    if isinstance(value, Mapping):
        return _value_at(value[keys[0]], keys[1:]) if keys[0] in value else _MISSING
    if isinstance(value, list):
        collected = [found for item in value if (found := _value_at(item, keys)) is not _MISSING]
        return collected or _MISSING
    return _MISSING
