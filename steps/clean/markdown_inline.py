"""The text of one paragraph, heading or table cell: links, images, tags and emphasis resolved, code untouched."""

import html
import re
from collections.abc import Callable, Sequence
from html.parser import HTMLParser

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from steps.clean.characters import normalise_prose

_BADGE = re.compile(
    r"shields\.io|badge|travis-ci|circleci|codecov|coveralls|appveyor|/actions/workflows/|\.svg(\?|$)|buymeacoffee|ko-fi|"
    r"codacy|snyk\.io|zenodo|pepy\.tech|gitter|deepsource|colab-|opencollective",
    re.IGNORECASE,
)
_FILE_NAME = re.compile(r"^\S*\.(png|jpe?g|gif|svg|webp)$", re.IGNORECASE)
_TAG_NAME = re.compile(r"^</?\s*([A-Za-z][\w-]*)")
_HTML_ELEMENTS = frozenset(
    [
        "a",
        "abbr",
        "acronym",
        "address",
        "article",
        "aside",
        "audio",
        "b",
        "big",
        "blockquote",
        "body",
        "br",
        "button",
        "caption",
        "center",
        "cite",
        "code",
        "col",
        "colgroup",
        "dd",
        "del",
        "details",
        "dfn",
        "div",
        "dl",
        "dt",
        "em",
        "embed",
        "fieldset",
        "figcaption",
        "figure",
        "font",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "head",
        "header",
        "hr",
        "html",
        "i",
        "iframe",
        "img",
        "input",
        "ins",
        "kbd",
        "label",
        "legend",
        "li",
        "link",
        "main",
        "map",
        "mark",
        "meta",
        "nav",
        "noscript",
        "object",
        "ol",
        "option",
        "p",
        "path",
        "picture",
        "pre",
        "q",
        "rp",
        "rt",
        "ruby",
        "s",
        "samp",
        "script",
        "section",
        "select",
        "small",
        "source",
        "span",
        "strike",
        "strong",
        "style",
        "sub",
        "summary",
        "sup",
        "svg",
        "table",
        "tbody",
        "td",
        "textarea",
        "tfoot",
        "th",
        "thead",
        "time",
        "title",
        "tr",
        "tt",
        "u",
        "ul",
        "var",
        "video",
        "wbr",
    ]
)
_DUNDER = re.compile(r"^[a-z][a-z0-9_]*$")
_SPECIAL = re.compile(r"[\\`*_\[\]<>&!~$]")
# Backslashes cost legibility: the first of these whose result reads as meant is enough.
_ESCAPABLE = (
    re.compile(r"(?!)"),
    re.compile(r"\\(?=[!-/:-@\[-`{-~])"),
    re.compile(r"\\(?=[!-/:-@\[-`{-~])|<"),
    re.compile(r"[\\`*_\[\]<>&~$]"),
)
# html2text closes and opens emphasis around nothing: "an actually**** planned".
_LEFTOVER_MARKS = re.compile(r"\*{4,}")
_ANGLED_ADDRESS = re.compile(r"<((?:https?|ftp)://[^\s<>]+|[\w.+-]+@[\w-]+\.[\w.-]+)>")
_FOOTNOTE_MARK = re.compile(r"^\^[\w-]+$")
_KEPT_HYPHEN = re.compile(r"[^\W_]-$")
_SUSPENDED = re.compile(r"(?:and|or|to|und|oder|et|ou|y)\b")
_CJK = re.compile("[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")  # Chinese and Japanese have no spaces, Korean has
_SOFT_BREAK = "\x00"

# A piece is (verbatim, text): code and formulas are verbatim, everything else is prose.
Piece = tuple[bool, str]


def keep_formulas(markdown: MarkdownIt) -> None:
    """Teach a parser to leave ``$…$`` and ``$$…$$`` alone; the rule for single dollars is Pandoc's."""
    markdown.inline.ruler.before("escape", "formula", _formula)


_FORMULA = re.compile(r"\$\$[^$]+\$\$|\$(?![\s$])(?:[^$\\\n`]|\\[^\n])*(?<![\s\\])\$(?!\d)")


