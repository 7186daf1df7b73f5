"""Lengths in tokens of the encoder's own tokenizer, and the characters that they stand for."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, count
from operator import add

from feature_store.encoders import Encoder, TokenSpans


class WordTokens:
    """A tokenizer for which blanks and line ends separate: what is on one side changes no token on the other.

    So the tokens of a stretch between two of them are those that it has in its document, which is tokenised once; and
    a word has the same tokens wherever it is, so it is tokenised when it is first met, and then known.
    """

    def __init__(self, spans: TokenSpans) -> None:
        self.spans = spans
        self._known = _KnownWords()

    def __call__(self, text: str) -> Sequence[tuple[int, int]]:
        return self.spans(text)

    def __reduce__(self) -> tuple[type["WordTokens"], tuple[TokenSpans]]:
        return WordTokens, (self.spans,)  # a process learns its own words

    def starts(self, text: str) -> list[int]:
        """Return the first character of every token of a text without characters that join words."""
        words = _with_blanks_only(text).split(" ")
        if self._known.characters > _KNOWN_CHARACTERS:
            self._known = _KnownWords()
        starts_in = self._known.learn(words, self.spans)
        places = map(add, accumulate(map(len, words), initial=0), count())  # a blank before each but the first
        return [place + start for place, word in zip(places, words, strict=False) for start in starts_in[word]]


class _KnownWords:
    """Words, each with the first characters of its tokens."""

    def __init__(self) -> None:
        self.characters = 0
        self._starts: dict[str, tuple[int, ...]] = {"": ()}

    def learn(self, words: Iterable[str], tokens: TokenSpans) -> Mapping[str, tuple[int, ...]]:
        """Tokenise the words that are new, all together; return what is known."""
        new = sorted(set(words).difference(self._starts))
        together = " ".join(new)
        starts = _starts(together, tokens)
        place = first = 0
        for word in new:
            last = bisect_left(starts, place + len(word), first)
            self._starts[word] = tuple([start - place for start in starts[first:last]])
            place, first = place + len(word) + 1, last
        self.characters += len(together)
        return self._starts


MAX_CHARACTERS_PER_TOKEN = 16
"""WordPiece makes one [UNK] of a word of any length: a window of n tokens holds at most n times as many characters."""

_PART_CHARACTERS = 4_000
_KNOWN_CHARACTERS = 500_000  # of words; some 7 MB with all that is kept of them
_SPACE = re.compile(r"\s")
_SEPARATORS = " \t\n\r"
_JOINING = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # white space to Python, nothing at all to BERT


@dataclass(frozen=True, slots=True)
class TokenRuler:
    """Measures stretches of one text that was tokenised once.

    Attributes:
        length: characters of the text.
        starts: the first character of every token, in order.
        separators: the characters between which a stretch has the same tokens on its own; empty if there are none.
    """

    length: int
    starts: list[int]
    separators: str = ""

    def count(self, start: int, end: int) -> int:
        """Return how many tokens begin in ``text[start:end]``."""
        return bisect_left(self.starts, end) - bisect_left(self.starts, start)

    def separates(self, text: str, start: int, end: int) -> bool:
        """Return whether ``count`` is how many tokens the stretch has on its own; ``text`` is the one measured."""
        separators = self.separators
        return bool(separators) and (
            (start == 0 or text[start - 1] in separators) and (end == self.length or text[end] in separators)
        )

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
    if isinstance(tokens, WordTokens) and _JOINING.search(text) is None:
        return TokenRuler(len(text), tokens.starts(text), _SEPARATORS)
    return TokenRuler(len(text), _starts(text, tokens))


def _starts(text: str, tokens: TokenSpans) -> list[int]:
    return sorted(start + part_start for part_start, part in _parts(text) for start, _ in tokens(part))


def _with_blanks_only(text: str) -> str:
    for separator in _SEPARATORS:
        text = text.replace(separator, " ")
    return text


def _parts(text: str) -> Iterator[tuple[int, str]]:
    # Tokenizers take twice as long for the same text in one piece. No word is cut.
    start = 0
    while start < len(text):
        space = _SPACE.search(text, start + _PART_CHARACTERS)
        end = space.end() if space else len(text)
        yield start, text[start:end]
        start = end


def tokens_of(encoder: Encoder) -> TokenSpans:
    """Return an encoder's own tokenizer, as one that can be asked less often where it reads word by word."""
    return WordTokens(encoder.token_spans) if encoder.separates_words else encoder.token_spans
