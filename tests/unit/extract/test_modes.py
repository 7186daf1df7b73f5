"""What holds for every mode: it gives exactly what differs, holds suspicious deletions back, and says what it did."""

import tempfile
from pathlib import Path

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import AutoReconnect, OperationFailure

from feature_store.config import CategoryConfig, DeletionGuard, PlanReference
from feature_store.errors import ConfigurationError, PlanOutdatedError, TerminalError, TransientError
from feature_store.handles import CaptureCounts
from feature_store.parts import list_parts
from feature_store.versions import Position
from steps.clean.rules import CLEANING_VERSION
from steps.extract.apply import CapturePolicy, capture_categories, capture_category, find_waiting
from tests.application import DrainingFlow
from tests.fake_change_stream import FakeReplicaSet
from tests.flow import CATEGORY, ignore, note, notes_config
from tests.unit.extract.support import MODES, Writer, drain, empty_database, make_flow, names_of, outcome, with_options
from warehouse.capture_mode import choose_mode

INCREMENTAL = ["timestamp", "log", "outbox"]
each_mode = pytest.mark.parametrize("mode", MODES)


def policy_of(flow):
    config = flow.config
    return CapturePolicy(config.cleaning.fingerprint(CLEANING_VERSION), config.deletions, config.options)


def waits(flow, database):
    return find_waiting(database, flow.store, flow.config.categories[0], policy_of(flow))


@each_mode
def test_documents_are_counted_by_what_became_of_them(database, writer, flow_for, mode):
    flow = flow_for(mode)
    for name in ("same", "edited", "gone", "bad", "poor"):
        writer.put(name, None if name in {"bad", "poor"} else f"text of {name}")
    assert outcome(flow.commit(database)[0]) == {"read": 5, "added": 5}
    writer.put("edited", "new")
    writer.put("poor", "good")
    writer.put("new", "x")
    writer.put("same", "text of same", views=3)
    writer.put("bad", None, views=3)
    writer.delete("gone")
    raw = flow.extract(database)
    assert outcome(raw) == {"read": 5, "added": 1, "changed": 2, "unchanged": 1, "rejected": 1, "deleted": 1}
    assert names_of(raw) == ["edited", "new", "poor"]
    assert raw.captures["notes"].held_before == 5
    assert raw.captures["notes"].mode == mode
    assert raw.captures["notes"].whole == (mode == "hash")


@pytest.mark.parametrize("mode", INCREMENTAL)
def test_without_changes_no_document_is_read_and_nothing_is_written(database, writer, flow_for, mode):
    flow = flow_for(mode)
    for number in range(30):
        writer.put(f"n{number}", f"text {number}")
    flow.commit(database)
    before = {path: path.stat().st_mtime_ns for path in flow.store.folder.rglob("*")}
    raw, _ = flow.commit(database)
    assert outcome(raw) == {}
    assert raw.captures["notes"].compared_ids == (30 if mode == "timestamp" else 0)
    assert {path: path.stat().st_mtime_ns for path in flow.store.folder.rglob("*")} == before
    assert not waits(flow, database)


@pytest.mark.parametrize("mode", INCREMENTAL)
def test_only_what_changed_is_read(database, writer, flow_for, mode):
    flow = flow_for(mode)
    for number in range(30):
        writer.put(f"n{number}", f"text {number}")
    flow.commit(database)
    writer.put("n7", "other")
    assert waits(flow, database)
    assert outcome(flow.commit(database)[0]) == {"read": 1, "changed": 1}
    assert not waits(flow, database)


@each_mode
def test_a_deletion_alone_is_something_that_waits(database, writer, flow_for, mode):
    flow = flow_for(mode)
    writer.put("a"), writer.put("b")
    flow.commit(database)
    writer.delete("a")
    assert waits(flow, database)
    assert outcome(flow.commit(database)[0])["deleted"] == 1
    assert list(flow.live()) == ["b"]
    assert not waits(flow, database)


