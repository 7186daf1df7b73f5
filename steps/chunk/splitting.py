"""Lossless splitting: the pieces, joined, are the text."""

import re
from functools import cache
from typing import TYPE_CHECKING, Literal

from feature_store.errors import TerminalError

if TYPE_CHECKING:
    from langchain_text_splitters import RecursiveCharacterTextSplitter

_WHITE_SPACE = re.compile(r"\s*+")


def skip_white_space(text: str, start: int) -> int:
    """Return the offset of the first character from ``start`` on that is no white space, or the text's length."""
    if start < len(text) and not text[start].isspace():  # so it is nearly always
        return start
    match = _WHITE_SPACE.match(text, start)
    return match.end() if match else start


def split_after(text: str, separator: str) -> list[str]:
    """Cut a text behind every match of a regular expression (without groups).

    Raises:
        TerminalError: if the pieces, joined, are not the text.
    """
    return _split(text, separator, "end")


def split_before(text: str, separator: str) -> list[str]:
    """Cut a text in front of every match of a regular expression (without groups).

    Raises:
        TerminalError: if the pieces, joined, are not the text.
    """
    return _split(text, separator, "start")


def _split(text: str, separator: str, side: Literal["start", "end"]) -> list[str]:
    pieces: list[str] = _splitter(separator, side).split_text(text)
    if "".join(pieces) != text:
        raise TerminalError(
            f"The text splitter lost characters at the separator {separator!r}.",
            "Install the version of langchain-text-splitters that the lock file names.",
        )
    return pieces


@cache
def _splitter(separator: str, side: Literal["start", "end"]) -> "RecursiveCharacterTextSplitter":
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    return RecursiveCharacterTextSplitter(
        separators=[separator],
        is_separator_regex=True,
        keep_separator=side,
        strip_whitespace=False,
        # No piece is small enough to be merged with others: the splitter splits and leaves the merging to us.
        chunk_size=1,
        chunk_overlap=0,
    )
