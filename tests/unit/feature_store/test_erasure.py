"""The history without some documents: every version is what it was, less their rows, and nothing else moves."""

import json
import tempfile
from pathlib import Path

import lance
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store.erasure import adopt, count_rows_of, remove_leftovers, rewrite_history
from feature_store.errors import TerminalError
from feature_store.ids import document_id
from feature_store.journal import (
    ErasedDocument,
    Erasure,
    finish_erasure,
    read_erasure,
    require_no_erasure,
    save_erasure,
)
from feature_store.retention import remove_unpublished
from feature_store.store import table_path
from feature_store.versions import now, version_numbers
from tests.faults.faults import Fault, armed, before_every_durable_step
from tests.flow import Flow, note, notes_config

NAMES = ["a", "b", "c", "d", "e"]
BODIES = ["alpha text", "beta text", "gamma text", None]  # None is rejected

states = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(BODIES), max_size=5)
histories = st.lists(states, min_size=1, max_size=5)


class DiedError(Exception):
    """Stands for the death of the process."""


def id_of(name):
    return document_id("notes", name)


@pytest.fixture
def flow(tmp_path):
    return Flow(tmp_path / "data", notes_config(cleaning={"max_rejected_share": 1.0}))


def commit_all(flow, history):
    for number, bodies in enumerate(history):
        # The anchor changes with every version, so that each is one, and the source is never empty.
        documents = [
            note("anchor", f"anchor of version {number}"),
            *(note(name, body) for name, body in bodies.items()),
        ]
        flow.commit(documents)


def content(flow):
    """Return the rows of documents and rejects of every version, by id."""
    found = {}
    for number in version_numbers(flow.store.folder):
        version = flow.store.version(number)
        tables = flow.store.documents(version), flow.store.rejects(version)
        found[number] = [{row["document_id"]: row for row in table.to_table().to_pylist()} for table in tables]
    return found


def less(everything, erased):
    """Return the content without some documents; what pointed to one points to the first that is left."""
    expected = {}
    for number, (documents, rejects) in everything.items():
        left = {key: dict(row) for key, row in documents.items() if key not in erased}
        for row in left.values():
            if row["duplicate_of"] in erased:
                group = [other for other in left.values() if other["text_hash"] == row["text_hash"]]
                first = min((other["added_in"], other["document_id"]) for other in group)[1]
                row["duplicate_of"] = None if first == row["document_id"] else first
        expected[number] = [left, {key: row for key, row in rejects.items() if key not in erased}]
    return expected


def records(flow):
    """Return what the versions say of themselves, but for where their rows are."""
    elsewhere = {"documents_version", "rejects_version", "generation"}
    versions = [flow.store.version(number) for number in version_numbers(flow.store.folder)]
    return [version.model_dump(exclude=elsewhere) for version in versions]


def erase(flow, erased):
    adopt(flow.store, rewrite_history(flow.store, frozenset(erased)))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories, st.sets(st.sampled_from(NAMES), min_size=1, max_size=3), st.lists(states, max_size=1))
def test_every_version_is_as_it_was_without_the_documents(history, names, more):
    with tempfile.TemporaryDirectory() as folder:
        flow = Flow(Path(folder) / "data", notes_config(cleaning={"max_rejected_share": 1.0}))
        commit_all(flow, history)
        erased = {id_of(name) for name in names}
        before, said = content(flow), records(flow)
        rewritten = rewrite_history(flow.store, frozenset(erased))
        assert content(flow) == before  # no version is in the new tables yet
        adopt(flow.store, rewritten)
        assert content(flow) == less(before, erased)
        assert records(flow) == said
        assert count_rows_of(flow.store, erased) == {"documents": 0, "rejects": 0}

        erase(flow, erased)  # again: nothing of them is there
        assert content(flow) == less(before, erased)
        remove_unpublished(flow.store)
        for bodies in more:
            commit_all(flow, [{name: body for name, body in bodies.items() if name not in names}])
            assert {number: rows for number, rows in content(flow).items() if number in before} == less(before, erased)


def test_a_duplicate_becomes_the_first_of_its_group_without_counting_as_changed(flow):
    flow.commit([note("a", "one text"), note("b", "one text"), note("c", "one text")])
    erase(flow, [id_of("a")] if flow.rows()["a"]["duplicate_of"] is None else [flow.rows()["a"]["duplicate_of"]])
    rows = flow.rows()
    firsts = [row for row in rows.values() if row["duplicate_of"] is None]
    assert len(rows) == 2
    assert len(firsts) == 1
    assert {row["duplicate_of"] for row in rows.values()} == {None, firsts[0]["document_id"]}
    assert {row["changed_in"] for row in rows.values()} == {1}


def test_a_duplicate_is_pointed_anew_in_each_version_as_its_group_was_then(flow):
    first, second, third = sorted(NAMES[:3], key=id_of)
    flow.commit([note(name, "one text") for name in (first, second, third)])
    flow.commit([note(first, "one text"), note(second, "another text"), note(third, "one text")])
    erase(flow, [id_of(first)])
    assert flow.rows(version=1)[third]["duplicate_of"] == id_of(second)
    assert flow.rows(version=2)[third]["duplicate_of"] is None