@each_mode
def test_before_the_first_run_something_waits_and_after_it_nothing(database, writer, flow_for, mode):
    flow = flow_for(mode)
    writer.put("a")
    assert waits(flow, database)
    flow.commit(database)
    before = {path: path.stat().st_mtime_ns for path in flow.settings.data_dir.rglob("*")}
    assert not waits(flow, database)
    assert {path: path.stat().st_mtime_ns for path in flow.settings.data_dir.rglob("*")} == before


IDENTIFIERS = ["a", "b", "c", "7", ObjectId(b"twelve bytes"), 12]
ACTIONS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(IDENTIFIERS), st.sampled_from(["alpha", "beta", "gamma", None])),
    st.tuples(st.just("topic"), st.sampled_from(IDENTIFIERS), st.sampled_from(["x", "y"])),
    st.tuples(st.just("delete"), st.sampled_from(IDENTIFIERS), st.none()),
    st.tuples(st.just("hide"), st.sampled_from(IDENTIFIERS), st.booleans()),
    st.tuples(st.just("run"), st.none(), st.none()),
)


def act(writer, action, identifier, value):
    document = writer.notes.find_one({"_id": identifier})
    if action == "put":
        writer.put(identifier, value)
    elif document is not None and action == "delete":
        writer.delete(identifier)
    elif document is not None:
        field = {"topic": "topic", "hide": "hidden"}[action]
        kept = {name: document[name] for name in ("topic", "hidden") if name in document}
        writer.put(identifier, document["body"], **{**kept, field: value})


@each_mode
@pytest.mark.parametrize("server_kind", ["embedded", "replica set"])
@given(actions=st.lists(ACTIONS, max_size=25))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_between_runs_each_gives_exactly_the_differences(server, mode, server_kind, actions):
    real = empty_database(server)
    database = FakeReplicaSet(real) if server_kind == "replica set" else real
    writer = Writer(database)
    writer.put("anchor")  # an empty source is a matter of its own
    with tempfile.TemporaryDirectory() as folder:
        flow = make_flow(Path(folder), mode, deleted_field="hidden")
        judge = make_flow(Path(folder), "hash", deleted_field="hidden")
        for action, identifier, value in [("run", None, None), *actions, ("run", None, None)]:
            if action != "run":
                act(writer, action, identifier, value)
                continue
            expected, raw = judge.extract(real), flow.extract(database)
            assert names_of(raw) == names_of(expected)
            assert names_of(raw, "removed", "document_id") == names_of(expected, "removed", "document_id")
            assert raw.captures["notes"].digest == expected.captures["notes"].digest
            for name in ("added", "changed", "deleted"):
                assert getattr(raw.categories["notes"], name) == getattr(expected.categories["notes"], name)
            drain(flow, database, raw)
        assert outcome(flow.extract(database)).keys() <= {"read", "unchanged", "rejected"}
    real.client.drop_database(real.name)


@each_mode
def test_a_document_that_is_marked_deleted_counts_as_gone(database, writer, flow_for, mode):
    flow = flow_for(mode, deleted_field="state.gone")
    writer.put("a", state={"gone": False}), writer.put("b"), writer.put("c", state={"gone": 1})
    assert outcome(flow.commit(database)[0])["added"] == 2
    writer.put("a", state={"gone": "yes"})
    writer.put("c", state={"gone": 0})
    raw, _ = flow.commit(database)
    assert (raw.categories["notes"].added, raw.categories["notes"].deleted) == (1, 1)
    assert sorted(flow.live()) == ["b", "c"]
    again = flow.extract(database)
    assert outcome(again) == ({"read": 2, "unchanged": 2} if mode == "hash" else {})


@pytest.mark.parametrize("value", [None, False, 0, 0.0, ""], ids=repr)
def test_an_empty_mark_deletes_nothing(database, writer, flow_for, value):
    writer.put("a", gone=value)
    assert outcome(flow_for("hash", deleted_field="gone").extract(database))["added"] == 1


@pytest.mark.parametrize("value", [True, 1, "no", [], {}], ids=repr)
def test_any_other_mark_does(database, writer, flow_for, value):
    writer.put("a", gone=value)
    assert outcome(flow_for("hash", deleted_field="gone").extract(database)) == {}


