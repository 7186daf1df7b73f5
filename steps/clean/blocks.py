"""The blocks of a Markdown document, and how they are written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from textwrap import indent


@dataclass(frozen=True, slots=True)
class Block:
    """A heading, paragraph, code, table, bullet_list, ordered_list or quote.

    ``level`` is a heading's level or the first number of an ordered list. ``items`` holds the blocks of each item of a
    list; a quote has one item. ``links`` are the targets of a paragraph that is nothing but links.
    """

    kind: str
    text: str = ""
    level: int = 0
    items: tuple[tuple["Block", ...], ...] = ()
    links: tuple[str, ...] = ()

    def leaves(self) -> list["Block"]:
        """Return the blocks inside that hold text, in reading order."""
        if not self.items:
            return [self]
        return [leaf for item in self.items for block in item for leaf in block.leaves()]


def merge_lists(blocks: Iterable[Block]) -> list[Block]:
    """Return the blocks with neighbouring lists of one kind as one list, which is how Markdown reads them anyway."""
    merged: list[Block] = []
    for block in blocks:
        if merged and block.kind == merged[-1].kind and block.kind.endswith("_list"):
            merged[-1] = replace(merged[-1], items=merged[-1].items + block.items)
        else:
            merged.append(block)
    return merged


def render_blocks(blocks: Iterable[Block]) -> str:
    """Return Markdown with a blank line between blocks."""
    return "\n\n".join(_render(block) for block in blocks)


def _render(block: Block) -> str:
    match block.kind:
        case "heading":
            return f"{'#' * block.level} {block.text}"
        case "bullet_list" | "ordered_list":
            return _render_list(block)
        case "quote":
            return indent(render_blocks(block.items[0]), "> ", lambda _line: True).replace("> \n", ">\n")
        case _:
            return block.text


def _render_list(block: Block) -> str:
    entries = []
    for number, item in enumerate(block.items, start=block.level):
        marker = "- " if block.kind == "bullet_list" else f"{number}. "
        body = _render_item(item)
        entries.append(marker + _indented(body, " " * len(marker)).removeprefix(" " * len(marker)))
    return ("\n\n" if any("\n\n" in entry for entry in entries) else "\n").join(entries)


def _render_item(blocks: Sequence[Block]) -> str:
    text = ""
    for position, block in enumerate(blocks):
        # Only a list that starts at 1 may follow a paragraph without a blank line.
        hugs = position > 0 and blocks[position - 1].kind == "paragraph" and block.kind.endswith("_list")
        separator = "\n" if hugs and block.level in {0, 1} else "\n\n"
        text += (separator if position else "") + _render(block)
    return text


def _indented(text: str, prefix: str) -> str:
    # Lines of code that hold nothing but spaces are indented too, or reading them again would shorten them.
    return indent(text, prefix, lambda line: line != "\n")
