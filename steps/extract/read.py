"""Reading a collection: ids first, then the documents in pages, so that memory does not grow with the collection."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from bson import ObjectId
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import AutoReconnect, ExecutionTimeout
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from feature_store.tables import batches_of
from steps.extract.fields import top_level
from warehouse.failures import reading

PAGE_SIZE = 100
PAGE_CHARACTERS = 16_000_000  # a page ends with the document that goes beyond; one has up to 16 MB
IDS_AT_ONCE = 1000
IDS_IN_MEMORY = 100_000  # ids of changed documents; beyond, comparing everything is cheaper than remembering them

Document = dict[str, Any]


def read_pages(
    database: Database[Document], collection: str, paths: Sequence[str], page_size: int = PAGE_SIZE
) -> Iterator[list[Document]]:
    """Yield the documents of a collection in pages, ordered by ``_id``, with the fields that ``paths`` name.

    The ids come from one cursor over the ``_id`` index; each page is then fetched by the ids as the server gave them.
    So ids of any type, also mixed, are read, and no cursor ever holds whole documents. A document deleted between the
    two is left out.

    Raises:
        TransientError: if the warehouse stops answering.
        TerminalError: if it refuses to read.
    """
    yield from read_everything(database[collection], paths, page_size)


def read_everything(
    source: Collection[Document], paths: Sequence[str], page_size: int = PAGE_SIZE
) -> Iterator[list[Document]]:
    """Yield what ``read_pages`` yields, of a collection as it is given: with its read preference."""
    with reading(source.name):
        yield from _ahead(_pages(source, paths, page_size))


def read_documents(
    source: Collection[Document], ids: Sequence[Any], paths: Sequence[str]
) -> tuple[list[Document], list[Any]]:
    """Return the documents of these ids, and the ids for which there is none.

    A server that compares ids loosely may also give a document whose id only resembles one of them.

    Raises:
        TransientError: if the warehouse stops answering.
        TerminalError: if it refuses to read.
    """
    with reading(source.name):
        found, missing, _ = _fetch(source, list(ids), dict.fromkeys(top_level(paths), 1))
        return found, missing


def read_in_pages(
    source: Collection[Document], ids: Iterable[Any], paths: Sequence[str], page_size: int = PAGE_SIZE
) -> Iterator[tuple[list[Document], list[Any]]]:
    """Yield what ``read_documents`` returns, page by page of the ids; large documents make small pages.

    Raises:
        TransientError: if the warehouse stops answering.
        TerminalError: if it refuses to read.
    """
    for page in batches_of(ids, page_size):
        for _, found, missing in _cut_pages(source, page, paths):
            yield found, missing


def read_ids(source: Collection[Document], paths: Sequence[str]) -> Iterator[list[Document]]:
    """Yield all documents with their ids and ``paths`` alone, many at once.

    Raises:
        TransientError: if the warehouse stops answering.
        TerminalError: if it refuses to read.
    """
    wanted = {"_id": 1, **dict.fromkeys(top_level(paths), 1)}
    with reading(source.name), source.find({}, wanted).batch_size(IDS_AT_ONCE) as cursor:
        yield from batches_of(cursor, IDS_AT_ONCE)


def distinct_ids(ids: Iterable[Any]) -> list[Any]:
    """Return the ids without repetition; ids of different types are different."""
    return list({id_key(raw_id): raw_id for raw_id in ids}.values())


def id_key(raw_id: Any) -> tuple[str, str]:
    """Return what tells ids apart as MongoDB does, types included; it can be hashed."""
    return type(raw_id).__name__, repr(raw_id)


def _pages(source: Collection[Document], paths: Sequence[str], page_size: int) -> Iterator[list[Document]]:
    for page in batches_of(_all_ids(source), page_size):
        for asked, found, _ in _cut_pages(source, page, paths):
            by_id = {id_key(document["_id"]): document for document in found}
            yield [by_id[key] for raw_id in asked if (key := id_key(raw_id)) in by_id]


def _cut_pages(
    source: Collection[Document], ids: list[Any], paths: Sequence[str]
) -> Iterator[tuple[list[Any], list[Document], list[Any]]]:
    """Yield the ids that were asked for with the documents found and, in the end, the ids for which there is none."""
    fetch = partial(_fetch, source, projection=dict.fromkeys(top_level(paths), 1))
    asked = ids
    while asked:
        with reading(source.name):
            found, missing, is_cut = fetch(asked, most_characters=PAGE_CHARACTERS)
            if is_cut and len(missing) == len(asked):  # what was found only resembles what was asked for
                found, missing, is_cut = fetch(asked)
        yield asked, found, [] if is_cut else missing
        asked = missing if is_cut else []


def _ahead(pages: Iterator[list[Document]]) -> Iterator[list[Document]]:
    """Yield the same pages, the next one being read while the last one is worked on."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        waiting = reader.submit(next, pages, None)
        while (page := waiting.result()) is not None:
            waiting = reader.submit(next, pages, None)
            yield page


def _all_ids(source: Collection[Document]) -> Iterator[Any]:
    with source.find({}, {"_id": 1}).sort("_id", 1).batch_size(IDS_AT_ONCE) as ids:
        for document in ids:
            yield document["_id"]


@retry(
    retry=retry_if_exception_type((AutoReconnect, ExecutionTimeout)),
    stop=stop_after_attempt(4),
    wait=wait_exponential_jitter(multiplier=0.5, max=8),
    reraise=True,
)
def _fetch(
    source: Collection[Document], ids: list[Any], projection: dict[str, int], most_characters: float = math.inf
) -> tuple[list[Document], list[Any], bool]:
    """Return documents, the ids for which there is none, and whether that is so because there were too many to read."""
    wanted = projection or {"_id": 1}
    found: dict[tuple[str, str], Document] = {}
    characters = 0
    with source.find({"_id": {"$in": ids}}, wanted) as cursor:
        for document in cursor:
            found[id_key(document["_id"])] = document
            characters += _characters(document)
            if characters > most_characters:
                return list(found.values()), [raw_id for raw_id in ids if id_key(raw_id) not in found], True
    # To be gone takes two answers: a server that compares ids of some type loosely in `$in` loses no document so.
    missing = [raw_id for raw_id in ids if id_key(raw_id) not in found]
    doubtful = [raw_id for raw_id in missing if not isinstance(raw_id, str | int | ObjectId)]
    for some in batches_of(doubtful, PAGE_SIZE):
        confirmed = source.find({"$or": [{"_id": raw_id} for raw_id in some]}, wanted)
        found.update((id_key(document["_id"]), document) for document in confirmed)
    return list(found.values()), [raw_id for raw_id in ids if id_key(raw_id) not in found], False


def _characters(value: Any) -> int:
    """Return about how large a value is: the length of all texts in it."""
    match value:
        case str() | bytes():
            return len(value)
        case Mapping():
            return sum(map(_characters, value.values()))
        case list():
            return sum(map(_characters, value))
        case _:
            return 0
