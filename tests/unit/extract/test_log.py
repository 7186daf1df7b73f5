"""Capture by the log, against the events and refusals that a real replica set documents."""

import uuid

import pytest
from bson import Timestamp
from pymongo.errors import AutoReconnect, OperationFailure

from feature_store.errors import ConfigurationError, TerminalError, TransientError
from feature_store.extended_json import from_extended_json, to_extended_json
from feature_store.ids import document_id
from feature_store.parts import list_parts, read_part
from feature_store.versions import save_positions
from steps.clean.rules import CLEANING_VERSION
from steps.extract import log
from steps.extract.apply import CapturePolicy, find_waiting
from tests.fake_change_stream import FIRST_SECOND, FakeStream, time_of, token_at
from tests.flow import note
from tests.unit.extract.support import Writer, followed, make_flow, names_of, outcome, with_options


@pytest.fixture
def writer(replica_set):
    return Writer(replica_set)


@pytest.fixture
def flow(tmp_path):
    return make_flow(tmp_path / "data", "log")


@pytest.fixture
def started(flow, writer, replica_set):
    """An installation that has captured the documents a, b and c."""
    for name in "abc":
        writer.put(name, f"text of {name}")
    flow.commit(replica_set)
    return flow


def value_of(flow):
    return from_extended_json(flow.store.positions()["notes"].value)


def whole(flow, replica_set):
    """Run, demand that everything was compared, and return the reason."""
    raw, _ = flow.commit(replica_set)
    capture = raw.captures["notes"]
    assert capture.whole
    assert raw.categories["notes"].read == replica_set.real["notes"].estimated_document_count()
    return capture.reason


def test_the_first_run_compares_everything_and_keeps_a_token(started, replica_set):
    position = started.store.positions()["notes"]
    assert (position.mode, position.source) == ("log", f"{replica_set.name}.notes")
    value = value_of(started)
    assert time_of(value["token"]) == replica_set.time
    assert value["operation_time"] <= Timestamp(replica_set.time, 1)
    assert value["uuid"] == str(replica_set.uuid_of("notes"))
    assert value["process"] is None


def test_every_kind_of_change_is_followed(started, writer, replica_set):
    notes = replica_set["notes"]
    notes.insert_one(note("d", "inserted"))
    notes.update_one({"_id": "a"}, {"$set": {"body": "updated"}})
    notes.replace_one({"_id": "b"}, note("b", "replaced"))
    notes.delete_one({"_id": "c"})
    raw = started.extract(replica_set)
    assert outcome(raw) == {"read": 3, "added": 1, "changed": 2, "deleted": 1}
    assert names_of(raw) == ["a", "b", "d"]
    (part,) = list_parts(raw.folder, "removed")
    assert read_part(part)["document_id"].to_pylist() == [document_id("notes", "c")]
    assert "4 events since the last run" in raw.captures["notes"].reason


def test_the_token_is_taken_before_everything_is_read(flow, writer, replica_set, monkeypatch):
    writer.put("a")
    read = log.compare_everything

    def late_write(*arguments):
        done = read(*arguments)
        writer.put("b", "written while everything was read")
        return done

    monkeypatch.setattr(log, "compare_everything", late_write)
    flow.commit(replica_set)
    assert list(flow.live()) == ["a"]
    assert followed(flow, replica_set) == {"read": 1, "added": 1}


def test_many_events_of_a_document_read_it_once_as_it_is(started, writer, replica_set):
    for number in range(10):
        writer.put("a", f"version {number}")
    assert followed(started, replica_set) == {"read": 1, "changed": 1}
    assert started.texts()["a"] == "version 9"


def test_a_document_that_came_and_went_is_nothing(started, writer, replica_set):
    writer.put("x")
    writer.delete("x")
    assert followed(started, replica_set) == {}


def test_replaying_the_log_does_no_harm(started, writer, replica_set):
    before = started.store.positions()
    writer.put("a", "new")
    writer.delete("b")
    assert followed(started, replica_set) == {"read": 1, "changed": 1, "deleted": 1}
    save_positions(started.store.folder, started.store.newest(), before)
    assert followed(started, replica_set) == {"read": 1, "unchanged": 1}


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("drop", "the collection was dropped"),
        ("rename", "a collection was renamed"),
        ("dropDatabase", "the database was dropped"),
        ("invalidate", "the stream was invalidated"),
        ("shardCollection", "the stream tells of an operation 'shardCollection'"),
    ],
)
def test_an_end_of_the_stream_leads_to_a_new_token_and_a_whole_comparison(started, writer, replica_set, end, reason):
    writer.put("d", "before")
    replica_set.log(end, "notes", **({"to": {"db": "x", "coll": "y"}} if end == "rename" else {}))
    replica_set.real["notes"].insert_one(note("unlogged", "beta"))
    assert reason in whole(started, replica_set)
    assert sorted(started.live()) == ["a", "b", "c", "d", "unlogged"]
    writer.put("a", "after")
    assert followed(started, replica_set) == {"read": 1, "changed": 1}


