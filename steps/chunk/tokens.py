"""Lengths in tokens of the encoder's own tokenizer, and the characters that they stand for."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

TokenSpans = Callable[[str], Sequence[tuple[int, int]]]
"""Gives the (start, end) character span of every token of a text: no special tokens, no truncation."""

MAX_CHARACTERS_PER_TOKEN = 16
"""WordPiece makes one [UNK] of a word of any length: a window of n tokens holds at most n times as many characters."""

_PART_CHARACTERS = 4_000
_SPACE = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class TokenRuler:
    """Measures stretches of one text that was tokenised once.

    Attributes:
        length: characters of the text.
        starts: the first character of every token, in order.
    """

    length: int
    starts: list[int]

    def count(self, start: int, end: int) -> int:
        """Return how many tokens begin in ``text[start:end]``."""
        return bisect_left(self.starts, end) - bisect_left(self.starts, start)

    def reach(self, start: int, tokens: int) -> int:
        """Return the largest ``end`` with which ``text[start:end]`` holds at most ``tokens`` tokens."""
        index = bisect_left(self.starts, start) + tokens
        end = self.starts[index] if index < len(self.starts) else self.length
        return min(end, start + tokens * MAX_CHARACTERS_PER_TOKEN)

    def reach_back(self, end: int, tokens: int) -> int:
        """Return the smallest ``start`` with which ``text[start:end]`` holds at most ``tokens`` tokens."""
        index = bisect_left(self.starts, end) - tokens
        start = self.starts[index] if index > 0 else 0
        if bisect_left(self.starts, start) < index:  # several tokens share their first character
            start += 1
        return max(start, end - tokens * MAX_CHARACTERS_PER_TOKEN)


def measure_tokens(text: str, tokens: TokenSpans) -> TokenRuler:
    """Tokenise a text, once, for all questions about its length."""
    starts = [start + part_start for part_start, part in _parts(text) for start, _ in tokens(part)]
    return TokenRuler(len(text), sorted(starts))


def _parts(text: str) -> Iterator[tuple[int, str]]:
    # Tokenizers take twice as long for the same text in one piece. No word is cut.
    start = 0
    while start < len(text):
        space = _SPACE.search(text, start + _PART_CHARACTERS)
        end = space.end() if space else len(text)
        yield start, text[start:end]
        start = end
