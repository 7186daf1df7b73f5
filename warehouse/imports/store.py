"""Stores imported documents in the warehouse, so that importing again updates in place."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from pymongo import ReplaceOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, ConnectionFailure, InvalidName, OperationFailure

from feature_store.errors import ConfigurationError, TerminalError, TransientError

# MongoDB's limit for one document: https://www.mongodb.com/docs/manual/reference/limits/ ("BSON Document Size").
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
BATCH_DOCUMENTS = 500
BATCH_BYTES = MAX_DOCUMENT_BYTES
_EMPTY_DOCUMENT_BYTES = 5
_REASON_CHARACTERS = 300
_SHOWN_ID_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class FailedDocument:
    """A document that was not stored. ``position`` counts the documents of the import from 1."""

    position: int
    document_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """What became of the documents of one import; their sum is the number of documents read."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: list[FailedDocument] = field(default_factory=list)

    def __add__(self, other: "ImportCounts") -> "ImportCounts":
        return ImportCounts(
            inserted=self.inserted + other.inserted,
            updated=self.updated + other.updated,
            unchanged=self.unchanged + other.unchanged,
            failed=[*self.failed, *other.failed],
        )


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A document and its BSON, the ``_id`` (key) and the rest (content) apart: the place of ``_id`` may vary."""

    position: int
    document: dict[str, Any]
    key: bytes
    content: bytes


def store(database: Database[dict[str, Any]], collection: str, documents: Iterable[Mapping[str, Any]]) -> ImportCounts:
    """Insert new documents, replace changed ones, leave equal ones alone; ``_id`` says which is which.

    A document that cannot be stored is counted as failed and does not hinder the others. Of several documents with the
    same ``_id`` the last one stays. Documents that an earlier import brought and that are missing now stay as well.

    Raises:
        ConfigurationError: if ``collection`` is not a name of a collection.
        TerminalError: if the server does not let this user read or write the collection.
        TransientError: if the server does not answer. What was stored stays; the same import completes it.
    """
    target = _collection(database, collection)
    refused: list[FailedDocument] = []
    counts = ImportCounts()
    try:
        for batch in _batches(_encoded(documents, database.codec_options, refused)):
            counts += _store_batch(target, batch)
    except ConnectionFailure as error:
        raise TransientError(
            f"The warehouse stopped answering ({type(error).__name__}) after {counts.inserted} inserted and "
            f"{counts.updated} updated documents of {collection!r}.",
            "Import again: what is stored already is recognised.",
        ) from None
    except OperationFailure as error:
        raise TerminalError(
            f"The warehouse refuses the import into {collection!r}: {str(error)[:_REASON_CHARACTERS]}",
            "The user of MONGO_URI needs the role `readWrite` on this database.",
        ) from None
    counts += ImportCounts(failed=refused)
    return replace(counts, failed=sorted(counts.failed, key=lambda failure: failure.position))


def _collection(database: Database[dict[str, Any]], name: str) -> Collection[dict[str, Any]]:
    try:
        return database[name]
    except InvalidName as error:
        raise ConfigurationError(f"{name!r} is not a name of a collection: {error}.", "Give another name.") from None


def _encoded(
    documents: Iterable[Mapping[str, Any]], options: CodecOptions[dict[str, Any]], refused: list[FailedDocument]
) -> Iterator[_Encoded]:
    for position, document in enumerate(documents, start=1):
        if "_id" not in document:
            refused.append(FailedDocument(position, "", "It has no _id."))
            continue
        raw_id = document["_id"]
        rest = {name: value for name, value in document.items() if name != "_id"}
        try:
            key = bson.encode({"_id": raw_id}, codec_options=options)
            content = bson.encode(rest, codec_options=options)
        except (BSONError, ValueError, OverflowError, RecursionError) as error:
            reason = f"It cannot be written as BSON: {error}"
            refused.append(FailedDocument(position, _shown(raw_id), reason[:_REASON_CHARACTERS]))
            continue
        size = len(key) + len(content) - _EMPTY_DOCUMENT_BYTES
        if size > MAX_DOCUMENT_BYTES:
            reason = f"It has {size:,} bytes; MongoDB stores at most {MAX_DOCUMENT_BYTES:,} in one document."
            refused.append(FailedDocument(position, _shown(raw_id), reason))
            continue
        yield _Encoded(position, {"_id": raw_id, **rest}, key, content)


def _batches(documents: Iterable[_Encoded]) -> Iterator[list[_Encoded]]:
    batch: dict[bytes, _Encoded] = {}
    size = 0
    for document in documents:
        full = len(batch) == BATCH_DOCUMENTS or size + len(document.content) > BATCH_BYTES
        # An unordered bulk write does not say which of two documents with the same _id would win.
        if batch and (full or document.key in batch):
            yield list(batch.values())
            batch, size = {}, 0
        batch[document.key] = document
        size += len(document.content)
    if batch:
        yield list(batch.values())


def _store_batch(target: Collection[dict[str, Any]], batch: Sequence[_Encoded]) -> ImportCounts:
    unchanged = _unchanged_keys(target, batch)
    changed = [document for document in batch if document.key not in unchanged]
    if not changed:
        return ImportCounts(unchanged=len(unchanged))
    result = _replaced(target, changed)
    failed = [
        FailedDocument(changed[item["index"]].position, _shown(changed[item["index"]].document["_id"]), _reason(item))
        for item in result["writeErrors"]
    ]
    return ImportCounts(
        inserted=result["nUpserted"], updated=result["nMatched"], unchanged=len(unchanged), failed=failed
    )


def _unchanged_keys(target: Collection[dict[str, Any]], batch: Sequence[_Encoded]) -> set[bytes]:
    contents = {document.key: document.content for document in batch}
    unchanged = set()
    with target.find({"_id": {"$in": [document.document["_id"] for document in batch]}}) as cursor:
        for stored in cursor:
            key = bson.encode({"_id": stored.pop("_id")}, codec_options=target.codec_options)
            if contents.get(key) == bson.encode(stored, codec_options=target.codec_options):
                unchanged.add(key)
    return unchanged


def _replaced(target: Collection[dict[str, Any]], documents: Sequence[_Encoded]) -> Mapping[str, Any]:
    requests = [ReplaceOne({"_id": document.document["_id"]}, document.document, upsert=True) for document in documents]
    try:
        return target.bulk_write(requests, ordered=False).bulk_api_result
    except BulkWriteError as error:
        if error.details["writeConcernErrors"]:
            raise TransientError(
                f"The warehouse could not confirm a write to {target.name!r} on enough of its members.",
                "Import again when the replica set is whole: what is stored already is recognised.",
            ) from None
        return error.details


def _reason(write_error: Mapping[str, Any]) -> str:
    return f"The server refuses it: {write_error['errmsg']} (code {write_error['code']})"[:_REASON_CHARACTERS]


def _shown(raw_id: object) -> str:
    text = raw_id if isinstance(raw_id, str) else repr(raw_id)
    return text if len(text) <= _SHOWN_ID_CHARACTERS else f"{text[:_SHOWN_ID_CHARACTERS]}…"
