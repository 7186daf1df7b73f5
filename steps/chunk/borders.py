"""Where a document may be cut, and how good a place it is."""

from collections.abc import Iterator
from enum import IntEnum
from functools import cache
from itertools import accumulate, chain, groupby, repeat
from typing import NamedTuple

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


class Border(NamedTuple):
    """A place to cut in front of the character at ``offset``, which is no white space."""

    offset: int
    strength: int


# Not after a single letter ("e.g.", "J. Smith") or a list number, and not in front of a lower-case letter.
# What it may begin with comes first, and is then looked at again: so a search leaps from one of these to the next.
_SENTENCE_END = (
    r"[.!?…。！？｡\n](?:"
    r"(?<=[.!?…])(?<![.!?…]{2})(?<!\b\w.)(?<!\b\d\d.)[.!?…]*+[\"'”’»)\]*_`]*+\s++(?=[^\sa-z])"
    r"|(?<=[。！？｡])[。！？｡]*+[」』”’）]*+\s*+"
    r"|(?<=\n)(?=[^\S\n]*+(?:[-*+•‣]|\d{1,3}[.)])[^\S\n]))"
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
    if not blocks:
        return []
    ends = [*(block.start for block in blocks[1:]), len(text)]
    strongest: dict[int, int] = {}
    for offset, strength in chain(_borders_inside(text, blocks, ends), _borders_before(text, blocks, ends)):
        place = skip_white_space(text, offset)
        if strongest.get(place, 0) < strength:
            strongest[place] = strength
    strongest.pop(len(text), None)
    return [*map(Border._make, sorted(strongest.items()))]


def _borders_before(text: str, blocks: list[Block], ends: list[int]) -> Iterator[tuple[int, int]]:
    kind_before: BlockKind = "prose"
    last_character_before = ""
    for block, end in zip(blocks, ends, strict=True):
        if kind_before != "heading":
            yield block.start, _strength_before(block, last_character_before)
        kind_before, last_character_before = block.kind, text[block.start : end].rstrip()[-1:]


def _strength_before(block: Block, last_character_before: str) -> int:
    if block.kind == "heading":
        return Strength.HEADING - block.level
    if last_character_before == ":":
        return Strength.SENTENCE
    return Strength.ITEM if block.nested else Strength.BLOCK


def _borders_inside(text: str, blocks: list[Block], ends: list[int]) -> Iterator[tuple[int, int]]:
    # Neighbouring blocks of prose are split in one go. Between them that finds nothing new: a sentence ends at the
    # latest where the next block begins, and a border in front of a block is as strong or stronger.
    for kind, neighbours in groupby(zip(blocks, ends, strict=True), key=lambda each: each[0].kind):
        together = list(neighbours)
        if kind == "prose":
            start, end = together[0][0].start, together[-1][1]
            yield from _behind(start, split_after(text[start:end], _SENTENCE_END), Strength.SENTENCE)
        if kind == "lines":
            for block, end in together:
                yield from _borders_of_lines(text[block.start : end], block)


def _borders_of_lines(text: str, block: Block) -> Iterator[tuple[int, int]]:
    yield from _behind(block.start, split_after(text, _LINE_END), Strength.LINE)
    if definition := _definition(block.language):
        yield from _behind(block.start, split_before(text, definition), Strength.DEFINITION)


def _behind(start: int, pieces: list[str], strength: Strength) -> Iterator[tuple[int, int]]:
    offsets = list(accumulate(map(len, pieces), initial=start))
    return zip(offsets[1:-1], repeat(strength))


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