@pytest.mark.parametrize("mode", INCREMENTAL)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"title": "topic"}, "the mapping of the category or the rules of cleaning have changed"),
        ({"deleted_field": "gone"}, "the mapping of the category or the rules of cleaning have changed"),
        ({"collection": "others"}, "the last position is one of"),
    ],
    ids=["mapping", "deleted field", "collection"],
)
def test_a_position_of_another_configuration_does_not_count(database, writer, flow_for, mode, change, reason):
    writer.put("a")
    flow_for(mode).commit(database)
    database["others"].insert_one(note("a", "beta", at=writer.now))
    capture = flow_for(mode, **change).extract(database).captures["notes"]
    assert capture.whole
    assert reason in capture.reason
    assert capture.position is not None


@pytest.mark.parametrize("before", INCREMENTAL)
@pytest.mark.parametrize("mode", INCREMENTAL)
def test_a_position_of_another_mode_does_not_count(database, writer, flow_for, before, mode):
    writer.put("a")
    flow_for(before).commit(database)
    database["notes"].insert_one(note("unannounced", "beta"))
    raw = flow_for(mode).extract(database)
    if before != mode:
        assert f"the last position is one of mode {before}" in raw.captures["notes"].reason
        assert outcome(raw)["added"] == 1


@pytest.mark.parametrize("mode", INCREMENTAL)
def test_hash_as_the_judge_leaves_the_position_of_the_other_mode_alone(database, writer, flow_for, mode):
    flow = flow_for(mode)
    writer.put("a", "alpha"), writer.put("b", "beta")
    flow.commit(database)
    reached = flow.store.positions()
    writer.notes.replace_one({"_id": "a"}, {**writer.notes.find_one({"_id": "a"}), "body": "in secret"})
    raw, _ = with_options(flow, capture="hash").commit(database)
    assert outcome(raw) == {"read": 2, "changed": 1, "unchanged": 1}
    assert "asked for in this run" in raw.captures["notes"].reason
    assert flow.store.positions() == reached
    assert not with_options(flow).extract(database).captures["notes"].whole


@each_mode
def test_held_back_deletions_come_again_until_they_are_approved(database, writer, flow_for, mode):
    flow = flow_for(mode, deletions=DeletionGuard(max_documents=2, max_share=0.1))
    for number in range(10):
        writer.put(f"n{number}", f"text {number}")
    flow.commit(database)
    reached = flow.store.positions()
    for number in range(4):
        writer.delete(f"n{number}")
    writer.put("new", "new")
    raw, _ = flow.commit(database)
    counts = raw.categories["notes"]
    assert (counts.added, counts.deleted, counts.held_back) == (1, 0, 4)
    assert list_parts(raw.folder, "removed") == list_parts(raw.folder, "outbox") == []
    assert "deletions are held back because 4 of 10 documents are gone" in raw.captures["notes"].reason
    assert raw.captures["notes"].position is None
    assert flow.store.positions() == reached
    assert len(flow.live()) == 11
    assert flow.commit(database)[0].categories["notes"].held_back == 4
    assert with_options(flow, approved_deletions={"notes": 3}).commit(database)[0].categories["notes"].held_back == 4
    approved, _ = with_options(flow, approved_deletions={"notes": 4}).commit(database)
    assert (approved.categories["notes"].deleted, approved.categories["notes"].held_back) == (4, 0)
    assert len(flow.live()) == 7
    assert outcome(with_options(flow).extract(database)).keys() <= {"read", "unchanged"}


@each_mode
def test_an_empty_source_deletes_nothing_unasked(database, writer, flow_for, mode):
    flow = flow_for(mode)
    writer.put("a"), writer.put("bad", None)
    flow.commit(database)
    writer.delete("a"), writer.delete("bad")
    raw, _ = flow.commit(database)
    assert outcome(raw) == {"held_back": 2}
    assert "the source is empty, but the feature store holds 2 documents of it" in raw.captures["notes"].reason
    assert list(flow.live()) == ["a"]
    assert outcome(with_options(flow, approved_deletions={"notes": 2}).commit(database)[0]) == {"deleted": 2}
    assert (flow.live(), flow.rejects()) == ({}, {})


