"""Cuts a cleaned document into parents, and each parent into the children that are embedded and found.

What a reader gets is the parent. Parents share no text, and no child crosses a parent's border, so an edit touches one
parent and the children around it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from feature_store.encoders import TokenSpans
from feature_store.index_config import ParentConfig, SmallToBigConfig
from feature_store.records import Chunk, CleanedDocument
from steps.chunk.coverage import check_coverage, defect, dropped_spans, require_white_space
from steps.chunk.cutting import Limits, PrefixFor, Window, cut_windows, name_chunks, prefixes
from steps.chunk.window import Layout, choose_end, choose_section_end, lay_out

_PARENT_KIND = "parent"
_PARENT_ENDS = {"window": choose_end, "section": choose_section_end}


def chunk_into_families(
    document: CleanedDocument, chunking: SmallToBigConfig, tokens: TokenSpans, limit: int
) -> list[Chunk]:
    """Cut a document into parents, then children, each in order.

    Parents do not overlap, and the encoder's ``limit`` does not bound them. Children do where the configuration says
    so, within their parent.

    Raises:
        TerminalError: if a single character has more tokens than fit.
    """
    layout = lay_out(document, tokens)
    parents = _parents(document, layout, chunking.parent, tokens)
    limits = Limits.of(chunking.child, limit)
    prefix_for = prefixes(document, tokens, limit, heading_prefix=chunking.heading_prefix)
    cut = list(_children(document, layout, parents, limits, tokens, prefix_for))
    parent_ids = [parent.chunk_id for parent, _ in cut]
    return [*parents, *name_chunks(document, layout, (window for _, window in cut), parent_ids=parent_ids)]


def check_families(document: CleanedDocument, chunks: Sequence[Chunk], chunking: SmallToBigConfig, limit: int) -> None:
    """Check parents and children as `check_coverage` does, and that children hold all of their parent and no more.

    Raises:
        TerminalError: naming document and offset.
    """
    parents = [chunk for chunk in chunks if chunk.is_parent]
    families: dict[str | None, list[Chunk]] = {parent.chunk_id: [] for parent in parents}
    children = [chunk for chunk in chunks if not chunk.is_parent]
    check_coverage(document, parents, chunking.parent.window)
    check_coverage(document, children, limit)
    for parent, following in pairwise(parents):
        if following.start < parent.end:
            raise defect(document, f"Parents {parent.position} and {following.position} share text")
    for child in children:
        if child.parent_id not in families:
            raise defect(document, f"Chunk {child.position} at offset {child.start} has no parent")
        families[child.parent_id].append(child)
    for parent in parents:
        family = families[parent.chunk_id]
        if any(child.start < parent.start or child.end > parent.end for child in family):
            raise defect(document, f"A child crosses the border of parent {parent.position}")
        require_white_space(document, dropped_spans(document, family, (parent.start, parent.end)))


def _parents(document: CleanedDocument, layout: Layout, config: ParentConfig, tokens: TokenSpans) -> list[Chunk]:
    limits = Limits(config.window, 0, config.window)
    windows = cut_windows(document, layout, 0, limits, tokens, end_chooser=_PARENT_ENDS[config.unit])
    named = name_chunks(document, layout, windows, kind=_PARENT_KIND)
    return [replace(parent, embedded_text="", is_parent=True) for parent in named]


def _children(
    document: CleanedDocument,
    layout: Layout,
    parents: Sequence[Chunk],
    limits: Limits,
    tokens: TokenSpans,
    prefix_for: PrefixFor,
) -> Iterator[tuple[Chunk, Window]]:
    for parent in parents:
        for window in cut_windows(document, layout.until(parent.end), parent.start, limits, tokens, prefix_for):
            yield parent, window