def _formula(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - the signature of a rule of markdown-it
    if state.src[state.pos] != "$":
        return False
    match = _FORMULA.match(state.src, state.pos)
    if not match or match.end() > state.posMax or "\n\n" in match.group():
        return False
    if not silent:
        state.push("formula", "", 0).content = match.group()
    state.pos = match.end()
    return True


inline_parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
keep_formulas(inline_parser)


def render_lines(tokens: Sequence[Token]) -> list[str]:
    """Return the text of inline tokens, one string for each line that ends in a hard break; soft breaks are spaces."""
    lines = [_render_line(pieces) for pieces in _split_lines(_pieces(tokens))]
    return [line for line in lines if line]


def link_targets(tokens: Sequence[Token]) -> list[str] | None:
    """Return the targets if the tokens are nothing but links, else None."""
    depth, targets = 0, []
    for token in tokens:
        if token.type == "link_open":
            targets.append(str(token.attrGet("href") or ""))
        depth += token.nesting if token.type.startswith("link") else 0
        outside = depth == 0 and token.type == "text" and token.content.strip(" |·•∙-–—,:/")
        if outside or (depth == 0 and token.type in {"code_inline", "image", "formula"}):
            return None
    return targets or None


def is_html_element(tag: str) -> bool:
    """Tell whether a tag is one of HTML; ``<package>`` is a placeholder that the reader needs."""
    match = _TAG_NAME.match(tag)
    return match.group(1).lower() in _HTML_ELEMENTS if match else tag.startswith(("<!", "<?"))


def _render_line(pieces: list[Piece]) -> str:
    pieces = [(verbatim, text if verbatim else _prose(text)) for verbatim, text in pieces]
    plain = _joined(pieces)
    if not _SPECIAL.search(plain):
        return plain
    for escapable in _ESCAPABLE:
        written = _joined(
            [(verbatim, text if verbatim else escapable.sub(r"\\\g<0>", text)) for verbatim, text in pieces]
        )
        if _reread(written) == plain:
            return written
    return written


def _reread(text: str) -> str:
    tokens = inline_parser.parseInline(text)[0].children or []
    return _joined([(verbatim, part if verbatim else _prose(part)) for verbatim, part in _pieces(tokens)])


def _prose(text: str) -> str:
    text = _LEFTOVER_MARKS.sub("", normalise_prose(_join_soft_breaks(text)))
    return _ANGLED_ADDRESS.sub(r"\1", text)


def _joined(pieces: list[Piece]) -> str:
    return "".join(text for _, text in pieces).strip()


def _split_lines(pieces: list[Piece]) -> list[list[Piece]]:
    lines: list[list[Piece]] = [[]]
    for verbatim, text in pieces:
        first, *others = [text] if verbatim else text.split("\n")
        lines[-1].append((verbatim, first))
        lines.extend([(False, other)] for other in others)
    return lines


def _join_soft_breaks(text: str) -> str:
    if _SOFT_BREAK not in text:
        return text
    first, *rest = text.split(_SOFT_BREAK)
    joined = [first]
    for line in rest:
        following = line.lstrip()
        end = joined[-1][-2:]
        is_compound = _KEPT_HYPHEN.search(end) and following[:1].isalnum() and not _SUSPENDED.match(following)
        is_unspaced = _CJK.match(end[-1:]) and _CJK.match(following)
        joined.append(following if is_compound or is_unspaced else f" {following}")
    return "".join(joined)


def _pieces(tokens: Sequence[Token]) -> list[Piece]:
    pieces: list[Piece] = []
    position = 0
    while position < len(tokens):
        token = tokens[position]
        closing = _closing(tokens, position)
        if closing > position:
            pieces.extend(_enclosed(token, tokens[position + 1 : closing]))
        else:
            pieces.extend(_single(token))
        position = max(closing, position) + 1
    return _merged(pieces)


def _merged(pieces: list[Piece]) -> list[Piece]:
    merged: list[Piece] = []
    for verbatim, text in pieces:
        if merged and not verbatim and not merged[-1][0]:
            merged[-1] = (False, merged[-1][1] + text)
        else:
            merged.append((verbatim, text))
    return merged


def _closing(tokens: Sequence[Token], position: int) -> int:
    if tokens[position].nesting != 1:
        return position
    depth = 0
    for index in range(position, len(tokens)):
        depth += tokens[index].nesting
        if depth == 0:
            return index
    return position


def _enclosed(opening: Token, inner: Sequence[Token]) -> list[Piece]:
    if opening.type == "link_open":
        kept = [token for token in inner if token.type != "image"]
        pieces = _pieces(kept)
        label = "".join(text for _, text in pieces)
        return [] if _FOOTNOTE_MARK.match(label) else pieces
    if opening.type == "strong_open" and opening.markup == "__" and len(inner) == 1 and _DUNDER.match(inner[0].content):
        return [(False, f"__{inner[0].content}__")]
    return _pieces(inner)


def _single(token: Token) -> list[Piece]:
    reader = _READERS.get(token.type)
    return [reader(token)] if reader else []


def _code_span(token: Token) -> str:
    content = token.content
    if not content.strip():
        return ""
    # A space on both sides is what CommonMark strips again.
    is_padded = content.startswith(" ") and content.endswith(" ")
    padding = " " if is_padded or content.startswith("`") or content.endswith("`") else ""
    return f"{token.markup}{padding}{content}{padding}{token.markup}"


def _image_text(alt: str, source: str) -> str:
    alt = alt.strip()
    is_description = " " in alt and not _FILE_NAME.match(alt)
    return alt if is_description and not _BADGE.search(source) else ""


def _tag_text(tag: str) -> str:
    if not is_html_element(tag):
        return tag
    name = _TAG_NAME.match(tag)
    match name.group(1).lower() if name else "":
        case "br" | "hr":
            return "\n"
        case "img":
            attributes = _attributes(tag)
            return _image_text(attributes.get("alt", ""), attributes.get("src", ""))
        case _:
            return ""


class _AttributeReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.attributes: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.attributes = {name: html.unescape(value or "") for name, value in attrs}


def _attributes(tag: str) -> dict[str, str]:
    reader = _AttributeReader()
    reader.feed(tag)
    return reader.attributes


_READERS: dict[str, Callable[[Token], Piece]] = {
    "text": lambda token: (False, token.content),
    "text_special": lambda token: (False, token.content),
    "formula": lambda token: (True, token.content),
    "code_inline": lambda token: (True, _code_span(token)),
    "softbreak": lambda _token: (False, _SOFT_BREAK),
    "hardbreak": lambda _token: (False, "\n"),
    "image": lambda token: (False, _image_text(token.content, str(token.attrGet("src") or ""))),
    "html_inline": lambda token: (False, _tag_text(token.content)),
}
