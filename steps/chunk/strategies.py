"""The strategies of chunking: how each cuts a document, and what must hold for its chunks."""

from collections.abc import Callable, Sequence
from typing import Any

from feature_store.encoders import TokenSpans
from feature_store.index_config import ChunkingConfig, SlidingWindowConfig
from feature_store.records import Chunk, CleanedDocument
from steps.chunk.coverage import check_coverage
from steps.chunk.multi_size import check_sizes, chunk_in_sizes
from steps.chunk.sliding_window import chunk_document
from steps.chunk.small_to_big import check_families, chunk_into_families

CHUNKERS: dict[str, Callable[[CleanedDocument, Any, TokenSpans, int], list[Chunk]]] = {
    "sliding_window": chunk_document,
    "multi_size": chunk_in_sizes,
    "small_to_big": chunk_into_families,
}
"""Strategy to the function that cuts a document by a configuration of that strategy.

It is given the encoder's own tokenizer, and the most tokens that a text may have which is embedded.
"""

_CHECKS: dict[str, Callable[[CleanedDocument, Sequence[Chunk], Any, int], None]] = {
    "sliding_window": lambda document, chunks, _, limit: check_coverage(document, chunks, limit),
    "multi_size": check_sizes,
    "small_to_big": check_families,
}


def check_chunks(document: CleanedDocument, chunks: Sequence[Chunk], chunking: ChunkingConfig, limit: int) -> None:
    """Check that the chunks hold the document's text, all but white space, and fit the encoder, each kind for itself.

    Raises:
        TerminalError: naming document and offset.
    """
    _CHECKS[chunking.strategy](document, chunks, chunking, limit)


def window_of(chunk: Chunk, chunking: ChunkingConfig, category: str) -> int:
    """Return the window for which a chunk that is embedded was cut, in tokens."""
    if chunk.size is not None:
        return chunk.size
    return chunking.size_for(category).window if isinstance(chunking, SlidingWindowConfig) else chunking.windows()[0]
