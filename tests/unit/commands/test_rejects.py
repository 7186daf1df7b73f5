"""The commands `rejects` and `quality`, as a person and as a program read them."""

import json

import pytest
import typer
import yaml
from typer.testing import CliRunner

from commands import quality as quality_command
from commands import rejects as rejects_command
from feature_store.errors import ConfigurationError, TerminalError
from tests.flow import CATEGORY, Flow, note, notes_config

EXPECTED = {"present": {"title": {"warn": 0.9, "fail": 0.5}, "url": {"warn": 0.1}}}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "notes.yaml"
    category = {**CATEGORY, "quality": EXPECTED}
    path.write_text(yaml.safe_dump({"parameters": {"categories": [category], "indexes": []}}))
    return path


@pytest.fixture
def flow(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    made = Flow(tmp_path / "data", notes_config(categories=[CATEGORY]))
    commit(made, [note("a", None), note("b", " "), note("c", "fine", title="C"), note("d", "[bold]", title="[red]")])
    commit(made, [note("a", "good"), note("b", None), note("c", None), note("d", "fine")])
    return made


def commit(flow, notes):
    flow.commit(notes, check=lambda shares: None)


def invoke(command, *arguments):
    application = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    application.command()(command)
    return CliRunner().invoke(application, [str(argument) for argument in arguments])


def shown(command, *arguments, code=0):
    result = invoke(command, *arguments)
    assert result.exit_code == code, result.output
    return " ".join(result.stdout.split())


def parsed(command, *arguments, code=0):
    result = invoke(command, *arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_rejects_are_shown_by_reason_and_one_by_one(flow):
    text = shown(rejects_command.rejects)
    assert "Version 2: 2 rejected documents" in text
    assert "missing_text notes 2" in text
    assert "notes b missing_text version 2" in text
    assert "Field body is missing; correct `text` of category notes." in text
    assert "good" not in text


def test_rejects_are_readable_by_a_program(flow):
    read = parsed(rejects_command.rejects, "--version", "v1", "--reason", "empty")
    assert (read["version"], read["rejected"]) == (1, 1)
    assert read["counts"] == [{"reason": "empty", "category": "notes", "documents": 1}]
    assert [row["source_id"] for row in read["documents"]] == ["b"]
    assert parsed(rejects_command.rejects, "--category", "letters")["rejected"] == 0


def test_no_more_rejects_are_listed_than_asked_for(flow):
    assert len(parsed(rejects_command.rejects, "--limit", 1)["documents"]) == 1
    assert "1 more: --limit 2" in shown(rejects_command.rejects, "--limit", 1)
    assert "more:" not in shown(rejects_command.rejects, "--limit", 2)


def test_the_difference_between_two_versions_is_shown(flow):
    text = shown(rejects_command.rejects, "--since", "1")
    assert "From version 1 to 2: 2 rejected documents before, 2 now" in text
    assert "notes a cleaned: missing_text" in text
    assert "notes b rejected for another reason: empty → missing_text" in text
    assert "notes c newly rejected: missing_text" in text
    read = parsed(rejects_command.rejects, "--since", "1")
    assert (read["since"], read["version"]) == (1, 2)
    assert {row["source_id"]: row["change"] for row in read["documents"]} == {
        "a": "cleaned",
        "b": "rejected for another reason",
        "c": "newly rejected",
    }
    assert {row["change"]: row["documents"] for row in read["counts"]} == dict.fromkeys(
        ["cleaned", "newly rejected", "rejected for another reason"], 1
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(["--version", "v9"], TerminalError), (["--since", "latest"], ConfigurationError)],
    ids=str,
)
def test_versions_that_cannot_be_meant_are_refused(flow, arguments, error):
    assert isinstance(invoke(rejects_command.rejects, *arguments).exception, error)


@pytest.mark.parametrize(
    ("arguments", "reasons"), [([], ["all"]), (["--reason", "empty", "--reason", "x"], ["empty", "x"])], ids=str
)
def test_retry_runs_the_pipeline_for_these_reasons(flow, config, monkeypatch, arguments, reasons):
    given = {}
    monkeypatch.setattr("commands.running.run", lambda path, **options: given.update(path=path, **options))
    shown(rejects_command.rejects, "--retry", "--config", config, *arguments)
    assert given == {"path": config, "retry_rejects": reasons, "as_json": False}


def test_retry_takes_no_selection_that_it_would_not_follow(flow):
    result = invoke(rejects_command.rejects, "--retry", "--category", "notes")
    assert result.exit_code == 2
    assert "--retry takes --reason only" in result.stderr


def test_quality_shows_the_figures_against_the_expectations(flow, config):
    text = shown(quality_command.quality, "--version", "1", "--config", config)
    assert "present.title 1 0.9 0.5 ok" in text
    assert "present.url 0 0.1 - warn" in text
    assert "title 100%" in text


def test_quality_fails_for_a_program_where_an_expectation_fails(flow, config):
    read = parsed(quality_command.quality, "--config", config, code=9)
    assert read["version"] == 2
    assert read["categories"]["notes"]["documents"] == 2
    assert {row["expectation"]: row["level"] for row in read["expectations"]} == {
        "present.title": "fail",
        "present.url": "warn",
    }
    assert read["expectations"][0] == {
        "category": "notes",
        "expectation": "present.title",
        "figure": 0.0,
        "warn": 0.9,
        "fail": 0.5,
        "level": "fail",
    }


def test_quality_without_expectations_shows_the_figures(flow, tmp_path):
    path = tmp_path / "plain.yaml"
    path.write_text(yaml.safe_dump({"parameters": {"categories": [CATEGORY], "indexes": []}}))
    text = shown(quality_command.quality, "--config", path)
    assert "The configuration expects nothing" in text
    assert "notes 2 2" in text
