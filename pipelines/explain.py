"""Lineage: from a point or a document back to the warehouse, and forward to whatever holds it. Nothing is written."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field
from qdrant_client import QdrantClient, models

from feature_store import schema, tables
from feature_store.config import CategoryConfig, PipelineConfig
from feature_store.errors import PipelineError, TerminalError
from feature_store.exports import list_exports, read_members
from feature_store.ids import document_id as id_of_document
from feature_store.ids import fingerprint, source_id
from feature_store.index import IndexMetadata, open_qdrant, our_collections, retrying
from feature_store.releases import list_releases, read_release
from feature_store.settings import Settings
from feature_store.store import LIVE, FeatureStore, open_feature_store
from feature_store.suppression import FORGOTTEN, read_suppressed
from feature_store.versions import Version, version_numbers
from steps.clean.rules import CLEANING_VERSION
from steps.extract.compare import is_marked_deleted
from steps.extract.fields import encode_fields, mapped_fields, source_hash
from steps.extract.ids import raw_ids
from steps.extract.keys import other_forms
from steps.extract.read import read_documents
from warehouse.connection import open_warehouse

CONTEXT_CHARACTERS = 160
_CHUNKS_PER_SCROLL = 1000
_CHUNK_FIELDS = ("position", "start", "end", "token_count", "heading_path", "text")
_PAYLOAD_FIELDS = {"document_id", "category", "source_id", *_CHUNK_FIELDS}
_FURTHER_CHUNK_FIELDS = ("size", "parent_id", "role")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SHOWN_FIELDS = ["title", "url", "author", "published_at", "updated_at", "external_id", "language"]
_COLUMNS = [
    *("document_id", "category", "source_id", "source_hash", "state", "text", *_SHOWN_FIELDS, "duplicate_of"),
    *("characters", "added_in", "changed_in"),
]

Row = dict[str, Any]
DocumentState = Literal["live", "deleted", "rejected", "forgotten"]
RawState = Literal["same", "differs", "gone", "unknown"]


class Explained(BaseModel):
    """Part of an explanation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Origin(Explained):
    """The version in which something happened; all but its number is None where it was pruned."""

    version: int
    created_at: str | None = None
    run_id: str | None = None
    message: str | None = None


class FoundChunk(Explained):
    """A chunk as a collection holds it. ``start`` and ``end`` are characters of the document's text.

    ``size`` is there where the index has several, ``parent_id`` for children, ``role`` for parents.
    """

    chunk_id: str
    collection: str
    position: int
    start: int
    end: int
    token_count: int
    heading_path: list[str]
    text: str
    size: int | None = None
    parent_id: str | None = None
    role: str | None = None


class ChunkInContext(Explained):
    """The chunk that was asked for, with what stands before and after it in its document.

    ``is_in_document`` says whether the document's text at the version of the index has the chunk at its place; None
    where that version is gone.
    """

    chunk: FoundChunk
    index: str
    serving: bool
    version: int
    before: str = ""
    after: str = ""
    is_in_document: bool | None = None


class FoundDocument(Explained):
    """A cleaned document at ``version``; one that is deleted has no text any more."""

    version: int
    state: Literal["live", "deleted"]
    text: str | None
    characters: int
    described: dict[str, str]
    duplicate_of: str | None
    added_in: Origin
    changed_in: Origin


class FoundReject(Explained):
    """Why a document is not in the store."""

    reason: str
    detail: str
    excerpt: str
    rejected_in: Origin


class FoundRaw(Explained):
    """The raw document in the warehouse now, beside what the store was made from."""

    collection: str | None
    source_id: str
    state: RawState
    detail: str


class HoldingIndex(Explained):
    """A collection with chunks of the document; ``serving`` if searches of an index or of a rebuilt one read it."""

    index: str
    collection: str
    serving: bool
    version: int
    chunks: list[FoundChunk]


class HoldingExport(Explained):
    """A training set with the document in it."""

    export_id: str
    version: int
    split: str
    format: str
    folder: str