@each_mode
def test_a_collection_that_is_gone_is_an_empty_source(database, writer, flow_for, mode):
    flow = flow_for(mode, optional=True)
    writer.put("a")
    flow.commit(database)
    writer.notes.drop()
    assert waits(flow, database)
    raw, _ = flow.commit(database)
    assert outcome(raw) == {"held_back": 1}
    assert "the collection notes does not exist" in raw.captures["notes"].reason
    assert outcome(with_options(flow, approved_deletions={"notes": 1}).commit(database)[0]) == {"deleted": 1}
    assert not waits(flow, database)
    writer.put("b")
    assert outcome(with_options(flow).commit(database)[0]) == {"read": 1, "added": 1}


def test_an_optional_collection_that_never_was_is_left_out(database, tmp_path):
    flow = DrainingFlow(tmp_path, notes_config(categories=[{**CATEGORY, "optional": True}]))
    raw = capture_categories(database, flow.store, flow.config.categories, policy_of(flow), tmp_path / "raw")
    assert (raw.categories, raw.captures) == ({}, {})


def test_a_scan_that_misses_documents_deletes_none_of_them(database, writer, flow_for, monkeypatch):
    flow = flow_for("hash")
    for number in range(12):
        writer.put(f"n{number}", f"text {number}")
    flow.commit(database)
    writer.put("n11", "changed")
    monkeypatch.setattr("steps.extract.read._all_ids", lambda source: iter(["n0", "n1"]))
    raw = flow.extract(database)
    assert outcome(raw) == {"read": 12, "changed": 1, "unchanged": 11}


def test_a_uuid_is_not_deleted_because_another_form_of_it_is_asked_for(database, writer, flow_for, monkeypatch):
    import uuid

    flow = flow_for("hash")
    writer.put("a")
    database["notes"].insert_one(note(uuid.uuid4(), "beta"))
    flow.commit(database)
    monkeypatch.setattr("steps.extract.read._all_ids", lambda source: iter(["a"]))
    assert "deleted" not in outcome(flow.extract(database))


@pytest.mark.parametrize("mode", ["log", "outbox"])
def test_a_limit_leaves_the_rest_to_the_next_run(database, replica_set, flow_for, mode):
    writer = Writer(replica_set)
    flow = flow_for(mode)
    writer.put("anchor")
    flow.commit(replica_set)
    for _ in range(2):
        for number in range(10):
            writer.put(f"n{number}", f"text {number}")
    with_options(flow, max_changes=4)
    sizes, more = [], True
    while more:
        raw, _ = flow.commit(replica_set)
        sizes.append(raw.categories["notes"].added)
        more = raw.captures["notes"].more
        assert raw.categories["notes"].read <= 4
        assert not raw.captures["notes"].whole
    assert sum(sizes) == 10
    assert len(flow.live()) == 11
    assert outcome(flow.extract(replica_set)) == {}


@pytest.mark.parametrize("mode", ["log", "outbox"])
def test_changes_behind_held_back_deletions_are_not_held_up_by_them(replica_set, flow_for, mode):
    writer = Writer(replica_set)
    flow = flow_for(mode, deletions=DeletionGuard(max_documents=1, max_share=0.1))
    for number in range(10):
        writer.put(f"n{number}", f"text {number}")
    flow.commit(replica_set)
    writer.put("n9", "changed first")
    for number in range(5):
        writer.delete(f"n{number}")
    writer.put("late", "behind them")
    raw, _ = with_options(flow, max_changes=4).commit(replica_set)
    assert outcome(raw) == {"read": 6, "added": 1, "changed": 1, "unchanged": 4, "held_back": 5}
    assert raw.captures["notes"].position is None
    assert flow.texts()["late"] == "behind them"
    raw, _ = with_options(flow, approved_deletions={"notes": 5}).commit(replica_set)
    assert raw.categories["notes"].deleted == 5
    assert len(flow.live()) == 6


@each_mode
def test_a_digest_names_the_differences_whatever_their_order(server, tmp_path, mode):
    digests = []
    for number, names in enumerate((["a", "b", "c"], ["c", "a", "b"])):
        database = empty_database(server)
        writer = Writer(database)
        for name in names:
            writer.put(name)
        digests.append(make_flow(tmp_path / str(number), mode).extract(database).captures["notes"].digest)
        writer.put("b", "other")
        digests.append(make_flow(tmp_path / f"other{number}", mode).extract(database).captures["notes"].digest)
        database.client.drop_database(database.name)
    assert digests[0] == digests[2] != digests[1] == digests[3]


