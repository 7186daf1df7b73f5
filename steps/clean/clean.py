"""One raw document in, one cleaned document or the reason why there is none out."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from feature_store.config import CategoryConfig, CleaningConfig, SourceFormat
from feature_store.records import CleanedDocument, RawDocument, Reject, TextFormat
from steps.clean.characters import excerpt, looks_binary
from steps.clean.docstring import clean_docstring
from steps.clean.errors import UnparseableError
from steps.clean.html import PageMetadata, clean_html, read_page_metadata
from steps.clean.language import detect_language
from steps.clean.markdown import clean_markdown
from steps.clean.metadata import (
    UndecodableDateError,
    canonical_author,
    canonical_date,
    canonical_external_id,
    canonical_metadata,
    canonical_title,
    canonical_url,
)
from steps.clean.resolve import NotTextError, Piece, join_pieces, resolve_pieces
from steps.clean.rst import clean_rst
from steps.clean.text import clean_text

FORMATS: dict[SourceFormat, tuple[Callable[[str], str], TextFormat]] = {
    "text": (clean_text, "text"),
    "markdown": (clean_markdown, "markdown"),
    "rst": (clean_rst, "markdown"),
    "html": (clean_html, "markdown"),
    "docstring": (clean_docstring, "markdown"),
}

_FORMAT_NAMES: dict[str, SourceFormat] = {
    "text": "text",
    "txt": "text",
    "plain": "text",
    "text/plain": "text",
    "markdown": "markdown",
    "md": "markdown",
    "gfm": "markdown",
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "rst": "rst",
    "restructuredtext": "rst",
    "text/x-rst": "rst",
    "text/prs.fallenstein.rst": "rst",
    "html": "html",
    "htm": "html",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "docstring": "docstring",
    "text/x-python-docstring": "docstring",
}
_HEADING = re.compile(r"^#{1,6} (.+)$")


class _RejectedError(Exception):
    def __init__(self, reason: str, detail: str, sample: object = "") -> None:
        self.reason = reason
        self.detail = detail
        self.sample = sample
        super().__init__(detail)


def clean_document(raw: RawDocument, category: CategoryConfig, cleaning: CleaningConfig) -> CleanedDocument | Reject:
    """Clean one document; the same input always gives the same output, and no input raises.

    Reasons for a reject are ``missing_text``, ``not_text``, ``too_large``, ``binary_text``, ``unparseable``, ``empty``
    and ``undecodable_date``.
    """
    try:
        return _cleaned(raw, category, cleaning)
    except _RejectedError as rejected:
        return Reject(
            document_id=raw.document_id,
            category=raw.category,
            source_id=raw.source_id,
            source_hash=raw.source_hash,
            reason=rejected.reason,
            detail=rejected.detail,
            excerpt=excerpt(rejected.sample),
        )


def format_of(fields: Mapping[str, Any], category: CategoryConfig) -> SourceFormat:
    """Return the format that a document states of itself, or its category's where it states none that is known."""
    stated = fields.get(category.format_field) if category.format_field else None
    if not isinstance(stated, str):
        return category.format
    return _FORMAT_NAMES.get(stated.partition(";")[0].strip().lower(), category.format)


def _cleaned(raw: RawDocument, category: CategoryConfig, cleaning: CleaningConfig) -> CleanedDocument:
    pieces = _checked_pieces(raw.fields, category, cleaning)
    source_format = format_of(raw.fields, category)
    text, text_format = _clean_pieces(pieces, source_format, category)
    _require_content(text, pieces, category, cleaning)
    document = CleanedDocument(
        document_id=raw.document_id,
        category=raw.category,
        source_id=raw.source_id,
        source_hash=raw.source_hash,
        text=text,
        text_format=text_format,
        title=canonical_title(_value(raw.fields, category.title)),
        url=canonical_url(_value(raw.fields, category.url)),
        author=canonical_author(_value(raw.fields, category.author)),
        published_at=_date(raw.fields, category.published_at),
        updated_at=_date(raw.fields, category.updated_at),
        external_id=canonical_external_id(_value(raw.fields, category.external_id)),
        language=detect_language(text),
        metadata=canonical_metadata({name: raw.fields.get(path) for name, path in category.metadata.items()}),
    )
    if source_format == "html":
        document = _with_page_metadata(document, read_page_metadata(pieces[0].text))
    return document if document.title else replace(document, title=_first_heading(text, text_format))


