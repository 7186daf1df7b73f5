"""Decontamination: documents that hold a piece of an evaluation text do not belong in a training set."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from feature_store.errors import ConfigurationError
from feature_store.training import DecontaminationConfig, EvaluationFile
from steps.export.words import sequences, words_of

# Fewer words in a row occur by chance (Brown et al. 2020, appendix C).
_FEWEST_WORDS = 8


@dataclass
class EvaluationTexts:
    """The word sequences of all evaluation texts, in memory, by their length.

    A text of fewer words than the sequences have is one sequence by itself. ``count`` is the number of texts,
    ``too_short`` that of those with too few words to recognise. ``digests`` are the SHA-256 of the files.
    """

    sequences: dict[int, set[str]] = field(default_factory=dict)
    count: int = 0
    too_short: int = 0
    digests: list[str] = field(default_factory=list)

    def overlap(self, text: str) -> bool:
        """Return whether a text shares a sequence with an evaluation text."""
        if not self.sequences:
            return False
        words = words_of(text)
        return any(
            sequence in known for length, known in self.sequences.items() for sequence in sequences(words, length)
        )


def read_evaluation_texts(config: DecontaminationConfig) -> EvaluationTexts:
    """Read the configured files.

    Raises:
        ConfigurationError: naming the file, the line and what is wrong.
    """
    texts = EvaluationTexts()
    fewest = min(_FEWEST_WORDS, config.ngram)
    for file in config.files:
        texts.digests.append(_digest(file.path))
        for text in _texts(file):
            words = words_of(text)
            length = min(config.ngram, len(words))
            texts.count += 1
            if length < fewest:
                texts.too_short += 1
            else:
                texts.sequences.setdefault(length, set()).update(sequences(words, length))
    return texts


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(
            f"The evaluation texts {path} cannot be read: {error.strerror}.",
            "Give the path of a file under decontamination.files, relative to the configuration.",
        ) from None


def _texts(file: EvaluationFile) -> Iterator[str]:
    try:
        with file.path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _text_of_line(file, number, line) if file.path.suffix == ".jsonl" else line
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file.path} is not UTF-8: {error}.", "Give a text file or JSON lines.") from None


def _text_of_line(file: EvaluationFile, number: int, line: str) -> str:
    try:
        text = json.loads(line)[file.field]
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str):
        raise ConfigurationError(
            f"{file.path}, line {number} is no JSON object with a text in {file.field!r}.",
            "Name the field: {path: …, field: …}.",
        )
    return text
