"""Capture by the server's log: a change stream names the documents that changed since the last run's token.

What an event says of a document is not used, only its id: the document is then read as it is. So it does no harm to
read events twice, and a document that changed ten times is read once. Whatever makes the stream unable to say what
happened leads to a new token, then to a comparison of everything, in this order: no change falls between.

Event shapes: https://www.mongodb.com/docs/manual/reference/change-events/.

The embedded server imitates change streams without a log. It forgets changes when it is stopped, keeps the last 1,000
events of a collection, spells some ids wrongly and says nothing of a dropped collection. What can be told of that is
checked, and leads to a comparison of everything too.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from bson import Timestamp
from bson.datetime_ms import DatetimeMS
from pymongo.change_stream import ChangeStream
from pymongo.errors import OperationFailure

from feature_store.errors import TerminalError
from steps.extract.compare import Comparison
from steps.extract.keys import resolve_ids
from steps.extract.read import IDS_IN_MEMORY, id_key
from steps.extract.source import Document, Outcome, Source, compare_everything, compare_some
from warehouse.failures import reading, refusal_of_log
from warehouse.server import describe_server

IMITATED_EVENTS = 900  # of the 1,000 that the embedded server keeps
AWAIT_MILLISECONDS = 500
EMPTY_ANSWERS = 20
IDLE_SECONDS = 3600  # a token that is not renewed falls out of the log some day
# Only what is needed: events with the whole document may be larger than a document may be.
PIPELINE = [{"$project": {"documentKey": 1, "operationType": 1, "ns": 1, "to": 1}}]
CHANGES = {"insert", "update", "replace", "delete"}
_REFUSALS = {
    286: "the server's log no longer reaches back to the last position",
    280: "the stream from the last position cannot be continued",
    260: "the server does not accept the last position",
    136: "the server's log was overrun while it was read",
    10334: "an event is too large to be sent",
}
_END_OF_STREAM = {
    "drop": "the collection was dropped",
    "rename": "a collection was renamed",
    "dropDatabase": "the database was dropped",
    "invalidate": "the stream was invalidated",
}
_START_TOLERANCE_MILLISECONDS = 5000


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What a token belongs to: a life of the collection, a time of the server; without a log, its process.

    ``process`` holds ``pid`` and ``started`` (milliseconds since the epoch).
    """

    has_log: bool
    uuid: str | None
    operation_time: Timestamp | None
    process: dict[str, int] | None

    def as_value(self, token: Document) -> Document:
        """Return the value of a position."""
        return {
            "token": token,
            "uuid": self.uuid,
            "operation_time": self.operation_time,
            "process": self.process,
        }


@dataclass(slots=True)
class Drained:
    """What the stream gave: the ids of changed documents, and the token of the last event taken.

    ``fleeting`` are those of documents that were inserted and deleted again. ``trouble`` says why the stream cannot be
    followed any further.
    """

    token: Document
    ids: dict[tuple[str, str], Any] = field(default_factory=dict)
    inserted: set[tuple[str, str]] = field(default_factory=set)
    fleeting: set[tuple[str, str]] = field(default_factory=set)
    events: int = 0
    more: bool = False
    trouble: str = ""


def capture_by_log(source: Source, comparison: Comparison) -> Outcome:
    """Compare the documents that the change stream names, or everything where it cannot be followed.

    Raises:
        ConfigurationError: if the server has no log.
        TerminalError: if it does not let this user follow it.
        TransientError: if it stops answering.
    """
    with reading(source.category.collection):
        here = _whereabouts(source)
        value, reason = source.position("log")
        reason = reason if value is None else _doubt(value, here)
        if value is None or reason:
            return _start_anew(source, comparison, here, reason)
        drained = _drain(source, value["token"], here)
        if drained.trouble:
            return _start_anew(source, comparison, here, drained.trouble)
        if not here.has_log:
            # A stream that stands still leaves the position as it is, to the millisecond.
            same = drained.token == value["token"]
            outcome = _compare_imitated(source, comparison, here, drained)
            return replace(outcome, value=value) if same and not outcome.whole else outcome
        for _ in compare_some(source, comparison, drained.ids.values()):
            pass
        return _followed(here, drained)


