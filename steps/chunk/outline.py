"""What a document is made of: its sections by heading, and the blocks inside them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token

from feature_store.records import TextFormat
from steps.chunk.splitting import skip_white_space, split_after

BlockKind = Literal["heading", "prose", "lines"]

# The leaves of markdown-it's tree that have lines of their own. What may only be cut between lines is not prose.
_LEAF_KINDS: dict[str, BlockKind] = {
    "heading_open": "prose",
    "paragraph_open": "prose",
    "hr": "prose",
    "fence": "lines",
    "code_block": "lines",
    "html_block": "lines",
    "table_open": "lines",
}
# The line ends that markdown-it counts; str.splitlines knows more.
_LINE_END = re.compile(r"\r\n?|\n")
_BLANK_LINES = r"\n(?:[^\S\n]*+\n)++"
_HEADING_CHARACTERS = 200
# What a line begins with that is more than a line of a paragraph, or makes more of the line before it.
_BEGINNINGS = frozenset("#>*-+_=`~<[|:0123456789")


class Block(NamedTuple):
    """A paragraph, list item, heading, code block or table; it ends where the next one starts.

    Attributes:
        start: its first character that is no white space.
        kind: ``heading``, ``prose`` (may be cut between sentences) or ``lines`` (may be cut between lines).
        level: 1 to 6 for a heading, 0 for others.
        nested: True inside a list or quotation, after its first block.
        language: the language that a code fence states, lower case, or an empty string.
    """

    start: int
    kind: BlockKind
    level: int = 0
    nested: bool = False
    language: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """The stretch from one heading to the next; ``path`` holds the headings above it and its own, as plain text."""

    start: int
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """Blocks and sections of one document, each in order, from its first character that is no white space.

    The first section has an empty path; it is empty itself where the document begins with a heading.
    """

    blocks: list[Block]
    sections: list[Section]


def read_outline(text: str, text_format: TextFormat) -> Outline:
    """Find the blocks and sections of a text; plain text has paragraphs and a single section.

    Headings are Markdown's ATX and setext headings outside of lists and quotations, as CommonMark defines them, so a
    ``#`` in a code fence is none.
    """
    return _OUTLINES[text_format](text)


def _read_plain_text(text: str) -> Outline:
    blocks, start = [], 0
    for paragraph in split_after(text, _BLANK_LINES):
        blocks.append(Block(skip_white_space(text, start), "prose"))
        start += len(paragraph)
    return Outline(blocks, [Section(skip_white_space(text, 0), ())])


def _read_markdown(text: str) -> Outline:
    line_starts = [0, *map(re.Match.end, _LINE_END.finditer(text))]
    references: dict[str, object] = {}
    tokens = _block_parser().parse(text, references)
    blocks = [Block(skip_white_space(text, 0), "prose")]
    sections = [Section(skip_white_space(text, 0), ())]
    headings: list[tuple[int, str]] = []
    top_line = -1
    for index, token in enumerate(tokens):
        if token.map is None:
            continue
        if token.level == 0:
            top_line = token.map[0]
        if token.level == 0 and token.type == "heading_open":
            start, level = skip_white_space(text, line_starts[top_line]), int(token.tag[1])
            name = _plain_text(tokens[index + 1].content, references)
            headings = [*(heading for heading in headings if heading[0] < level), (level, name)]
            sections.append(Section(start, tuple(name for _, name in headings if name)))
            blocks.append(Block(start, "heading", level))
        elif kind := _LEAF_KINDS.get(token.type):
            start, nested = skip_white_space(text, line_starts[token.map[0]]), token.map[0] != top_line
            blocks.append(Block(start, kind, nested=nested, language=_language(token)))
    return Outline(blocks, sections)


_OUTLINES = {"text": _read_plain_text, "markdown": _read_markdown}


@cache
def _block_parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])
    parser.block.ruler.before("table", "evident_paragraph", _read_evident_paragraph)
    return parser


def _read_evident_paragraph(state: StateBlock, start_line: int, _end_line: int, _silent: bool) -> bool:  # noqa: FBT001
    """Read a paragraph whose lines can be nothing else, as a block rule of markdown-it does; return whether it is one.

    All other rules would be asked for each of the lines, which takes most of the time for ordinary text.
    """
    if state.is_code_block(start_line):
        return False
    line = start_line
    while line < state.lineMax and not state.isEmpty(line):
        if state.src[state.bMarks[line] + state.tShift[line]] in _BEGINNINGS:
            return False
        line += 1
    state.line = line
    state.push("paragraph_open", "p", 0).map = [start_line, line]  # with nothing in it, so nothing closes it
    return True


@cache
def _inline_parser() -> MarkdownIt:
    return MarkdownIt("commonmark")


def _language(token: Token) -> str:
    return token.info.split()[0].lower() if token.type == "fence" and token.info.strip() else ""


def _plain_text(heading: str, references: dict[str, object]) -> str:
    if heading[:_HEADING_CHARACTERS].replace(" ", "").isalnum():  # nothing in it means anything to Markdown
        return " ".join(heading[:_HEADING_CHARACTERS].split())
    # A cut heading keeps the path short, and the inline parser quick on hostile text.
    tokens = _inline_parser().parseInline(heading[:_HEADING_CHARACTERS], references)
    return " ".join("".join(_texts(tokens)).split())


def _texts(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        if token.children:
            yield from _texts(token.children)
        elif token.type in {"text", "code_inline"}:
            yield token.content
        elif token.type in {"softbreak", "hardbreak"}:
            yield " "
