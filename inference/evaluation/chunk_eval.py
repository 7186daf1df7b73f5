"""Questions about texts whose answers are marked in them: the data of Chroma's report on chunking.

See github.com/brandonstarxel/chunking_evaluation. A folder holds ``questions.csv`` and one ``<corpus>.md`` for each
corpus that it names.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from feature_store.errors import ConfigurationError
from inference.evaluation.spans import Span

QUESTIONS = "questions.csv"
_COLUMNS = {"question", "references", "corpus_id"}
_REMEDY = f"The folder holds {QUESTIONS} (question, references, corpus_id) and a <corpus>.md for each corpus."


class _Reference(TypedDict):
    content: str
    start_index: int
    end_index: int


_REFERENCES: TypeAdapter[list[_Reference]] = TypeAdapter(Annotated[list[_Reference], Field(min_length=1)])


@dataclass(frozen=True)
class Question:
    """A question, and where its answer is; a span's document is the name of a corpus."""

    text: str
    references: Sequence[Span]


@dataclass(frozen=True)
class ChunkEvaluation:
    """The texts of the corpora by name, and the questions about them."""

    corpora: dict[str, str]
    questions: list[Question]


def read_chunk_evaluation(folder: Path) -> ChunkEvaluation:
    """Read a folder.

    Raises:
        ConfigurationError: naming file and row, if something there is not as it must be: also where a reference is not
            the text that its corpus has at that place.
    """
    rows = _rows(folder / QUESTIONS)
    corpora = {name: _text(folder / f"{name}.md") for name in sorted({row["corpus_id"] for row in rows})}
    questions = [
        _question(f"{folder / QUESTIONS}, row {number}", row, corpora[row["corpus_id"]])
        for number, row in enumerate(rows, start=1)
    ]
    return ChunkEvaluation(corpora, questions)


def _question(place: str, row: dict[str, str], corpus: str) -> Question:
    if not row["question"].strip():
        raise ConfigurationError(f"{place}: the question is empty.", _REMEDY)
    try:
        references = _REFERENCES.validate_json(row["references"])
    except ValidationError as error:
        raise ConfigurationError(f"{place}: `references`: {error.errors()[0]['msg']}.", _REMEDY) from None
    for reference in references:
        start, end = reference["start_index"], reference["end_index"]
        if not 0 <= start < end <= len(corpus) or corpus[start:end].split() != reference["content"].split():
            raise ConfigurationError(
                f"{place}: {row['corpus_id']}.md does not have the text of the reference at {start} to {end}.",
                "Take corpora and questions of one release of the data.",
            )
    spans = [Span(row["corpus_id"], reference["start_index"], reference["end_index"]) for reference in references]
    return Question(row["question"], spans)


def _rows(path: Path) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), restval="")
    missing = sorted(_COLUMNS - set(reader.fieldnames or ()))
    if missing:
        raise ConfigurationError(f"{path} lacks the columns {', '.join(missing)}.", _REMEDY)
    rows = list(reader)
    if not rows:
        raise ConfigurationError(f"{path} has no question.", _REMEDY)
    return rows


def _text(path: Path) -> str:
    try:
        # Offsets count characters as Python reads them: a line end is one, whatever the file has.
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"Cannot read {path}: {error.strerror}.", _REMEDY) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8.", "Save it as UTF-8.") from None
