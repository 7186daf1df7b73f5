"""Capture by an outbox that the application writes."""

import uuid

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect, OperationFailure

from feature_store.config import RunOptions
from feature_store.errors import ConfigurationError, TerminalError, TransientError
from feature_store.parts import list_parts, read_part
from steps.extract import outbox
from tests.application import DrainingFlow
from tests.flow import CATEGORY, note, notes_config
from tests.unit.extract.support import drain, followed, make_flow, outcome, whole, with_options
from warehouse.outbox import mark_done, pending_entries, reader_name, require_markable


@pytest.fixture
def flow(tmp_path):
    return make_flow(tmp_path / "data", "outbox")


@pytest.fixture
def started(flow, writer, database):
    for name in "abc":
        writer.put(name, f"text of {name}")
    flow.commit(database)
    return flow


def pending(flow, database, name="outbox"):
    newest = flow.store.newest()
    reader = reader_name(newest.store_id, "notes") if newest else None
    return len(list(pending_entries(database, name, "notes", reader)))


def test_the_first_run_compares_everything_and_is_done_with_the_entries_before_it(flow, writer, database):
    writer.put("a")
    database["notes"].insert_one(note("unannounced", "x"))
    raw, _ = flow.commit(database)
    assert outcome(raw) == {"read": 2, "added": 2}
    assert "no run has reached a position yet" in raw.captures["notes"].reason
    assert pending(flow, database) == 0


def test_a_whole_comparison_is_done_with_all_entries_whatever_the_limit(flow, writer, database):
    for name in "abc":
        writer.put(name)
    raw, _ = with_options(flow, max_changes=1).commit(database)
    assert (outcome(raw), raw.captures["notes"].more) == ({"read": 3, "added": 3}, False)
    assert pending(flow, database) == 0


def test_entries_stay_pending_until_the_table_has_what_they_announced(started, writer, database):
    writer.put("a", "new")
    raw = started.extract(database)
    assert pending(started, database) == 1
    assert outcome(started.extract(database)) == {"read": 1, "changed": 1}
    drain(started, database, raw)
    assert pending(started, database) == 0
    assert started.texts()["a"] == "new"


def test_draining_again_does_no_harm(started, writer, database):
    writer.put("a", "new"), writer.delete("b")
    started.clean(started.extract(database))  # it died before the entries were marked
    assert followed(started, database) == {"read": 1, "unchanged": 1}
    assert pending(started, database) == 0


def test_an_entry_written_while_documents_are_read_waits_for_the_next_run(started, writer, database, monkeypatch):
    writer.put("a", "new")
    original = outbox.compare_some

    def late_write(*arguments):
        writer.put("b", "late")
        yield from original(*arguments)

    monkeypatch.setattr(outbox, "compare_some", late_write)
    assert followed(started, database) == {"read": 1, "changed": 1}
    monkeypatch.undo()
    assert pending(started, database) == 1
    assert followed(started, database) == {"read": 1, "changed": 1}


def test_several_installations_drain_one_outbox(tmp_path, writer, database):
    flows = [make_flow(tmp_path / name, "outbox") for name in ("first", "second")]
    writer.put("a")
    for flow in flows:
        flow.commit(database)
    writer.put("a", "new")
    for flow in flows:
        assert followed(flow, database) == {"read": 1, "changed": 1}
        assert followed(flow, database) == {}


def test_entries_of_other_collections_are_left_alone(started, writer, database):
    writer.outbox.insert_one({"collection": "others", "document_id": "a", "operation": "update"})
    assert followed(started, database) == {}
    reader = reader_name(started.store.newest().store_id, "notes")
    assert len(list(pending_entries(database, "outbox", "others", reader))) == 1


@pytest.mark.parametrize("entry", [{}, {"document_id": None}], ids=["missing", "null"])
def test_an_entry_without_a_document_asks_for_a_whole_comparison(started, writer, database, entry):
    database["notes"].insert_one(note("unannounced", "x"))
    writer.outbox.insert_one({"collection": "notes", "operation": "import", **entry})
    assert "an entry names no document" in whole(started, database)
    assert "unannounced" in started.live()
    assert followed(started, database) == {}


OID, UUID = ObjectId(), uuid.uuid4()


@pytest.mark.parametrize(
    ("identifier", "announced"),
    [(OID, str(OID)), (UUID, str(UUID)), (7, "7"), (f"{OID}", OID), ("7", 7)],
    ids=["ObjectId", "UUID", "number", "text of an ObjectId", "text of a number"],
)
def test_an_id_that_lost_its_type_still_names_its_document(started, writer, database, identifier, announced):
    notes = database["notes"]
    notes.insert_one(note(identifier, "inserted"))
    writer.announce(announced, "insert")
    assert followed(started, database) == {"read": 1, "added": 1}
    notes.delete_many({"body": "inserted"})  # the embedded server deletes nothing by a UUID
    writer.announce(announced, "delete")
    assert followed(started, database) == {"deleted": 1}


