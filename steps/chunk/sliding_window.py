"""Cuts a cleaned document into overlapping windows of tokens that end at borders of meaning.

A window ends at the strongest border in its last part (heading, paragraph, list item, sentence) and starts afresh at
headings; sections smaller than the window share one. So the borders follow the content, and the effect of an edit ends
after a few chunks.
"""

from feature_store.encoders import TokenSpans
from feature_store.index_config import SlidingWindowConfig
from feature_store.records import Chunk, CleanedDocument
from steps.chunk.cutting import Limits, cut_windows, name_chunks, prefixes
from steps.chunk.window import lay_out


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
    layout = lay_out(document, tokens)
    limits = Limits.of(chunking.size_for(document.category), limit)
    prefix_for = prefixes(document, tokens, limit, heading_prefix=chunking.heading_prefix)
    return name_chunks(document, layout, cut_windows(document, layout, 0, limits, tokens, prefix_for))
