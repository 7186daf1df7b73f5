"""Preflight: everything that is wrong is found before any work, and all of it at once."""

import shutil

import pytest
from qdrant_client import QdrantClient, models

from feature_store.config import RunOptions
from feature_store.errors import ConfigurationError, LockedError, PreflightError, TerminalError, TransientError
from feature_store.index import open_qdrant
from feature_store.settings import Settings
from steps.preflight import checks
from steps.preflight.checks import CHECKS, Finding, require_readiness, run_checks
from tests.flow import CATEGORY, Flow, note, notes_config
from tests.support import fill_warehouse

UNREACHABLE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """Settings of an installation whose warehouse has a collection `notes`."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("ready") / "data", _env_file=None)
    fill_warehouse(settings, [note("a", "alpha")])
    return settings


def found_by(check, settings, config):
    """Return the findings of one check by what they are about; one that raises gives what it raised."""
    return list(CHECKS[check](settings, config))


def test_an_installation_that_is_ready_has_no_problem(ready, tiny_model):
    findings = require_readiness(ready, notes_config(tiny_model))
    assert [finding.check for finding in findings] == [
        "data folder",
        "feature store",
        "warehouse",
        "category notes",
        "qdrant",
        "model of notes_index",
    ]
    assert all(finding.problem is None and finding.detail for finding in findings)
    details = {finding.check: finding.detail for finding in findings}
    assert details["feature store"] == "empty: the first run fills it"
    assert "32 dimensions, 126 tokens, float32" in details["model of notes_index"]


def test_all_problems_are_reported_at_once(ready, tiny_model):
    broken = ready.model_copy(update={"qdrant_url": UNREACHABLE, "minimum_free_disk_mb": 10**12})
    index = {**notes_config(tiny_model).indexes[0].model_dump(), "chunking": {"window": 5000, "overlap": 0}}
    config = notes_config(tiny_model, categories=[{**CATEGORY, "collection": "missing"}], indexes=[index])
    with pytest.raises(PreflightError) as caught:
        require_readiness(broken, config)
    assert caught.value.exit_code == 3
    assert len(caught.value.problems) == 4
    for part in (
        "4 problem(s)",
        "nothing was started",
        "MINIMUM_FREE_DISK_MB",
        "'missing'",
        UNREACHABLE,
        "window 5000",
    ):
        assert part in str(caught.value)


def test_a_check_that_fails_is_a_finding_with_its_problem(ready, tiny_model):
    broken = ready.model_copy(update={"minimum_free_disk_mb": 10**12})
    first, *others = run_checks(broken, notes_config(tiny_model))
    assert (first.check, first.detail, type(first.problem)) == ("data folder", "", TerminalError)
    assert all(finding.problem is None for finding in others)


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    settings = Settings(data_dir=tmp_path / "file" / "data", _env_file=None)
    with pytest.raises(TerminalError, match=f"The data folder {tmp_path}/file/data cannot be written") as caught:
        found_by("data folder", settings, notes_config())
    assert "Set DATA_DIR" in caught.value.remedy


def test_checking_the_data_folder_leaves_nothing_in_it(settings):
    found_by("data folder", settings, notes_config())
    assert list(settings.data_dir.iterdir()) == []


def test_the_version_of_a_filled_feature_store_is_told(settings):
    flow = Flow(settings.data_dir, notes_config())
    flow.commit([note("a", "alpha")])
    assert found_by("feature store", settings, flow.config) == [Finding("feature store", "version 1")]


@pytest.mark.parametrize("table", ["documents.lance", "rejects.lance"])
def test_a_damaged_feature_store_is_named_with_a_remedy(settings, table):
    flow = Flow(settings.data_dir, notes_config())
    flow.commit([note("a", "alpha")])
    shutil.rmtree(settings.feature_store_folder / table)
    with pytest.raises(TerminalError, match=rf"{table} cannot be opened at version"):
        found_by("feature store", settings, flow.config)


def test_a_missing_collection_is_named_with_those_that_exist(ready):
    config = notes_config(categories=[CATEGORY, {**CATEGORY, "name": "posts", "collection": "psts"}])
    *fine, missing = found_by("warehouse", ready, config)
    assert [finding.check for finding in fine] == ["warehouse", "category notes"]
    assert isinstance(missing.problem, ConfigurationError)
    assert "no collection 'psts'; it has: notes" in str(missing.problem)
    assert "optional: true" in missing.problem.remedy


def test_an_optional_collection_may_be_missing(ready):
    config = notes_config(categories=[{**CATEGORY, "collection": "missing", "optional": True}])
    (_, finding) = found_by("warehouse", ready, config)
    assert finding == Finding("category notes", "collection missing is missing, which is allowed")


def test_a_qdrant_that_does_not_answer_is_named_without_its_key(settings):
    remote = settings.model_copy(update={"qdrant_url": "http://user:Geheimnis@127.0.0.1:1"})
    with pytest.raises(TransientError, match=r"Qdrant at http://127.0.0.1:1 does not answer") as caught:
        found_by("qdrant", remote, notes_config())
    assert "Geheimnis" not in str(caught.value)
    assert "QDRANT_URL" in caught.value.remedy


def test_a_collection_with_the_name_of_an_index_is_in_the_way(settings):
    with open_qdrant(settings) as client:
        client.create_collection("notes_index", vectors_config={})
    *_, finding = found_by("qdrant", settings, notes_config())
    assert finding.check == "index notes_index"
    assert "Qdrant has a collection or an alias of that name" in str(finding.problem)


def test_an_alias_of_somebody_else_is_in_the_way(settings):
    with open_qdrant(settings) as client:
        client.create_collection("theirs", vectors_config={})
        alias = models.CreateAlias(collection_name="theirs", alias_name="notes_index")
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    *_, finding = found_by("qdrant", settings, notes_config())
    assert "it is not ours" in str(finding.problem)


def test_a_collection_that_vanished_is_found_before_any_work(settings):
    flow = Flow(settings.data_dir, notes_config())
    flow.commit([note("a", "alpha")])
    *_, finding = found_by("warehouse", settings, notes_config(categories=[{**CATEGORY, "optional": True}]))
    assert "is gone, but the feature store holds 1 documents of it" in str(finding.problem)
    assert "approve the deletion of all 1" in finding.problem.remedy


@pytest.mark.parametrize(("approved", "ready"), [(1, False), (2, True), (3, True)])
def test_a_collection_that_vanished_may_go_if_all_deletions_are_approved(settings, approved, ready):
    flow = Flow(settings.data_dir, notes_config())
    flow.commit([note("a", "alpha"), note("bad", None)])
    config = flow.config.model_copy(update={"options": RunOptions(approved_deletions={"notes": approved})})
    *_, finding = found_by("warehouse", settings, config)
    assert (finding.problem is None) == ready
    assert ("the deletion of its 2 documents is approved" in finding.detail) == ready


def captured_by(settings, configured, **options):
    config = notes_config(categories=[{**CATEGORY, "capture": configured}]).model_copy(
        update={"options": RunOptions(**options)}
    )
    *_, finding = found_by("warehouse", settings, config)
    return finding


def test_the_mode_of_capture_is_told_and_why(ready):
    finding = captured_by(ready, "auto")
    assert finding.problem is None
    assert finding.detail.startswith("collection notes, captured by hash (chosen because the server is no replica set")
    asked = captured_by(ready, "auto", capture="log")
    assert asked.detail == "collection notes, captured by log (asked for in this run)"


def test_a_date_without_an_index_is_no_problem_but_told(ready):
    finding = captured_by(ready, {"mode": "timestamp", "field": "at"})
    assert finding.problem is None
    assert "no index begins with at, so that the server scans the collection" in finding.detail


def test_a_mode_that_lacks_what_it_needs_is_a_problem(ready):
    assert "no outbox 'changes'" in str(captured_by(ready, {"mode": "outbox", "outbox": "changes"}).problem)
    assert "needs the path of a date" in str(captured_by(ready, "hash", capture="timestamp").problem)


def test_a_data_folder_that_cannot_be_made_is_one_problem_among_the_others(settings, tmp_path):
    (tmp_path / "file").write_text("in the way")
    unusable = settings.model_copy(update={"data_dir": tmp_path / "file" / "data"})
    problems = [finding.problem for finding in run_checks(unusable, notes_config()) if finding.problem]
    assert any("DATA_DIR" in str(problem) for problem in problems)
    assert any("embedding model" in str(problem) for problem in problems)


def test_a_foreign_collection_under_our_name_is_a_problem(settings):
    with open_qdrant(settings) as client:
        client.create_collection("notes_index__0123456789ab", vectors_config={})
    *_, finding = found_by("qdrant", settings, notes_config())
    assert "notes_index__0123456789ab was not made by this pipeline" in str(finding.problem)


def test_settings_of_a_server_are_told_to_have_no_effect_in_an_embedded_qdrant(settings):
    config = notes_config()
    server = config.indexes[0].server.model_copy(update={"shards": 3, "strict_mode": True})
    given = config.model_copy(update={"indexes": [config.indexes[0].model_copy(update={"server": server})]})
    *_, finding = found_by("qdrant", settings, given)
    told = "without effect in an embedded Qdrant: server.shards, server.strict_mode"
    assert finding == Finding("settings of notes_index", told)
    assert [each.check for each in found_by("qdrant", settings, config)] == ["qdrant"]


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of the client that is refused
def test_an_embedded_qdrant_that_is_open_elsewhere_is_a_lock(settings):
    settings.qdrant_folder.mkdir(parents=True)
    other = QdrantClient(path=str(settings.qdrant_folder))
    try:
        with pytest.raises(LockedError, match="is open in another process"):
            found_by("qdrant", settings, notes_config())
    finally:
        other.close()


def test_every_window_must_fit_the_model(tiny_model, settings):
    posts = {**CATEGORY, "name": "posts", "collection": "posts"}
    chunking = {"window": 126, "overlap": 0, "categories": {"posts": {"window": 127}}}
    index = {**notes_config(tiny_model).indexes[0].model_dump(), "chunking": chunking}
    config = notes_config(tiny_model, categories=[CATEGORY, posts], indexes=[index])
    problem, model = found_by("models", settings, config)
    assert problem.check == "chunking of posts"
    assert "window 127 of posts is more than the 126 tokens" in str(problem.problem)
    assert "Set chunking.window to 126 or less" in problem.problem.remedy
    assert model.problem is None


@pytest.mark.parametrize(
    ("chunking", "told"),
    [
        (
            {"strategy": "multi_size", "sizes": [{"window": 127}, {"window": 126}, {"window": 200}]},
            {127: "every window in chunking.sizes", 200: "every window in chunking.sizes"},
        ),
        (
            {"strategy": "small_to_big", "child": {"window": 130}, "parent": {"window": 500}},
            {130: "chunking.child.window"},
        ),
        ({"strategy": "small_to_big", "child": {"window": 126}, "parent": {"window": 500}}, {}),
    ],
    ids=["sizes", "children", "parents are not embedded"],
)
def test_every_window_that_is_embedded_must_fit_the_model(tiny_model, settings, chunking, told):
    index = {**notes_config(tiny_model).indexes[0].model_dump(), "chunking": chunking}
    *problems, model = found_by("models", settings, notes_config(tiny_model, indexes=[index]))
    assert [finding.check for finding in problems] == ["chunking of notes_index"] * len(told)
    for finding, (window, setting) in zip(problems, told.items(), strict=True):
        assert f"window {window} of notes_index is more than the 126 tokens" in str(finding.problem)
        assert f"Set {setting} to 126 or less" in finding.problem.remedy
    assert model.problem is None


@pytest.mark.parametrize(
    "broken",
    [{"encoder": {"model": "nowhere/at-all"}}, {"sparse": {"language": "klingon"}}],
    ids=["model", "language"],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_broken_index_does_not_hide_another_problem(settings, tiny_model, monkeypatch, broken, first):
    monkeypatch.setattr(checks, "CHECKS", {"models": CHECKS["models"]})
    plain = notes_config(tiny_model).indexes[0].model_dump()
    wide = {**plain, "name": "wide", "chunking": {"window": 5000, "overlap": 0}}
    bad = {**plain, "name": "bad", **broken}
    config = notes_config(tiny_model, indexes=[wide, bad] if first else [bad, wide])
    problems = "\n".join(str(finding.problem) for finding in run_checks(settings, config) if finding.problem)
    assert "window 5000" in problems
    assert "nowhere/at-all" in problems or "klingon" in problems


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"query": "a river", "relevant": ["notes:a"]}\n', "1 in "),
        ("no JSON\n", "line 1"),
        ("", "has no query"),
        (None, "Cannot read"),
    ],
)
def test_golden_queries_that_cannot_be_read_are_found_before_any_work(settings, tmp_path, content, told):
    path = tmp_path / "golden.jsonl"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    index = {**notes_config().indexes[0].model_dump(), "promotion": {"golden_queries": str(path)}}
    (finding,) = found_by("golden queries", settings, notes_config(indexes=[index]))
    assert finding.check == "golden queries of notes_index"
    assert told in (finding.detail or str(finding.problem))
    assert (finding.problem is None) == told.startswith("1")
    assert found_by("golden queries", settings, notes_config()) == []
