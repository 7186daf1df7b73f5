"""Proving that chunks hold the text of their document."""

from collections.abc import Sequence

from feature_store.errors import TerminalError
from feature_store.records import Chunk, CleanedDocument

Span = tuple[int, int]


def dropped_spans(document: CleanedDocument, chunks: Sequence[Chunk], within: Span | None = None) -> list[Span]:
    """Return the (start, end) spans that no chunk holds, in order: of the document, or of the span ``within`` it.

    The chunks must be in order of their starts.
    """
    covered, last = within or (0, len(document.text))
    dropped = []
    for chunk in chunks:
        if chunk.start > covered:
            dropped.append((covered, chunk.start))
        covered = max(covered, chunk.end)
    if covered < last:
        dropped.append((covered, last))
    return dropped


def check_coverage(document: CleanedDocument, chunks: Sequence[Chunk], limit: int) -> None:
    """Check that chunks of one kind are in order, hold the document's text, all but white space, and fit the encoder.

    ``limit`` is the most tokens that a chunk may have.

    Raises:
        TerminalError: naming document and offset.
    """
    previous_start = -1
    for position, chunk in enumerate(chunks):
        if chunk.position != position or chunk.start <= previous_start:
            raise defect(document, f"Chunk {position} at offset {chunk.start} is out of order")
        if chunk.text != document.text[chunk.start : chunk.end]:
            raise defect(document, f"The text of chunk {position} is not that of the document at offset {chunk.start}")
        if chunk.token_count > limit:
            raise defect(document, f"Chunk {position} has {chunk.token_count} tokens, over the limit of {limit}")
        previous_start = chunk.start
    require_white_space(document, dropped_spans(document, chunks))


def require_white_space(document: CleanedDocument, spans: Sequence[Span]) -> None:
    """Check that nothing but white space is in the spans.

    Raises:
        TerminalError: naming document and offset.
    """
    for start, end in spans:
        if not document.text[start:end].isspace():
            raise defect(document, f"No chunk holds the text at offsets {start} to {end}")


def defect(document: CleanedDocument, problem: str) -> TerminalError:
    """Return the error for chunks that are not as they should be."""
    return TerminalError(
        f"Document {document.document_id}: {problem}.",
        "This is a defect of the chunker; please report it with the document.",
    )
