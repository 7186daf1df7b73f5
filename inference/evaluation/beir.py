"""Test collections in the layout of BEIR: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/<split>.tsv``.

See Thakur et al. 2021, "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval Models".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from feature_store.errors import ConfigurationError
from inference.evaluation.golden import GoldenQuery

DEFAULT_SPLIT = "test"
_HEADER = ["query-id", "corpus-id", "score"]
_REMEDY = "The layout is that of BEIR: corpus.jsonl, queries.jsonl and qrels/<split>.tsv."


class BeirDocument(BaseModel):
    """A document of ``corpus.jsonl``; its ``title`` may be empty."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    id: str = Field(alias="_id", min_length=1)
    title: str = ""
    text: str


class _Query(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    id: str = Field(alias="_id", min_length=1)
    text: str = Field(pattern=r"\S")


Entry = TypeVar("Entry", BeirDocument, _Query)


@dataclass(frozen=True)
class _Judgement:
    line: int
    query: str
    document: str
    grade: int


def read_corpus(folder: Path) -> Iterator[BeirDocument]:
    """Yield the documents of a folder.

    Raises:
        ConfigurationError: naming file and line, if something there is not as it must be.
    """
    return _entries(folder / "corpus.jsonl", BeirDocument)


def read_queries(folder: Path, split: str = DEFAULT_SPLIT) -> list[GoldenQuery]:
    """Return the queries of a split that have a relevant document, in the order of the file; by ids of the corpus.

    Raises:
        ConfigurationError: naming file and line, if something there is not as it must be; or if no query is judged.
    """
    judgements = folder / "qrels" / f"{split}.tsv"
    texts = {query.id: query.text for query in _entries(folder / "queries.jsonl", _Query)}
    grades: dict[str, dict[str, int]] = {}
    for judgement in _judgements(judgements):
        if judgement.query not in texts:
            raise ConfigurationError(
                f"{judgements}, line {judgement.line}: there is no query {judgement.query!r}.",
                "Add it to queries.jsonl, or remove the line.",
            )
        given = grades.setdefault(judgement.query, {})
        if judgement.document in given:
            raise ConfigurationError(
                f"{judgements}, line {judgement.line}: document {judgement.document!r} was judged for query "
                f"{judgement.query!r} already.",
                "Remove one of the two lines.",
            )
        given[judgement.document] = judgement.grade
    # Without a relevant document there is nothing to find: no measure is defined.
    judged = [
        GoldenQuery(query, text, grades[query])
        for query, text in texts.items()
        if max(grades.get(query, {}).values(), default=0) > 0
    ]
    if not judged:
        raise ConfigurationError(f"{judgements} names no document that is relevant.", "Choose another split.")
    return judged


def _entries(path: Path, kind: type[Entry]) -> Iterator[Entry]:
    seen: set[str] = set()
    for number, line in _lines(path):
        try:
            entry = kind.model_validate_json(line)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"])
            told = f"`{where}`: {problem['msg']}" if where else problem["msg"]
            raise ConfigurationError(f"{path}, line {number}: {told}.", _REMEDY) from None
        if entry.id in seen:
            raise ConfigurationError(f"{path}, line {number}: the id {entry.id!r} was there before.", "Remove one.")
        seen.add(entry.id)
        yield entry


def _judgements(path: Path) -> Iterator[_Judgement]:
    for number, line in _lines(path):
        fields = line.split("\t")
        if number == 1 and fields == _HEADER:
            continue
        if len(fields) != len(_HEADER) or not fields[2].lstrip("-").isdecimal():
            raise ConfigurationError(
                f"{path}, line {number} is not a query id, a document id and a whole number, separated by tabs.",
                _REMEDY,
            )
        yield _Judgement(number, fields[0], fields[1], int(fields[2]))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, with their numbers."""
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except OSError as error:
        raise ConfigurationError(f"Cannot read {path}: {error.strerror}.", _REMEDY) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8.", "Save it as UTF-8.") from None
