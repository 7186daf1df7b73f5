"""Commits: what a version shows, what the next one finds, and what a run that died leaves behind."""

import json
import shutil
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import lance
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store import schema, tables
from feature_store.commit import ChangeSet, RunDescription, _merged, commit
from feature_store.config import CleaningConfig
from feature_store.errors import TerminalError, TooManyRejectsError
from feature_store.ids import document_id
from feature_store.parts import list_parts, write_part
from feature_store.store import open_feature_store
from steps.clean.apply import refuse_too_many_rejects
from tests.flow import CATEGORY, Flow, note, notes_config


@pytest.fixture
def flow(tmp_path):
    return Flow(tmp_path / "data", notes_config())


def id_of(name):
    return document_id("notes", name)


def changed_since(flow, since, version=None):
    """Return source id to state of what changed after ``since``."""
    at = flow.store.version(version) if version else flow.store.newest()
    batches = flow.store.changes(since, at, ["notes"], ["source_id", "state"])
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert flow.store.count_changes(since, at, ["notes"]) == len(rows)
    return {row["source_id"]: row["state"] for row in rows}


def content_of(flow):
    """Return everything that the newest version shows."""
    newest = flow.store.newest()
    return newest, flow.rows(), flow.rejects()


def test_an_empty_store_knows_nothing(flow):
    assert flow.store.newest() is None
    assert flow.store.known([id_of("a")]) == {}
    assert list(flow.store.document_ids("notes")) == []
    assert not flow.settings.feature_store_folder.exists()


def test_added_documents_are_live_in_the_first_version(flow):
    _, cleaned = flow.commit([note("a", "alpha", title="A", topic="x"), note("b", "beta")])
    assert (cleaned.version, cleaned.previous_version) == (1, None)
    assert flow.texts() == {"a": "alpha", "b": "beta"}
    row = flow.rows()["a"]
    assert (row["document_id"], row["title"], json.loads(row["metadata"])) == (id_of("a"), "A", {"topic": "x"})
    assert (row["characters"], row["added_in"], row["changed_in"]) == (5, 1, 1)


def test_the_first_commit_publishes_a_version_even_of_nothing(flow):
    _, cleaned = flow.commit([])
    assert cleaned.version == 1
    assert flow.rows() == {}


def test_a_changed_document_keeps_when_it_was_added_and_tells_when_it_changed(flow):
    flow.commit([note("a", "alpha"), note("b", "beta")])
    flow.commit([note("a", "alpha, edited"), note("b", "beta")])
    rows = flow.rows()
    assert (rows["a"]["added_in"], rows["a"]["changed_in"]) == (1, 2)
    assert (rows["b"]["added_in"], rows["b"]["changed_in"]) == (1, 1)
    assert changed_since(flow, 1) == {"a": "live"}


def test_changed_metadata_is_a_change_too(flow):
    flow.commit([note("a", "alpha", topic="x")])
    _, cleaned = flow.commit([note("a", "alpha", topic="y")])
    assert cleaned.categories["notes"].metadata_changed == 1
    assert changed_since(flow, 1) == {"a": "live"}


def test_a_change_that_cleaning_takes_away_makes_nobody_follow(flow):
    flow.commit([note("a", "alpha")])
    _, cleaned = flow.commit([note("a", "alpha   \n\n")])
    assert cleaned.version == 2
    assert cleaned.categories["notes"].unchanged == 1
    assert changed_since(flow, 1) == {}
    assert flow.extract([note("a", "alpha   \n\n")]).categories["notes"].unchanged == 1


def test_a_deleted_document_becomes_a_tombstone_without_text(flow):
    flow.commit([note("a", "alpha", title="A"), note("b", "beta")])
    flow.commit([note("b", "beta")])
    row = flow.rows()["a"]
    assert (row["state"], row["text"], row["title"], row["text_hash"], row["characters"]) == (
        "deleted",
        None,
        None,
        None,
        0,
    )
    assert (row["added_in"], row["changed_in"]) == (1, 2)
    assert flow.texts() == {"b": "beta"}
    assert changed_since(flow, 1) == {"a": "deleted"}


