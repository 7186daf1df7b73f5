"""What a server says of itself: its time, whether it keeps a log of changes, what its collections are."""

from dataclasses import dataclass
from typing import Any

from bson.datetime_ms import DatetimeMS
from pymongo import ReadPreference
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from warehouse.failures import NO_RIGHTS

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Server:
    """``now`` is the server's time in milliseconds since the epoch.

    ``has_log`` says whether it is a replica set or a sharded cluster: only these have a log that change streams follow.
    """

    now: int
    has_log: bool


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """``uuid`` names one life of a collection: dropped and made anew, it has another. Some servers do not tell it."""

    uuid: str | None


def describe_server(database: Database[Document]) -> Server:
    """Ask the server who it is."""
    hello = database.command("hello")
    return Server(now=int(DatetimeMS(hello["localTime"])), has_log="setName" in hello or hello.get("msg") == "isdbgrid")


def find_collection(database: Database[Document], name: str) -> CollectionInfo | None:
    """Return what the server says of a collection, or None where there is none of that name."""
    try:
        entries = [entry for entry in database.list_collections(filter={"name": name}) if entry["name"] == name]
    except OperationFailure as error:
        if error.code not in NO_RIGHTS:
            raise
        # A user who may read some collections only is told their names only.
        names = database.list_collection_names(authorizedCollections=True)
        entries = [{"name": name}] if name in names else []
    for entry in entries:
        uuid = entry.get("info", {}).get("uuid")
        return CollectionInfo(None if uuid is None else str(uuid))
    return None


def is_indexed(database: Database[Document], collection: str, field: str) -> bool:
    """Return whether an index of the collection begins with ``field``."""
    indexes = database[collection].index_information().values()
    return any(index["key"][0][0] == field for index in indexes)


def lasting(database: Database[Document], name: str) -> Collection[Document]:
    """Return a collection that is read from the primary and, where there is a log, only as far as a majority has it.

    A secondary that lags would give what was there before a position that is already known. What a majority does not
    have yet may be rolled back, of which nothing tells.
    """
    concern = ReadConcern("majority") if describe_server(database).has_log else None
    return database.get_collection(name, read_preference=ReadPreference.PRIMARY, read_concern=concern)
