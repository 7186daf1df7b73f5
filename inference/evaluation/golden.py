"""Golden queries: questions with the documents that answer them, as JSON lines that a person keeps beside the product.

Each line is an object: ``{"query": "…", "relevant": ["articles:42", "<document id>"]}``, or with grades
``{"query": "…", "relevant": {"articles:42": 2, "articles:7": 1}}``. Empty lines are passed over.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from feature_store.errors import ConfigurationError
from feature_store.ids import document_id

_EXAMPLE = '{"query": "how do I …", "relevant": ["articles:42"]}'


@dataclass(frozen=True)
class GoldenQuery:
    """A question and the grades of the documents that were judged for it, by document id; above 0 is relevant."""

    query_id: str
    query: str
    relevant: Mapping[str, int]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    query: str
    relevant: list[str] | dict[str, Annotated[int, Field(ge=0)]]

    @field_validator("query")
    @classmethod
    def asks_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("it is empty")
        return value


def read_golden(path: Path) -> list[GoldenQuery]:
    """Return the queries of a file in its order; the id of each is the number of its line.

    Raises:
        ConfigurationError: naming file and line, if there is no such file, a line is not as it must be, two lines ask
            the same, or the file has no query.
    """
    queries: dict[str, GoldenQuery] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        golden = _read_line(f"{path}, line {number}", str(number), line)
        if earlier := queries.get(golden.query):
            raise ConfigurationError(
                f"{path}, line {number}: the query is that of line {earlier.query_id}.",
                "Join the two: one line names all documents that answer a query.",
            )
        queries[golden.query] = golden
    if not queries:
        raise ConfigurationError(f"{path} has no query.", f"Write one on each line: {_EXAMPLE}.")
    return list(queries.values())


def as_document_id(name: str) -> str:
    """Return the document id that ``name`` is, or that of the document that it names as ``category:source id``.

    Raises:
        ValueError: if it is neither.
    """
    try:
        return str(uuid.UUID(name))
    except ValueError:
        category, separator, source = name.partition(":")
        if not (category and separator and source):
            raise ValueError(f"{name!r} is no document id and not category:source id, such as articles:42") from None
        return document_id(category, source)


def _read_line(place: str, query_id: str, line: str) -> GoldenQuery:
    try:
        read = _Line.model_validate_json(line)
        relevant = _graded(read.relevant)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"][:1])
        told = f"`{where}`: {problem['msg']}" if where else problem["msg"]
        raise ConfigurationError(f"{place}: {told}.", f"A line is such as {_EXAMPLE}.") from None
    except ValueError as error:
        raise ConfigurationError(f"{place}: {error}.", f"A line is such as {_EXAMPLE}.") from None
    return GoldenQuery(query_id, read.query, relevant)


def _graded(relevant: list[str] | dict[str, int]) -> dict[str, int]:
    given = relevant if isinstance(relevant, dict) else dict.fromkeys(relevant, 1)
    graded = {as_document_id(name): grade for name, grade in given.items()}
    if len(graded) < len(relevant):
        raise ValueError("`relevant` names a document twice")
    if max(graded.values(), default=0) == 0:
        raise ValueError("`relevant` names no document that is relevant")
    return graded


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise ConfigurationError(f"Cannot read {path}: {error.strerror}.", "Name a file of golden queries.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8.", "Save it as UTF-8.") from None
