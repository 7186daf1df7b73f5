"""Cuts a cleaned document into overlapping windows of tokens that end at borders of meaning.

A window ends at the strongest border in its last part (heading, paragraph, list item, sentence) and starts afresh at
headings; sections smaller than the window share one. So the borders follow the content, and the effect of an edit ends
after a few chunks.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from feature_store.errors import TerminalError
from feature_store.ids import chunk_id, text_hash
from feature_store.index_config import SlidingWindowConfig
from feature_store.records import Chunk, CleanedDocument
from steps.chunk.splitting import skip_white_space
from steps.chunk.tokens import TokenSpans
from steps.chunk.window import Layout, choose_end, choose_start, lay_out

CHUNKER_VERSION: int = 1
"""Part of an index's fingerprint: to be raised whenever the same document and configuration give other chunks."""

_PREFIX_SEPARATOR = " > "
_LARGEST_PREFIX_SHARE = 3


@dataclass(frozen=True, slots=True)
class _Prefix:
    """What stands in front of a chunk's text when it is embedded, and its length in tokens."""

    text: str = ""
    token_count: int = 0


@dataclass(frozen=True, slots=True)
class _Limits:
    """Most tokens of a chunk's text, of its overlap with the one before, and of its embedded text."""

    window: int
    overlap: int
    embedded: int


@dataclass(frozen=True, slots=True)
class _Window:
    """``embedded_text`` is the prefix and ``text[start:end]``; ``token_count`` is its true length."""

    start: int
    end: int
    embedded_text: str
    token_count: int


def chunk_document(
    document: CleanedDocument, chunking: SlidingWindowConfig, tokens: TokenSpans, limit: int
) -> list[Chunk]:
    """Cut a document into chunks; equal input gives equal chunks.

    Every character that is no white space is in some chunk. A document of white space has no chunks.

    Args:
        document: the document; its ``text_format`` says whether it has headings, code blocks and tables.
        chunking: window and overlap, in tokens.
        tokens: the encoder's own tokenizer.
        limit: the most tokens that ``embedded_text`` may have; a larger window is clipped to it.

    Raises:
        TerminalError: if a single character has more tokens than fit.
    """
    occurrences: Counter[str] = Counter()
    chunks = []
    layout = lay_out(document, tokens)
    for position, window in enumerate(_windows(document, layout, chunking, tokens, limit)):
        embedded_hash = text_hash(window.embedded_text)
        chunks.append(
            Chunk(
                chunk_id=chunk_id(document.document_id, embedded_hash, occurrences[embedded_hash]),
                document_id=document.document_id,
                position=position,
                start=window.start,
                end=window.end,
                text=document.text[window.start : window.end],
                embedded_text=window.embedded_text,
                heading_path=layout.section_at(window.start).path,
                token_count=window.token_count,
            )
        )
        occurrences[embedded_hash] += 1
    return chunks


def dropped_spans(document: CleanedDocument, chunks: Sequence[Chunk]) -> list[tuple[int, int]]:
    """Return the (start, end) spans of the document that no chunk holds, in order; the chunks must be in order."""
    dropped, covered = [], 0
    for chunk in chunks:
        if chunk.start > covered:
            dropped.append((covered, chunk.start))
        covered = max(covered, chunk.end)
    if covered < len(document.text):
        dropped.append((covered, len(document.text)))
    return dropped


def check_coverage(document: CleanedDocument, chunks: Sequence[Chunk], limit: int) -> None:
    """Check that the chunks are in order, hold the document's text, all but white space, and fit the encoder.

    ``limit`` is the most tokens of ``embedded_text``.

    Raises:
        TerminalError: naming document and offset.
    """
    previous_start = -1
    for position, chunk in enumerate(chunks):
        if chunk.position != position or chunk.start <= previous_start:
            raise _defect(document, f"Chunk {position} at offset {chunk.start} is out of order")
        if chunk.text != document.text[chunk.start : chunk.end]:
            raise _defect(document, f"The text of chunk {position} is not that of the document at offset {chunk.start}")
        if chunk.token_count > limit:
            raise _defect(document, f"Chunk {position} has {chunk.token_count} tokens, over the limit of {limit}")
        previous_start = chunk.start
    for start, end in dropped_spans(document, chunks):
        if not document.text[start:end].isspace():
            raise _defect(document, f"No chunk holds the text at offsets {start} to {end}")


