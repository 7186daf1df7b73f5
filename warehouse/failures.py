"""What a failure of the driver means to a run, said without the address of the server."""

from collections.abc import Iterator
from contextlib import contextmanager

from pymongo.errors import (
    ConnectionFailure,
    CursorNotFound,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WaitQueueTimeoutError,
)

from feature_store.errors import ConfigurationError, PipelineError, TerminalError, TransientError

# Elections, shutdowns, routing and time-outs:
# https://github.com/mongodb/specifications/blob/master/source/retryable-reads/retryable-reads.md
_PASSING = {6, 7, 50, 63, 89, 91, 133, 134, 150, 175, 189, 202, 234, 262}
_PASSING |= {9001, 10107, 11600, 11602, 13388, 13435, 13436}
NO_RIGHTS = {13, 18}  # Unauthorized, AuthenticationFailed
NO_REPLICA_SET = 40573


@contextmanager
def reading(collection: str) -> Iterator[None]:
    """Translate the driver's errors within the block.

    Raises:
        TransientError: if the warehouse stops answering.
        TerminalError: if it refuses to read.
    """
    try:
        yield
    except PyMongoError as error:
        # `from None`: the driver's errors may quote parts of the address.
        raise explained(collection, error) from None


def explained(collection: str, error: PyMongoError) -> PipelineError:
    """Return the error of the pipeline that stands for one of the driver's, met while reading ``collection``."""
    if isinstance(error, OperationFailure) and error.code in NO_RIGHTS:
        return TerminalError(
            f"The warehouse refused to read the collection {collection}: code {error.code}.",
            "Give the user of MONGO_URI the role `read` on the database.",
        )
    code = f", code {error.code}" if isinstance(error, OperationFailure) else ""
    if not passes(error):
        return TerminalError(
            f"The warehouse cannot do what was asked of the collection {collection} ({type(error).__name__}{code}).",
            "Nothing was committed. Look the code up in MongoDB's manual; another capture mode may ask less.",
        )
    return TransientError(
        f"The warehouse stopped answering while the collection {collection} was read ({type(error).__name__}{code}).",
        "Nothing was committed. Run again when it is back.",
    )


def passes(error: PyMongoError) -> bool:
    """Return whether the same request may succeed later."""
    if isinstance(error, OperationFailure) and not isinstance(error, ExecutionTimeout | CursorNotFound):
        return error.code in _PASSING or error.has_error_label("RetryableReadError")
    return isinstance(error, ConnectionFailure | ExecutionTimeout | CursorNotFound | WaitQueueTimeoutError)


def refusal_of_log(collection: str, error: OperationFailure) -> TerminalError | None:
    """Return the error for a server that opens no change stream for this user at all, None for any other failure."""
    if error.code in NO_RIGHTS:
        return TerminalError(
            f"The warehouse does not let this user follow the changes of {collection} (code {error.code}).",
            "Give the user of MONGO_URI the role `read` on the database: it has `find` and `changeStream`.",
        )
    if error.code == NO_REPLICA_SET:
        return ConfigurationError(
            f"The server of {collection} is no replica set and has no log of changes (code {error.code}).",
            "Make it a replica set (`rs.initiate()`), or choose another capture mode; `auto` finds one.",
        )
    return None
