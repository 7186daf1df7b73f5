"""Texts of documents, made harmless for Markdown, HTML and CSV."""

import csv
import io
import re
from collections.abc import Sequence
from html import escape

LABEL = 200  # characters of a title, a reason, an address

# Signs that mean something to Markdown; and those by which a bare address becomes a link.
_MARKDOWN_SIGNS = re.compile(r"[\\`*_\[\]|~@#$]|:(?=//)|(?<=www)\.", re.IGNORECASE)
# Neither HTML nor XML may hold them, and they would reorder or hide the text around them.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
# What a spreadsheet takes as a formula: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def printable(text: str) -> str:
    """Return a text whose control characters are replaced by a sign that stands for them."""
    return _UNPRINTABLE.sub("\ufffd", text)


def shortened(text: str, limit: int = LABEL) -> str:
    """Return the beginning of a text, up to ``limit`` characters, and a sign that there is more."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def shown(text: str, limit: int = LABEL) -> str:
    """Return up to ``limit`` characters of any text as HTML that shows them as they are."""
    return escape(printable(shortened(text, limit)))


def escape_markdown(text: str, limit: int = LABEL) -> str:
    """Return up to ``limit`` characters of any text as Markdown that shows them as they are, in a table too."""
    flat = " ".join(printable(shortened(text, limit)).splitlines())
    return escape(_MARKDOWN_SIGNS.sub(r"\\\g<0>", flat), quote=False)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table, or nothing for no rows; numbers get thousands separators."""
    if not rows:
        return ""
    lines = [
        [escape_markdown(name) for name in header],
        ["---", *["---:"] * (len(header) - 1)],
        *([escape_markdown(figure(value)) for value in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def csv_table(header: Sequence[str], rows: Sequence[Sequence[object]], limit: int = LABEL) -> str:
    """Return rows as CSV; a spreadsheet takes none of the texts as a formula."""
    output = io.StringIO()
    writer = csv.writer(output)
    writer.writerow(header)
    for row in rows:
        writer.writerow([_cell(value, limit) for value in row])
    return output.getvalue()


def figure(value: object) -> str:
    """Return a value as a person reads it: whole numbers with thousands separators, fractions with one digit."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return str(value)


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: ``1 document``, ``2,000 documents``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def difference(before: float, now: float) -> str:
    """Return by how much a figure moved, with its sign: ``+12``, ``-3``, ``=``."""
    moved = now - before
    if not moved:
        return "="
    return f"{moved:+,}" if isinstance(moved, int) else f"{moved:+,.1f}"


def paragraphs(*parts: str) -> str:
    """Return the parts that say something, with blank lines between them."""
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _cell(value: object, limit: int) -> object:
    if not isinstance(value, str):
        return value
    text = printable(shortened(value, limit))
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA_SIGNS) else text
