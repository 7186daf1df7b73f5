"""What `release`, `rebuild` and `status --as-of` print, and how they end."""

import json

import pytest
import typer
from typer.testing import CliRunner

from commands import release as commands
from feature_store.errors import ReconciliationError
from feature_store.index import open_qdrant
from tests.flow import Flow, note, notes_config
from tests.stand_in import HashEncoder


@pytest.fixture
def installation(settings, monkeypatch, tmp_path):
    """Some documents with their index, and the commands working on them."""
    encoder = HashEncoder()
    for module in ("pipelines.release", "pipelines.rebuild"):
        monkeypatch.setattr(f"{module}.load_encoder", lambda config: encoder)
    monkeypatch.setattr(commands, "started", lambda: settings)
    monkeypatch.setattr(commands, "load_config", lambda path: notes_config())
    flow = Flow(settings.data_dir, notes_config())
    flow.load_encoder = lambda config: encoder
    with open_qdrant(settings) as client:
        flow.client = client
        flow.run([note("a", "alpha [bold]beta"), note("b", "gamma delta")])
    return flow


@pytest.fixture
def call():
    application = typer.Typer(pretty_exceptions_enable=False)
    application.command("release")(commands.release)
    application.command("rebuild")(commands.rebuild)

    @application.command("status")
    def status(name: str, as_json: bool = False) -> None:
        commands.show_release_status(name, as_json=as_json)

    def invoke(*arguments):
        return CliRunner().invoke(application, list(arguments))

    return invoke


def test_a_release_says_what_it_pins(installation, call):
    result = call("release", "spring", "--message", "for [the] demo")
    assert result.exit_code == 0
    said = " ".join(result.stdout.split())
    assert "Release spring: version 1, 2 documents" in said
    assert "for [the] demo" in said
    assert "index notes_index: 2 points in notes_index__" in said


def test_a_release_as_json_is_json_alone(installation, call):
    release = json.loads(call("release", "spring", "--json").stdout)
    assert (release["name"], release["version"], release["documents"], release["notes"]) == ("spring", 1, 2, [])


def test_notes_on_what_is_left_out_are_printed(installation, call):
    with open_qdrant(installation.settings) as client:
        installation.client = client
        installation.run([note("a", "alpha")])
    result = call("release", "old", "--version", "v1")
    assert "It is not part of the release." in " ".join(result.stdout.split())


def test_a_rebuild_prints_each_comparison(installation, call, tmp_path):
    call("release", "spring")
    result = call("rebuild", "--as-of", "spring", "--output", str(tmp_path / "again"))
    assert result.exit_code == 0
    said = " ".join(result.stdout.split())
    assert "documents of version 1" in said
    assert "Index notes_index@spring is in notes_index@spring__" in said
    assert "differs" not in said


def test_no_index_leaves_the_indexes_out(installation, call):
    call("release", "spring")
    rebuilt = json.loads(call("rebuild", "--as-of", "spring", "--no-index", "--json").stdout)
    assert rebuilt["indexes"] == {}
    assert [comparison["equal"] for comparison in rebuilt["comparisons"]] == [True]


def test_a_difference_ends_in_the_error_of_exit_code_6_after_the_report(installation, call):
    call("release", "spring")
    path = installation.store.folder / "releases" / "spring.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"documents_digest": "0" * 32}))
    result = call("rebuild", "--as-of", "spring", "--json")
    assert isinstance(result.exception, ReconciliationError)
    assert result.exception.exit_code == 6
    assert [comparison["equal"] for comparison in json.loads(result.stdout)["comparisons"]] == [False, True]
    assert "the table is not what it was" in " ".join(call("rebuild", "--as-of", "spring").stdout.split())


def test_the_status_of_a_release_names_every_part(installation, call):
    call("release", "spring")
    said = " ".join(call("status", "spring").stdout.split())
    assert "unchanged documents of version 1" in said
    assert "unchanged index notes_index" in said
    states = [part["state"] for part in json.loads(call("status", "spring", "--as-json").stdout)["parts"]]
    assert states == ["unchanged", "unchanged"]


def test_a_release_is_removed(installation, call):
    call("release", "spring")
    call("rebuild", "--as-of", "spring")
    removed = json.loads(call("release", "spring", "--remove", "--json").stdout)
    assert removed["removed"] == "spring"
    assert len(removed["collections"]) == 1
    assert call("status", "spring").exit_code == 1


def test_removing_takes_no_options_of_making(installation, call):
    assert call("release", "spring", "--remove", "--message", "no").exit_code == 2