def test_a_deleted_document_is_deleted_only_once(flow):
    flow.commit([note("a", "alpha"), note("b", "beta")])
    flow.commit([note("b", "beta")])
    _, cleaned = flow.commit([note("b", "beta")])
    assert cleaned.version == 2
    assert cleaned.categories["notes"].deleted == 0


def test_a_document_that_comes_back_is_added_anew(flow):
    flow.commit([note("a", "alpha"), note("b", "beta")])
    flow.commit([note("b", "beta")])
    _, cleaned = flow.commit([note("a", "alpha"), note("b", "beta")])
    assert cleaned.categories["notes"].added == 1
    assert (flow.rows()["a"]["added_in"], flow.rows()["a"]["changed_in"]) == (3, 3)
    assert flow.texts() == {"a": "alpha", "b": "beta"}


def test_an_older_version_shows_what_it_showed(flow):
    flow.commit([note("a", "alpha"), note("b", "beta")])
    flow.commit([note("a", "edited")])
    flow.commit([note("c", "gamma")])
    assert [flow.texts(version) for version in (1, 2, 3)] == [
        {"a": "alpha", "b": "beta"},
        {"a": "edited"},
        {"c": "gamma"},
    ]
    assert changed_since(flow, 1, version=2) == {"a": "live", "b": "deleted"}
    assert changed_since(flow, 0, version=1) == {"a": "live", "b": "live"}


def test_changes_are_those_of_the_categories_asked_for(tmp_path):
    second = {"name": "posts", "collection": "posts", "text": "body"}
    first = {"name": "notes", "collection": "notes", "text": "body"}
    flow = Flow(tmp_path, notes_config(categories=[first, second]))
    flow.commit({"notes": [[note("a", "alpha")]], "posts": [[note("a", "alpha"), note("p", "pi")]]})
    at = flow.store.newest()
    assert [flow.store.count_changes(0, at, names) for names in (["notes"], ["posts"], ["notes", "posts"])] == [1, 2, 3]
    assert sorted(len(ids) for ids in flow.store.document_ids("posts")) == [2]


def test_an_empty_change_set_publishes_nothing(flow):
    flow.commit([note("a", "alpha")])
    before = content_of(flow)
    _, cleaned = flow.commit([note("a", "alpha")])
    assert (cleaned.version, cleaned.previous_version) == (1, 1)
    assert content_of(flow) == before


def test_a_version_remembers_the_run_that_made_it(flow):
    flow.commit([note("a", "alpha")])
    run = RunDescription("run-7", "abcdef", {"added": 1})
    part = list_parts(flow.settings.runs_folder / "0" / "clean", "documents")
    version = commit(flow.store, ChangeSet(documents=part), run)
    assert (version.run_id, version.config_fingerprint, version.counts) == ("run-7", "abcdef", {"added": 1})
    assert version == flow.store.newest()
    assert version.store_id == flow.store.version(1).store_id


# Rejects


def test_a_rejected_document_is_kept_beside_the_documents_with_its_reason(flow):
    flow.commit([note("a", "alpha"), note("bad", None)])
    reject = flow.rejects()["bad"]
    assert (reject["reason"], reject["rejected_in"]) == ("missing_text", 1)
    assert "body" in reject["detail"]
    assert flow.texts() == {"a": "alpha"}
    assert "bad" not in flow.rows()
    known = flow.store.known([id_of("a"), id_of("bad"), id_of("none")])
    assert {name: item.state for name, item in known.items()} == {id_of("a"): "live", id_of("bad"): "rejected"}


def test_a_rejected_document_that_stays_as_it_is_makes_no_new_version(flow):
    flow.commit([note("a", "alpha"), note("bad", None)])
    _, cleaned = flow.commit([note("a", "alpha"), note("bad", None)])
    assert cleaned.version == 1
    assert (cleaned.categories["notes"].rejected, cleaned.categories["notes"].newly_rejected) == (1, 0)


