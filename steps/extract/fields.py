"""Mapped fields of a raw document: what the category reads, and a hash of exactly that."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

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


def source_hash(extended_json: str, rules: str) -> str:
    """Return the hash that changes when the mapped fields or the ``rules`` that clean them change."""
    return hashlib.sha256(f"{rules}\x1f{extended_json}".encode("utf-8", "surrogatepass")).hexdigest()


def _value_at(value: Any, keys: list[str]) -> Any:
    if not keys:
        return value
    if isinstance(value, Mapping):
        return _value_at(value[keys[0]], keys[1:]) if keys[0] in value else _MISSING
    if isinstance(value, list):
        collected = [found for item in value if (found := _value_at(item, keys)) is not _MISSING]
        return collected or _MISSING
    return _MISSING
