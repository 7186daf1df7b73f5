"""Cuts a cleaned document into windows of several sizes, each of which holds all of it."""

from collections.abc import Sequence

from feature_store.encoders import TokenSpans
from feature_store.index_config import MultiSizeConfig
from feature_store.records import Chunk, CleanedDocument
from steps.chunk.coverage import check_coverage, defect
from steps.chunk.cutting import Limits, cut_windows, name_chunks, prefixes
from steps.chunk.window import lay_out


def chunk_in_sizes(document: CleanedDocument, chunking: MultiSizeConfig, tokens: TokenSpans, limit: int) -> list[Chunk]:
    """Cut a document into sliding windows of every size, in the order of the sizes.

    The windows of one size are those that it would give on its own; only their ids differ. The document is read once.

    Raises:
        TerminalError: if a single character has more tokens than fit.
    """
    layout = lay_out(document, tokens)
    prefix_for = prefixes(document, tokens, limit, heading_prefix=chunking.heading_prefix)
    chunks: list[Chunk] = []
    for size in chunking.sizes:
        windows = cut_windows(document, layout, 0, Limits.of(size, limit), tokens, prefix_for)
        chunks += name_chunks(document, layout, windows, kind=str(size.window), size=size.window)
    return chunks


def check_sizes(document: CleanedDocument, chunks: Sequence[Chunk], chunking: MultiSizeConfig, limit: int) -> None:
    """Check that the chunks of every size hold the whole document, as `check_coverage` does; there are no others.

    Raises:
        TerminalError: naming document and offset.
    """
    sizes = chunking.windows()
    for chunk in chunks:
        if chunk.size not in sizes:
            raise defect(document, f"Chunk {chunk.position} at offset {chunk.start} is of size {chunk.size}")
    for size in sizes:
        check_coverage(document, [chunk for chunk in chunks if chunk.size == size], limit)