def test_another_reason_replaces_the_reject(flow):
    flow.commit([note("a", "alpha"), note("bad", None)])
    flow.commit([note("a", "alpha"), note("bad", b"bytes")])
    assert [(name, row["reason"], row["rejected_in"]) for name, row in flow.rejects().items()] == [
        ("bad", "not_text", 2)
    ]


def test_a_reject_goes_when_the_document_becomes_good(flow):
    flow.commit([note("a", "alpha"), note("bad", None)])
    flow.commit([note("a", "alpha"), note("bad", "good now")])
    assert flow.rejects() == {}
    assert flow.texts() == {"a": "alpha", "bad": "good now"}
    assert flow.rows()["bad"]["added_in"] == 2


def test_a_reject_goes_when_the_document_vanishes(flow):
    flow.commit([note("a", "alpha"), note("bad", None)])
    _, cleaned = flow.commit([note("a", "alpha")])
    assert cleaned.categories["notes"].deleted == 1
    assert flow.rejects() == {}
    assert changed_since(flow, 1) == {}


def test_a_live_document_that_turns_bad_leaves_a_tombstone_and_a_reject(flow):
    flow.commit([note("a", "alpha"), note("b", "beta")])
    flow.commit([note("a", None), note("b", "beta")])
    assert flow.rejects()["a"]["reason"] == "missing_text"
    assert changed_since(flow, 1) == {"a": "deleted"}
    assert flow.texts() == {"b": "beta"}
    assert flow.texts(version=1) == {"a": "alpha", "b": "beta"}


def test_a_document_that_was_bad_in_between_is_live_again(flow):
    for body in ("alpha", None, "alpha"):
        flow.commit([note("a", body), note("b", "beta")])
    assert flow.texts() == {"a": "alpha", "b": "beta"}
    assert flow.rejects() == {}
    assert flow.rows()["a"]["changed_in"] == 3


@pytest.mark.parametrize(
    ("shares", "share", "minimum", "named"),
    [
        ({"notes": (8, 2)}, 0.2, 0, []),
        ({"notes": (7, 3)}, 0.2, 0, ["notes: 3 of 10 (30%)"]),
        ({"notes": (7, 3)}, 0.2, 4, []),
        ({"notes": (7, 3)}, 0.2, 3, ["notes: 3 of 10 (30%)"]),
        ({"notes": (0, 1)}, 0.99, 0, ["notes: 1 of 1 (100%)"]),
        ({"notes": (0, 5)}, 1.0, 0, []),
        ({"notes": (5, 0)}, 0.0, 0, []),
        ({"notes": (0, 9), "posts": (99, 1), "mails": (1, 9)}, 0.5, 0, ["notes: 9 of 9", "mails: 9 of 10 (90%)"]),
    ],
)
def test_too_many_rejects_are_refused_by_share_from_a_minimum_on(shares, share, minimum, named):
    cleaning = CleaningConfig(max_rejected_share=share, rejected_share_minimum=minimum)
    if not named:
        refuse_too_many_rejects(shares, cleaning)
        return
    with pytest.raises(TooManyRejectsError) as caught:
        refuse_too_many_rejects(shares, cleaning)
    assert caught.value.exit_code == 5
    assert all(part in str(caught.value) for part in named)
    assert "posts" not in str(caught.value)


def test_too_many_rejects_commit_nothing(flow):
    flow.commit([note(name, "text " + name) for name in "abcd"])
    before = content_of(flow)
    check = partial(refuse_too_many_rejects, cleaning=CleaningConfig(rejected_share_minimum=1, max_rejected_share=0.3))
    with pytest.raises(TooManyRejectsError, match="notes: 2 of 4"):
        flow.commit([note("a", None), note("b", None), note("c", "text c"), note("d", "edited")], check)
    assert content_of(flow) == before


