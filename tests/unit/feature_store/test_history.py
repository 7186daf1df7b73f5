"""The history: versions in words, and what differs between two of them."""

import json

import lance
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store import tables
from feature_store.commit import ChangeSet, RunDescription, commit
from feature_store.errors import TerminalError
from feature_store.extended_json import to_extended_json
from feature_store.history import (
    compare_documents,
    compare_versions,
    describe_version,
    list_versions,
    message_of,
    position_in_words,
)
from feature_store.ids import document_id
from feature_store.names import add_tag
from feature_store.versions import Position, Version, now
from tests.flow import CATEGORY, Flow, note, notes_config

LETTERS = {**CATEGORY, "name": "letters", "collection": "letters"}


@pytest.fixture
def flow(tmp_path):
    return Flow(tmp_path / "data", notes_config())


def id_of(name):
    return document_id("notes", name)


def kinds(flow, before, after, limit=None):
    """Return source id to kind of what differs between two versions."""
    store = flow.store
    difference = compare_versions(store, store.version(before), store.version(after), limit)
    return {change.source_id: change.kind for change in difference.documents}


def texts_of(flow, before, after, *identifiers):
    store = flow.store
    return compare_documents(store, store.version(before), store.version(after), list(identifiers))


def version_of(counts, message=""):
    return Version(
        number=1, created_at=now(), run_id="r", store_id="s", documents_version=1, rejects_version=1,
        config_fingerprint="", counts=counts, message=message,
    )  # fmt: skip


# Words


@pytest.mark.parametrize(
    ("counts", "message", "expected"),
    [
        ({"read": 20, "added": 12, "changed": 3, "unchanged": 5}, "", "12 added, 3 changed"),
        ({"metadata_changed": 1, "deleted": 1234}, "", "1 with other metadata, 1,234 deleted"),
        ({"newly_rejected": 2, "rejected": 9, "held_back": 4}, "", "4 deletions held back, 2 rejected"),
        ({"read": 5, "unchanged": 5}, "", "no document changed"),
        ({}, "", "no document changed"),
        ({"added": 12}, "the spring crawl", "the spring crawl"),
    ],
    ids=["counts", "metadata and deletions", "only new rejects", "all unchanged", "no counts", "a message"],
)
def test_a_version_says_why_it_was_made_by_its_message_or_else_its_counts(counts, message, expected):
    assert message_of(version_of(counts, message)) == expected


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("hash", None, "hash: w.notes"),
        ("timestamp", {"field": "at", "date": now().replace(year=2026, month=1, day=2, hour=3, minute=4, second=5),
                       "start": 1, "cells": ""}, "timestamp: w.notes up to at = 2026-01-02 03:04:05+00:00"),
        ("log", {"token": {"_data": "82"}, "operation_time": None}, "log: the changes of w.notes up to a token"),
        ("outbox", {"outbox": "changes"}, "outbox: the entries of changes for w.notes"),
        ("outbox", {}, "outbox: w.notes"),
    ],
    ids=["hash", "timestamp", "log without a time", "outbox", "unknown"],
)  # fmt: skip
def test_a_position_is_told_in_words(mode, value, expected):
    spelt = None if value is None else to_extended_json(value)
    assert position_in_words(Position(mode=mode, rules="", source="w.notes", value=spelt)).startswith(expected)


def test_the_position_in_a_log_is_told_by_its_time():
    from bson import Timestamp

    value = to_extended_json({"token": {}, "operation_time": Timestamp(1_767_323_045, 1)})
    words = position_in_words(Position(mode="log", rules="", source="w.notes", value=value))
    assert words == "log: the changes of w.notes up to 2026-01-02 03:04:05 UTC"


# The list


def test_a_store_without_a_version_has_an_empty_list(flow):
    assert list_versions(flow.store.folder, flow.settings.indexes_folder) == []


def test_versions_are_listed_from_the_newest_with_their_live_documents(flow):
    flow.commit([note("a", "alpha"), note("b", "beta")])
    flow.commit([note("a", "alpha"), note("b", "beta"), note("c", "gamma")])
    flow.commit([note("c", "gamma")])
    listed = list_versions(flow.store.folder, flow.settings.indexes_folder)
    assert [(each.number, each.documents, each.message) for each in listed] == [
        (3, 1, "2 deleted"),
        (2, 3, "1 added"),
        (1, 2, "2 added"),
    ]


def test_a_rejected_document_is_none_of_the_documents(flow):
    flow.commit([note("a", "alpha"), note("b", "beta")], check=lambda shares: None)
    flow.commit([note("a", "alpha"), note("b", None)], check=lambda shares: None)
    assert [each.documents for each in list_versions(flow.store.folder, flow.settings.indexes_folder)] == [1, 2]