def test_a_removed_document_is_in_the_digest_also_when_it_is_held_back(database, writer, flow_for):
    flow = flow_for("hash", deletions=DeletionGuard(max_documents=0, max_share=0.0))
    writer.put("a"), writer.put("b")
    flow.commit(database)
    empty = flow.extract(database).captures["notes"].digest
    writer.delete("a")
    held_back = flow.extract(database).captures["notes"].digest
    approved = with_options(flow, approved_deletions={"notes": 1}).extract(database).captures["notes"].digest
    assert held_back == approved != empty


def captured_with_plan(flow, database, plan):
    with_options(flow, plan=plan)
    folder = flow.settings.runs_folder / "planned"
    return capture_categories(database, flow.store, flow.config.categories, policy_of(flow), folder)


def test_a_plan_that_still_holds_lets_the_run_go_on(database, writer, flow_for):
    flow = flow_for("hash")
    writer.put("a")
    digest = flow.extract(database).captures["notes"].digest
    plan = PlanReference(version=0, config_fingerprint="", digests={"notes": digest})
    assert captured_with_plan(flow, database, plan).categories == {"notes": CaptureCounts(read=1, added=1)}


@pytest.mark.parametrize(
    ("version", "move", "problem"),
    [
        (0, lambda writer: writer.put("a", "changed"), "category notes: other documents differ than the plan found"),
        (1, lambda writer: None, "the feature store is at version 0, the plan was made at 1"),
    ],
    ids=["source", "store"],
)
def test_an_outdated_plan_is_refused_before_anything_is_written(database, writer, flow_for, version, move, problem):
    flow = flow_for("hash")
    writer.put("a")
    digest = flow.extract(database).captures["notes"].digest
    move(writer)
    with pytest.raises(PlanOutdatedError, match=problem) as caught:
        captured_with_plan(
            flow, database, PlanReference(version=version, config_fingerprint="", digests={"notes": digest})
        )
    assert caught.value.exit_code == 8
    assert flow.store.newest() is None


def category(**changes) -> CategoryConfig:
    return CategoryConfig.model_validate({**CATEGORY, **changes})


BY_DATE = {"capture": {"mode": "auto", "field": "at"}}


def test_auto_takes_the_log_of_a_replica_set(replica_set):
    replica_set["notes"].insert_one(note("a", "alpha"))
    assert choose_mode(replica_set, category()) == (
        "log",
        "chosen as the best that the server can do: it has a log of changes",
    )


def test_auto_takes_the_log_of_a_sharded_cluster(replica_set, monkeypatch):
    monkeypatch.setattr(
        replica_set, "command", lambda name: {**replica_set.real.command(name), "msg": "isdbgrid"}, raising=False
    )
    assert choose_mode(replica_set, category())[0] == "log"


def test_auto_does_not_trust_the_imitated_log_of_the_embedded_server(database):
    mode, why = choose_mode(database, category())
    assert mode == "hash"
    assert "no replica set" in why
    assert "no date to go by is configured (`capture.field`)" in why


@pytest.mark.parametrize("code", [13, 40573, 166])
def test_auto_does_without_a_log_that_it_may_not_follow(replica_set, code):
    replica_set.failures["open"] = [OperationFailure("no", code)]
    mode, why = choose_mode(replica_set, category())
    assert mode == "hash"
    assert f"(code {code})" in why


def test_auto_takes_a_date_only_if_it_is_indexed(database):
    mode, why = choose_mode(database, category(**BY_DATE))
    assert (mode, "no index begins with at" in why) == ("hash", True)
    database["notes"].create_index("at")
    mode, why = choose_mode(database, category(**BY_DATE))
    assert (mode, "at is indexed" in why) == ("timestamp", True)