def test_a_collection_that_was_dropped_and_made_anew_is_compared(started, writer, replica_set):
    replica_set["notes"].drop()
    writer.put("a", "text of a"), writer.put("d", "new")
    assert "the collection was dropped and made anew" in whole(started, replica_set)
    assert sorted(started.live()) == ["a", "d"]


def test_a_collection_that_another_one_took_the_place_of_is_compared(started, writer, replica_set):
    replica_set.real["notes"].delete_many({"_id": {"$in": ["b", "c"]}})
    replica_set.real["notes"].insert_one(note("z", "zeta"))
    replica_set.uuids["notes"] = uuid.uuid4()
    assert "the collection was dropped and made anew" in whole(started, replica_set)
    assert sorted(started.live()) == ["a", "z"]


@pytest.mark.parametrize("where", ["resume", "next"])
@pytest.mark.parametrize("code", [286, 280, 260, 136, 10334, 8000])
def test_a_refused_token_leads_to_a_new_one_and_a_whole_comparison(started, writer, replica_set, code, where):
    replica_set.real["notes"].insert_one(note("unlogged", "beta"))
    replica_set.failures[where] = [OperationFailure("refused", code)]
    assert f"(code {code})" in whole(started, replica_set)
    writer.put("a", "after")
    assert followed(started, replica_set) == {"read": 1, "changed": 1}


def test_a_log_that_no_longer_reaches_back_is_told(started, writer, replica_set):
    writer.put("d", "lost in the log")
    replica_set.forget()
    assert "the server's log no longer reaches back to the last position (code 286)" in whole(started, replica_set)
    assert "d" in started.live()


@pytest.mark.parametrize("where", ["resume", "next"])
def test_a_user_without_the_right_is_told(started, replica_set, where):
    replica_set.failures[where] = [OperationFailure("not authorized", 13)]
    with pytest.raises(TerminalError, match="follow the changes of notes") as caught:
        started.extract(replica_set)
    assert "changeStream" in caught.value.remedy


def test_a_server_that_is_no_replica_set_any_more_is_told(started, replica_set):
    replica_set.failures["resume"] = [OperationFailure("only supported on replica sets", 40573)]
    with pytest.raises(ConfigurationError, match="no replica set"):
        started.extract(replica_set)


@pytest.mark.parametrize("where", ["resume", "next"])
def test_a_connection_that_breaks_is_no_reason_to_compare_everything(started, replica_set, where):
    replica_set.failures[where] = [AutoReconnect("gone")]
    with pytest.raises(TransientError):
        started.extract(replica_set)
    assert started.store.newest().number == 1


def test_without_a_new_token_nothing_is_compared(started, replica_set, monkeypatch):
    monkeypatch.setattr("steps.extract.apply.choose_mode", lambda *_: ("log", "configured"))
    replica_set.failures.update(resume=[OperationFailure("lost", 286)], open=[OperationFailure("a view", 166)])
    with pytest.raises(TerminalError, match=r"opens no change stream on notes \(code 166\)"):
        started.extract(replica_set)
    replica_set.tells_tokens = False
    with monkeypatch.context() as patch:
        patch.setattr("tests.fake_change_stream.FakeStream.try_next", lambda self: None)
        replica_set.failures["resume"] = [OperationFailure("lost", 286)]
        with pytest.raises(TerminalError, match="has no resume token"):
            started.extract(replica_set)


def test_a_server_that_tells_its_token_with_the_first_answer_is_waited_for(flow, writer, replica_set):
    replica_set.tells_tokens = False
    writer.put("a")
    flow.commit(replica_set)
    assert time_of(value_of(flow)["token"]) == replica_set.time


def test_empty_answers_before_the_end_of_the_log_are_not_its_end(started, writer, replica_set):
    writer.put("a", "new")
    replica_set.empty_answers = 5
    assert followed(started, replica_set) == {"read": 1, "changed": 1}


def test_a_log_that_does_not_come_to_the_present_is_followed_later(started, writer, replica_set, monkeypatch):
    monkeypatch.setattr(log, "EMPTY_ANSWERS", 3)
    writer.put("a", "new")
    replica_set.empty_answers = 3
    assert followed(started, replica_set) == {}
    assert followed(started, replica_set) == {"read": 1, "changed": 1}


