"""Removing documents from the warehouse, and from the files of an embedded one."""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any

from pymongo.database import Database
from pymongo.errors import PyMongoError

from feature_store.errors import TerminalError, TransientError
from feature_store.settings import Settings
from warehouse.failures import passes


def erase_documents(
    database: Database[dict[str, Any]], collection: str, raw_ids: Sequence[Any], outboxes: Iterable[str]
) -> int:
    """Remove documents, and the entries of outboxes that name them; return how many documents were there.

    Raises:
        TransientError: if the warehouse stops answering.
        TerminalError: if it does not let this user remove documents.
    """
    try:
        # One by one: among ids of several types, the embedded server misses some.
        removed = sum(database[collection].delete_one({"_id": raw_id}).deleted_count for raw_id in raw_ids)
        for outbox in outboxes:
            for name in [*raw_ids, *(str(raw_id) for raw_id in raw_ids)]:  # an entry may have it as text
                database[outbox].delete_many({"collection": collection, "document_id": name})
    except PyMongoError as error:
        # `from None`: the driver's errors may quote parts of the address.
        kind = TransientError if passes(error) else TerminalError
        raise kind(
            f"Documents could not be removed from the collection {collection} ({type(error).__name__}).",
            "The user of MONGO_URI needs the role `readWrite` on this database. Then: feature-pipeline forget --resume",
        ) from None
    return removed


def release_space(settings: Settings) -> bool:
    """Overwrite what removed documents have left in the files of the embedded warehouse.

    SQLite only marks the pages of a deleted row as free. Return False where somebody still uses the server, or where
    the warehouse is a server of its own, which frees its space by itself.
    """
    if settings.mongo_uri is not None:
        return False
    # Not at the top: it needs POSIX, and a real server does not need it.
    from warehouse.embedded import server_files

    files = server_files(settings)
    files.folder.mkdir(parents=True, exist_ok=True)
    users = os.open(files.users_lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody can open the warehouse meanwhile
        for path in files.data.glob("*.db"):
            with closing(sqlite3.connect(path)) as connection:
                for statement in ("PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                    connection.execute(statement)
    except BlockingIOError:
        return False
    finally:
        os.close(users)
    return True
