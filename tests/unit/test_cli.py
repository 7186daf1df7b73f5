"""The command line: help with an example everywhere, and exit codes that mean something."""

import errno
import json
import sqlite3
import sys

import pytest
from typer.testing import CliRunner

import cli
from feature_store.errors import (
    DataQualityError,
    LockedError,
    PlanOutdatedError,
    PreflightError,
    ReconciliationError,
    TooManyRejectsError,
)

COMMANDS = [
    *("run", "plan", "watch", "versions", "show", "diff", "tag", "prune", "export", "release", "rebuild", "explain"),
    *("forget", "rejects", "quality", "report", "search", "indexes", "promote", "rollback", "drop-retired", "audit"),
    *("evaluate", "doctor", "status", "warehouse", "dashboard"),
]
IMPORTS = ["json", "distributions", "docstrings", "samples"]


def leave(monkeypatch, *arguments):
    """Run the command line as the shell does, and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["feature-pipeline", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code


@pytest.mark.parametrize(
    "command", [[name] for name in COMMANDS] + [["import", name] for name in IMPORTS], ids=" ".join
)
def test_every_command_has_help_with_an_example(command):
    result = CliRunner().invoke(cli.application, [*command, "--help"])
    assert result.exit_code == 0
    assert f"Example: feature-pipeline {' '.join(command)}" in " ".join(result.output.split())


def test_every_command_is_known_here():
    names = {command.name or command.callback.__name__ for command in cli.application.registered_commands}
    assert {name.replace("_", "-") for name in names} == {*COMMANDS}
    assert {command.name for command in cli.imports.registered_commands} == {*IMPORTS}


def test_a_configuration_that_is_not_there_is_a_usage_error(monkeypatch, capsys, tmp_path):
    assert leave(monkeypatch, "status", "-c", str(tmp_path / "none.yaml")) == 2
    assert "none.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PreflightError([]), 3, "Preflight"),
        (LockedError("Another run is working."), 4, "Another run"),
        (TooManyRejectsError("Too many."), 5, "Too many"),
        (ReconciliationError("Does not add up."), 6, "add up"),
        (PlanOutdatedError("The plan is outdated."), 8, "outdated"),
        (DataQualityError("Not as expected."), 9, "Not as expected"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "disk is full"),
        (sqlite3.OperationalError("database or disk is full"), 1, "disk is full"),
        (KeyboardInterrupt(), 130, "Run again"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_each_failure_has_its_exit_code_and_one_message(monkeypatch, capsys, error, code, said):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(cli, "application", fail)
    assert leave(monkeypatch) == code
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--approve-deletions", "articles"], "is not CATEGORY=COUNT"),
        (["--approve-deletions", "articles=-5"], "is not CATEGORY=COUNT"),
        (["--approve-deletions", "artikles=5"], "unknown categories artikles"),
        (["--capture", "oplog"], "options.capture"),
        (["--accept-quality", "artikles"], "accepted_quality names unknown categories artikles"),
        (["--message", "x" * 1001], "options.message"),
        (["--max-changes", "0"], "max-changes"),
        (["--plan", "--from-plan", "plan.json"], "give one of --plan, --from-plan and --if-changed"),
        (["--plan", "--if-changed"], "give one of --plan, --from-plan and --if-changed"),
        (["--from-plan", "none.json"], "Cannot read none.json"),
        (["--from-plan", "plan.json", "--capture", "hash"], "the plan has the options"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_of_a_run_that_cannot_be_meant_are_usage_errors(monkeypatch, capsys, tmp_path, arguments, said):
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    assert leave(monkeypatch, "run", *arguments) == 2
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not (tmp_path / "data" / "feature_store").exists()


def test_the_options_of_the_command_line_take_the_place_of_those_of_the_file(monkeypatch, tmp_path):
    given = {}

    def remember(path, settings, options):
        given.update(options.model_dump(exclude_unset=True))
        raise PlanOutdatedError("Enough.")

    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("pipelines.run.run_feature_pipeline", remember)
    arguments = "run --retry-rejects empty --retry-rejects not_text --accept-quality posts --message why"
    assert leave(monkeypatch, *arguments.split(), "--approve-deletions", "posts=3", "--max-changes", "5") == 8
    assert given == {
        "retry_rejects": ["empty", "not_text"],
        "accepted_quality": ["posts"],
        "message": "why",
        "approved_deletions": {"posts": 3},
        "max_changes": 5,
    }


def test_an_unexpected_error_is_not_hidden(monkeypatch):
    def fail():
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(cli, "application", fail)
    monkeypatch.setattr(sys, "argv", ["feature-pipeline"])
    with pytest.raises(OSError, match="Permission denied"):
        cli.main()


def test_status_of_an_empty_installation_is_readable_by_a_program(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    result = CliRunner().invoke(cli.application, ["status", "--json"])
    assert result.exit_code == 0, result.output
    status = json.loads(result.stdout)
    assert status["feature_store"]["version"] is None
    assert [(row["index"], row["collection"], row["lag"]) for row in status["indexes"]] == [("documents", None, 0)]