def test_a_document_that_is_written_all_the_time_keeps_no_run_from_ending(started, writer, replica_set, monkeypatch):
    original = FakeStream.try_next
    writes = iter(range(1000))

    def writing(stream):
        writer.put("a", f"version {next(writes)}")
        return original(stream)

    monkeypatch.setattr(FakeStream, "try_next", writing)
    assert followed(started, replica_set)["changed"] == 1
    monkeypatch.undo()
    assert next(writes) < 20
    followed(started, replica_set)
    assert started.texts()["a"] == replica_set.real["notes"].find_one({"_id": "a"})["body"]


def test_a_token_goes_on_while_others_write(started, replica_set):
    before = time_of(value_of(started)["token"])
    replica_set.log("insert", "others", documentKey={"_id": 1})
    assert followed(started, replica_set) == {}
    assert time_of(value_of(started)["token"]) > before
    assert started.store.newest().number == 1


@pytest.mark.parametrize("limit", range(1, 9))
def test_a_limit_of_changes_stops_after_the_last_event_taken(started, writer, replica_set, limit):
    for name in ("d", "e", "d", "f", "a", "d", "g", "h", "e"):
        writer.put(name, f"{name} at {writer.now}")
    with_options(started, max_changes=limit)
    runs = 0
    while True:
        raw, _ = started.commit(replica_set)
        assert raw.categories["notes"].read <= limit
        runs += 1
        if not raw.captures["notes"].more:
            break
    assert runs <= 9
    assert sorted(started.live()) == ["a", "b", "c", "d", "e", "f", "g", "h"]
    assert followed(started, replica_set) == {}


def test_more_changes_than_can_be_remembered_are_compared_whole(started, writer, replica_set, monkeypatch):
    monkeypatch.setattr(log, "IDS_IN_MEMORY", 3)
    for number in range(4):
        writer.put(f"n{number}")
    assert "more than 3 documents have changed" in whole(started, replica_set)
    assert followed(started, replica_set) == {}


def test_a_server_that_was_restored_to_an_earlier_time_is_compared(started, replica_set):
    replica_set.real["notes"].update_one({"_id": "a"}, {"$set": {"body": "as it was"}})
    replica_set.time = FIRST_SECOND
    assert "the server was restored to an earlier time" in whole(started, replica_set)
    assert started.texts()["a"] == "as it was"


def test_a_position_of_an_imitated_log_does_not_count_on_a_replica_set(started, replica_set):
    value = to_extended_json({**value_of(started), "process": {"pid": 1, "started": 2}})
    stale = started.store.positions()["notes"].model_copy(update={"value": value})
    save_positions(started.store.folder, started.store.newest(), {"notes": stale})
    assert "one of a server without a log" in whole(started, replica_set)


def test_reads_are_never_behind_the_events(started, replica_set, monkeypatch):
    asked = []
    original = type(replica_set).get_collection

    def noted(self, name, **options):
        asked.append(options)
        return original(self, name, **options)

    monkeypatch.setattr(type(replica_set), "get_collection", noted)
    started.extract(replica_set)
    assert asked[0]["read_preference"].mongos_mode == "primary"
    assert asked[0]["read_concern"].level == "majority"


def waits(flow, replica_set):
    rules = flow.config.cleaning.fingerprint(CLEANING_VERSION)
    policy = CapturePolicy(rules, flow.config.deletions, flow.config.options)
    return find_waiting(replica_set, flow.store, flow.config.categories[0], policy)


def test_events_wait_and_then_no_more(started, writer, replica_set):
    assert not waits(started, replica_set)
    writer.put("a", "new")
    assert waits(started, replica_set)
    started.commit(replica_set)
    assert not waits(started, replica_set)


def test_a_token_that_gets_old_is_renewed_though_nothing_happens(started, replica_set):
    replica_set.time += log.IDLE_SECONDS + 1
    assert waits(started, replica_set)
    started.commit(replica_set)
    assert not waits(started, replica_set)


def test_a_stream_that_cannot_be_followed_waits_for_a_run(started, replica_set):
    replica_set.forget()
    assert waits(started, replica_set)


@pytest.mark.parametrize(
    ("token", "until", "reached"),
    [
        (token_at(100), Timestamp(100, 1), True),
        (token_at(100), Timestamp(100, 2), False),
        (token_at(99), Timestamp(100, 1), False),
        (token_at(99), None, True),
        ({"_data": "82zz"}, Timestamp(100, 1), True),
        ({"_data": "nx:5"}, Timestamp(100, 1), True),
        (None, Timestamp(100, 1), True),
    ],
)
def test_the_time_of_a_token(token, until, reached):
    assert log._has_reached(token, until) == reached
