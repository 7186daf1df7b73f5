"""Reading a collection: ids first, then the documents in pages, so that memory does not grow with the collection."""

from collections.abc import Iterator, Sequence
from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import AutoReconnect, ExecutionTimeout, OperationFailure, PyMongoError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from feature_store.errors import PipelineError, TerminalError, TransientError
from feature_store.tables import batches_of
from steps.extract.fields import top_level

PAGE_SIZE = 100  # documents of up to 16 MB
_NO_RIGHTS = {13, 18}  # Unauthorized, AuthenticationFailed
IDS_PER_CONFIRMATION = 100

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
    source = database[collection]
    projection = dict.fromkeys(top_level(paths), 1)
    try:
        with source.find({}, {"_id": 1}).sort("_id", 1).batch_size(10 * page_size) as ids:
            for page in batches_of((document["_id"] for document in ids), page_size):
                yield _fetch(source, page, projection)
    except PyMongoError as error:
        raise _explained(collection, error) from None


def count_documents(database: Database[Document], collection: str) -> int:
    """Return about how many documents a collection has, for the progress of reading it.

    Raises:
        TransientError: if the warehouse stops answering.
        TerminalError: if it refuses to count.
    """
    try:
        return database[collection].estimated_document_count()
    except PyMongoError as error:
        raise _explained(collection, error) from None


def _explained(collection: str, error: PyMongoError) -> PipelineError:
    if isinstance(error, OperationFailure) and error.code in _NO_RIGHTS:
        return TerminalError(
            f"The warehouse refused to read the collection {collection}: code {error.code}.",
            "Give the user of MONGO_URI the role `read` on the database.",
        )
    code = f", code {error.code}" if isinstance(error, OperationFailure) else ""
    return TransientError(
        f"The warehouse stopped answering while the collection {collection} was read ({type(error).__name__}{code}).",
        "Nothing was committed. Run again when it is back.",
    )


@retry(
    retry=retry_if_exception_type((AutoReconnect, ExecutionTimeout)),
    stop=stop_after_attempt(4),
    wait=wait_exponential_jitter(multiplier=0.5, max=8),
    reraise=True,
)
def _fetch(source: Collection[Document], ids: list[Any], projection: dict[str, int]) -> list[Document]:
    found = {_key(document["_id"]): document for document in source.find({"_id": {"$in": ids}}, projection)}
    missing = [raw_id for raw_id in ids if _key(raw_id) not in found]
    # To be gone takes two answers: a server that compares ids of some type loosely in `$in` loses no document so.
    for some in batches_of(missing, IDS_PER_CONFIRMATION):
        confirmed = source.find({"$or": [{"_id": raw_id} for raw_id in some]}, projection)
        found.update((_key(document["_id"]), document) for document in confirmed)
    return [found[key] for raw_id in ids if (key := _key(raw_id)) in found]


def _key(raw_id: Any) -> tuple[str, str]:
    return type(raw_id).__name__, repr(raw_id)