def test_auto_takes_no_date_that_would_show_no_deletion(database):
    database["notes"].create_index("at")
    blind = {"capture": {"mode": "auto", "field": "at", "compare_ids": False}}
    mode, why = choose_mode(database, category(**blind))
    assert (mode, "no deletion would show" in why) == ("hash", True)
    assert choose_mode(database, category(**blind, deleted_field="gone"))[0] == "timestamp"


def test_a_date_without_an_index_is_told(database):
    assert "no index begins with at" in choose_mode(database, category(capture=MODES["timestamp"]))[1]


def test_a_mode_asked_for_takes_the_place_of_the_configured_one(database):
    assert choose_mode(database, category(capture="log"), "hash") == ("hash", "asked for in this run")


def test_a_mode_that_a_category_is_not_ready_for_is_refused(database):
    with pytest.raises(ConfigurationError, match="needs the path of a date") as caught:
        choose_mode(database, category(), "timestamp")
    assert "capture.field" in caught.value.remedy
    with pytest.raises(ConfigurationError, match="sees no deletion"):
        choose_mode(database, category(capture={"mode": "auto", "field": "at", "compare_ids": False}), "timestamp")
    with pytest.raises(ConfigurationError, match="the warehouse has no outbox 'outbox'"):
        choose_mode(database, category(), "outbox")


@pytest.mark.parametrize(("code", "kind"), [(13, TerminalError), (40573, ConfigurationError)])
def test_a_log_that_is_asked_for_and_not_there_is_refused(replica_set, code, kind):
    replica_set.failures["open"] = [OperationFailure("no", code)]
    with pytest.raises(kind, match=f"code {code}"):
        choose_mode(replica_set, category(capture="log"))


@each_mode
def test_a_warehouse_that_stops_answering_is_a_transient_failure(database, writer, flow_for, mode, monkeypatch):
    flow = flow_for(mode)
    writer.put("a"), writer.put("b")
    flow.commit(database)
    writer.put("b", "new")

    def fail(*_, **__):
        raise AutoReconnect("mongodb://user:Geheimnis@host went away")

    monkeypatch.setattr("steps.extract.read._fetch", fail)
    with pytest.raises(TransientError, match="stopped answering while the collection notes was read") as caught:
        flow.extract(database)
    assert "Geheimnis" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_position_that_is_there_survives_a_whole_comparison_of_another_category(database, writer, tmp_path):
    mails = {**CATEGORY, "name": "mails", "collection": "mails", "capture": "hash"}
    flow = DrainingFlow(tmp_path, notes_config(categories=[{**CATEGORY, "capture": MODES["timestamp"]}, mails]))
    writer.put("a")
    database["mails"].insert_one(note("m", "mail"))
    flow.commit(database)
    positions = flow.store.positions()
    assert list(positions) == ["notes"]
    database["mails"].insert_one(note("m2", "mail"))
    flow.commit(database)
    assert flow.store.positions() == positions
    assert isinstance(positions["notes"], Position)


def test_progress_is_told_while_reading(database, writer, flow_for):
    flow, units = flow_for("hash"), []
    for number in range(7):
        writer.put(f"n{number}")
    folder = flow.settings.runs_folder / "x"
    capture_category(database, flow.store, flow.config.categories[0], policy_of(flow), folder, units.append)
    assert sum(units) == 7
    capture_category(
        database, flow.store, flow.config.categories[0], policy_of(flow), flow.settings.runs_folder / "y", ignore
    )


@pytest.mark.parametrize("mode", ["log", "outbox"])
def test_an_emptied_source_is_held_back_whole_however_few_changes_a_run_takes(database, writer, flow_for, mode):
    flow = flow_for(mode, deletions=DeletionGuard(max_documents=5, max_share=0.1))
    for number in range(20):
        writer.put(f"n{number}")
    flow.commit(database)
    for number in range(20):
        writer.delete(f"n{number}")
    with_options(flow, max_changes=4)
    raw, _ = flow.commit(database)
    assert (raw.categories["notes"].held_back, raw.categories["notes"].deleted) == (20, 0)
    assert not raw.captures["notes"].more
    with_options(flow, max_changes=4, approved_deletions={"notes": 20})
    while (raw := flow.commit(database)[0]).captures["notes"].more:
        pass
    assert flow.live() == {}
