"""Where a document may be cut, and how good a place it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from itertools import accumulate, chain, pairwise

from steps.chunk.outline import Block, BlockKind
from steps.chunk.splitting import skip_white_space, split_after, split_before


class Strength(IntEnum):
    """How strongly a border separates; a heading of level n has ``HEADING - n``.

    What is weaker than ``SENTENCE`` lies inside code and tables, which stay whole where they fit.
    """

    LINE = 1
    DEFINITION = 2
    SENTENCE = 3
    ITEM = 4
    BLOCK = 5
    HEADING = 12


@dataclass(frozen=True, slots=True)
class Border:
    """A place to cut in front of the character at ``offset``, which is no white space."""

    offset: int
    strength: int


# Not after a single letter ("e.g.", "J. Smith") or a list number, and not in front of a lower-case letter.
_SENTENCE_END = (
    r"(?:(?<![.!?…])(?<!\b\w)(?<!\b\d\d)[.!?…]++[\"'”’»)\]*_`]*+\s++(?=[^\sa-z])"
    r"|[。！？｡]++[」』”’）]*+\s*+"
    r"|\n(?=[^\S\n]*+(?:[-*+•‣]|\d{1,3}[.)])[^\S\n]))"
)
_LINE_END = r"\r\n?+|\n"
_LANGUAGE_ALIASES = {
    "c#": "csharp",
    "c++": "cpp",
    "cs": "csharp",
    "golang": "go",
    "javascript": "js",
    "jsx": "js",
    "kt": "kotlin",
    "py": "python",
    "python3": "python",
    "rb": "ruby",
    "rs": "rust",
    "tsx": "ts",
    "typescript": "ts",
}


def find_borders(text: str, blocks: list[Block]) -> list[Border]:
    """Return the borders of a text in order, one per offset.

    There is none directly behind a heading, which stays with what follows it, and only a weak one behind a colon.
    """
    strongest: dict[int, int] = {}
    before: tuple[BlockKind, str] = ("prose", "")
    for block, (start, end) in zip(blocks, pairwise([*(block.start for block in blocks), len(text)]), strict=True):
        for border in chain(_border_before(block, *before), _borders_inside(text[start:end], block)):
            offset = skip_white_space(text, start + border.offset)
            strongest[offset] = max(strongest.get(offset, 0), border.strength)
        before = (block.kind, text[start:end].rstrip()[-1:])
    return [Border(offset, strength) for offset, strength in sorted(strongest.items()) if offset < len(text)]


def _border_before(block: Block, kind_before: BlockKind, last_character_before: str) -> Iterator[Border]:
    if kind_before == "heading":
        return
    if block.kind == "heading":
        yield Border(0, Strength.HEADING - block.level)
    elif last_character_before == ":":
        yield Border(0, Strength.SENTENCE)
    else:
        yield Border(0, Strength.ITEM if block.nested else Strength.BLOCK)


def _borders_inside(text: str, block: Block) -> Iterator[Border]:
    if block.kind == "prose":
        yield from _behind(split_after(text, _SENTENCE_END), Strength.SENTENCE)
    if block.kind == "lines":
        yield from _behind(split_after(text, _LINE_END), Strength.LINE)
        if definition := _definition(block.language):
            yield from _behind(split_before(text, definition), Strength.DEFINITION)


def _behind(pieces: list[str], strength: Strength) -> Iterator[Border]:
    for end in accumulate(len(piece) for piece in pieces[:-1]):
        yield Border(end, strength)


@cache
def _definition(language: str) -> str:
    """Return a regular expression for the starts of classes, functions and the like, empty for unknown languages."""
    from langchain_text_splitters import Language, RecursiveCharacterTextSplitter

    try:
        separators = RecursiveCharacterTextSplitter.get_separators_for_language(
            Language(_LANGUAGE_ALIASES.get(language, language))
        )
    except ValueError:
        return ""
    keywords = [separator for separator in separators if separator.startswith("\n") and separator.strip()]
    return f"(?:{'|'.join(keywords)})" if keywords else ""