def log_waits(source: Source, _comparison: Comparison) -> bool:
    """Return whether the stream has something to tell, or cannot be followed."""
    with reading(source.category.collection):
        here = _whereabouts(source)
        value, _ = source.position("log")
        if value is None or _doubt(value, here):
            return True
        before, now = value.get("operation_time"), here.operation_time
        if before is not None and now is not None and now.time - before.time > IDLE_SECONDS:
            return True
        drained = _drain(replace(source, max_changes=1), value["token"], here)
        return bool(drained.ids) or drained.more or bool(drained.trouble)


def _followed(here: Whereabouts, drained: Drained) -> Outcome:
    return Outcome(
        whole=False,
        reason=f"{drained.events:,} events since the last run",
        value=here.as_value(drained.token),
        more=drained.more,
    )


def _start_anew(source: Source, comparison: Comparison, here: Whereabouts, reason: str) -> Outcome:
    token = _new_token(source)  # before anything is read
    if here.has_log:
        _await_majority(source)
    outcome = compare_everything(source, comparison, reason)
    return replace(outcome, value=here.as_value(token))


def _await_majority(source: Source) -> None:
    """Wait until a majority has what the primary had when the token was taken.

    The token lies after what the primary has applied, while reads give what a majority has: a change in between would
    neither be read nor come by the stream. The second read waits for the time of the first (causal consistency).
    """
    with source.database.client.start_session(causal_consistency=True) as session:
        source.database.command("ping", session=session)
        source.collection.find_one({}, {"_id": 1}, session=session)


def _new_token(source: Source) -> Document:
    try:
        with source.collection.watch(PIPELINE, max_await_time_ms=AWAIT_MILLISECONDS) as stream:
            if stream.resume_token is None:  # servers before 4.2 tell it with the first answer
                stream.try_next()
            token = stream.resume_token
    except OperationFailure as error:
        raise refusal_of_log(source.category.collection, error) or TerminalError(
            f"The warehouse opens no change stream on {source.category.collection} (code {error.code}).",
            "Choose another capture mode, for example `capture: hash`.",
        ) from None
    if token is None:
        raise TerminalError(
            f"The change stream of {source.category.collection} has no resume token to go on from.",
            "Choose another capture mode, for example `capture: hash`.",
        )
    return dict(token)


def _drain(source: Source, token: Document, here: Whereabouts) -> Drained:
    """Take what the stream has up to the time of ``here``, or ``max_changes`` documents of it."""
    drained = Drained(token)
    try:
        with source.collection.watch(PIPELINE, resume_after=token, max_await_time_ms=AWAIT_MILLISECONDS) as stream:
            while not drained.trouble and (event := _next_event(stream, here.operation_time)) is not None:
                drained.events += 1
                if not drained.more:
                    _take(drained, event, source.max_changes)
                if not drained.more:
                    drained.token = dict(stream.resume_token or drained.token)
                if _is_enough(drained, here):
                    break
            else:
                if not drained.more:
                    drained.token = dict(stream.resume_token or drained.token)
    except OperationFailure as error:
        if (refusal := refusal_of_log(source.category.collection, error)) is not None:
            raise refusal from None
        drained.trouble = _REFUSALS.get(error.code or 0, "the stream cannot be followed") + f" (code {error.code})"
    if not here.has_log and drained.events > IMITATED_EVENTS:
        drained.trouble = f"{drained.events:,} events wait, more than this server is sure to keep"
    return drained


def _is_enough(drained: Drained, here: Whereabouts) -> bool:
    """Return whether to stop before the end of the stream: where writes never pause there is none."""
    if not here.has_log:
        # What a limit leaves has to be counted too, for it is kept no longer than the rest.
        return drained.events > IMITATED_EVENTS
    time, until = _time_of(drained.token), here.operation_time
    return drained.more or (time is not None and until is not None and time > until)


