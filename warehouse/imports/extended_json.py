"""Reads documents from JSON files: an array, JSON lines, or objects one after the other over any number of lines.

The values follow MongoDB Extended JSON v2, canonical or relaxed, as ``mongoexport`` writes it:
https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/. An array is read into memory as a whole; lines
and objects are streamed.
"""

import codecs
import gzip
import json
import re
import uuid
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from bson import json_util
from bson.binary import UuidRepresentation
from bson.codec_options import DatetimeConversion
from bson.errors import BSONError
from bson.json_util import JSONMode, JSONOptions

from warehouse.imports.errors import ImportSourceError

# Four times MongoDB's limit for a document: Extended JSON takes more room than BSON.
MAX_DOCUMENT_CHARACTERS = 64 * 1024 * 1024
GENERATED_ID_NAMESPACE = uuid.UUID("6a0c1c0e-54b5-5b55-9a0e-0b0f0d7c1a03")
_GZIP_MAGIC = b"\x1f\x8b"
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_NOT_BLANK = re.compile(r"[^ \t\n\r]|\Z")
_REMEDY = "Mend it there and import again: what is stored already is recognised."
_OPTIONS = JSONOptions(
    json_mode=JSONMode.CANONICAL,
    tz_aware=True,
    uuid_representation=UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
_DECODER = json.JSONDecoder(object_pairs_hook=lambda pairs: json_util.object_pairs_hook(pairs, _OPTIONS))


def read_documents(path: Path) -> Iterator[dict[str, Any]]:
    """Read the documents of a JSON file, ``.gz`` or plain, UTF-8 with or without byte order mark.

    A document without ``_id`` gets one made of its content, so that importing it again does not double it; equal
    documents without ``_id`` are therefore one.

    Raises:
        ImportSourceError: naming file and line, if something there cannot be read. Documents before it were given.
    """
    with _opened(path) as file:
        lines = _decoded_lines(path, file)
        first = next((numbered for numbered in lines if numbered[1].strip()), None)
        if first is None:
            raise ImportSourceError(f"{path} is empty.", "Give a file with at least one document.")
        read = _array if first[1].lstrip().startswith("[") else _stream
        yield from read(path, chain([first], lines))


@contextmanager
def _opened(path: Path) -> Iterator[Iterable[bytes]]:
    try:
        with path.open("rb") as file:
            compressed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
            file.seek(0)
            if not compressed:
                yield file
                return
            with gzip.open(file) as plain:
                yield plain
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ImportSourceError(f"{path} is damaged: {error}.", "Compress it again.") from None
    except OSError as error:
        raise ImportSourceError(f"{path} cannot be read: {error.strerror}.", "Give the path of a JSON file.") from None


def _decoded_lines(path: Path, file: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(file, start=1):
        if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ImportSourceError(f"{path} is UTF-16.", "Save it as UTF-8.")
        try:
            yield number, line.removeprefix(codecs.BOM_UTF8 if number == 1 else b"").decode("utf-8")
        except UnicodeDecodeError as error:
            raise ImportSourceError(
                f"{path}, line {number}: byte {error.start + 1} is not UTF-8.", "Save the file as UTF-8."
            ) from None


def _stream(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[dict[str, Any]]:
    buffer: list[str] = []
    first_line = size = depth = 0
    for number, line in lines:
        if not buffer:
            first_line, size, depth = number, 0, 0
        buffer.append(line)
        size += len(line)
        # No JSON string spans lines, so that brackets can be counted line by line.
        brackets = _STRING.sub("", line)
        depth += brackets.count("{") + brackets.count("[") - brackets.count("}") - brackets.count("]")
        if depth <= 0:
            yield from _documents(path, "".join(buffer), first_line)
            buffer = []
        elif size > MAX_DOCUMENT_CHARACTERS:
            raise ImportSourceError(
                f"{path}, line {first_line}: the document that starts here does not end within "
                f"{MAX_DOCUMENT_CHARACTERS:,} characters.",
                "Look for a missing bracket or quotation mark there.",
            )
    yield from _documents(path, "".join(buffer), first_line)


def _documents(path: Path, text: str, first_line: int) -> Iterator[dict[str, Any]]:
    position = _skip_blank(text, 0)
    while position < len(text):
        document, position = _document_at(path, text, position, first_line)
        yield document
        position = _skip_blank(text, position)


def _array(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[dict[str, Any]]:
    numbered = iter(lines)
    first_line, first = next(numbered)
    text = "".join([first, *(line for _, line in numbered)])
    position = _skip_blank(text, text.index("[") + 1)
    closed = text.startswith("]", position)
    while not closed:
        document, position = _document_at(path, text, position, first_line)
        yield document
        position = _skip_blank(text, position)
        closed = text.startswith("]", position)
        if not closed:
            _expect(path, text, position, first_line, ",")
            position = _skip_blank(text, position + 1)
    _expect(path, text, _skip_blank(text, position + 1), first_line, "")


def _expect(path: Path, text: str, position: int, first_line: int, expected: str) -> None:
    if text[position : position + 1] == expected:
        return
    line = first_line + text.count("\n", 0, position)
    problem = "expected ',' or ']' after a document" if expected else "something follows the end of the array"
    raise ImportSourceError(f"{path}, line {line}: {problem}.", _REMEDY)


def _document_at(path: Path, text: str, position: int, first_line: int) -> tuple[dict[str, Any], int]:
    start = first_line + text.count("\n", 0, position)
    try:
        value, end = _DECODER.raw_decode(text, position)
        if isinstance(value, dict):
            return _with_id(value), end
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        origin = "" if line == start else f", in the document that starts on line {start}"
        raise ImportSourceError(f"{path}, line {line}: {error.msg} at column {error.colno}{origin}.", _REMEDY) from None
    except (BSONError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        # What the values of Extended JSON raise: a bad ObjectId, date, UUID, number, or too deep nesting.
        raise ImportSourceError(f"{path}, line {start}: {error}", _REMEDY) from None
    raise ImportSourceError(f"{path}, line {start}: {type(value).__name__} where a document belongs.", _REMEDY)


def _with_id(document: dict[str, Any]) -> dict[str, Any]:
    if "_id" in document:
        return document
    content = json_util.dumps(document, json_options=_OPTIONS, sort_keys=True)
    # A string: not every server and driver agrees on the form of binary UUIDs.
    return {"_id": str(uuid.uuid5(GENERATED_ID_NAMESPACE, content)), **document}


def _skip_blank(text: str, position: int) -> int:
    found = _NOT_BLANK.search(text, position)
    return found.start() if found else len(text)
