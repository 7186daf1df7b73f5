"""Capture by the log of the embedded server, which imitates change streams and forgets them when it stops."""

import uuid

import pytest
from bson import ObjectId

from feature_store.extended_json import from_extended_json, to_extended_json
from feature_store.settings import Settings
from feature_store.versions import save_positions
from steps.extract import log
from tests.flow import note
from tests.unit.extract.support import Writer, followed, make_flow, outcome, whole, with_options
from warehouse.connection import open_warehouse


@pytest.fixture
def flow(tmp_path):
    return make_flow(tmp_path / "data", "log")


@pytest.fixture
def started(flow, writer, database):
    for name in "abc":
        writer.put(name, f"text of {name}")
    flow.commit(database)
    return flow


def test_changes_are_followed_within_one_life_of_the_server(started, writer, database):
    writer.put("a", "new"), writer.put("d"), writer.delete("b")
    assert followed(started, database) == {"read": 2, "added": 1, "changed": 1, "deleted": 1}


def test_a_restarted_server_is_not_believed(tmp_path, flow):
    settings = Settings(data_dir=tmp_path / "warehouse", _env_file=None)
    with open_warehouse(settings) as database:
        Writer(database).put("a")
        flow.commit(database)
    with open_warehouse(settings) as database:
        assert "this is another one" in whole(flow, database)
        assert followed(flow, database) == {}


@pytest.mark.parametrize("change", [{"pid": 1}, {"started": 1}], ids=str)
def test_a_token_of_another_process_does_not_count(started, database, change):
    position = started.store.positions()["notes"]
    value = from_extended_json(position.value)
    moved = {**value, "process": {**value["process"], **change}}
    stale = position.model_copy(update={"value": to_extended_json(moved)})
    save_positions(started.store.folder, started.store.newest(), {"notes": stale})
    assert "this is another one" in whole(started, database)


@pytest.mark.parametrize("identifier", [7, uuid.uuid4(), 1.5, ObjectId(), "7"], ids=lambda value: type(value).__name__)
def test_ids_that_the_server_spells_wrongly_lose_no_change(started, writer, database, identifier):
    notes = database["notes"]
    notes.insert_one(note(identifier, "inserted"))
    started.commit(database)
    count = len({**started.live(), **started.rejects()})
    assert count == 4
    notes.update_many({"body": "inserted"}, {"$set": {"body": "edited"}})  # by a UUID this server changes nothing
    judged = with_options(started, capture="hash").extract(database)
    raw, _ = with_options(started).commit(database)
    assert raw.captures["notes"].digest == judged.captures["notes"].digest
    notes.delete_many({"body": "edited"})
    started.commit(database)
    assert len({**started.live(), **started.rejects()}) == 3


def test_an_event_that_nothing_explains_is_a_reason_to_compare_everything(started, writer, database):
    identifier = uuid.uuid4()
    database["notes"].insert_one(note(identifier, "inserted"))
    assert "names a document that is nowhere to be found" in whole(started, database)


def test_a_document_that_came_went_and_came_back_does_not_explain_itself(started, database):
    identifier = uuid.uuid4()
    database["notes"].insert_one(note(identifier, "inserted"))
    database["notes"].delete_many({"body": "inserted"})
    assert followed(started, database) == {}
    database["notes"].insert_one(note(identifier, "inserted"))
    database["notes"].delete_many({"body": "inserted"})
    database["notes"].insert_one(note(identifier, "inserted"))
    assert "names a document that is nowhere to be found" in whole(started, database)
    assert len(started.live()) == 4


def test_a_document_that_came_and_went_explains_itself(started, writer, database):
    writer.put("x"), writer.delete("x")
    assert followed(started, database) == {}


@pytest.mark.parametrize(("events", "is_whole"), [(8, False), (9, True)])
def test_more_events_than_the_server_is_sure_to_keep_are_not_believed(
    started, writer, database, monkeypatch, events, is_whole
):
    monkeypatch.setattr(log, "IMITATED_EVENTS", 8)
    for number in range(events):
        writer.put("a", f"version {number}")
    raw, _ = with_options(started, max_changes=1).commit(database)
    assert raw.captures["notes"].whole == is_whole
    assert started.texts()["a"] == f"version {events - 1}"


def test_a_limit_counts_also_the_events_that_it_leaves(started, writer, database, monkeypatch):
    monkeypatch.setattr(log, "IMITATED_EVENTS", 8)
    for number in range(9):
        writer.put(f"n{number}")
    raw, _ = with_options(started, max_changes=2).commit(database)
    assert raw.captures["notes"].whole
    assert "9 events wait, more than this server is sure to keep" in raw.captures["notes"].reason


def test_a_limit_takes_the_events_of_this_server_in_turn(started, writer, database):
    for number in range(7):
        writer.put(f"n{number}")
    with_options(started, max_changes=3)
    found = []
    for _ in range(3):
        raw, _ = started.commit(database)
        found.append((raw.categories["notes"].added, raw.captures["notes"].more, raw.captures["notes"].whole))
    assert found == [(3, True, False), (3, True, False), (1, False, False)]


def test_a_collection_made_anew_is_noticed_by_the_number_of_its_documents(started, writer, database):
    database["notes"].drop()
    for name in "abcde":
        database["notes"].insert_one(note(name, f"text of {name}"))
    assert "the number of documents is not what the events make it" in whole(started, database)
    assert sorted(started.live()) == list("abcde")
    writer.put("a", "new")
    assert followed(started, database) == {"read": 1, "changed": 1}


def test_deletions_seen_while_everything_is_compared_a_second_time_are_counted_once(started, writer, database):
    database["notes"].drop()
    database["notes"].insert_many([note("a", "text of a"), note("z", "zeta")])
    writer.put("a", "new")
    raw, _ = started.commit(database)
    assert outcome(raw) == {"read": 2, "added": 1, "changed": 1, "deleted": 2}


def test_a_stream_that_stands_still_leaves_the_position_to_the_millisecond(started, database, monkeypatch):
    before = started.store.positions()["notes"]
    process = log._process

    def a_little_later(source):
        return {**process(source), "started": process(source)["started"] + 3}

    monkeypatch.setattr(log, "_process", a_little_later)
    started.commit(database)
    assert started.store.positions()["notes"] == before