class Explanation(Explained):
    """All that is known of a document, backward and forward. ``problems`` say what could not be asked."""

    asked: str
    document_id: str
    category: str | None
    source_id: str | None
    state: DocumentState
    chunk: ChunkInContext | None = None
    document: FoundDocument | None = None
    reject: FoundReject | None = None
    raw: FoundRaw | None = None
    indexes: list[HoldingIndex] = Field(default_factory=list)
    exports: list[HoldingExport] = Field(default_factory=list)
    releases: list[str] = Field(default_factory=list)
    problems: list[str] = Field(default_factory=list)


def explain(settings: Settings, config: PipelineConfig, identifier: str) -> Explanation:
    """Explain a point or chunk id, a document id, or ``category:source_id``.

    A warehouse or a Qdrant that does not answer is told in the explanation.

    Raises:
        TerminalError: if nothing is known under that identifier, naming what was searched.
    """
    store = open_feature_store(settings.feature_store_folder)
    newest = store.newest()
    if newest is None:
        raise TerminalError("The feature store has no version yet.", "Run the feature pipeline.")
    problems: list[str] = []
    asked = identifier.strip().encode("utf-8", "backslashreplace").decode()  # a terminal may give any bytes
    asked = asked.lower() if _UUID.fullmatch(asked) else asked
    indexes: list[HoldingIndex] = []
    points: list[tuple[str, Row]] = []
    known = _known_id(store, newest, asked)
    try:
        if settings.qdrant_url is not None or settings.qdrant_folder.is_dir():  # opening local mode would make it
            with open_qdrant(settings) as client:
                collections = _in_order(client, [index.name for index in config.indexes])
                points = [] if known else _points(client, collections, asked)
                known = known or next((payload["document_id"] for _, payload in points), None)
                indexes = [] if known is None else _holding_indexes(client, collections, known)
    except PipelineError as error:
        problems.append(f"Not searched: {error.problem}")
    if known is None:
        raise _unknown(store, newest, config, asked, problems)
    document, row = _document(store, newest, known)
    reject, reject_row = _reject(store, newest, known)
    origin = reject_row or row or next((payload for _, payload in points), {})
    chunk = _chunk_in_context(store, indexes, asked, points)
    return Explanation(
        asked=asked,
        document_id=known,
        category=origin.get("category"),
        source_id=origin.get("source_id"),
        state=_state(store, known, document, reject),
        chunk=chunk,
        document=_at_version_of(store, known, chunk) or document,
        reject=reject,
        raw=_raw(settings, config, origin) if origin and not (reject and reject.reason == FORGOTTEN) else None,
        indexes=indexes,
        exports=list(_holding_exports(store, known)),
        releases=[name for name in list_releases(store.folder) if _holds(store, name, known)],
        problems=problems,
    )


def _known_id(store: FeatureStore, newest: Version, asked: str) -> str | None:
    """Return the id of the document that the store knows, or once knew, under an id or ``category:source_id``."""
    if _UUID.fullmatch(asked):
        candidates = [asked]
    else:
        category, separator, source = asked.partition(":")
        if not separator:
            return None
        # As the store writes it, or as somebody copied it from the warehouse: without its type.
        texts = [source, *(source_id(form) for form in (source, *other_forms(source)))]
        candidates = [id_of_document(category, text) for text in texts]
    suppressed = read_suppressed(store.folder)
    for candidate in candidates:
        if candidate in suppressed or _row(store, newest, candidate) or _reject(store, newest, candidate)[0]:
            return candidate
    return None


def _unknown(
    store: FeatureStore, newest: Version, config: PipelineConfig, asked: str, problems: Sequence[str]
) -> TerminalError:
    counted = f"{store.count_documents(newest, 'true'):,} documents, live and deleted, of version {newest.number}"
    searched = f"the {counted}, its {int(store.rejects(newest).count_rows()):,} rejects"
    if _UUID.fullmatch(asked):
        searched += ", and the points of every collection" if not problems else ""
    categories = ", ".join(category.name for category in config.categories)
    return TerminalError(
        f"Nothing is known of {asked!r}. Searched were {searched}.{''.join(f' {problem}' for problem in problems)}",
        f"Give the id of a point or a document, or category:source_id; categories are: {categories}.",
    )