# Duplicates


def duplicates(flow):
    return {name: row["duplicate_of"] for name, row in flow.live().items() if row["duplicate_of"]}


def test_exact_duplicates_point_to_the_first_document(flow):
    flow.commit([note("z", "same"), note("other", "alpha")])
    flow.commit([note("z", "same"), note("a", "same"), note("b", "same"), note("other", "alpha")])
    assert duplicates(flow) == {"a": id_of("z"), "b": id_of("z")}


def test_of_duplicates_added_together_the_smallest_id_is_the_first(flow):
    flow.commit([note(name, "same") for name in "abcde"])
    first = min("abcde", key=id_of)
    assert duplicates(flow) == {name: id_of(first) for name in "abcde" if name != first}


@pytest.mark.parametrize("ending", ["edited", None, "gone"])
def test_duplicates_point_to_another_one_when_the_first_leaves(flow, ending):
    flow.commit([note("z", "same"), note("other", "alpha")])
    flow.commit([note("z", "same"), note("a", "same"), note("other", "alpha")])
    flow.commit([note("z", "same"), note("a", "same"), note("b", "same"), note("other", "alpha")])
    rest = [note("a", "same"), note("b", "same"), note("other", "alpha")]
    flow.commit(rest if ending == "gone" else [note("z", ending), *rest])
    assert duplicates(flow) == {"b": id_of("a")}
    rows = flow.rows()
    assert (rows["a"]["changed_in"], rows["b"]["changed_in"], rows["other"]["changed_in"]) == (4, 4, 1)


def test_a_duplicate_that_is_edited_is_none_any_more(flow):
    flow.commit([note("z", "same")])
    flow.commit([note("z", "same"), note("a", "same")])
    flow.commit([note("z", "same"), note("a", "different")])
    assert duplicates(flow) == {}
    assert flow.rows()["z"]["changed_in"] == 1


def test_a_document_moves_from_one_group_of_duplicates_to_another(flow):
    flow.commit([note("x", "one"), note("y", "two")])
    flow.commit([note("x", "one"), note("y", "two"), note("a", "one")])
    flow.commit([note("x", "one"), note("y", "two"), note("a", "two")])
    assert duplicates(flow) == {"a": id_of("y")}


def test_duplicates_are_found_over_more_texts_than_one_look_up_takes(flow, monkeypatch):
    monkeypatch.setattr(tables, "LOOKUP_BATCH", 3)
    names = [f"{number:02d}" for number in range(20)]
    flow.commit([note(name, f"text {int(name) % 10}") for name in names])
    assert len(duplicates(flow)) == 10
    flow.commit([note(name, f"text {int(name) % 10}") for name in names[:15]])
    assert len(duplicates(flow)) == 5


# Crashes


class DiedError(Exception):
    """Stands for the death of the process."""


def die(shares):
    raise DiedError


EDITED = [note("a", "edited"), note("c", "alpha"), note("bad", None)]


@pytest.mark.parametrize("times", [1, 3])
def test_a_crash_before_publishing_leaves_the_newest_version_and_the_next_commit_succeeds(flow, times):
    flow.commit([note("a", "alpha"), note("b", "beta"), note("poor", None)])
    before = content_of(flow)
    for _ in range(times):
        with pytest.raises(DiedError):
            flow.commit(EDITED, die)
        assert content_of(flow) == before
        assert changed_since(flow, 1) == {}
    _, cleaned = flow.commit(EDITED)
    assert cleaned.version == 2
    assert flow.texts() == {"a": "edited", "c": "alpha"}
    assert set(flow.rejects()) == {"bad"}
    assert flow.texts(version=1) == {"a": "alpha", "b": "beta"}


