"""Capture by a date that every write moves."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st

from feature_store.errors import ConfigurationError
from feature_store.extended_json import from_extended_json
from feature_store.parts import list_parts
from steps.clean.rules import CLEANING_VERSION
from steps.extract import timestamp
from steps.extract.apply import CapturePolicy, find_waiting
from steps.extract.read import read_in_pages
from steps.extract.timestamp import CELLS, Clock, Watermark, as_date, cell_of
from tests.flow import note
from tests.unit.extract.support import BEGINNING, make_flow, names_of, outcome, whole, with_options

SECOND = timedelta(seconds=1)


@pytest.fixture
def flow(tmp_path):
    return make_flow(tmp_path / "data", "timestamp")


def value_of(flow):
    return from_extended_json(flow.store.positions()["notes"].value)


def committed(flow, database):
    return outcome(flow.commit(database)[0])


def test_the_watermark_is_the_newest_date(flow, writer, database):
    for _ in range(3):
        writer.put("a")
    writer.put("b")
    flow.commit(database)
    assert value_of(flow)["date"] == writer.now
    assert "a write that does not move at is not seen (`run --capture hash` judges)" in whole(
        make_flow(flow.settings.data_dir / "x", "timestamp"), database
    )


def test_a_document_dated_in_the_future_does_not_hide_later_ones(flow, writer, database):
    writer.put("far", at=datetime(2999, 1, 1, tzinfo=UTC))
    writer.put("old")
    flow.commit(database)
    watermark = value_of(flow)["date"]
    assert watermark < datetime.now(UTC) + timedelta(minutes=5)
    assert committed(flow, database) == {}
    assert value_of(flow)["date"] == watermark  # though the clock has gone on
    writer.put("new", at=watermark - 10 * SECOND)
    assert committed(flow, database)["added"] == 1
    assert committed(flow, database) == {}


def test_a_document_dated_in_the_future_can_change(flow, writer, database):
    writer.put("far", at=datetime(2999, 1, 1, tzinfo=UTC)), writer.put("old")
    flow.commit(database)
    writer.put("far", "new", at=datetime(2999, 1, 2, tzinfo=UTC))
    assert committed(flow, database) == {"read": 1, "changed": 1}


@pytest.mark.parametrize(("late", "seen"), [(0, True), (59, True), (60, True), (61, False)], ids=str)
def test_a_write_that_shows_late_is_seen_within_the_overlap(flow, writer, database, late, seen):
    writer.put("a")
    for _ in range(120):
        writer.now += SECOND
    writer.put("b")
    flow.commit(database)
    writer.put("a", "late", at=writer.now - late * SECOND)
    assert committed(flow, database) == ({"read": 1, "changed": 1} if seen else {})


def test_an_overlap_that_is_made_longer_holds_for_the_past_too(flow, writer, database):
    writer.put("a"), writer.put("b")
    writer.now += 100 * SECOND
    writer.put("c")
    flow.commit(database)
    late = writer.now - 90 * SECOND
    writer.put("a", "late", at=late)
    assert committed(flow, database) == {}
    wide = make_flow(flow.settings.data_dir, {"mode": "timestamp", "field": "at", "overlap_seconds": 95})
    assert committed(wide, database) == {"read": 1, "changed": 1}
    assert committed(wide, database) == {}


def test_equal_dates_are_told_apart_by_their_ids(flow, writer, database):
    writer.put("a", at=BEGINNING), writer.put("b", at=BEGINNING)
    flow.commit(database)
    writer.put("c", at=BEGINNING)
    assert committed(flow, database) == {"read": 1, "added": 1}
    assert committed(flow, database) == {}


def test_thousands_of_documents_within_the_overlap_are_not_read_again(flow, database):
    at = [BEGINNING + number // 500 * timedelta(milliseconds=1) for number in range(3000)]
    database["notes"].insert_many([note(f"n{number}", "x", at=date) for number, date in enumerate(at)])
    flow.commit(database)
    assert committed(flow, database) == {}
    document = note("n7", "changed", at=BEGINNING + SECOND)
    database["notes"].replace_one({"_id": "n7"}, document)
    database["notes"].delete_one({"_id": "n8"})
    counts = committed(flow, database)
    assert (counts["changed"], counts["deleted"]) == (1, 1)
    assert counts["read"] < 20
    assert committed(flow, database) == {}


def test_what_was_written_just_before_it_was_read_is_read_once_more(flow, writer, database, monkeypatch):
    times = iter([BEGINNING + 30 * SECOND] * 3 + [BEGINNING + 90 * SECOND] * 20)
    monkeypatch.setattr(Clock, "now", lambda self: as_date(next(times)))
    writer.put("a", at=BEGINNING + 29.5 * SECOND), writer.put("old")
    flow.commit(database)
    # The same millisecond, after it was read: nothing but reading it again would show this.
    writer.put("a", "written again", at=BEGINNING + 29.5 * SECOND)
    assert committed(flow, database) == {"read": 1, "changed": 1}
    assert committed(flow, database) == {}


def test_documents_without_a_date_are_followed_by_their_ids_and_told(flow, writer, database):
    writer.put("a")
    database["notes"].insert_many([note("none", "x"), note("null", "x", at=None)])
    assert "2 documents have no date there and are followed by their ids alone" in whole(flow, database)
    database["notes"].insert_one(note("later", "x"))
    database["notes"].delete_one({"_id": "none"})
    assert committed(flow, database) == {"read": 1, "added": 1, "deleted": 1}
    database["notes"].replace_one({"_id": "later"}, note("later", "unseen"))
    assert committed(flow, database) == {}
    assert outcome(with_options(flow, capture="hash").extract(database))["changed"] == 1


def test_additions_with_an_old_date_are_found_by_their_ids(flow, writer, database):
    writer.put("a")
    flow.commit(database)
    database["notes"].insert_one(note("old", "x", at=BEGINNING - timedelta(days=400)))
    assert committed(flow, database) == {"read": 1, "added": 1}
    assert committed(flow, database) == {}


@pytest.mark.parametrize("value", ["2024-07-29T10:00:00Z", 1722247200, [BEGINNING], {"when": BEGINNING}], ids=repr)
def test_a_field_that_holds_no_dates_is_refused(flow, writer, database, value):
    database["notes"].insert_one(note("odd", "x", at=value))
    with pytest.raises(ConfigurationError, match="needs BSON dates in at, but that of 'odd' is of") as error:
        flow.extract(database)
    assert f"type {type(value).__name__}" in str(error.value)
    assert "capture.field" in error.value.remedy


def test_without_any_date_everything_is_compared_each_time(flow, database):
    database["notes"].insert_one(note("a", "x"))
    for _ in range(2):
        assert "no document has a date in at" in whole(flow, database)
    assert flow.store.positions() == {}


def test_dates_that_the_embedded_server_turned_into_text_lead_to_a_whole_comparison(flow, writer, database):
    writer.put("a"), writer.put("b")
    flow.commit(database)
    database["notes"].update_one({"_id": "a"}, {"$set": {"body": "new", "at": writer.now + SECOND}})
    assert "some documents have at as text" in whole(flow, database)
    assert flow.texts()["a"] == "new"


def test_a_newest_date_that_went_back_leads_to_a_whole_comparison(flow, writer, database):
    writer.put("a"), writer.put("b", "restored")
    writer.put("c")
    flow.commit(database)
    writer.delete("c")
    database["notes"].replace_one({"_id": "b"}, note("b", "as it was", at=BEGINNING))
    assert "the newest at is older than before" in whole(flow, database)
    assert flow.texts() == {"a": "alpha", "b": "as it was"}
    assert committed(flow, database) == {}


def test_another_field_makes_the_position_useless(flow, writer, database):
    writer.put("a", other=BEGINNING)
    flow.commit(database)
    other = make_flow(flow.settings.data_dir, {"mode": "timestamp", "field": "other"})
    assert "the last position goes by at" in whole(other, database)


def test_a_field_within_a_document_is_a_path(tmp_path, database):
    flow = make_flow(tmp_path / "nested", {"mode": "timestamp", "field": "meta.at"})
    database["notes"].insert_many([note(name, "x", meta={"at": BEGINNING}) for name in "ab"])
    flow.commit(database)
    database["notes"].replace_one({"_id": "a"}, note("a", "new", meta={"at": BEGINNING + SECOND}))
    assert committed(flow, database) == {"read": 1, "changed": 1}
    assert committed(flow, database) == {}


def test_without_comparing_ids_deletions_show_by_their_mark_alone(tmp_path, writer, database):
    capture = {"mode": "timestamp", "field": "at", "compare_ids": False}
    flow = make_flow(tmp_path / "blind", capture, deleted_field="gone")
    for name in "abc":
        writer.put(name)
    flow.commit(database)
    writer.delete("a")
    writer.put("b", gone=True)
    raw, _ = flow.commit(database)
    assert outcome(raw) == {"deleted": 1}
    assert raw.captures["notes"].compared_ids == 0
    assert sorted(flow.live()) == ["a", "c"]
    assert committed(flow, database) == {}


def test_a_document_that_moves_while_others_are_read_is_found_by_the_next_run(flow, writer, database, monkeypatch):
    for name in "abcdef":
        writer.put(name)
    flow.commit(database)
    writer.put("a", "new")
    original = timestamp._cells_with_news

    def late_write(reached, present):
        writer.put("f", "moved while the dates were compared")
        return original(reached, present)

    monkeypatch.setattr(timestamp, "_cells_with_news", late_write)
    raw, _ = flow.commit(database)
    assert names_of(raw) == ["a"]
    monkeypatch.undo()
    assert committed(flow, database) == {"read": 1, "changed": 1}
    assert list_parts(raw.folder, "removed") == []


@given(st.lists(st.tuples(st.integers(), st.integers(1000, 10**13)), unique_by=lambda pair: pair[0]), st.randoms())
def test_digests_do_not_depend_on_the_order_and_come_back_as_they_were(pairs, random):
    first, second = (Watermark("at", 10**13, 1000, timestamp.Cells()) for _ in range(2))
    for raw_id, date in pairs:
        first.add(raw_id, date)
    random.shuffle(pairs)
    for raw_id, date in pairs:
        second.add(raw_id, date)
    assert first == second
    assert first.as_value() == second.as_value()
    assert len(first.as_value()["cells"]) == 15 * len(first.cells)
    assert all(0 <= cell_of(raw_id) < CELLS for raw_id, _ in pairs)


def test_a_date_before_the_overlap_is_in_no_digest():
    watermark = Watermark("at", 2000, 1000, timestamp.Cells())
    watermark.add("a", 999)
    assert watermark.cells == {}
    watermark.add("a", 1000)
    assert len(watermark.cells) == 1


@pytest.mark.parametrize(
    ("value", "date"),
    [
        (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 1000),
        (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), -1000),
        (DatetimeMS(10**15), 10**15),
        ("1970-01-01", None),
        (5, None),
        (None, None),
    ],
    ids=repr,
)
def test_dates_are_milliseconds(value, date):
    assert as_date(value) == date


def test_a_document_that_moves_through_the_index_while_it_is_read_is_taken_once(flow, writer, database, monkeypatch):
    for name in "abc":
        writer.put(name)
    flow.commit(database)
    writer.put("a", "edited")
    once = timestamp._dates_from

    def twice(*arguments):
        found = list(once(*arguments))
        yield from [*found, *found]

    monkeypatch.setattr(timestamp, "_dates_from", twice)
    monkeypatch.setattr("steps.extract.source.read_in_pages", partial(read_in_pages, page_size=1))
    counts = committed(flow, database)
    assert (counts["changed"], flow.texts()["a"]) == (1, "edited")
    assert counts["read"] <= 3


def test_a_collection_without_dates_waits_only_where_something_differs(flow, writer, database):
    database["notes"].insert_one(note("undated", "text"))
    flow.commit(database)
    category, policy = flow.config.categories[0], CapturePolicy(flow.config.cleaning.fingerprint(CLEANING_VERSION))
    assert not find_waiting(database, flow.store, category, policy)
    database["notes"].update_one({"_id": "undated"}, {"$set": {"body": "another"}})
    assert find_waiting(database, flow.store, category, policy)