def test_a_version_is_described_with_all_that_belongs_to_it(tmp_path):
    flow = Flow(tmp_path / "data", notes_config(categories=[CATEGORY, LETTERS]))
    flow.commit({"notes": [[note("a", "alpha"), note("b", "alpha")]], "letters": [[note("l", "lambda")]]})
    flow.commit({"notes": [[note("a", "alpha")]], "letters": [[note("l", "lambda"), note("n", None)]]})
    store = flow.store
    add_tag(store.folder, store.version(1), "first")
    first = describe_version(store.folder, flow.settings.indexes_folder, store.version(1))
    second = describe_version(store.folder, flow.settings.indexes_folder, store.version(2))
    assert (first.documents, first.categories, first.duplicates, first.rejects) == (3, {"letters": 1, "notes": 2}, 1, 0)
    assert (first.previous, first.tags, first.run_id) == (None, ["first"], store.version(1).run_id)
    assert (second.documents, second.duplicates, second.rejects, second.previous) == (2, 0, 1, 1)
    assert second.counts == store.version(2).counts
    assert set(second.positions) == set(store.version(2).positions)
    assert [reference.kind for reference in second.references] == ["newest"]


# Differences


def test_what_was_added_changed_and_deleted_differs(flow):
    flow.commit([note("a", "alpha"), note("b", "beta"), note("c", "gamma")])
    flow.commit([note("a", "alpha"), note("b", "beta, edited"), note("d", "delta")])
    assert kinds(flow, 1, 2) == {"d": "added", "b": "changed", "c": "deleted"}


def test_the_other_way_round_what_was_added_is_deleted(flow):
    flow.commit([note("a", "alpha"), note("b", "beta"), note("c", "gamma")])
    flow.commit([note("a", "alpha"), note("b", "beta, edited"), note("d", "delta")])
    assert kinds(flow, 2, 1) == {"d": "deleted", "b": "changed", "c": "added"}


def test_a_version_does_not_differ_from_itself(flow):
    flow.commit([note("a", "alpha")])
    assert kinds(flow, 1, 1) == {}


def test_what_was_changed_and_changed_back_does_not_differ(flow):
    for body in ("alpha", "alpha, edited", "alpha"):
        flow.commit([note("a", body), note("b", "beta")])
    assert kinds(flow, 1, 3) == {}
    assert kinds(flow, 1, 2) == {"a": "changed"}


def test_what_came_and_went_in_between_does_not_differ(flow):
    flow.commit([note("a", "alpha")])
    flow.commit([note("a", "alpha"), note("b", "beta")])
    flow.commit([note("a", "alpha")])
    assert kinds(flow, 1, 3) == {}


def test_a_row_that_is_written_again_because_of_a_duplicate_does_not_differ(flow):
    flow.commit([note("a", "alpha")])
    flow.commit([note("a", "alpha"), note("b", "alpha")])
    flow.commit([note("b", "alpha")])
    assert (flow.rows(version=2)["b"]["duplicate_of"], flow.rows()["b"]["duplicate_of"]) == (id_of("a"), None)
    assert flow.rows()["b"]["changed_in"] == 3
    assert kinds(flow, 2, 3) == {"a": "deleted"}


def test_a_document_that_is_rejected_now_counts_as_deleted(flow):
    flow.commit([note("a", "alpha"), note("b", "beta")], check=lambda shares: None)
    flow.commit([note("a", "alpha"), note("b", None)], check=lambda shares: None)
    assert kinds(flow, 1, 2) == {"b": "deleted"}


def test_the_fields_that_changed_are_named(flow):
    flow.commit([note("a", "alpha", title="A", topic="x"), note("b", "beta", topic="x"), note("c", "gamma")])
    flow.commit([note("a", "alpha!", title="B", topic="x"), note("b", "beta", topic="y"), note("c", "gamma")])
    difference = compare_versions(flow.store, flow.store.version(1), flow.store.version(2))
    assert {change.source_id: change.fields for change in difference.documents} == {
        "a": ["text", "title"],
        "b": ["metadata.topic"],
    }
    assert {change.source_id: change.characters for change in difference.documents} == {"a": (5, 6), "b": (4, 4)}


def test_the_limit_bounds_what_is_listed_of_each_kind_and_not_what_is_counted(flow):
    flow.commit([note(f"old {number}", f"text {number}") for number in range(5)])
    flow.commit([note(f"new {number}", f"text {number}") for number in range(5)])
    difference = compare_versions(flow.store, flow.store.version(1), flow.store.version(2), limit=2)
    assert difference.counts == {"added": 5, "changed": 0, "deleted": 5}
    assert difference.categories == {"notes": {"added": 5, "changed": 0, "deleted": 5}}
    assert [change.source_id for change in difference.documents] == ["new 0", "new 1", "old 0", "old 1"]