def _row(store: FeatureStore, version: Version, document: str) -> Row | None:
    return next(tables.look_up(store.documents(version), "document_id", [document], _COLUMNS), None)


def _document(store: FeatureStore, version: Version, document: str) -> tuple[FoundDocument | None, Row]:
    row = _row(store, version, document)
    if row is None:
        return None, {}
    found = FoundDocument(
        version=version.number,
        state=LIVE if row["state"] == LIVE else "deleted",
        text=row["text"],
        characters=row["characters"],
        described={name: row[name] for name in _SHOWN_FIELDS if row[name] is not None},
        duplicate_of=row["duplicate_of"],
        added_in=_origin(store, row["added_in"]),
        changed_in=_origin(store, row["changed_in"]),
    )
    return found, row


def _at_version_of(store: FeatureStore, document: str, chunk: ChunkInContext | None) -> FoundDocument | None:
    if chunk is None or chunk.version not in version_numbers(store.folder):
        return None
    return _document(store, store.version(chunk.version), document)[0]


def _reject(store: FeatureStore, newest: Version, document: str) -> tuple[FoundReject | None, Row]:
    row = next(tables.look_up(store.rejects(newest), "document_id", [document], schema.REJECTS.names), None)
    if row is None:
        return None, {}
    told = {name: row[name] for name in ("reason", "detail", "excerpt")}
    return FoundReject(**told, rejected_in=_origin(store, row["rejected_in"])), row


def _state(
    store: FeatureStore, document_id: str, document: FoundDocument | None, reject: FoundReject | None
) -> DocumentState:
    if document_id in read_suppressed(store.folder):
        return "forgotten"
    if reject is not None:
        return "rejected"
    return document.state if document is not None else "deleted"


def _origin(store: FeatureStore, number: int) -> Origin:
    if number not in version_numbers(store.folder):
        return Origin(version=number)
    version = store.version(number)
    return Origin(
        version=number, created_at=version.created_at.isoformat(), run_id=version.run_id, message=version.message
    )


def _in_order(client: QdrantClient, configured: Sequence[str]) -> dict[str, tuple[IndexMetadata, bool]]:
    """Return what every collection of this pipeline says of itself, and whether an alias of its index points to it.

    Those that serve come first, and among them those of ``configured`` indexes before those of rebuilt ones.
    """
    serving = {(alias.alias_name, alias.collection_name) for alias in retrying()(client.get_aliases).aliases}
    found = {name: (each, (each.index, name) in serving) for name, each in our_collections(client).items()}

    def place(name: str) -> tuple[bool, bool, str]:
        metadata, is_serving = found[name]
        return not is_serving, metadata.index not in configured, name

    return {name: found[name] for name in sorted(found, key=place)}


def _points(
    client: QdrantClient, collections: dict[str, tuple[IndexMetadata, bool]], point: str
) -> list[tuple[str, Row]]:
    """Return the collections that hold a point, those that serve first, with its payload there."""
    if not _UUID.fullmatch(point):
        return []
    return [
        (collection, dict(record.payload or {}))
        for collection in collections
        for record in retrying()(client.retrieve, collection, ids=[point], with_payload=True)
        if _is_chunk(record)
    ]


def _holding_indexes(
    client: QdrantClient, collections: dict[str, tuple[IndexMetadata, bool]], document: str
) -> list[HoldingIndex]:
    holding = []
    for collection, (metadata, serving) in collections.items():
        chunks = sorted(_chunks(client, collection, document), key=_place)
        if chunks:
            held = {"index": metadata.index, "serving": serving, "version": metadata.version}
            holding.append(HoldingIndex(collection=collection, chunks=chunks, **held))
    return holding


def _chunks(client: QdrantClient, collection: str, document: str) -> Iterator[FoundChunk]:
    of_document = models.FieldCondition(key="document_id", match=models.MatchValue(value=document))
    offset: models.ExtendedPointId | None = None
    while True:
        records, offset = retrying()(
            client.scroll,
            collection,
            scroll_filter=models.Filter(must=of_document),
            limit=_CHUNKS_PER_SCROLL,
            offset=offset,
            with_payload=True,
        )
        for record in filter(_is_chunk, records):
            yield _found_chunk(collection, str(record.id), dict(record.payload or {}))
        if offset is None:
            return


