"""Trying rejected documents again: in every mode the same ones, and a new version only where something came of it."""

from uuid import UUID

import pytest

from feature_store.ids import document_id
from feature_store.suppression import suppress
from steps.clean import clean as cleaning_rules
from steps.clean.rules import CLEANING_VERSION
from steps.extract.apply import CapturePolicy, find_waiting
from steps.extract.compare import rejects_to_retry
from tests.unit.extract.support import MODES, names_of, outcome, with_options

each_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture
def filled(database, writer, flow_for):
    """Return a function that makes an installation which has rejected three notes for two reasons."""

    def make(mode, **category):
        flow = flow_for(mode, **category)
        writer.put("good", "text")
        writer.put("missing", None)
        writer.put("other", None)
        writer.put("blank", "   ")
        flow.commit(database, check=lambda shares: None)
        flow.commit(database)
        assert sorted(flow.rejects()) == ["blank", "missing", "other"]
        return flow

    return make


@pytest.fixture
def mend(monkeypatch):
    """Return a function that makes cleaning accept everything, by the same rules: what a new library can do."""

    def accept_everything():
        monkeypatch.setattr(cleaning_rules, "_checked_pieces", lambda *arguments: [cleaning_rules.Piece("mended")])

    return accept_everything


def retry(flow, *reasons, **options):
    return with_options(flow, retry_rejects=list(reasons), **options)


@each_mode
def test_without_asking_a_rejected_document_is_left_alone(database, filled, mend, mode):
    flow = filled(mode)
    mend()
    raw, cleaned = flow.commit(database)
    assert names_of(raw) == []
    assert cleaned.version == 1


@each_mode
@pytest.mark.parametrize(
    ("reasons", "tried"),
    [
        (["missing_text"], ["missing", "other"]),
        (["empty"], ["blank"]),
        (["empty", "missing_text"], ["blank", "missing", "other"]),
        (["all"], ["blank", "missing", "other"]),
        (["binary_text"], []),
    ],
    ids="+".join,
)
def test_the_rejects_of_the_reasons_are_cleaned_again(database, filled, mend, mode, reasons, tried):
    flow = retry(filled(mode), *reasons)
    mend()
    raw, cleaned = flow.commit(database)
    assert names_of(raw) == tried
    assert outcome(raw).get("changed", 0) == len(tried)
    assert {name for name, text in flow.texts().items() if text == "mended"} == set(tried)
    assert sorted(flow.rejects()) == sorted({"blank", "missing", "other"} - set(tried))
    assert cleaned.version == (2 if tried else 1)
    assert cleaned.categories["notes"].added == len(tried)


@each_mode
def test_one_that_is_rejected_again_makes_no_version_and_nothing_is_written(database, filled, mode):
    flow = retry(filled(mode), "all")
    before = {path: path.stat().st_mtime_ns for path in flow.store.folder.rglob("*")}
    raw, cleaned = flow.commit(database)
    assert names_of(raw) == ["blank", "missing", "other"]
    assert cleaned.version == 1
    assert (cleaned.categories["notes"].rejected, cleaned.categories["notes"].newly_rejected) == (3, 0)
    assert {path: path.stat().st_mtime_ns for path in flow.store.folder.rglob("*")} == before


@each_mode
def test_one_that_is_rejected_for_another_reason_is_recorded(database, filled, mode, monkeypatch):
    flow = retry(filled(mode), "empty")
    monkeypatch.setattr(cleaning_rules, "looks_binary", lambda text: True)
    _, cleaned = flow.commit(database)
    assert cleaned.version == 2
    assert flow.rejects()["blank"]["reason"] == "binary_text"
    assert cleaned.categories["notes"].newly_rejected == 1


@each_mode
def test_a_reject_that_changed_and_is_rejected_again_is_not_compared_for_ever(database, writer, filled, mode):
    flow = filled(mode)
    writer.put("missing", None, title="A title now")
    _, cleaned = flow.commit(database)
    assert cleaned.version == 2
    raw, cleaned = flow.commit(database)
    assert (cleaned.version, names_of(raw)) == (2, [])


@each_mode
def test_changes_of_the_same_run_are_captured_beside_the_rejects_that_are_tried_again(
    database, writer, filled, mend, mode
):
    flow = retry(filled(mode), "missing_text")
    mend()
    writer.put("good", "other text")
    writer.put("missing", "text at last")
    raw, _ = flow.commit(database)
    assert names_of(raw) == ["good", "missing", "other"]
    assert outcome(raw)["read"] == (4 if mode == "hash" else 3)


@each_mode
def test_a_reject_that_is_gone_from_the_source_is_gone_from_the_store(database, writer, filled, mode):
    flow = retry(filled(mode), "all")
    writer.notes.delete_one({"_id": "missing"})
    raw, _ = flow.commit(database)
    assert outcome(raw)["deleted"] == 1
    assert sorted(flow.rejects()) == ["blank", "other"]


@each_mode
def test_looking_whether_something_waits_does_not_count_rejects_to_be_tried_again(database, filled, mode):
    flow = retry(filled(mode), "all")
    config = flow.config
    policy = CapturePolicy(config.cleaning.fingerprint(CLEANING_VERSION), options=config.options)
    assert not find_waiting(database, flow.store, config.categories[0], policy)


IDS = ["text", 7, UUID(int=5), "int:7"]


@each_mode
def test_rejects_are_read_by_ids_of_every_type(database, writer, flow_for, mend, mode):
    flow = flow_for(mode)
    for identifier in [*IDS, 2.5]:
        writer.put(identifier, None)
    flow.commit(database, check=lambda shares: None)
    mend()
    _, cleaned = retry(flow, "all").commit(database)
    assert sorted(flow.live()) == ["UUID:00000000-0000-0000-0000-000000000005", "int:7", "str:int:7", "text"]
    assert [row["reason"] for row in flow.rejects().values()] == ["unsupported_id"]
    assert cleaned.categories["notes"].deleted == 0


@each_mode
@pytest.mark.parametrize("reason", ["all", "forgotten"])
def test_documents_that_were_forgotten_are_not_tried_again(database, writer, filled, mend, mode, reason):
    flow = retry(filled(mode), reason)
    suppress(flow.store.folder, [document_id("notes", "secret")])
    writer.put("secret", "text")
    with_options(flow).commit(database, check=lambda shares: None)
    raw, _ = retry(flow, reason).commit(database)
    assert [row["reason"] for row in flow.rejects().values()].count("forgotten") == 1
    assert "secret" not in flow.live()
    assert outcome(raw).get("changed", 0) == (3 if reason == "all" else 0)
    assert outcome(raw).get("deleted", 0) == 0


def test_only_rejects_of_the_category_are_tried_again(database, filled):
    flow = filled("hash")
    assert len(rejects_to_retry(flow.store, "notes", ["all"])) == 3
    assert len(rejects_to_retry(flow.store, "letters", ["all"])) == 0
    assert len(rejects_to_retry(flow.store, "notes", [])) == 0