def test_categories_are_counted_apart(tmp_path):
    flow = Flow(tmp_path / "data", notes_config(categories=[CATEGORY, LETTERS]))
    flow.commit({"notes": [[note("a", "alpha")]], "letters": [[note("a", "alpha")]]})
    flow.commit({"notes": [[note("a", "beta")]], "letters": [[note("a", "alpha"), note("b", "beta")]]})
    difference = compare_versions(flow.store, flow.store.version(1), flow.store.version(2))
    assert difference.categories == {
        "letters": {"added": 1, "changed": 0, "deleted": 0},
        "notes": {"added": 0, "changed": 1, "deleted": 0},
    }


# The text of a document


def test_the_text_of_a_document_is_compared_line_by_line(flow):
    flow.commit([note("a", "one\n\ntwo\n\nthree", title="A")])
    flow.commit([note("a", "one\n\n2\n\nthree", title="B")])
    (change,) = texts_of(flow, 1, 2, id_of("a"))
    assert change.text == ["--- a at version 1", "+++ a at version 2", "@@ -1,5 +1,5 @@", " one", " ", "-two", "+2",
                           " ", " three"]  # fmt: skip
    assert {name: (each.before, each.after) for name, each in change.values.items()} == {"title": ("A", "B")}


def test_a_document_may_be_named_by_the_id_of_its_source(flow):
    flow.commit([note("a", "one"), note("b", "two")])
    flow.commit([note("a", "1"), note("b", "2")])
    assert [change.document_id for change in texts_of(flow, 1, 2, "b", id_of("b"))] == [id_of("b")]


def test_all_of_a_new_document_is_added_text(flow):
    flow.commit([note("a", "one")])
    flow.commit([note("a", "one"), note("b", "two", topic="x")])
    (change,) = texts_of(flow, 1, 2, "b")
    assert (change.kind, change.text[3:]) == ("added", ["+two"])
    assert json.loads(change.values["metadata.topic"].after) == "x"
    (back,) = texts_of(flow, 2, 1, "b")
    assert (back.kind, back.text[3:]) == ("deleted", ["-two"])


def test_an_equal_document_gives_nothing(flow):
    flow.commit([note("a", "one"), note("b", "two")])
    flow.commit([note("a", "one"), note("b", "2")])
    assert texts_of(flow, 1, 2, "a") == []


def test_a_document_that_neither_version_has_is_named(flow):
    flow.commit([note("a", "one")])
    flow.commit([note("a", "1")])
    with pytest.raises(TerminalError, match=r"Neither version 1 nor version 2 has a document x, it's\. Give the id"):
        texts_of(flow, 1, 2, "a", "x", "it's")


# Any history

bodies = st.sampled_from(["one", "two", "three", None])
states = st.lists(st.dictionaries(st.sampled_from("abcdef"), bodies, max_size=5), min_size=2, max_size=5)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=states, data=st.data())
def test_a_difference_is_that_of_the_live_documents_for_any_two_versions(tmp_path_factory, history, data):
    flow = Flow(tmp_path_factory.mktemp("data"), notes_config(deletions={"max_documents": 1000}))
    for state in history:
        flow.commit([note(name, body) for name, body in state.items()], check=lambda shares: None)
    newest = flow.store.newest().number
    before, after = (data.draw(st.integers(1, newest)) for _ in range(2))
    old, new = flow.texts(before), flow.texts(after)
    expected = dict.fromkeys(new.keys() - old.keys(), "added")
    expected |= dict.fromkeys(old.keys() - new.keys(), "deleted")
    expected |= {name: "changed" for name in old.keys() & new.keys() if old[name] != new[name]}
    assert kinds(flow, before, after) == expected


def test_a_commit_without_a_change_makes_no_version_to_list(flow):
    flow.commit([note("a", "alpha")])
    commit(flow.store, ChangeSet(), RunDescription("idle", "f"))
    assert len(list_versions(flow.store.folder, flow.settings.indexes_folder)) == 1


def test_a_version_whose_table_was_lost_is_named_with_a_remedy(flow):
    for number in range(3):
        flow.commit([note("a", f"alpha {number}")])
    table = lance.dataset(str(flow.store.documents_path))
    table.tags.delete("v1")
    tables.forget_old_versions(table)
    with pytest.raises(TerminalError, match=r"documents\.lance cannot be opened at version .* Restore the data folder"):
        list_versions(flow.store.folder, flow.settings.indexes_folder)