def _place(chunk: FoundChunk) -> tuple[int, int, bool, int]:
    """Return what puts larger sizes first, and parents in front of their children."""
    return -(chunk.size or 0), chunk.start, chunk.role is None, chunk.position


def _found_chunk(collection: str, point: str, payload: Row) -> FoundChunk:
    fields = {name: payload[name] for name in _CHUNK_FIELDS}
    further = {name: payload[name] for name in _FURTHER_CHUNK_FIELDS if name in payload}
    return FoundChunk(chunk_id=point, collection=collection, **fields, **further)


def _is_chunk(record: models.Record) -> bool:
    # Anybody may put points into a collection, or change payloads.
    return (record.payload or {}).keys() >= _PAYLOAD_FIELDS


def _chunk_in_context(
    store: FeatureStore, indexes: Sequence[HoldingIndex], asked: str, points: Sequence[tuple[str, Row]]
) -> ChunkInContext | None:
    if not points:
        return None
    collection, payload = points[0]
    index = next(index for index in indexes if index.collection == collection)
    found = ChunkInContext(
        chunk=_found_chunk(collection, asked, payload),
        index=index.index,
        serving=index.serving,
        version=index.version,
    )
    if index.version not in version_numbers(store.folder):
        return found
    row = _row(store, store.version(index.version), payload["document_id"])
    text, start, end = (row["text"] if row else None) or "", payload["start"], payload["end"]
    context = {
        "before": text[max(start - CONTEXT_CHARACTERS, 0) : start],
        "after": text[end : end + CONTEXT_CHARACTERS],
        "is_in_document": text[start:end] == payload["text"],
    }
    return found.model_copy(update=context)


def _raw(settings: Settings, config: PipelineConfig, row: Row) -> FoundRaw:
    source = row["source_id"]
    category = next((category for category in config.categories if category.name == row["category"]), None)
    if category is None:
        detail = f"the configuration has no category {row['category']}"
        return FoundRaw(collection=None, source_id=source, state="unknown", detail=detail)
    try:
        state, detail = _compare_with_warehouse(settings, config, category, row)
    except PipelineError as error:
        state, detail = "unknown", f"could not be looked at: {error.problem}"
    return FoundRaw(collection=category.collection, source_id=source, state=state, detail=detail)


def _compare_with_warehouse(
    settings: Settings, config: PipelineConfig, category: CategoryConfig, row: Row
) -> tuple[RawState, str]:
    paths = [*category.paths(), *([category.deleted_field] if category.deleted_field else [])]
    with open_warehouse(settings) as database:
        documents, _ = read_documents(database[category.collection], raw_ids(row["source_id"]), paths)
    if not documents:
        return "gone", f"not in {settings.describe_warehouse()} any more"
    if is_marked_deleted(documents[0], category):
        return "gone", f"marked as deleted by {category.deleted_field}"
    if "source_hash" not in row:
        return "unknown", "it is there; the feature store has nothing of it to compare with"
    rules = fingerprint([config.cleaning.fingerprint(CLEANING_VERSION), category.mapping()])
    if source_hash(encode_fields(mapped_fields(documents[0], category.paths())), rules) == row["source_hash"]:
        return "same", "there, and its mapped fields are those that were read"
    return "differs", "there, but it, its mapping or the rules of cleaning changed since it was read: run the pipeline"


def _holding_exports(store: FeatureStore, document: str) -> Iterator[HoldingExport]:
    for record in list_exports(store.folder):
        for batch in read_members(store.folder, record.export_id):
            for row in batch.filter(pc.equal(batch.column("document_id"), document)).to_pylist():
                yield HoldingExport(
                    export_id=record.export_id,
                    version=record.version,
                    split=row["split"],
                    format=record.format,
                    folder=str(record.folder),
                )


def _holds(store: FeatureStore, release: str, document: str) -> bool:
    number = read_release(store.folder, release).version
    if number not in version_numbers(store.folder):
        return False
    row = _row(store, store.version(number), document)
    return row is not None and row["state"] == LIVE
