"""Dates, addresses, names and other values of a document in one canonical form each."""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

from bson import ObjectId
from dateutil import parser as dateutil_parser
from w3lib.url import canonicalize_url, url_query_cleaner

from steps.clean.characters import one_line

_MILLISECONDS_FROM = 100_000_000_000  # as seconds: the year 5138; as milliseconds: March 1973
_TRACKING = [
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "utm_id",
    "utm_name",
    "fbclid",
    "gclid",
    "dclid",
    "gbraid",
    "wbraid",
    "msclkid",
    "mc_cid",
    "mc_eid",
    "igshid",
    "yclid",
    "_hsenc",
    "_hsmi",
]
_SCHEMES = {"http", "https", "file", "ftp"}
_DEFAULT_PORTS = {"http": 80, "https": 443, "ftp": 21}
_LINE_ANCHOR = re.compile(r"L\d+(?:C\d+)?(?:-L?\d+(?:C\d+)?)?")
_ISO_DATE = re.compile(r"\d{4}-?\d{2}-?\d{2}(?:[T ].*)?")
_AMBIGUOUS_DATE = re.compile(r"\s*(\d{1,2})[/.-](\d{1,2})[/.-]\d{2,4}\b")
_MONTHS = 12


class UndecodableDateError(ValueError):
    """A value that names no day without doubt."""


def canonical_date(value: object) -> str | None:
    """Return a date as ISO 8601 in UTC, ``2024-07-29T00:00:00Z``; nothing for an empty value.

    Understood are ``datetime`` (UTC where it names no zone, as MongoDB stores it), epoch seconds and milliseconds, ISO
    8601, RFC 2822 and what dateutil reads without guessing: a date needs day, month and year, and ``03/04/2024``, which
    is two different days on two continents, is refused.

    Raises:
        UndecodableDateError: for everything else.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    moment = _moment(value)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    try:
        return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
    except OverflowError as error:
        raise UndecodableDateError("it lies outside of the years 1 to 9999") from error


def canonical_url(value: object) -> str | None:
    """Return an absolute http, https, ftp or file address in one canonical form, nothing for anything else.

    Scheme and host are in lower case, the query is sorted; default ports, tracking parameters and fragments are left
    out, but not fragments that name lines of source code (``#L10-L20``).
    """
    if not isinstance(value, str) or not value.strip() or re.search(r"\s", value.strip()):
        return None
    try:
        address = value.strip().encode("utf-8", "replace").decode()
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _SCHEMES or not (parts.hostname or parts.scheme == "file"):
        return None
    host = parts.netloc
    if port is not None and port == _DEFAULT_PORTS.get(parts.scheme):
        host = host.rpartition(":")[0]
    has_line_anchor = bool(_LINE_ANCHOR.fullmatch(parts.fragment))
    address = urlunsplit(parts._replace(netloc=host))
    address = url_query_cleaner(address, _TRACKING, remove=True, keep_fragments=True)
    return str(canonicalize_url(address, keep_fragments=has_line_anchor))


def canonical_author(value: object) -> str | None:
    """Return the name or names of a string, a list of names or a mapping with a ``name``; nothing for anything else."""
    match value:
        case str():
            return one_line(value) or None
        case Mapping():
            names = (value.get(key) for key in ("name", "full_name", "display_name", "username"))
            return next((name for name in map(canonical_author, names) if name), None)
        case list() | tuple():
            return ", ".join(name for name in map(canonical_author, value) if name) or None
        case _:
            return None


def canonical_title(value: object) -> str | None:
    """Return a title on a single line, nothing for an empty one."""
    return (one_line(value) or None) if isinstance(value, str) else None


def canonical_external_id(value: object) -> str | None:
    """Return the text of an int, string, ObjectId or UUID, nothing for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str | ObjectId | UUID):
        return None
    return one_line(str(value)) or None


def canonical_metadata(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are there: scalars and lists of scalars as they are, everything else as JSON text."""
    present = {name: value for name, value in values.items() if value is not None}
    return {name: _plain_value(value) for name, value in sorted(present.items())}


def _moment(value: object) -> datetime:
    match value:
        case bool():
            pass
        case datetime():
            return value
        case date():
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
        case int() | float():
            return _from_epoch(value)
        case str():
            return _from_text(value.strip())
        case _:
            pass
    raise UndecodableDateError(f"a value of type {type(value).__name__} is no date")


def _from_epoch(value: float) -> datetime:
    if not math.isfinite(value):
        raise UndecodableDateError("it is not finite")
    seconds = value / 1000 if abs(value) >= _MILLISECONDS_FROM else value
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise UndecodableDateError("it lies outside of the years 1 to 9999") from error


def _from_text(text: str) -> datetime:
    if _ISO_DATE.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass  # such as 2024-07-29T10:00:00 UTC, which dateutil reads
    try:
        return parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return _from_free_text(text)


def _from_free_text(text: str) -> datetime:
    ambiguous = _AMBIGUOUS_DATE.match(text)
    if ambiguous and ambiguous[1] != ambiguous[2] and max(int(ambiguous[1]), int(ambiguous[2])) <= _MONTHS:
        raise UndecodableDateError("day and month could be either way round")
    # dateutil fills missing parts from a default; two defaults that differ everywhere show what was missing.
    defaults = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2004, 2, 2, tzinfo=UTC))
    try:
        first, second = (dateutil_parser.parse(text, default=default) for default in defaults)
    except (ValueError, OverflowError, TypeError) as error:
        raise UndecodableDateError("it is in no known form") from error
    if first != second:
        raise UndecodableDateError("day, month or year is missing")
    return first


def _plain_value(value: object) -> Any:
    scalar = _scalar(value)
    if scalar is not None:
        return scalar
    if isinstance(value, list | tuple):
        items = [_scalar(item) for item in value]
        if all(item is not None for item in items):
            return items
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=_json_text, skipkeys=True)


def _scalar(value: object) -> str | int | float | bool | None:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case float():
            return value if math.isfinite(value) else str(value)
        case bool() | int():
            return value
        case datetime() | date():
            return canonical_date(value)
        case ObjectId() | UUID():
            return str(value)
        case _:
            return None


def _json_text(value: object) -> str:
    scalar = _scalar(value)
    return str(value) if scalar is None else str(scalar)
