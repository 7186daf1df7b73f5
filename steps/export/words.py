"""Texts as sequences of words: for comparing them whatever their case, punctuation and white space."""

import re
from collections.abc import Iterator, Sequence

_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return _WORD.findall(text.lower())


def sequences(words: Sequence[str], length: int) -> Iterator[str]:
    """Yield every ``length`` words in a row; fewer words give none."""
    for start in range(len(words) - length + 1):
        yield " ".join(words[start : start + length])
