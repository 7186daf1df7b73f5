"""A document on the list is known by its id alone, whatever the source has of it."""

import json

import pytest
from bson import ObjectId

from feature_store import schema
from feature_store.ids import document_id
from feature_store.parts import list_parts, read_part
from feature_store.suppression import read_suppressed, suppress, suppression_path
from tests.flow import Flow, note, notes_config


@pytest.fixture
def flow(tmp_path):
    return Flow(tmp_path / "data", notes_config(cleaning={"max_rejected_share": 0.2, "rejected_share_minimum": 1}))


def id_of(name):
    return document_id("notes", name)


def test_the_list_keeps_when_a_document_came(tmp_path):
    assert read_suppressed(tmp_path) == frozenset()
    suppress(tmp_path, ["one"])
    first = json.loads(suppression_path(tmp_path).read_text())
    suppress(tmp_path, ["one", "two"])
    assert read_suppressed(tmp_path) == {"one", "two"}
    assert json.loads(suppression_path(tmp_path).read_text())["one"] == first["one"]


def test_nothing_of_a_suppressed_document_gets_into_a_part(flow):
    suppress(flow.store.folder, [id_of("a")])
    raw = flow.extract([note("a", "the MARKER text", title="MARKER"), note("b", "beta")])
    (part,) = list_parts(raw.folder, "raw")
    rows = {row["document_id"]: row for row in read_part(part).to_pylist()}
    assert rows[id_of("a")] == {
        "document_id": id_of("a"),
        "category": "notes",
        "source_id": "(forgotten)",
        "source_hash": "forgotten",
        "fields": "{}",
        "problem": None,
        "forgotten": True,
    }
    assert not rows[id_of("b")]["forgotten"]
    assert read_part(part).schema.equals(schema.RAW)


def test_it_becomes_a_reject_that_says_nothing_and_is_settled_with_that(flow):
    suppress(flow.store.folder, [id_of("a")])
    documents = [note("b", "beta")]
    raw, cleaned = flow.commit([note("a", "alpha"), *documents])
    assert (raw.categories["notes"].added, cleaned.categories["notes"].newly_rejected) == (2, 1)
    assert set(flow.live()) == {"b"}
    (reject,) = flow.rejects().values()
    assert (reject["reason"], reject["detail"], reject["excerpt"]) == ("forgotten", "", "")
    raw, cleaned = flow.commit([note("a", "alpha, edited", title="new"), *documents])
    assert (raw.categories["notes"].rejected, raw.categories["notes"].changed) == (1, 0)
    assert cleaned.version == 1
    raw, _ = flow.commit(documents)
    assert raw.categories["notes"].deleted == 1
    assert flow.rejects() == {}


def test_other_rules_do_not_make_it_another_one(flow):
    suppress(flow.store.folder, [id_of("a")])
    flow.commit([note("a", "alpha"), note("b", "beta")])
    changed = {**notes_config().cleaning.model_dump(), "min_characters": 3}
    flow.config = notes_config(cleaning=changed)
    raw = flow.extract([note("a", "alpha"), note("b", "beta")])
    assert (raw.categories["notes"].changed, raw.categories["notes"].rejected) == (1, 1)


def test_a_document_taken_off_the_list_comes_back(flow):
    suppress(flow.store.folder, [id_of("a")])
    flow.commit([note("a", "alpha"), note("b", "beta")])
    suppression_path(flow.store.folder).unlink()
    flow.commit([note("a", "alpha"), note("b", "beta")])
    assert flow.texts() == {"a": "alpha", "b": "beta"}
    assert flow.rejects() == {}


def test_ids_of_every_type_are_kept_out(flow):
    identifiers = [7, ObjectId(b"twelve bytes"), {"not": "supported"}]
    names = ["int:7", f"ObjectId:{identifiers[1]}", 'unsupported:{"_id": {"not": "supported"}}']
    suppress(flow.store.folder, [id_of(name) for name in names])
    flow.commit([*(note(identifier, "MARKER") for identifier in identifiers), note("b", "beta")])
    newest = flow.store.newest()
    rows = flow.store.rejects(newest).to_table().to_pylist()
    assert {(row["document_id"], row["source_id"], row["reason"]) for row in rows} == {
        (id_of(name), "(forgotten)", "forgotten") for name in names
    }


def test_the_limit_of_rejects_does_not_count_it(flow):
    suppress(flow.store.folder, [id_of(name) for name in "abc"])
    documents = [*(note(name, "text") for name in "abcd")]
    _, cleaned = flow.commit(documents)
    assert cleaned.categories["notes"].rejected == 3
    with pytest.raises(Exception, match="max_rejected_share"):
        flow.commit([*documents, note("e", None)])  # one of two that count
