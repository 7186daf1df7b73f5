"""The outbox: which entries are pending, and marking them as done."""

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect, OperationFailure

from feature_store.errors import ConfigurationError, TerminalError, TransientError
from feature_store.parts import write_part
from feature_store.settings import Settings
from warehouse.connection import open_warehouse
from warehouse.outbox import entries_table, mark_done, pending_entries, require_outbox


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    with open_warehouse(Settings(data_dir=tmp_path_factory.mktemp("warehouse"), _env_file=None)) as opened:
        yield opened


@pytest.fixture(autouse=True)
def outbox(database):
    made = database.create_collection("outbox")
    yield made
    made.drop()


def entry(document, **fields):
    return {"collection": "notes", "document_id": document, "operation": "update", **fields}


def documents(database, store_id):
    return [found["document_id"] for found in pending_entries(database, "outbox", "notes", store_id)]


def part_of(tmp_path, ids, number=0, outbox="outbox"):
    return write_part(tmp_path, "outbox", number, entries_table(outbox, "notes", ids))


def test_before_the_first_version_every_entry_is_pending(database, outbox):
    outbox.insert_many([entry("a"), entry("b", done_by=["other"])])
    assert documents(database, None) == ["a", "b"]


def test_an_entry_is_pending_until_the_store_has_done_it(database, outbox):
    marks = {
        "a": {},
        "b": {"done_by": []},
        "c": {"done_by": ["x"]},
        "d": {"done_by": ["mine"]},
        "e": {"done_by": ["x", "mine"]},
    }
    outbox.insert_many([entry(name, **fields) for name, fields in marks.items()])
    assert documents(database, "mine") == ["a", "b", "c"]
    assert documents(database, "x") == ["a", "b", "d"]


def test_entries_come_in_the_order_of_their_ids(database, outbox):
    outbox.insert_many([entry(number, _id=f"{9 - number}") for number in range(5)])
    assert documents(database, None) == [4, 3, 2, 1, 0]


def test_entries_of_other_collections_are_not_pending(database, outbox):
    outbox.insert_many([entry("a"), {**entry("b"), "collection": "others"}])
    assert documents(database, None) == ["a"]


@pytest.mark.parametrize(
    "identifiers", [(ObjectId(), ObjectId()), ("a", "b"), (7, 8)], ids=["ObjectId", "text", "number"]
)
def test_marking_keeps_the_marks_of_other_stores(database, outbox, tmp_path, identifiers):
    first, second = identifiers
    outbox.insert_many([entry("a", _id=first), entry("b", _id=second, done_by=["other"])])
    ids = [found["_id"] for found in outbox.find()]
    part = part_of(tmp_path, ids)
    assert mark_done(database, "mine", [part]) == 2
    assert [found["done_by"] for found in outbox.find()] == [["mine/notes"], ["other", "mine/notes"]]
    assert documents(database, "mine/notes") == []
    assert documents(database, "third") == ["a", "b"]


def test_marking_again_changes_nothing(database, outbox, tmp_path):
    outbox.insert_one(entry("a", _id=1))
    part = part_of(tmp_path, [1])
    mark_done(database, "mine", [part])
    mark_done(database, "mine", [part])
    assert outbox.find_one({"_id": 1})["done_by"] == ["mine/notes"]


def test_an_entry_that_was_removed_meanwhile_is_not_made_again(database, outbox, tmp_path):
    mark_done(database, "mine", [part_of(tmp_path, [1])])
    assert outbox.count_documents({}) == 0


def test_many_entries_of_several_parts_and_outboxes_are_marked(database, outbox, tmp_path):
    outbox.insert_many([entry("x", _id=number) for number in range(2500)])
    others = database.create_collection("others")
    others.insert_one(entry("y", _id=1))
    parts = [
        part_of(tmp_path, range(1500)),
        part_of(tmp_path, range(1500, 2500), 1),
        part_of(tmp_path, [1], 2, "others"),
    ]
    assert mark_done(database, "mine", parts) == 2501
    assert documents(database, "mine/notes") == []
    assert others.find_one()["done_by"] == ["mine/notes"]
    others.drop()


def test_an_outbox_that_is_not_there_is_named(database):
    require_outbox(database, "notes", "outbox")
    with pytest.raises(ConfigurationError, match="Category notes: the warehouse has no outbox 'outbx'") as caught:
        require_outbox(database, "notes", "outbx")
    assert "Create that collection" in caught.value.remedy


@pytest.mark.parametrize(
    ("failure", "kind"), [(OperationFailure("no", 13), TerminalError), (AutoReconnect("gone"), TransientError)]
)
def test_a_failure_to_mark_is_told(database, tmp_path, monkeypatch, failure, kind):
    def fail(*_, **__):
        raise failure

    monkeypatch.setattr("pymongo.collection.Collection.update_many", fail)
    with pytest.raises(kind):
        mark_done(database, "mine", [part_of(tmp_path, [1])])