def test_rows_of_a_dead_run_do_not_reach_a_later_version(flow):
    flow.commit([note("a", "alpha"), note("b", "beta")])
    before = content_of(flow)
    table = lance.dataset(str(flow.store.documents_path))
    stray = {**flow.rows()["a"], "document_id": id_of("stray"), "source_id": "stray", "changed_in": 2}
    tables.upsert(table, "document_id", pa.Table.from_pylist([stray], schema=schema.DOCUMENTS))
    lance.dataset(str(flow.store.documents_path)).delete(f"document_id = '{id_of('b')}'")
    reject = dict.fromkeys(schema.REJECTS.names, "x") | {"rejected_in": 2}
    rejects = lance.dataset(str(flow.store.rejects_path))
    tables.upsert(rejects, "document_id", pa.Table.from_pylist([reject], schema=schema.REJECTS))
    assert content_of(flow) == before
    flow.commit([note("a", "alpha"), note("b", "beta"), note("c", "gamma")])
    assert flow.texts() == {"a": "alpha", "b": "beta", "c": "gamma"}
    assert flow.rejects() == {}
    assert changed_since(flow, 1) == {"c": "live"}


@pytest.mark.parametrize("times", [1, 2])
def test_a_crash_of_the_first_commit_leaves_an_empty_store_and_the_next_one_succeeds(flow, times):
    for _ in range(times):
        with pytest.raises(DiedError):
            flow.commit([note("a", "alpha"), note("gone", "gone"), note("bad", None)], die)
        assert flow.store.newest() is None
        assert flow.store.known([id_of("a")]) == {}
    _, cleaned = flow.commit([note("a", "alpha"), note("b", "beta")])
    assert cleaned.version == 1
    assert flow.texts() == {"a": "alpha", "b": "beta"}
    assert flow.rejects() == {}


def test_two_stores_have_different_ids(tmp_path):
    stores = [Flow(tmp_path / name, notes_config()) for name in ("one", "two")]
    for flow in stores:
        flow.commit([note("a", "alpha")])
    assert len({flow.store.newest().store_id for flow in stores}) == 2


def test_a_lost_table_is_named_with_a_remedy(flow):
    flow.commit([note("a", "alpha")])
    shutil.rmtree(flow.store.documents_path)
    with pytest.raises(TerminalError, match=r"documents\.lance cannot be opened at version .* Restore the data folder"):
        flow.store.documents(flow.store.newest())


def test_many_small_commits_are_compacted_and_keep_their_content(flow, monkeypatch):
    monkeypatch.setattr(tables, "FRAGMENTS_BEFORE_COMPACTION", 4)
    for number in range(1, 8):
        flow.commit([note(f"{name:02d}", f"text {name}") for name in range(number)])
    assert len(lance.dataset(str(flow.store.documents_path)).get_fragments()) < 4
    assert len(flow.texts()) == 7
    assert [len(flow.texts(version)) for version in range(1, 8)] == list(range(1, 8))


# Any history

bodies = st.sampled_from(["one", "two", "three", "four", None, b"bytes"])
steps = st.dictionaries(st.sampled_from("abcdef"), bodies | st.just("(delete)"), min_size=1, max_size=5)
histories = st.lists(st.tuples(steps, st.booleans()), min_size=1, max_size=7)


def apply(source, step):
    for name, body in step.items():
        if body == "(delete)":
            source.pop(name, None)
        else:
            source[name] = body


def groups_of(texts):
    groups = {}
    for name, text in texts.items():
        groups.setdefault(text, set()).add(name)
    return groups


