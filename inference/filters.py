"""Filters from plain Python values, and from the words of a command line.

A filter names payload fields of the index and what they must be; all of it must hold::

    {"category": "articles"}                                        equal
    {"author": ["Ada Lovelace", "Alan Turing"]}                     any of
    {"published_at": {"gte": date(2024, 1, 1), "lt": "2025-01-01"}} within; `gt`, `gte`, `lt`, `lte`
    {"language": {"not": "de"}}                                     not this one, nor any of a list
    {"url": {"exists": True}}                                       there; False for missing

A date without a time stands for that whole day in UTC: equal to it is every moment of the day, ``lte`` takes the day
in, ``gt`` begins after it. A time that names no zone is UTC. Where a field holds a list (``heading_path``), one of its
elements must fit. ``not`` is also true of points that lack the field. ``topic`` stands for ``metadata.topic`` where no
field is called ``topic``.
"""

import csv
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any

from qdrant_client import models

from feature_store.config import PayloadType
from feature_store.errors import ConfigurationError

Day = tuple[datetime, datetime]
"""The first and the last moment of a day; twice the same where a moment is named."""

_BOUNDS = ("gt", "gte", "lt", "lte")
_OPERATORS = (*_BOUNDS, "not", "exists")
_ORDERED: tuple[PayloadType, ...] = ("integer", "float", "datetime")
_EXPECTED: dict[PayloadType, str] = {
    "keyword": "a string",
    "integer": "a whole number",
    "float": "a finite number",
    "bool": "true or false",
    "datetime": "a date, a datetime or one of them as ISO 8601",
}
_WORDS = re.compile(r"\s*(?P<name>[\w.]+)\s*(?P<sign>>=|<=|!=|>|<|=|!|\?)\s*(?P<value>.*?)\s*", re.DOTALL)
_SIGNS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte", "!=": "not", "!": "exists", "?": "exists"}
_SYNTAX = (
    "Write field=value, field=a,b (any of), field!=value, field>=value, field>value, field<=value, field<value, "
    'field? (there) or field! (missing); a value with a comma in double quotes: author="Lovelace, Ada".'
)


def build_filter(filters: Mapping[str, Any] | None, payload_indexes: Mapping[str, PayloadType]) -> models.Filter | None:
    """Return what Qdrant takes for a filter of plain values; None for no filter.

    ``payload_indexes`` are the fields that a filter may name, as the metadata of the collection says.

    Raises:
        ConfigurationError: for a field without an index, or a value that its type cannot have.
    """
    if not filters:
        return None
    conditions: list[models.Condition] = []
    for name, wanted in filters.items():
        field = _field(name, payload_indexes)
        conditions += _conditions(field, payload_indexes[field], wanted)
    return models.Filter(must=conditions)


def parse_filters(texts: Sequence[str], payload_indexes: Mapping[str, PayloadType]) -> dict[str, Any]:
    """Return the filter that words of a command line ask for, in the form that ``build_filter`` takes.

    Such words are ``category=articles``, ``author=A,B``, ``language!=de``, ``published_at>=2024-01-01``, ``url?`` for
    a field that is there, ``url!`` for one that is missing. Several bounds of one field are joined.

    Raises:
        ConfigurationError: for words of another form, a field without an index, or a value of another type.
    """
    filters: dict[str, Any] = {}
    for text in texts:
        found = _WORDS.fullmatch(text)
        if found is None or bool(found["value"]) == (found["sign"] in {"!", "?"}):
            raise ConfigurationError(f"{text!r} is not a filter.", _SYNTAX)
        field = _field(found["name"], payload_indexes)
        wanted = _parsed(field, payload_indexes[field], found["sign"], found["value"])
        filters[field] = _joined(field, filters[field], wanted) if field in filters else wanted
    return filters


def _field(name: str, payload_indexes: Mapping[str, PayloadType]) -> str:
    for field in (name, f"metadata.{name}"):
        if field in payload_indexes:
            return field
    raise ConfigurationError(
        f"The index has no payload index for the field {name!r}.",
        f"Filter by one of: {', '.join(sorted(payload_indexes)) or 'none, this index has no such field'}.",
    )


def _conditions(field: str, payload_type: PayloadType, wanted: Any) -> list[models.Condition]:
    if not isinstance(wanted, Mapping):
        return [_any_of(field, payload_type, wanted)]
    unknown = [str(operator) for operator in wanted if operator not in _OPERATORS]
    if unknown or not wanted:
        raise ConfigurationError(
            f"The filter of {field!r} has {f'an unknown operator {unknown[0]!r}' if unknown else 'no operator'}.",
            f"Use one or more of: {', '.join(_OPERATORS)}.",
        )
    conditions: list[models.Condition] = []
    bounds = {operator: wanted[operator] for operator in _BOUNDS if operator in wanted}
    if bounds:
        conditions.append(_between(field, payload_type, bounds))
    if "not" in wanted:
        conditions.append(models.Filter(must_not=[_any_of(field, payload_type, wanted["not"])]))
    if "exists" in wanted:
        conditions.append(_existence(field, wanted["exists"]))
    return conditions


