"""Cuts a document, or a stretch of it, into windows of tokens, and counts what the encoder will truly see."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from typing import NamedTuple

from feature_store.encoders import TokenSpans
from feature_store.errors import TerminalError
from feature_store.ids import chunk_id, text_hash
from feature_store.index_config import WindowSize
from feature_store.records import Chunk, CleanedDocument
from steps.chunk.splitting import skip_white_space
from steps.chunk.window import Layout, choose_end, choose_start

_PREFIX_SEPARATOR = " > "
_LARGEST_PREFIX_SHARE = 3

ChooseEnd = Callable[[Layout, int, int, int, int], int]
"""Chooses where a window ends, given layout, start, start of its new text, reach and window, as `choose_end` does."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """What stands in front of a chunk's text when it is embedded, and its length in tokens."""

    text: str = ""
    token_count: int = 0


_NO_PREFIX = Prefix()

PrefixFor = Callable[[tuple[str, ...]], Prefix]
"""Gives the prefix of the chunks below a heading path."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Most tokens of a chunk's text, of its overlap with the one before, and of its embedded text."""

    window: int
    overlap: int
    embedded: int

    @classmethod
    def of(cls, size: WindowSize, limit: int) -> "Limits":
        """Return the limits for a size; a window above ``limit``, the most tokens that are embedded, is clipped."""
        window = min(size.window, limit)
        return cls(window, min(size.overlap, window // 2), limit)


class Window(NamedTuple):
    """``embedded_text`` is the prefix and ``text[start:end]``; ``token_count`` is its true length."""

    start: int
    end: int
    embedded_text: str
    token_count: int


def no_prefix(_path: tuple[str, ...]) -> Prefix:
    """Return the empty prefix."""
    return _NO_PREFIX


def cut_windows(
    document: CleanedDocument,
    layout: Layout,
    start: int,
    limits: Limits,
    tokens: TokenSpans,
    prefix_for: PrefixFor = no_prefix,
    end_chooser: ChooseEnd = choose_end,
) -> Iterator[Window]:
    """Yield windows, in order, that hold all of the text from ``start`` to the layout's end but white space.

    Raises:
        TerminalError: if a single character has more tokens than fit.
    """
    body, earliest = skip_white_space(layout.text, start), start
    while body < layout.end:
        prefix = prefix_for(layout.section_at(body).path)
        capacity = min(limits.window, limits.embedded - prefix.token_count)
        beginning = choose_start(layout, body, earliest, capacity, limits.overlap)
        window = _fitting_window(layout, beginning, body, prefix, limits, tokens, end_chooser)
        if window is None:  # not even one word beside the overlap
            window = _fitting_window(layout, body, body, prefix, limits, tokens, end_chooser)
        if window is None:
            raise TerminalError(
                f"Document {document.document_id}: the character at offset {body} has more tokens than fit.",
                f"Raise the window above {limits.window} tokens, or clean the character away.",
            )
        yield window
        earliest = window.start + 1
        body = skip_white_space(layout.text, window.end)


def prefixes(document: CleanedDocument, tokens: TokenSpans, limit: int, *, heading_prefix: bool) -> PrefixFor:
    """Return a function that gives the prefix of a heading path; its outermost parts go until it fits."""
    if not heading_prefix:
        return no_prefix
    title = " ".join((document.title or "").split())

    @cache
    def prefix_for(path: tuple[str, ...]) -> Prefix:
        is_repeated = bool(path) and path[0].casefold() == title.casefold()
        parts = (title, *path) if title and not is_repeated else path
        for first in range(len(parts)):
            text = _PREFIX_SEPARATOR.join(parts[first:])
            token_count = len(tokens(text))
            if token_count <= limit // _LARGEST_PREFIX_SHARE:
                return Prefix(f"{text}\n\n", token_count)
        return Prefix()

    return prefix_for


def name_chunks(
    document: CleanedDocument,
    layout: Layout,
    windows: Iterable[Window],
    kind: str = "",
    size: int | None = None,
    parent_ids: Iterable[str | None] = repeat(None),
) -> list[Chunk]:
    """Return the windows as chunks with their ids; ``kind`` tells them apart from others of the same texts."""
    occurrences: dict[str, int] = {}
    chunks = []
    for position, (window, parent_id) in enumerate(zip(windows, parent_ids, strict=False)):
        embedded_hash = text_hash(window.embedded_text)
        occurrence = occurrences.get(embedded_hash, 0)
        chunks.append(
            Chunk(
                chunk_id=chunk_id(document.document_id, embedded_hash, occurrence, kind),
                document_id=document.document_id,
                position=position,
                start=window.start,
                end=window.end,
                text=document.text[window.start : window.end],
                embedded_text=window.embedded_text,
                heading_path=layout.section_at(window.start).path,
                token_count=window.token_count,
                size=size,
                parent_id=parent_id,
            )
        )
        occurrences[embedded_hash] = occurrence + 1
    return chunks


def _fitting_window(
    layout: Layout,
    start: int,
    body: int,
    prefix: Prefix,
    limits: Limits,
    tokens: TokenSpans,
    end_chooser: ChooseEnd,
) -> Window | None:
    """Choose the end of a window, count its tokens truly, and shrink it until it fits.

    Returns None if nothing fits, or if the overlap would force a cut inside of a word. A stretch can have more tokens
    on its own than within its document, where a cut goes through a word.
    """
    capacity = min(limits.window, limits.embedded - prefix.token_count)
    reach = layout.reach(start, capacity)
    while reach > body:
        end = end_chooser(layout, start, body, reach, capacity)
        if start < body and not layout.is_between_words(end):
            return None
        text = layout.text[start:end].rstrip()
        last = start + len(text)
        embedded_text = prefix.text + text
        if layout.ruler.separates(layout.text, start, last):
            count = layout.ruler.count(start, last)
            if count <= capacity:
                return Window(start, last, embedded_text, prefix.token_count + count)
        spans = tokens(text)
        token_count = len(tokens(embedded_text)) if prefix.text else len(spans)
        surplus = max(len(spans) - limits.window, token_count - limits.embedded)
        if surplus <= 0:
            return Window(start, last, embedded_text, token_count)
        kept = len(spans) - surplus
        reach = min(end - 1, start + spans[kept][0] if kept > 0 else start)
    return None