def check_duplicates(flow):
    live = flow.live()
    for group in groups_of(flow.texts()).values():
        first = min(group, key=lambda name: (live[name]["added_in"], id_of(name)))
        assert {name: live[name]["duplicate_of"] for name in group} == {
            name: None if name == first else id_of(first) for name in group
        }


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories)
def test_after_any_history_the_store_is_the_source_and_its_changes_lead_there_from_any_version(history):
    with tempfile.TemporaryDirectory() as folder:
        flow = Flow(Path(folder), notes_config())
        source, expected = {"stays": "stays"}, {}
        for step, dies_first in [({}, False), *history]:
            apply(source, step)
            documents = [note(name, body) for name, body in source.items()]
            if dies_first:
                with suppress(DiedError):
                    flow.commit(documents, die)
            _, cleaned = flow.commit(documents)
            good = {name: body for name, body in source.items() if isinstance(body, str)}
            expected[cleaned.version] = good
            assert flow.texts() == good
            assert set(flow.rejects()) == set(source) - set(good)
            check_duplicates(flow)
            counts = cleaned.categories["notes"]
            assert counts.read == len(source) == len(good) + counts.rejected
        newest = flow.store.newest()
        for version, texts in expected.items():
            assert flow.texts(version) == texts
            replayed = dict(texts)
            for batch in flow.store.changes(version, newest, ["notes"], ["source_id", "state", "text"]):
                for row in batch.to_pylist():
                    if row["state"] == "live":
                        replayed[row["source_id"]] = row["text"]
                    else:
                        replayed.pop(row["source_id"], None)
            assert replayed == expected[newest.number]


def test_the_store_can_be_opened_by_its_folder_alone(flow):
    flow.commit([note("a", "alpha")])
    assert open_feature_store(flow.store.folder).newest() == flow.store.newest()


def test_rejects_of_a_category_that_is_no_longer_configured_do_not_stop_a_run(tmp_path):
    old = {**CATEGORY, "name": "old", "collection": "old"}
    lenient = {"max_rejected_share": 1.0, "rejected_share_minimum": 1}
    flow = Flow(tmp_path, notes_config(categories=[CATEGORY, old], cleaning=lenient))
    flow.commit({"notes": [[note("a", "alpha")]], "old": [[note("x", None)]]})
    flow.config = notes_config(cleaning={**lenient, "max_rejected_share": 0.1})
    _, cleaned = flow.commit([note("a", "alpha"), note("b", "beta")])
    assert cleaned.version == 2


def test_large_documents_come_one_by_one_and_last(flow, monkeypatch):
    monkeypatch.setattr("feature_store.store._LARGE_CHARACTERS", 100)
    bodies = {"a": "a" * 90, "b": "b" * 500, "c": "c" * 80, "d": "d" * 600}
    flow.commit([note(name, body) for name, body in bodies.items()])
    batches = list(flow.store.changes(0, flow.store.newest(), ["notes"], ["source_id", "text"]))
    assert sorted(batches[0].column("source_id").to_pylist()) == ["a", "c"]
    assert [batch.num_rows for batch in batches[1:]] == [1, 1]
    assert {row["source_id"]: row["text"] for batch in batches for row in batch.to_pylist()} == bodies
    assert changed_since(flow, 0) == dict.fromkeys(bodies, "live")


def test_parts_are_merged_together_up_to_a_size_and_no_document_twice_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("feature_store.commit._ROWS_PER_MERGE", 4)
    named = [["a", "b"], ["c"], ["d", "e"], ["f"], ["f"], ["g"]]
    parts = [
        write_part(tmp_path, "documents", number, pa.table({"document_id": names}))
        for number, names in enumerate(named)
    ]
    merged = [rows.column("document_id").to_pylist() for rows in _merged(parts)]
    assert merged == [["a", "b", "c", "d", "e"], ["f"], ["f", "g"]]
    monkeypatch.setattr("feature_store.commit._BYTES_PER_MERGE", 1)
    assert [rows.num_rows for rows in _merged(parts)] == [2, 1, 2, 1, 1, 1]


def test_what_was_opened_for_look_ups_does_not_see_a_later_version(flow):
    flow.commit([note("a", "alpha")])
    knowledge = flow.store.knowledge()
    flow.commit([note("a", "alpha"), note("b", "beta")])
    assert set(knowledge.of([id_of("a"), id_of("b")])) == {id_of("a")}
    assert set(flow.store.known([id_of("a"), id_of("b")])) == {id_of("a"), id_of("b")}
