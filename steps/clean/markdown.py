"""Markdown → Markdown with headings, code and tables kept and everything that is no text of the author left out.

The source is parsed with markdown-it into blocks and written anew from them, so no rule ever guesses where code begins.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import zip_longest

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode

from steps.clean.blocks import Block, merge_lists, render_blocks
from steps.clean.boilerplate import remove_boilerplate, remove_glued_chrome
from steps.clean.characters import remove_invisible
from steps.clean.html_fragments import fragment_to_markdown
from steps.clean.markdown_inline import keep_formulas, link_targets, render_lines

# markdown-it leaves out what lies deeper; such a document is taken as text without structure instead.
MAXIMUM_NESTING = 60

_WRAP_WIDTH = 78
_FRONT_MATTER = re.compile(
    r"\A\s*---[ \t]*\n"
    r"[A-Za-z_][\w .-]*:(?:[ \t].*)?\n"
    r"(?:[A-Za-z_][\w .-]*:(?:[ \t].*)?\n|[ \t]+\S.*\n|- .*\n|#.*\n|\n)*?"
    r"(?:---|\.\.\.)[ \t]*(?:\n|\Z)"
)
_BLOCK_MARK = re.compile(r"(?:#{1,6}(?=\s|$)|[-+*>=_~`|<\[:]|\d{1,9}[.)](?=\s|$))")
_LIST_ENTRY = re.compile(r"(?:[-*+•●▪‣◦]|(?P<number>\d{1,9})[.)]) +(?P<text>.*\S.*)")
_PARAGRAPH = ["paragraph_open", "inline", "paragraph_close"]
_ALERT = re.compile(r"\A\[!(NOTE|TIP|IMPORTANT|WARNING|CAUTION)\] *")
_TRAILING_HASHES = re.compile(r"(?:^|(?<=\s))(#+)$")


def clean_markdown(text: str) -> str:
    """Return cleaned Markdown; cleaning it again changes nothing.

    Left out are front matter, comments, badges, link targets and definitions, tags, emphasis, rulers, tables of
    contents and the chrome of scraped pages. Headings become ATX headings, code becomes fenced code with its content
    untouched, tables and lists get one uniform shape, and a hard-wrapped paragraph becomes a single line.
    """
    source = remove_glued_chrome(_FRONT_MATTER.sub("", remove_invisible(text), count=1))
    return render_blocks(merge_lists(remove_boilerplate(_read(source))))


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"maxNesting": MAXIMUM_NESTING}).enable(["table", "strikethrough"])
    keep_formulas(parser)
    return parser


def _read(source: str) -> list[Block]:
    tokens = _parser().parse(source)
    if any(token.level >= MAXIMUM_NESTING - 1 for token in tokens):
        return [block for line in source.split("\n") for block in _flat_line(line)]
    return _blocks(SyntaxTreeNode(tokens).children)


def _flat_line(line: str) -> list[Block]:
    lines = render_lines(_tokens_of(line.lstrip("> \t-*+")))
    return [_line_block(text, ()) for text in lines]


def _blocks(nodes: Sequence[SyntaxTreeNode]) -> list[Block]:
    return merge_lists(_read_nodes(nodes))


def _read_nodes(nodes: Sequence[SyntaxTreeNode]) -> Iterator[Block]:
    previous: SyntaxTreeNode | None = None
    for node, following in zip_longest(nodes, nodes[1:]):
        reader = _READERS.get(node.type)
        if node.type == "heading" and following and _is_wrapped(node, following):
            yield from _heading_block(node, _tokens_of(f"{_source(node)}\n{_source(following)}"))
        elif reader and not (previous and _is_wrapped(previous, node)):
            yield from reader(node)
        previous = node


def _is_wrapped(heading: SyntaxTreeNode, following: SyntaxTreeNode) -> bool:
    """Tell whether a paragraph is the rest of a heading: html2text wraps headings like paragraphs."""
    if (heading.type, following.type) != ("heading", "paragraph") or not heading.markup.startswith("#"):
        return False
    if not heading.map or not following.map or heading.map[1] != following.map[0]:
        return False
    width = len(f"{heading.markup} {_source(heading)}")
    next_word = _source(following).split(maxsplit=1)[0]
    return width <= _WRAP_WIDTH < width + 1 + len(next_word)


def _heading(node: SyntaxTreeNode) -> list[Block]:
    return _heading_block(node, _tokens(node))


def _heading_block(node: SyntaxTreeNode, tokens: list[Token]) -> list[Block]:
    text = _TRAILING_HASHES.sub(r"\\\1", " ".join(render_lines(tokens)))
    links = tuple(link_targets(tokens) or ())
    return [Block("heading", text, level=int(node.tag[1]), links=links)] if text.strip("\\# ") else []


def _paragraph(node: SyntaxTreeNode) -> list[Block]:
    lines = _lines(node)
    links = tuple(link_targets(_tokens(node)) or ()) if len(lines) == 1 else ()
    return [_line_block(line, links) for line in lines]


def _quote(node: SyntaxTreeNode) -> list[Block]:
    inner = _blocks(node.children)
    if inner and inner[0].kind == "paragraph":
        # The alerts of GitHub: "> [!NOTE]".
        text = _ALERT.sub(lambda alert: f"{alert[1].capitalize()}: ", inner[0].text)
        inner = [replace(inner[0], text=text.rstrip()), *inner[1:]]
    return [Block("quote", items=(tuple(inner),))] if inner else []


def _line_block(line: str, links: tuple[str, ...]) -> Block:
    entry = _LIST_ENTRY.fullmatch(line)
    if not entry:
        return Block("paragraph", _as_text_line(line), links=links)
    # A list typed with line breaks, or one that html2text escaped.
    item = Block("paragraph", _as_text_line(entry["text"]), links=links)
    number = entry["number"]
    return Block("ordered_list" if number else "bullet_list", level=int(number or 0), items=((item,),))


def _as_text_line(line: str) -> str:
    if not _BLOCK_MARK.match(line) or _is_paragraph(line):
        return line
    digits = re.match(r"\d*", line)
    position = digits.end() if digits else 0
    return f"{line[:position]}\\{line[position:]}"


def _is_paragraph(line: str) -> bool:
    # After another line it could also be an underline or the ruler of a table.
    return all([token.type for token in _parser().parse(source)] == _PARAGRAPH for source in (line, f"x\n{line}"))


def _list(node: SyntaxTreeNode) -> list[Block]:
    items = tuple(tuple(_blocks(item.children)) for item in node.children)
    filled = tuple(item for item in items if item)
    first = int(node.attrs.get("start", 1)) if node.type == "ordered_list" else 0
    return [Block(node.type, level=first, items=filled)] if filled else []


def _fence(node: SyntaxTreeNode) -> list[Block]:
    if not node.content.strip():
        return []
    return [Block("code", f"{node.markup}{node.info}\n{node.content.removesuffix(chr(10))}\n{node.markup}")]


def _indented_code(node: SyntaxTreeNode) -> list[Block]:
    if not node.content.strip():
        return []
    longest = max((len(run) for run in re.findall(r"`{3,}", node.content)), default=2)
    fence = "`" * (longest + 1)
    return [Block("code", f"{fence}\n{node.content.rstrip()}\n{fence}")]


def _table(node: SyntaxTreeNode) -> list[Block]:
    rows = [[_cell(cell) for cell in row.children] for part in node.children for row in part.children]
    if not any(any(row) for row in rows):
        return []
    header, *body = rows
    lines = [header, ["---"] * len(header), *(row for row in body if any(row))]
    return [Block("table", "\n".join(f"| {' | '.join(row)} |" for row in lines))]


def _cell(node: SyntaxTreeNode) -> str:
    return " ".join(_lines(node)).replace("|", "\\|")


def _html(node: SyntaxTreeNode) -> list[Block]:
    return _read(fragment_to_markdown(node.content))


def _lines(node: SyntaxTreeNode) -> list[str]:
    return render_lines(_tokens(node))


def _tokens(node: SyntaxTreeNode) -> list[Token]:
    inline = node.children[0].token if node.children else None
    return (inline.children if inline else None) or []


def _tokens_of(source: str) -> list[Token]:
    return _parser().parseInline(source)[0].children or []


def _source(node: SyntaxTreeNode) -> str:
    return node.children[0].content if node.children else ""


_READERS: dict[str, Callable[[SyntaxTreeNode], list[Block]]] = {
    "heading": _heading,
    "paragraph": _paragraph,
    "bullet_list": _list,
    "ordered_list": _list,
    "blockquote": _quote,
    "fence": _fence,
    "code_block": _indented_code,
    "table": _table,
    "html_block": _html,
}