def _checked_pieces(fields: Mapping[str, Any], category: CategoryConfig, cleaning: CleaningConfig) -> list[Piece]:
    named = _field_names(category)
    try:
        pieces = resolve_pieces(fields, category.text)
    except NotTextError as error:
        raise _RejectedError("not_text", str(error)) from error
    if not pieces:
        raise _RejectedError("missing_text", f"{named} is missing; correct `text` of category {category.name}.")
    length = sum(len(piece.text) for piece in pieces)
    if length > cleaning.max_characters:
        detail = f"{named} has {length} characters, more than max_characters ({cleaning.max_characters}); split it."
        raise _RejectedError("too_large", detail, pieces[0].text[:400])
    for piece in pieces:
        if looks_binary(piece.text):
            detail = f"{named} holds binary data in a string; store its text, or map another field."
            raise _RejectedError("binary_text", detail, piece.text[:400])
    return pieces


def _clean_pieces(pieces: list[Piece], source_format: SourceFormat, category: CategoryConfig) -> tuple[str, TextFormat]:
    clean, text_format = FORMATS[source_format]
    try:
        cleaned = [Piece(clean(piece.text), piece.keys) for piece in pieces]
    except UnparseableError as error:
        detail = f"{_field_names(category)} is no valid {source_format} ({error}); correct it or its format."
        raise _RejectedError("unparseable", detail, pieces[0].text[:400]) from error
    return join_pieces(cleaned, text_format), text_format


def _require_content(text: str, pieces: list[Piece], category: CategoryConfig, cleaning: CleaningConfig) -> None:
    if len(text) >= cleaning.min_characters and text:
        return
    detail = (
        f"{_field_names(category)} has {len(text)} characters after cleaning, fewer than min_characters "
        f"({cleaning.min_characters}); fill it or lower min_characters."
    )
    raise _RejectedError("empty", detail, pieces[0].text[:400])


def _date(fields: Mapping[str, Any], path: str | None) -> str | None:
    value = _value(fields, path)
    try:
        return canonical_date(value)
    except UndecodableDateError as error:
        detail = f"Field {path} is no date: {error}; store a date or an ISO 8601 string."
        raise _RejectedError("undecodable_date", detail, value) from error


def _with_page_metadata(document: CleanedDocument, page: PageMetadata) -> CleanedDocument:
    return replace(
        document,
        title=document.title or canonical_title(page.title),
        author=document.author or canonical_author(page.author),
        url=document.url or canonical_url(page.url),
        published_at=document.published_at or _page_date(page.date),
    )


def _page_date(value: str | None) -> str | None:
    try:
        return canonical_date(value)
    except UndecodableDateError:
        return None  # a guess of the page, not a field of the document: nothing to correct


def _first_heading(text: str, text_format: TextFormat) -> str | None:
    if text_format == "text":
        return None
    in_code = ""
    for line in text.split("\n"):
        fence = line.strip()[:3]
        if fence in {"```", "~~~"} and in_code in {"", fence}:
            in_code = "" if in_code else fence
        heading = None if in_code else _HEADING.match(line)
        if heading:
            return canonical_title(heading.group(1))
    return None


def _value(fields: Mapping[str, Any], path: str | None) -> Any:
    return fields.get(path) if path else None


def _field_names(category: CategoryConfig) -> str:
    return f"Field {', '.join(category.text)}"
