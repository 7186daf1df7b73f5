"""From the fields of a raw document to the texts that are to be cleaned."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feature_store.records import TextFormat
from steps.clean.characters import one_line

MAXIMUM_DEPTH = 50
_FIRST_HEADING_LEVEL = 2
_LAST_HEADING_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Piece:
    """A text and the keys of the mappings in which it was found, from the outside in."""

    text: str
    keys: tuple[str, ...] = ()


class NotTextError(ValueError):
    """A value that is no text, where a text should be; the message names field, type and remedy."""


def resolve_pieces(fields: Mapping[str, Any], paths: Sequence[str]) -> list[Piece]:
    """Return the texts at the given paths, in their order; missing ones are left out.

    A list gives its texts one by one, a mapping each of its texts under its key, at any depth.

    Raises:
        NotTextError: if a value is neither text nor a list or mapping of texts.
    """
    return [piece for path in paths for piece in _pieces(fields.get(path), path, (), 0)]


def join_pieces(pieces: Iterable[Piece], text_format: TextFormat) -> str:
    """Return the texts joined by blank lines, each under those of its keys that the text before did not have.

    Keys become headings in Markdown and lines of their own in plain text; a key without any text is left out.
    """
    parts: list[str] = []
    before: tuple[str, ...] = ()
    for piece in pieces:
        if not piece.text:
            continue
        shared = sum(1 for _ in _common_start(before, piece.keys))
        for depth, key in enumerate(piece.keys[shared:], start=shared):
            mark = "#" * min(_FIRST_HEADING_LEVEL + depth, _LAST_HEADING_LEVEL)
            parts.append(f"{mark} {key}" if text_format == "markdown" else key)
        parts.append(piece.text)
        before = piece.keys
    return "\n\n".join(parts)


def _pieces(value: object, path: str, keys: tuple[str, ...], depth: int) -> Iterator[Piece]:
    if depth > MAXIMUM_DEPTH:
        raise NotTextError(f"Field {path} is nested more than {MAXIMUM_DEPTH} deep; map the fields that hold its text.")
    match value:
        case None:
            return
        case str():
            yield Piece(value, keys)
        case list() | tuple():
            for item in value:
                yield from _pieces(item, path, keys, depth + 1)
        case Mapping():
            for key, item in value.items():
                name = one_line(str(key))
                yield from _pieces(item, f"{path}.{name}", (*keys, name) if name else keys, depth + 1)
        case _:
            raise NotTextError(
                f"Field {path} holds {type(value).__name__}, not text; store it as a string or map another field."
            )


def _common_start(first: Sequence[str], second: Sequence[str]) -> Iterator[str]:
    for left, right in zip(first, second, strict=False):
        if left != right:
            return
        yield left
