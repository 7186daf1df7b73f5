"""What a failure of the driver means to a run, said without the address of the server."""

from collections.abc import Iterator
from contextlib import contextmanager

from pymongo.errors import OperationFailure, PyMongoError

from feature_store.errors import ConfigurationError, PipelineError, TerminalError, TransientError

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
    return TransientError(
        f"The warehouse stopped answering while the collection {collection} was read ({type(error).__name__}{code}).",
        "Nothing was committed. Run again when it is back.",
    )


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