def _any_of(field: str, payload_type: PayloadType, wanted: Any) -> models.Condition:
    several = isinstance(wanted, list | tuple | set | frozenset)
    values = [_read(field, payload_type, value) for value in (wanted if several else [wanted])]
    if not values:
        raise ConfigurationError(
            f"The filter of {field!r} asks for any of no values: nothing could be found.",
            "Give at least one value, or leave the field out.",
        )
    if payload_type in {"keyword", "integer"} and len(values) > 1:
        return models.FieldCondition(key=field, match=models.MatchAny(any=values))
    equal = [_equal(field, payload_type, value) for value in values]
    return equal[0] if len(equal) == 1 else models.Filter(should=equal)


def _equal(field: str, payload_type: PayloadType, value: Any) -> models.Condition:
    match payload_type:
        case "datetime":
            first, last = value
            return models.FieldCondition(key=field, range=models.DatetimeRange(gte=first, lte=last))
        case "float":
            return models.FieldCondition(key=field, range=models.Range(gte=value, lte=value))
        case _:
            return models.FieldCondition(key=field, match=models.MatchValue(value=value))


def _between(field: str, payload_type: PayloadType, bounds: Mapping[str, Any]) -> models.Condition:
    if payload_type not in _ORDERED:
        raise ConfigurationError(
            f"The field {field!r} is of type {payload_type}, which knows no {', '.join(bounds)}.",
            "Ask for a value, or for any of a list.",
        )
    values = {operator: _read(field, payload_type, value) for operator, value in bounds.items()}
    if payload_type != "datetime":
        return models.FieldCondition(key=field, range=models.Range(**values))
    moments = {operator: first if operator in {"gte", "lt"} else last for operator, (first, last) in values.items()}
    return models.FieldCondition(key=field, range=models.DatetimeRange(**moments))


def _existence(field: str, exists: Any) -> models.Condition:
    if not isinstance(exists, bool):
        raise ConfigurationError(f"The filter of {field!r} has `exists` {exists!r}.", "Give True or False.")
    missing = models.IsEmptyCondition(is_empty=models.PayloadField(key=field))
    return models.Filter(must_not=[missing]) if exists else missing


def _read(field: str, payload_type: PayloadType, value: Any) -> Any:
    try:
        return _READERS[payload_type](value)
    except (TypeError, ValueError):
        raise _unexpected(field, payload_type, value) from None


def _unexpected(field: str, payload_type: PayloadType, value: Any) -> ConfigurationError:
    remedy = f"Give {_EXPECTED[payload_type]}"
    if value is None:
        remedy += '; {"exists": False} asks for points without the field'
    return ConfigurationError(f"The field {field!r} is of type {payload_type}, it cannot be {value!r}.", f"{remedy}.")


def _read_keyword(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _read_integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def _read_float(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError
    return float(value)


def _read_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _read_datetime(value: Any) -> Day:
    if isinstance(value, str):
        value = _from_iso(value)
    match value:
        case datetime():
            moment = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
            return moment, moment
        case date():
            return datetime.combine(value, time.min, UTC), datetime.combine(value, time.max, UTC)
        case _:
            raise ValueError


def _from_iso(text: str) -> date | datetime:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(text)


_READERS: dict[PayloadType, Callable[[Any], Any]] = {
    "keyword": _read_keyword,
    "integer": _read_integer,
    "float": _read_float,
    "bool": _read_bool,
    "datetime": _read_datetime,
}


def _parsed(field: str, payload_type: PayloadType, sign: str, text: str) -> Any:
    if sign in {"!", "?"}:
        return {"exists": sign == "?"}
    if sign in {">", ">=", "<", "<="}:
        return {_SIGNS[sign]: _parse(field, payload_type, text)}
    values = [_parse(field, payload_type, word) for word in next(csv.reader([text], skipinitialspace=True))]
    wanted = values if len(values) > 1 else values[0]
    return wanted if sign == "=" else {_SIGNS[sign]: wanted}


def _joined(field: str, one: Any, another: Any) -> dict[str, Any]:
    if not isinstance(one, dict) or not isinstance(another, dict) or one.keys() & another.keys():
        raise ConfigurationError(f"The field {field!r} is asked for twice.", f"Ask once; any of several: {field}=a,b.")
    return {**one, **another}


def _parse(field: str, payload_type: PayloadType, text: str) -> Any:
    try:
        value = _PARSERS[payload_type](text)
        _READERS[payload_type](value)
    except (TypeError, ValueError, KeyError):
        raise _unexpected(field, payload_type, text) from None
    return value


_PARSERS: dict[PayloadType, Callable[[str], Any]] = {
    "keyword": str,
    "integer": int,
    "float": float,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "datetime": str,
}
