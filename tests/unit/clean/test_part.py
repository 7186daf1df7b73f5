import pickle
from dataclasses import asdict
from functools import partial

import pytest

from feature_store.config import CleaningConfig
from feature_store.parts import list_parts, read_part
from steps.clean import apply
from steps.clean.apply import clean_parts, describe_rejects
from steps.clean.part import RawPart, clean_part
from tests.flow import Flow, note, notes_config

TEXTS = {"kept": "the first text", "edited": "a second text", "gone": "a third text"}
LATER = [note("kept", "the first text"), note("edited", "another text"), note("new", "a fourth text"), note("bad", 7)]


class Elsewhere:
    """Runs everything as another process would: nothing but what can be pickled gets there, or back."""

    def map(self, function, items):
        for item in items:
            there, given = pickle.loads(pickle.dumps((function, item)))
            yield pickle.loads(pickle.dumps(there(given)))


@pytest.fixture
def flow(tmp_path):
    return Flow(tmp_path / "data", notes_config(cleaning={"max_rejected_share": 1.0}))


def cleaned_rows(folder):
    return [row for name in ("documents", "rejects") for part in list_parts(folder, name) for row in
            read_part(part).to_pylist()]  # fmt: skip


def test_a_worker_needs_nothing_but_the_part_and_what_it_is_given(flow, tmp_path):
    flow.commit([note(name, text) for name, text in TEXTS.items()])
    raw = flow.extract(LATER)
    rules = (flow.config.categories, flow.config.cleaning)
    here = clean_parts(flow.store, raw, *rules, tmp_path / "here")
    elsewhere = clean_parts(flow.store, raw, *rules, tmp_path / "elsewhere", Elsewhere())
    assert here == elsewhere == {"notes": {"changed": 1, "added": 1, "rejected": 1}}
    assert cleaned_rows(tmp_path / "here") == cleaned_rows(tmp_path / "elsewhere")


def test_what_is_known_comes_with_the_part_alone(flow, tmp_path):
    flow.commit([note(name, text) for name, text in TEXTS.items()])
    [part] = list_parts(flow.extract(LATER).folder, "raw")
    known = flow.store.known(row["document_id"] for row in read_part(part).to_pylist())
    rules = ({"notes": flow.config.categories[0]}, CleaningConfig(), 2, tmp_path / "clean")
    assert clean_part(RawPart(part, known), *rules)["notes"]["changed"] == 1
    assert clean_part(RawPart(part), *rules)["notes"]["added"] == 2


def test_parts_are_looked_up_only_as_they_are_taken(flow, tmp_path, monkeypatch):
    monkeypatch.setattr("steps.extract.compare.ROWS_PER_PART", 1)
    raw = flow.extract([note(name, text) for name, text in TEXTS.items()])
    read = []
    monkeypatch.setattr(apply, "read_part", lambda part, columns: read.append(part) or read_part(part, columns))

    class Watching:
        def map(self, function, items):
            for place, item in enumerate(items):
                assert len(read) == place + 1
                yield function(item)

    clean_parts(flow.store, raw, flow.config.categories, flow.config.cleaning, tmp_path / "clean", Watching())
    assert len(read) == 3


def test_a_step_that_is_run_again_after_its_commit_finds_what_it_wrote(flow):
    raw = flow.extract([note(name, text) for name, text in TEXTS.items()])
    first = flow.clean(raw)
    before = flow.rows()
    again = flow.clean(raw)
    assert again.categories["notes"].unchanged == len(TEXTS)
    assert [row["changed_in"] for row in flow.rows().values()] == [first.version] * len(TEXTS)
    assert flow.rows() == before


def test_a_reject_that_is_held_just_so_is_not_written_again(flow, tmp_path):
    flow.commit([note("bad", 7)])
    raw = flow.extract([note("bad", 7, topic="moved"), note("new", 8)])
    rules = (flow.config.categories, flow.config.cleaning)
    assert (
        clean_parts(flow.store, raw, *rules, tmp_path / "clean")["notes"]["rejected"] == 2
    )  # other fields, other hash
    [part] = list_parts(raw.folder, "raw")
    newest = flow.store.known(row["document_id"] for row in read_part(part).to_pylist())
    held = {name: flow.rejects()["bad"] | {"source_hash": row["source_hash"]} for name, row in zip(
        newest, read_part(part).to_pylist(), strict=False)}  # fmt: skip
    work = partial(clean_part, categories={"notes": rules[0][0]}, cleaning=rules[1], version=2)
    counts = work(RawPart(part, newest, held), folder=tmp_path / "again")["notes"]
    assert counts == {"rejected_again": 1, "rejected": 1}
    assert [row["source_id"] for row in cleaned_rows(tmp_path / "again")] == ["new"]


def test_rejects_are_counted_whole_and_shown_by_a_few(flow, monkeypatch):
    monkeypatch.setattr("steps.extract.compare.ROWS_PER_PART", 2)
    flow.clean(raw := flow.extract([note(f"bad-{number}", number) for number in range(5)]))
    [line] = describe_rejects(list_parts(raw.folder.with_name("clean"), "rejects"), examples=2)
    assert line.startswith("rejected as not_text: 5 (")
    assert line.count("bad-") == 2


def test_what_is_known_of_a_document_can_be_pickled(flow):
    flow.commit([note("kept", "the first text")])
    [known] = flow.store.known([row["document_id"] for row in flow.rows().values()]).values()
    assert asdict(pickle.loads(pickle.dumps(known))) == asdict(known)