def _windows(
    document: CleanedDocument, layout: Layout, chunking: SlidingWindowConfig, tokens: TokenSpans, limit: int
) -> Iterator[_Window]:
    size = chunking.size_for(document.category)
    limits = _Limits(min(size.window, limit), min(size.overlap, min(size.window, limit) // 2), limit)
    prefix_for = _prefixes(document, chunking, tokens, limit)
    body, earliest = skip_white_space(layout.text, 0), 0
    while body < len(layout.text):
        prefix = prefix_for(layout.section_at(body).path)
        capacity = min(limits.window, limit - prefix.token_count)
        start = choose_start(layout, body, earliest, capacity, limits.overlap)
        window = _fitting_window(layout, start, body, prefix, limits, tokens)
        if window is None:  # not even one word beside the overlap
            window = _fitting_window(layout, body, body, prefix, limits, tokens)
        if window is None:
            raise TerminalError(
                f"Document {document.document_id}: the character at offset {body} has more tokens than fit.",
                f"Raise the window above {limits.window} tokens, or clean the character away.",
            )
        yield window
        earliest = window.start + 1
        body = skip_white_space(layout.text, window.end)


def _fitting_window(
    layout: Layout, start: int, body: int, prefix: _Prefix, limits: _Limits, tokens: TokenSpans
) -> _Window | None:
    """Choose the end of a window, count its tokens truly, and shrink it until it fits.

    Returns None if nothing fits, or if the overlap would force a cut inside of a word. A stretch can have more tokens
    on its own than within its document, where a cut goes through a word.
    """
    capacity = min(limits.window, limits.embedded - prefix.token_count)
    reach = layout.ruler.reach(start, capacity)
    while reach > body:
        end = choose_end(layout, start, body, reach, capacity)
        if start < body and not layout.is_between_words(end):
            return None
        text = layout.text[start:end].rstrip()
        embedded_text = prefix.text + text
        spans = tokens(text)
        token_count = len(tokens(embedded_text)) if prefix.text else len(spans)
        surplus = max(len(spans) - limits.window, token_count - limits.embedded)
        if surplus <= 0:
            return _Window(start, start + len(text), embedded_text, token_count)
        kept = len(spans) - surplus
        reach = min(end - 1, start + spans[kept][0] if kept > 0 else start)
    return None


def _prefixes(
    document: CleanedDocument, chunking: SlidingWindowConfig, tokens: TokenSpans, limit: int
) -> Callable[[tuple[str, ...]], _Prefix]:
    """Return a function that gives the prefix of a heading path; its outermost parts go until it fits."""
    title = " ".join((document.title or "").split())

    @cache
    def prefix_for(path: tuple[str, ...]) -> _Prefix:
        is_repeated = bool(path) and path[0].casefold() == title.casefold()
        parts = (title, *path) if title and not is_repeated else path
        for first in range(len(parts)):
            text = _PREFIX_SEPARATOR.join(parts[first:])
            token_count = len(tokens(text))
            if token_count <= limit // _LARGEST_PREFIX_SHARE:
                return _Prefix(f"{text}\n\n", token_count)
        return _Prefix()

    return prefix_for if chunking.heading_prefix else lambda _path: _Prefix()


def _defect(document: CleanedDocument, problem: str) -> TerminalError:
    return TerminalError(
        f"Document {document.document_id}: {problem}.",
        "This is a defect of the chunker; please report it with the document.",
    )
