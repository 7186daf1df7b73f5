"""A stand-in for the change streams of a real replica set, which no server of the tests has.

It wraps a database of the embedded server: reads and writes are real, and each write also leaves the events that
MongoDB documents for it (https://www.mongodb.com/docs/manual/reference/change-events/). What the server says of itself
(``hello``, its operation time, the ``uuid`` of a collection) and the codes with which it refuses a token are those of a
replica set.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Self

from bson import Timestamp
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure

Document = dict[str, Any]
HISTORY_LOST = 286
INVALID_RESUME_TOKEN = 260
FIRST_SECOND = 1_700_000_000
BATCH = 3


class FakeReplicaSet(Database[Document]):
    """A database whose collections have a log.

    ``failures`` are raised one by one: by opening a stream from a token (``resume``), by opening one without (``open``)
    or by asking for the next event (``next``). ``empty_answers`` come before an event as long as there are some.
    """

    def __init__(self, real: Database[Document]) -> None:
        super().__init__(real.client, real.name, real.codec_options)
        self.real = real
        self.events: list[Document] = []
        self.time = FIRST_SECOND
        self.oldest = FIRST_SECOND
        self.uuids: dict[str, uuid.UUID] = {}
        self.failures: dict[str, list[OperationFailure]] = {"resume": [], "open": [], "next": []}
        self.empty_answers = 0
        self.opened = 0
        self.tells_tokens = True

    def __getitem__(self, name: str) -> "FakeCollection":
        return FakeCollection(self, name)

    def get_collection(self, name: str, *_: Any, **options: Any) -> "FakeCollection":
        return FakeCollection(self, name, **options)

    def command(self, command: Any, *arguments: Any, session: Any = None, **options: Any) -> Document:
        answer = self.real.command(command, *arguments, **options)
        if session is not None:
            session.advance_operation_time(Timestamp(self.time, 1))
        return {**answer, "setName": "rs0"} if command == "hello" else answer

    def create_collection(self, name: str, *_: Any, **__: Any) -> Any:
        return self.real.create_collection(name)

    def list_collections(self, *_: Any, **__: Any) -> Any:
        entries = self.real.list_collections()
        return iter([{**entry, "info": {"uuid": self.uuid_of(entry["name"])}} for entry in entries])

    def uuid_of(self, collection: str) -> uuid.UUID:
        return self.uuids.setdefault(collection, uuid.uuid4())

    def log(self, operation: str, collection: str, **fields: Any) -> None:
        """Append an event, and another one where it ends the streams of the collection."""
        self._append(operation, collection, fields)
        if operation in {"drop", "rename", "dropDatabase"}:
            self._append("invalidate", collection, {})

    def _append(self, operation: str, collection: str, fields: Mapping[str, Any]) -> None:
        self.time += 1
        place = {"db": self.name} if operation == "dropDatabase" else {"db": self.name, "coll": collection}
        event = {
            "_id": token_at(self.time),
            "operationType": operation,
            "clusterTime": Timestamp(self.time, 1),
            "wallTime": datetime.fromtimestamp(self.time, UTC),
            **({} if operation == "invalidate" else {"ns": place}),
            **fields,
        }
        self.events.append({"collection": collection, "time": self.time, "event": event})

    def forget(self) -> None:
        """Lose the log up to now, as one of a fixed size does."""
        self.time += 10
        self.oldest = self.time


class FakeCollection(Collection[Document]):
    """A collection whose writes leave events."""

    def __init__(self, database: FakeReplicaSet, name: str, **options: Any) -> None:
        super().__init__(database, name, **options)
        self.server = database
        self.real = database.real[name]

    def insert_one(self, document: Document, *_: Any, **__: Any) -> Any:
        done = self.real.insert_one(document)
        self.server.log("insert", self.name, fullDocument=document, documentKey={"_id": document["_id"]})
        return done

    def insert_many(self, documents: Any, *_: Any, **__: Any) -> Any:
        for document in documents:
            self.insert_one(document)

    def replace_one(self, condition: Document, replacement: Document, upsert: bool = False, **_: Any) -> Any:
        existed = self.real.find_one(condition) is not None
        done = self.real.replace_one(condition, replacement, upsert=upsert)
        operation = "replace" if existed else "insert"
        self.server.log(operation, self.name, fullDocument=replacement, documentKey={"_id": condition["_id"]})
        return done

    def update_one(self, condition: Document, update: Any, *_: Any, **__: Any) -> Any:
        done = self.real.update_one(condition, update)
        description = {"updatedFields": update.get("$set", {}), "removedFields": [], "truncatedArrays": []}
        self.server.log("update", self.name, updateDescription=description, documentKey={"_id": condition["_id"]})
        return done

    def delete_one(self, condition: Document, *_: Any, **__: Any) -> Any:
        done = self.real.delete_one(condition)
        self.server.log("delete", self.name, documentKey={"_id": condition["_id"]})
        return done

    def drop(self, *_: Any, **__: Any) -> None:
        self.real.drop()
        self.server.uuids.pop(self.name, None)
        self.server.log("drop", self.name)

    def rename(self, new_name: str, *_: Any, **__: Any) -> Any:
        self.real.rename(new_name)
        self.server.uuids[new_name] = self.server.uuids.pop(self.name, uuid.uuid4())
        self.server.log("rename", self.name, to={"db": self.server.name, "coll": new_name})

    def watch(self, pipeline: Any = None, resume_after: Any = None, **_: Any) -> "FakeStream":  # type: ignore[override]
        self.server.opened += 1
        return FakeStream(self.server, self.name, pipeline or [], resume_after)


class FakeStream:
    """A change stream as ``pymongo`` shows it: batches, and tokens that go on without events."""

    def __init__(self, server: FakeReplicaSet, collection: str, pipeline: list[Document], token: Any) -> None:
        self.server, self.collection = server, collection
        self.shown = {"_id", *(pipeline[0]["$project"] if pipeline else [])}
        self.alive = True
        self.batch: list[Document] = []
        _raise_next(server.failures["open" if token is None else "resume"])
        if token is None:
            server.time += 1  # later than the last event: a token of its own
            self.after = server.time
        else:
            self.after = time_of(token)
            if self.after < server.oldest:
                raise OperationFailure("the resume token was not found", HISTORY_LOST)
            if any(entry["time"] == self.after for entry in server.events if _ends(entry)):
                raise OperationFailure("resumeAfter is not allowed from an invalidate event", INVALID_RESUME_TOKEN)
        self.resume_token = token_at(self.after) if server.tells_tokens else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.alive = False

    def try_next(self) -> Document | None:
        if not self.alive:
            return None
        if not self.batch:
            _raise_next(self.server.failures["next"])
            if self.server.empty_answers:
                self.server.empty_answers -= 1
                return None
            about = (entry for entry in self.server.events if entry["time"] > self.after)
            self.batch = [entry for entry in about if entry["collection"] == self.collection][:BATCH]
        if not self.batch:
            self.resume_token = token_at(self.server.time)
            return None
        entry = self.batch.pop(0)
        self.after = entry["time"]
        self.resume_token = token_at(self.after)
        self.alive = not _ends(entry)
        event = entry["event"]
        return {name: value for name, value in event.items() if name in self.shown or self.shown == {"_id"}}


def token_at(time: int) -> Document:
    """Return a token as a server makes it: the byte 82, the cluster time, and more that is its own."""
    return {"_data": f"82{time:08X}{1:08X}2B022C0100296E5A1004"}


def time_of(token: Mapping[str, str]) -> int:
    """Return the seconds of a token."""
    return int(token["_data"][2:10], 16)


def _ends(entry: Document) -> bool:
    return bool(entry["event"]["operationType"] == "invalidate")


def _raise_next(failures: list[OperationFailure]) -> None:
    if failures:
        raise failures.pop(0)
