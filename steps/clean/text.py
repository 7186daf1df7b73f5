"""Plain text → paragraphs, one line each, lists and indented blocks as they stand."""

import os
import re
from collections.abc import Callable
from functools import cache, partial

from steps.clean.characters import normalise_prose, remove_invisible

_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_HYPHEN_AT_END = re.compile(r"-[ \t]*\n")
_BROKEN_WORD = re.compile(r"(?<![^\W\d_])([^\W\d_]+)-[ \t]*\n[ \t]*([^\W\d_]+)")
_LAID_OUT = re.compile(r"(?m)^(?:[ \t]{2,}\S|.*\S(?: {3,}|\t)\S|[ \t]*(?:[-*+•>|#]|\d+[.)]|[\w ]{1,30}:)[ \t])")
_RULER_LINE = re.compile(r"(?m)^[ \t]*([-=_*~#])\1{2,}[ \t]*$")
# First parts that keep their hyphen: "well-known", "self-contained", "high-quality", "state-of-the-art".
_HYPHENATING = frozenset(
    [
        "all",
        "anti",
        "auto",
        "bi",
        "co",
        "counter",
        "cross",
        "decision",
        "double",
        "down",
        "e",
        "early",
        "easy",
        "end",
        "ex",
        "extra",
        "fast",
        "fine",
        "first",
        "first",
        "full",
        "future",
        "general",
        "half",
        "hand",
        "hard",
        "high",
        "human",
        "ill",
        "in",
        "inter",
        "just",
        "key",
        "large",
        "late",
        "left",
        "life",
        "light",
        "like",
        "long",
        "low",
        "lower",
        "machine",
        "main",
        "many",
        "medium",
        "meta",
        "mid",
        "mini",
        "mono",
        "multi",
        "near",
        "new",
        "non",
        "object",
        "of",
        "off",
        "often",
        "old",
        "on",
        "one",
        "one-time",
        "open",
        "out",
        "over",
        "own",
        "part",
        "peer",
        "per",
        "plain",
        "plug",
        "point",
        "post",
        "pre",
        "pro",
        "pseudo",
        "quasi",
        "rapid",
        "re",
        "read",
        "ready",
        "real",
        "right",
        "same",
        "second",
        "self",
        "semi",
        "set",
        "short",
        "side",
        "single",
        "six",
        "small",
        "so",
        "soft",
        "state",
        "step",
        "sub",
        "super",
        "task",
        "ten",
        "third",
        "three",
        "time",
        "to",
        "top",
        "trade",
        "trans",
        "twenty",
        "two",
        "ultra",
        "un",
        "under",
        "up",
        "user",
        "vice",
        "voice",
        "war",
        "web",
        "well",
        "wide",
        "word",
        "work",
        "world",
        "write",
        "x",
        "year",
        "zero",
        "built",
        "data",
        "domain",
        "command",
        "client",
        "server",
        "cutting",
        "deep",
        "event",
        "feature",
        "open-source",
        "rule",
        "run",
        "source",
        "table",
        "text",
        "third-party",
        "token",
        "type",
        "value",
    ]
)
_LINE_ENDS = re.compile(r"\s*\n\s*")
_LONE_E = re.compile(r"(?m)^e(?=\s)")  # "and" in Italian; the library takes it for a bullet that was misread
_SUSPENDED = re.compile(r"(?:and|or|to|und|oder|et|ou)\b")


def clean_text(text: str) -> str:
    """Return plain text with one line per paragraph and one blank line between paragraphs.

    Lines that a hard wrap cut are joined, words that it hyphenated too ("exam-/ple" becomes "example", "well-/known"
    stays "well-known"). Blocks whose layout speaks, such as lists, keep their lines.
    """
    text = _RULER_LINE.sub("", remove_invisible(text).expandtabs(4))
    paragraphs = (paragraph.strip("\n") for paragraph in _BLANK_LINES.split(text))
    cleaned = (_clean_paragraph(paragraph) for paragraph in paragraphs)
    return "\n\n".join(paragraph for paragraph in cleaned if paragraph)


def join_broken_words(text: str) -> str:
    """Return the text with words that a line end hyphenated in one piece."""
    return _BROKEN_WORD.sub(_joined_word, text) if _HYPHEN_AT_END.search(text) else text


def _clean_paragraph(paragraph: str) -> str:
    if _LAID_OUT.search(paragraph):
        lines = (_keep_indent(line) for line in paragraph.split("\n"))
        return "\n".join(line for line in lines if line.strip())
    prose = normalise_prose(paragraph).strip()
    if "\n" not in prose and prose[:2].isalnum():
        return prose  # one line, and no bullet: there is nothing to group
    if _LONE_E.search(prose):
        return _LINE_ENDS.sub(" ", prose)
    return _group_broken_paragraphs()(join_broken_words(prose))


@cache
def _group_broken_paragraphs() -> Callable[[str], str]:
    # Importing it takes half a second, and plain text is rare. It also calls home, unless this is set.
    os.environ.setdefault("SCARF_NO_ANALYTICS", "true")
    from unstructured.cleaners.core import group_broken_paragraphs

    # By itself it takes a star or dot in the middle of a short line for a bullet, and cuts "the **whole** line" there.
    return partial(group_broken_paragraphs, line_split=_LINE_ENDS)


def _keep_indent(line: str) -> str:
    content = line.lstrip(" ")
    return " " * (len(line) - len(content)) + normalise_prose(content).rstrip()


def _joined_word(match: re.Match[str]) -> str:
    first, second = match.groups()
    if _SUSPENDED.match(second):
        return f"{first}- {second}"
    is_one_word = first.islower() or first.istitle()
    if second.islower() and is_one_word and first.casefold() not in _HYPHENATING:
        return first + second
    return f"{first}-{second}"