def _take(drained: Drained, event: Document, max_changes: int | None) -> None:
    operation, key = event["operationType"], event.get("documentKey")
    if operation not in CHANGES or key is None:
        drained.trouble = _END_OF_STREAM.get(operation, f"the stream tells of an operation {operation!r}")
        return
    name = id_key(key["_id"])
    if name not in drained.ids and len(drained.ids) >= (max_changes or IDS_IN_MEMORY):
        if max_changes is None:
            drained.trouble = f"more than {IDS_IN_MEMORY:,} documents have changed"
        drained.more = True
        return
    if operation == "insert" and name not in drained.ids:
        drained.inserted.add(name)
    if operation == "delete" and name in drained.inserted:
        drained.fleeting.add(name)
    else:
        drained.fleeting.discard(name)
    drained.ids[name] = key["_id"]


def _next_event(stream: ChangeStream[Document], until: Timestamp | None) -> Document | None:
    for _ in range(EMPTY_ANSWERS):
        event = stream.try_next()
        if event is not None or _has_reached(stream.resume_token, until):
            return None if event is None else dict(event)
    return None


def _has_reached(token: Any, until: Timestamp | None) -> bool:
    """Return whether a token is of the time ``until`` or later, or does not tell.

    An empty answer may come before the end of the log: where a router merges several shards, for example.
    """
    time = _time_of(token)
    return time is None or until is None or time >= until


def _time_of(token: Any) -> Timestamp | None:
    """Return the cluster time of a token, or None where it does not tell.

    The text of a token begins with the byte 82 and the cluster time, 4 bytes of seconds and 4 of a count:
    https://github.com/mongodb/mongo/blob/master/src/mongo/db/pipeline/resume_token.h.
    """
    text = str((token or {}).get("_data", ""))
    try:
        return Timestamp(int(text[2:10], 16), int(text[10:18], 16)) if text.startswith("82") else None
    except ValueError:
        return None


def _whereabouts(source: Source) -> Whereabouts:
    database = source.database
    server = describe_server(database)
    with database.client.start_session() as session:
        database.command("ping", session=session)
        operation_time = session.operation_time
    return Whereabouts(server.has_log, source.uuid, operation_time, None if server.has_log else _process(source))


def _process(source: Source) -> dict[str, int] | None:
    try:
        status = source.database.command("serverStatus")
    except OperationFailure:
        return None  # a server that has no log and does not say who it is: no token of it counts
    started = int(DatetimeMS(status["localTime"])) - int(status["uptimeMillis"])
    return {"pid": int(status["pid"]), "started": started}


def _doubt(value: Document, here: Whereabouts) -> str:
    """Return why a token does not count here, or nothing."""
    if value.get("uuid") != here.uuid:
        return "the collection was dropped and made anew"
    before, now = value.get("operation_time"), here.operation_time
    if before is not None and now is not None and now < before:
        return "the server was restored to an earlier time"
    if here.has_log:
        return "" if value.get("process") is None else "the last position is one of a server without a log"
    if not _is_same_process(value.get("process"), here.process):
        return "the server keeps no log beyond its own process, and this is another one"
    return ""


def _is_same_process(before: dict[str, int] | None, now: dict[str, int] | None) -> bool:
    return (
        before is not None
        and now is not None
        and before["pid"] == now["pid"]
        and abs(before["started"] - now["started"]) <= _START_TOLERANCE_MILLISECONDS
    )


def _compare_imitated(source: Source, comparison: Comparison, here: Whereabouts, drained: Drained) -> Outcome:
    ids, unknown = resolve_ids(source, comparison, drained.ids.values())
    unexplained = [raw_id for raw_id in unknown if id_key(raw_id) not in drained.fleeting]
    if unexplained:
        return _start_anew(source, comparison, here, "an event names a document that is nowhere to be found")
    for _ in compare_some(source, comparison, ids):
        pass
    if not drained.more and _count_is_off(source, comparison):
        comparison.settle()
        return _start_anew(source, comparison, here, "the number of documents is not what the events make it")
    return _followed(here, drained)


def _count_is_off(source: Source, comparison: Comparison) -> bool:
    if source.category.deleted_field is not None:
        return False
    comparison.flush()
    held = comparison.held()
    expected = len(held - comparison.candidates) + comparison.counts["added"]
    return bool(source.collection.estimated_document_count() != expected)
