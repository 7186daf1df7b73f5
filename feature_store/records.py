"""The records that flow from stage to stage, as plain immutable values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

TextFormat = Literal["markdown", "text"]

# The states of a document in the feature store.
LIVE = "live"
DELETED = "deleted"
REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class RawDocument:
    """The mapped fields of one document of the warehouse.

    ``fields`` maps each dotted path of the category to the value found there, as pymongo decoded it; a path that the
    document lacks is absent.
    """

    document_id: str
    category: str
    source_id: str
    source_hash: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CleanedDocument:
    """One document as training jobs and chunkers read it.

    Dates are ISO 8601 in UTC (``2024-07-29T00:00:00Z``). ``text_format`` says whether headings, code blocks and tables
    in ``text`` are Markdown.
    """

    document_id: str
    category: str
    source_id: str
    source_hash: str
    text: str
    text_format: TextFormat
    title: str | None = None
    url: str | None = None
    author: str | None = None
    published_at: str | None = None
    updated_at: str | None = None
    external_id: str | None = None
    language: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reject:
    """A document that cannot be used, with the reason. ``excerpt`` is at most 200 characters, printable."""

    document_id: str
    category: str
    source_id: str
    source_hash: str
    reason: str
    detail: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """What the feature store knows of a document. ``state`` is live, deleted or rejected."""

    source_hash: str
    state: str
    text_hash: str | None
    content_hash: str | None
    duplicate_of: str | None
    added_in: int
    changed_in: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of one cleaned document.

    ``text`` is ``document.text[start:end]``, in characters. ``embedded_text`` is what the encoder sees: the text, after
    the heading path where the configuration asks for it. ``token_count`` counts ``embedded_text`` with the encoder's
    own tokenizer, special tokens left out. ``position`` counts from 0 the chunks of one document and size.

    ``size`` is the window that it was cut for, in tokens, where an index has several; None where it has one. A child
    has the id of its parent. A parent is given to readers and never embedded: its ``embedded_text`` is empty.
    """

    chunk_id: str
    document_id: str
    position: int
    start: int
    end: int
    text: str
    embedded_text: str
    heading_path: tuple[str, ...]
    token_count: int
    size: int | None = None
    parent_id: str | None = None
    is_parent: bool = False
