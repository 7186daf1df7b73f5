"""The commands about versions: what they print, and what they refuse."""

import json

import pytest
import typer
from typer.testing import CliRunner

from commands import shared, store
from feature_store.errors import PipelineError, TerminalError
from feature_store.ids import document_id
from feature_store.names import read_tags
from feature_store.versions import version_numbers
from tests.flow import Flow, note, notes_config

USAGE = 2


@pytest.fixture
def flow(tmp_path, monkeypatch):
    """Three versions: one document added, one changed and one deleted; the commands look at them."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(shared.output, "_width", 200)
    flow = Flow(tmp_path / "data", notes_config())
    flow.commit([note("a", "alpha"), note("b", "beta\n\nmore")])
    flow.commit([note("a", "alpha"), note("b", "beta\n\nless", title="[b]B[/b]"), note("c", "gamma")])
    flow.commit([note("b", "beta\n\nless", title="[b]B[/b]"), note("c", "gamma")])
    return flow


@pytest.fixture
def run():
    """Call a command; return what it printed. An error of ours is raised, as `cli.main` expects it."""
    application = typer.Typer()
    for name in ("versions", "show", "diff", "tag", "prune"):
        application.command(name)(getattr(store, name))

    def call(*arguments, exit_code=0):
        result = CliRunner().invoke(application, arguments)
        if isinstance(result.exception, PipelineError):
            raise result.exception
        assert result.exit_code == exit_code, result.output
        return result.stdout

    return call


def test_versions_are_listed_with_their_names(flow, run):
    run("tag", "v2", "gold")
    lines = run("versions").splitlines()
    assert [line.split()[0] for line in lines] == ["version", "v3", "v2", "v1"]
    assert "1 added, 1 changed" in lines[2]
    assert "gold" in lines[2]


def test_versions_as_json_are_for_a_program(flow, run):
    run("tag", "v2", "gold")
    listed = json.loads(run("versions", "--json"))
    assert [(each["number"], each["documents"], each["tags"]) for each in listed] == [
        (3, 2, []),
        (2, 3, ["gold"]),
        (1, 2, []),
    ]
    assert [reference["kind"] for reference in listed[1]["references"]] == ["tag"]


def test_an_empty_store_says_so(tmp_path, monkeypatch, run):
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    assert "no version yet" in run("versions")
    assert json.loads(run("versions", "--json")) == []
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["2", "v2", "gold"])
def test_a_version_is_shown_by_any_of_its_names(flow, run, name):
    run("tag", "v2", "gold")
    described = json.loads(run("show", name, "--json"))
    assert (described["number"], described["previous"], described["categories"]) == (2, 1, {"notes": 3})
    assert described["run_id"] in run("show", name)


def test_an_unknown_version_is_named(flow, run):
    with pytest.raises(TerminalError, match="No version of the feature store is called 'silver'"):
        run("show", "silver")


def test_a_difference_counts_and_lists(flow, run):
    shown = run("diff", "v1", "v2")
    assert "From version 1 to 2: 1 added, 1 changed, 0 deleted." in shown
    assert f"~ notes b  [b]B[/b]  text, title  {document_id('notes', 'b')}" in shown
    assert "+less" not in shown


def test_a_difference_says_how_much_it_leaves_out(flow, run):
    assert "2 more" in run("diff", "v1", "v2", "--limit", "0")
    assert "more" not in run("diff", "v1", "v2", "--limit", "1")


def test_a_difference_shows_the_texts_where_asked(flow, run):
    shown = run("diff", "v1", "v2", "--text")
    assert "    -more\n    +less\n" in shown
    assert "    title: – → [b]B[/b]" in shown
    assert "    +gamma" in shown


def test_a_difference_of_some_documents_leaves_out_the_others(flow, run):
    shown = run("diff", "v1", "v2", "--document", "c")
    assert "+gamma" in shown
    assert "notes b" not in shown
    assert "Nothing differs in what was asked for." in run("diff", "v1", "v2", "--document", "a")


def test_a_difference_as_json_has_all_documents(flow, run):
    difference = json.loads(run("diff", "v2", "v3", "--json", "--text"))
    assert difference["counts"] == {"added": 0, "changed": 0, "deleted": 1}
    assert [(each["source_id"], each["text"][-1]) for each in difference["documents"]] == [("a", "-alpha")]


def test_a_tag_is_given_and_taken_away(flow, run):
    assert run("tag", "latest", "gold") == "gold is version 3.\n"
    assert read_tags(flow.store.folder)["gold"].version == 3
    run("tag", "--remove", "gold")
    assert read_tags(flow.store.folder) == {}


@pytest.mark.parametrize(
    "arguments",
    [
        ("tag",),
        ("tag", "v1"),
        ("tag", "v1", "gold", "--remove", "gold"),
        ("prune",),
        ("prune", "--keep", "1", "--keep-days", "1"),
        ("prune", "--keep-days", "1000000"),
        ("prune", "--keep", "0"),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused(flow, run, arguments):
    run(*arguments, exit_code=USAGE)
    assert version_numbers(flow.store.folder) == [1, 2, 3]


def test_pruning_says_what_went_and_why_the_rest_stayed(flow, run):
    run("tag", "v2", "gold")
    shown = run("prune", "--keep", "1")
    assert "Removed 1 version: v1; 2 stay." in shown
    assert "v2: tag gold" in shown
    assert "v3: the newest version" in shown
    assert version_numbers(flow.store.folder) == [2, 3]


def test_a_dry_run_removes_nothing(flow, run):
    planned = json.loads(run("prune", "--keep", "1", "--dry-run", "--json"))
    assert (planned["removed"], planned["bytes_after"]) == ([1, 2], None)
    assert "Would remove 2 versions: v1–v2; 1 stay." in run("prune", "--keep", "1", "--dry-run")
    assert version_numbers(flow.store.folder) == [1, 2, 3]


def test_versions_of_the_last_days_stay(flow, run):
    done = json.loads(run("prune", "--keep-days", "1", "--json"))
    assert done["removed"] == []
    assert [each["number"] for each in json.loads(run("prune", "--keep-days", "0", "--json"))["kept"]][-1] == 3


@pytest.mark.parametrize(
    ("numbers", "words"),
    [([], ""), ([3], "v3"), ([1, 2, 3, 7, 9, 10], "v1–v3, v7, v9–v10")],
    ids=["none", "one", "many"],
)
def test_numbers_in_a_row_are_told_as_a_range(numbers, words):
    assert store._ranges(numbers) == words