def test_an_entry_that_nothing_explains_asks_for_a_whole_comparison(started, writer, database):
    database["notes"].insert_one(note("unannounced", "x"))
    writer.announce("something else", "insert")
    assert "an entry names a document that is nowhere to be found" in whole(started, database)
    assert "unannounced" in started.live()


def test_a_document_that_came_and_went_is_nothing(started, writer, database):
    writer.put("x"), writer.delete("x")
    assert followed(started, database) == {}
    assert pending(started, database) == 0


def test_another_outbox_makes_the_position_useless(started, database):
    database.create_collection("changes")
    other = make_flow(started.settings.data_dir, {"mode": "outbox", "outbox": "changes"})
    assert "the last position is one of the outbox 'outbox'" in whole(other, database)
    assert followed(other, database) == {}


def test_a_missing_outbox_is_told(started, database):
    other = make_flow(started.settings.data_dir, {"mode": "outbox", "outbox": "chnages"})
    with pytest.raises(ConfigurationError, match="no outbox 'chnages'") as caught:
        other.extract(database)
    assert "capture.outbox" in caught.value.remedy


def test_more_entries_than_can_be_remembered_are_compared_whole_and_done(started, writer, database, monkeypatch):
    monkeypatch.setattr(outbox, "IDS_IN_MEMORY", 3)
    monkeypatch.setattr(outbox, "ENTRIES_PER_PART", 2)
    for number in range(5):
        writer.put(f"n{number}")
    raw, _ = started.commit(database)
    assert "entries for more than 3 documents wait" in raw.captures["notes"].reason
    assert [read_part(part).num_rows for part in list_parts(raw.folder, "outbox")] == [2, 2, 1]
    assert pending(started, database) == 0


def test_a_limit_counts_documents_and_takes_entries_in_order(started, writer, database):
    for name in ("d", "d", "e", "d", "f", "e"):
        writer.put(name)
    with_options(started, max_changes=2)
    raw, _ = started.commit(database)
    assert (raw.categories["notes"].added, raw.captures["notes"].more, pending(started, database)) == (2, True, 2)
    raw, _ = started.commit(database)
    assert (raw.categories["notes"].added, raw.captures["notes"].more, pending(started, database)) == (1, False, 0)


def test_the_parts_of_two_categories_do_not_overwrite_each_other(tmp_path, writer, database):
    others = {**CATEGORY, "name": "others", "collection": "others", "capture": "outbox"}
    flow = DrainingFlow(tmp_path, notes_config(categories=[{**CATEGORY, "capture": "outbox"}, others]))
    writer.put("a")
    database["others"].insert_one(note("o", "x"))
    writer.outbox.insert_one({"collection": "others", "document_id": "o"})
    raw, _ = flow.commit(database)
    assert len(list_parts(raw.folder, "outbox")) == 2
    assert pending(flow, database) == 0
    assert (
        list(pending_entries(database, "outbox", "others", reader_name(flow.store.newest().store_id, "others"))) == []
    )


def test_two_categories_of_one_collection_are_each_done_with_an_entry_on_their_own(tmp_path, writer, database):
    both = [{**CATEGORY, "capture": "outbox"}, {**CATEGORY, "name": "later", "capture": "outbox"}]
    flow = DrainingFlow(tmp_path / "data", notes_config(categories=both[:1]))
    for name in "abcd":
        writer.put(name)
    flow.commit(database)
    for name in "abcd":
        writer.put(name, "edited")
    # The new category compares everything, and is done with all entries; the first one takes two of them.
    flow.config = notes_config(categories=both).model_copy(update={"options": RunOptions(max_changes=2)})
    flow.commit(database)
    assert pending(flow, database) == 2
    flow.commit(database)
    assert pending(flow, database) == 0
    assert {row["text"] for row in flow.live().values()} == {"edited"}


def test_a_user_who_may_not_mark_entries_is_told_so_before_any_work(database, writer, monkeypatch):
    def refuse(*arguments, **options):
        raise OperationFailure("not authorized", 13)

    monkeypatch.setattr("pymongo.collection.Collection.update_many", refuse)
    with pytest.raises(ConfigurationError, match="the right to update"):
        require_markable(database, "notes", "outbox")


@pytest.mark.parametrize(
    ("failure", "kind"),
    [(OperationFailure("no", 13), TerminalError), (AutoReconnect("away"), TransientError)],
    ids=["refused", "away"],
)
def test_entries_that_could_not_be_marked_are_said_to_be_pending(
    flow, writer, database, tmp_path, monkeypatch, failure, kind
):
    writer.put("a")
    raw = flow.extract(database)

    def fail(*arguments, **options):
        raise failure

    monkeypatch.setattr("pymongo.collection.Collection.update_many", fail)
    with pytest.raises(kind, match=r"is published\. Run again: they are still pending"):
        mark_done(database, "a store", list_parts(raw.folder, "outbox"))
