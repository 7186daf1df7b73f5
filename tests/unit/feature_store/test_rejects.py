"""Rejects as a dataset: counted, listed, and compared between two versions."""

import pytest

from feature_store.config import RunOptions
from feature_store.errors import ConfigurationError
from feature_store.rejects import compare_rejects, count_rejects, list_rejects, rejects
from tests.flow import CATEGORY, Flow, note, notes_config


@pytest.fixture
def flow(tmp_path):
    dated = {**CATEGORY, "published_at": "at"}
    letters = {**CATEGORY, "name": "letters", "collection": "letters"}
    made = Flow(tmp_path / "data", notes_config(categories=[dated, letters]))
    options = RunOptions(approved_deletions={"notes": 1_000_000})
    made.config = made.config.model_copy(update={"options": options})
    return made


def commit(flow, notes, letters=()):
    flow.commit({"notes": [list(notes)], "letters": [list(letters)]}, check=lambda shares: None)


def at(flow, number=None, **selected):
    version = flow.store.version(number) if number else flow.store.newest()
    return rejects(flow.store, version, **selected)


def names(rows):
    return [row.source_id for row in rows]


def changes(flow, since, version, **selected):
    compared = compare_rejects(at(flow, since, **selected), at(flow, version, **selected))
    return {item.source_id: (item.change, item.reason_before, item.reason) for item in compared}


def test_rejects_are_counted_by_reason_and_category(flow):
    commit(flow, [note("a", None), note("b", None), note("c", "  "), note("d", "fine")], [note("x", None)])
    assert count_rejects(at(flow)) == {
        ("missing_text", "notes"): 2,
        ("empty", "notes"): 1,
        ("missing_text", "letters"): 1,
    }
    assert at(flow).count() == 4


def test_rejects_can_be_asked_for_by_reason_and_category(flow):
    commit(flow, [note("a", None), note("c", "  ")], [note("x", None)])
    assert names(list_rejects(at(flow, reasons=["missing_text"]), 10)) == ["x", "a"]
    assert names(list_rejects(at(flow, reasons=["missing_text"], categories=["notes"]), 10)) == ["a"]
    assert names(list_rejects(at(flow, reasons=["missing_text", "empty"], categories=["notes"]), 10)) == ["a", "c"]
    assert at(flow, reasons=["it's none"]).count() == 0


def test_rejects_are_read_as_arrow_at_their_version(flow):
    commit(flow, [note("a", None)])
    commit(flow, [note("a", None), note("b", None)])
    assert at(flow, 1).to_arrow(["source_id"]).to_pydict() == {"source_id": ["a"]}
    read = [name for batch in at(flow).batches() for name in batch.column("source_id").to_pylist()]
    assert sorted(read) == ["a", "b"]


def test_a_reject_tells_its_document_and_who_rejected_it_when(flow):
    commit(flow, [note("c", "fine")])
    commit(flow, [note("c", "fine"), note("a", "text", at="not a date")])
    (row,) = list_rejects(at(flow), 10)
    version = flow.store.version(2)
    assert (row.category, row.source_id, row.reason) == ("notes", "a", "undecodable_date")
    assert "at is no date" in row.detail
    assert row.excerpt == "not a date"
    assert (row.rejected_in, row.rejected_by, row.rejected_at) == (2, version.run_id, version.created_at)


def test_the_newest_rejects_come_first_and_no_more_than_asked_for(flow):
    commit(flow, [note("a", None), note("b", None)])
    commit(flow, [note("a", None), note("b", None), note("c", None)])
    assert names(list_rejects(at(flow), 10)) == ["c", "a", "b"]
    assert names(list_rejects(at(flow), 2)) == ["c", "a"]


def test_a_reject_of_a_pruned_version_still_tells_its_number(flow):
    commit(flow, [note("a", None)])
    commit(flow, [note("a", None), note("b", "fine")])
    (flow.store.folder / "versions" / "00000001.json").unlink()
    (row,) = list_rejects(at(flow), 10)
    assert (row.rejected_in, row.rejected_by, row.rejected_at) == (1, None, None)


def test_between_two_versions_rejects_appear_are_resolved_or_get_another_reason(flow):
    commit(
        flow,
        [note("same", None), note("cleaned", None), note("gone", None), note("other", None), note("live", "x")],
        [note("letter", None)],
    )
    commit(
        flow,
        [note("same", None), note("cleaned", "good"), note("other", " "), note("live", None)],
        [note("letter", "x")],
    )
    assert changes(flow, 1, 2) == {
        "live": ("newly rejected", None, "missing_text"),
        "cleaned": ("cleaned", "missing_text", "missing_text"),
        "letter": ("cleaned", "missing_text", "missing_text"),
        "gone": ("gone", "missing_text", "missing_text"),
        "other": ("rejected for another reason", "missing_text", "empty"),
    }


def test_a_difference_can_be_asked_for_by_category_and_by_either_reason(flow):
    commit(flow, [note("cleaned", None), note("other", None)], [note("letter", None)])
    commit(flow, [note("cleaned", "good"), note("other", " ")], [note("letter", "x")])
    assert set(changes(flow, 1, 2, categories=["letters"])) == {"letter"}
    other = ("rejected for another reason", "missing_text", "empty")
    assert changes(flow, 1, 2, reasons=["empty"]) == {"other": other}
    assert changes(flow, 1, 2, reasons=["missing_text"])["other"] == other
    assert set(changes(flow, 1, 2, reasons=["missing_text"])) == {"cleaned", "other", "letter"}


def test_versions_with_the_same_rejects_have_no_difference(flow):
    commit(flow, [note("a", None)])
    commit(flow, [note("a", None), note("b", "fine")])
    assert changes(flow, 1, 2) == {}


@pytest.mark.parametrize("since", [1, 2], ids=str)
def test_only_an_older_version_can_be_compared_with(flow, since):
    commit(flow, [note("a", None)])
    commit(flow, [note("b", None)])
    with pytest.raises(ConfigurationError, match="is not older than version 1"):
        changes(flow, since, 1)
