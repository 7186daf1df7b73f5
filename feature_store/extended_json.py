"""MongoDB Extended JSON, in which raw fields travel between stages without losing their types."""

from collections.abc import Mapping
from typing import Any

from bson import json_util
from bson.binary import UuidRepresentation
from bson.codec_options import DatetimeConversion

_OPTIONS = json_util.CANONICAL_JSON_OPTIONS.with_options(
    uuid_representation=UuidRepresentation.STANDARD,
    tz_aware=True,
    # A date beyond Python's years must not make its neighbours unreadable.
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)


def to_extended_json(fields: Mapping[str, Any]) -> str:
    """Return canonical Extended JSON, keys of the outermost mapping sorted."""
    return json_util.dumps(dict(sorted(fields.items())), json_options=_OPTIONS)


def from_extended_json(text: str) -> dict[str, Any]:
    """Return the fields that ``to_extended_json`` wrote."""
    fields: dict[str, Any] = json_util.loads(text, json_options=_OPTIONS)
    return fields