def test_the_old_tables_go_and_the_new_ones_hold_no_byte_of_the_document(flow):
    flow.commit([note("a", "the MARKER text"), note("b", "beta")])
    flow.commit([note("a", "the text"), note("b", "beta, edited")])
    erase(flow, [id_of("a")])
    folders = sorted(path.name for path in flow.store.folder.glob("*.lance"))
    assert folders == ["documents.1.lance", "rejects.1.lance"]
    files = [path.read_bytes() for path in flow.store.folder.rglob("*") if path.is_file()]
    assert not any(b"MARKER" in content or id_of("a").encode() in content for content in files)
    assert any(b"edited" in content for content in files)  # such a search would find it
    erase(flow, [id_of("b")])
    assert [flow.store.version(number).generation for number in (1, 2)] == [2, 2]


def test_the_new_tables_have_the_same_indexes_and_tags(flow):
    def described():
        newest = flow.store.newest()
        tables = [flow.store.documents(newest), flow.store.rejects(newest)]
        return [
            (sorted(str(index.field_names) for index in table.describe_indices()), sorted(table.tags.list()))
            for table in tables
        ]

    commit_all(flow, [{"a": "alpha text"}, {"a": "beta text"}])
    before = described()
    erase(flow, [id_of("a")])
    assert described() == before


def test_versions_that_were_pruned_stay_away(flow):
    commit_all(flow, [{"a": "alpha text"}, {"a": "beta text"}, {"b": "gamma text"}])
    (flow.store.folder / "versions" / "00000002.json").unlink()
    remove_unpublished(flow.store)
    before = content(flow)
    erase(flow, [id_of("a")])
    assert version_numbers(flow.store.folder) == [1, 3]
    assert content(flow) == less(before, {id_of("a")})


def test_what_a_dead_run_left_goes_too(flow):
    commit_all(flow, [{"b": "beta text"}])
    with armed(Fault("feature_store.versions:publish_version"), die), pytest.raises(DiedError):
        flow.commit([note("anchor", "anchor of version 0"), note("a", "the MARKER text")])
    assert b"MARKER" in bytes_of(flow)
    remove_leftovers(flow.store)
    assert b"MARKER" not in bytes_of(flow)
    assert set(flow.live()) == {"anchor", "b"}


def test_leftovers_of_a_store_that_never_had_a_version_go(flow):
    with armed(Fault("feature_store.versions:publish_version"), die), pytest.raises(DiedError):
        flow.commit([note("a", "the MARKER text")])
    remove_leftovers(flow.store)
    assert b"MARKER" not in bytes_of(flow)
    flow.commit([note("b", "beta")])
    assert flow.texts() == {"b": "beta"}


@pytest.mark.parametrize("part", [0, 1, 2])
def test_an_interruption_leaves_every_version_readable_and_can_be_repeated(flow, part):
    commit_all(flow, [{"a": "alpha text", "b": "alpha text"}, {"a": "beta text", "c": None}, {"b": "alpha text"}])
    before, erased = content(flow), frozenset({id_of("a"), id_of("c")})
    steps = 0

    def count(number, target):
        nonlocal steps
        steps = number

    with tempfile.TemporaryDirectory() as copy:
        other = Flow(Path(copy), flow.config)
        commit_all(other, [{"a": "alpha text", "b": "alpha text"}, {"a": "beta text", "c": None}, {"b": "alpha text"}])
        with before_every_durable_step(count):
            erase(other, erased)
    rewritten = None
    for fatal in range(1 + part, steps + 1, 3):

        def act(number, target, fatal=fatal):
            if number == fatal:
                raise DiedError

        try:
            with before_every_durable_step(act):
                rewritten = rewritten or rewrite_history(flow.store, erased)
                adopt(flow.store, rewritten)
        except DiedError:
            found = content(flow)
            assert all(found[number] in (before[number], less(before, erased)[number]) for number in before)
    if rewritten is None:
        rewritten = rewrite_history(flow.store, erased)
    adopt(flow.store, rewritten)
    assert content(flow) == less(before, erased)


def test_the_journal_says_what_is_under_way_until_it_is_done(tmp_path):
    require_no_erasure(tmp_path)
    erasure = Erasure(started_at=now(), documents={id_of("a"): ErasedDocument(category="notes", source_id="a")})
    save_erasure(tmp_path, erasure)
    assert read_erasure(tmp_path) == erasure
    with pytest.raises(TerminalError, match="--resume"):
        require_no_erasure(tmp_path)
    finish_erasure(tmp_path)
    finish_erasure(tmp_path)
    require_no_erasure(tmp_path)


def test_what_a_later_release_added_to_a_version_stays(flow):
    flow.commit([note("a", "alpha"), note("b", "beta")])
    path = flow.store.folder / "versions" / "00000001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "added": "later"}))
    erase(flow, [id_of("a")])
    assert json.loads(path.read_text())["added"] == "later"
    newest = flow.store.newest()
    assert lance.dataset(str(table_path(flow.store.folder, "documents", 1))).version == newest.documents_version


def die():
    raise DiedError


def bytes_of(flow):
    return b"".join(path.read_bytes() for path in flow.store.folder.rglob("*") if path.is_file())
