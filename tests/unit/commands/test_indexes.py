"""The commands about collections: what they print, and with what they exit."""

import itertools
import json
import time

import pytest
import typer
from typer.testing import CliRunner

from commands import indexes, shared
from feature_store.errors import PipelineError, PromotionRefusedError, TerminalError
from feature_store.index import open_qdrant
from tests.flow import Flow, note, notes_config
from tests.stand_in import HashEncoder
from tests.support import write_config

CATEGORIES = [{"name": "notes", "collection": "notes", "text": "body"}]
DOCUMENTS = [note("a", " ".join(f"word{number}" for number in range(60))), note("b", "a river")]


def configured(window, **changes):
    index = {"name": "notes_index", "categories": ["notes"], "chunking": {"window": window, "overlap": 8}}
    return {"categories": CATEGORIES, "indexes": [{**index, "encoder": {"model": "stand-in"}, **changes}]}


class Installation:
    """A data folder with collections on disk, and the commands on it."""

    def __init__(self, folder):
        self.folder = folder
        self.config = folder / "config.yaml"

    def built(self, window, documents=DOCUMENTS, **changes):
        """Run with a configuration, which the commands get too; return the collection that it made."""
        parameters = configured(window, **changes)
        write_config(self.config, parameters)
        flow = Flow(self.folder / "data", notes_config(**parameters))
        flow.client.close()
        flow._runs = itertools.count(time.time_ns())  # folders of its own
        flow.load_encoder = lambda config: HashEncoder(name=config.model)
        with open_qdrant(flow.settings) as flow.client:
            return flow.run(documents).index.report.collection

    def call(self, name, *arguments, exit_code=0):
        """Call a command; return what it printed. An error of ours is raised, as `cli.main` expects it."""
        application = typer.Typer()
        for command in (indexes.indexes, indexes.promote, indexes.rollback, indexes.drop_retired):
            application.command()(command)
        config = [] if name == "rollback" else ["--config", str(self.config)]
        result = CliRunner().invoke(application, [name, *arguments, *config])
        if isinstance(result.exception, PipelineError):
            raise result.exception
        assert result.exit_code == exit_code, result.output
        return result.stdout


@pytest.fixture
def installation(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(shared.output, "_width", 250)
    monkeypatch.setattr("pipelines.promotion.load_encoder", lambda config: HashEncoder(name=config.model))
    return Installation(tmp_path)


def test_all_collections_are_listed_with_state_and_lag(installation):
    old = installation.built(32)
    new = installation.built(64, [*DOCUMENTS, note("c", "a bridge")], promotion={"mode": "manual"})
    lines = installation.call("indexes").splitlines()
    assert [line.split()[:2] for line in lines[1::2]] == [[old, "serving"], [new, "candidate"]]
    assert [line.strip() for line in lines[2::2]] == ["sliding_window 32/8, stand-in", "sliding_window 64/8, stand-in"]
    rows = json.loads(installation.call("indexes", "--json"))
    assert {row["collection"]: (row["state"], row["version"], row["lag"]) for row in rows} == {
        old: ("serving", 2, 0),
        new: ("candidate", 2, 0),
    }


def test_the_name_of_a_collection_is_whole_in_a_narrow_terminal(installation, monkeypatch):
    model = "an-organisation-with-a-name/a-model-of-quite-a-long-name"
    collection = installation.built(32, encoder={"model": model})
    monkeypatch.setattr(shared.output, "_width", 80)
    assert collection in installation.call("indexes")


def test_without_any_index_the_listing_says_so(installation):
    write_config(installation.config, {"categories": CATEGORIES, "indexes": []})
    assert "There is no index" in installation.call("indexes")


def test_a_promotion_prints_its_checks_and_a_rollback_what_it_left(installation):
    old = installation.built(32)
    new = installation.built(64, promotion={"mode": "manual"})
    told = installation.call("promote", "notes_index")
    assert told.count("✓") == 5
    assert f"notes_index: {new} serves now, in the place of {old}." in told
    assert f"{new} serves notes_index already." in installation.call("promote", "notes_index")
    told = installation.call("rollback", "notes_index")
    assert f"{old} serves again." in told
    assert "It is at version 1, up to date." in told
    assert f"{new} is held: rolled back to {old}" in installation.call("indexes")
    done = json.loads(installation.call("promote", "notes_index", "--collection", new, "--force", "--json"))
    assert (done["collection"], done["previous"]) == (new, old)
    assert json.loads(installation.call("rollback", "notes_index", "--json"))["left"] == new


def test_a_rollback_tells_how_far_behind_it_is(installation):
    installation.built(32)
    installation.built(64)
    installation.built(64, [*DOCUMENTS, note("c", "a bridge")])
    told = installation.call("rollback", "notes_index")
    assert "It is at version 1, 1 document behind: the next run brings it up to date." in told


def test_a_refused_promotion_is_an_error_with_an_exit_code_of_its_own(installation, tmp_path):
    installation.built(32)
    missing = {"golden_queries": str(tmp_path / "missing.jsonl")}
    new = installation.built(64, promotion=missing)
    with pytest.raises(PromotionRefusedError, match=f"{new} must not serve") as caught:
        installation.call("promote", "notes_index")
    assert caught.value.exit_code == 10
    assert f"{new} is refused by its gate: golden queries" in installation.call("indexes")
    assert "serves now" in installation.call("promote", "notes_index", "--force")


def test_retired_collections_are_dropped_or_would_be(installation):
    first, second = installation.built(32), installation.built(40)
    installation.built(64)
    told = installation.call("drop-retired", "--dry-run")
    assert f"{first}, " in told
    assert "would be removed" in told
    assert f"{second}, " in told
    assert "stays: kept for a rollback" in told
    assert first in installation.call("indexes")
    assert "points, removed" in installation.call("drop-retired")
    assert first not in installation.call("indexes")
    assert "stays: retired less than 1 days ago" in installation.call(
        "drop-retired", "notes_index", "--keep", "0", "--older-than", "1"
    )
    (dropped,) = json.loads(installation.call("drop-retired", "--keep", "0", "--json"))
    assert (dropped["collection"], dropped["kept"]) == (second, "")
    assert "No collection is retired." in installation.call("drop-retired")


def test_nothing_is_dropped_before_the_first_version(installation):
    write_config(installation.config, configured(32))
    with pytest.raises(TerminalError, match="has no version yet"):
        installation.call("drop-retired")
