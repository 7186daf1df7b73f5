"""The command `export`."""

import json

import pytest
import typer
from typer.testing import CliRunner

from commands import training
from feature_store.errors import ConfigurationError, TerminalError
from feature_store.exports import list_exports
from feature_store.names import add_tag
from tests.unit.export.corpus import Corpus, text_of

application = typer.Typer()
application.command("export")(training.export)


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    filled = Corpus(tmp_path / "data")
    filled.commit({number: text_of(number) for number in range(8)})
    filled.commit({"new": text_of("new"), "copy": text_of(3)}, removed=[1])
    return filled


def run(*arguments):
    return CliRunner().invoke(application, list(map(str, arguments)), catch_exceptions=False)


def test_a_training_set_is_written_and_described(corpus, tmp_path):
    result = run("--format", "parquet", "--output", tmp_path / "out")
    assert result.exit_code == 0
    (record,) = list_exports(corpus.store.folder)
    assert f"Training set {record.export_id}: version 2" in result.stdout
    assert "Left out of 9 documents: 1 duplicate." in result.stdout
    assert str(tmp_path / "out") in result.stdout
    assert (tmp_path / "out" / "README.md").is_file()


def test_a_program_gets_the_record(corpus, tmp_path):
    add_tag(corpus.store.folder, corpus.store.version(1), "first")
    result = run("--format", "jsonl", "-o", tmp_path / "out", "--version", "v2", "--since", "first", "--json")
    record = json.loads(result.stdout)
    assert (record["version"], record["since"], record["format"]) == (2, 1, "jsonl")
    assert record["counts"]["documents"] == 1
    assert record["folder"] == str(tmp_path / "out")


def test_what_is_gone_is_told_of_a_delta(corpus, tmp_path):
    result = run("--format", "jsonl", "-o", tmp_path / "out", "--since", "1")
    assert "changes since version 1" in result.stdout
    assert "No longer in the set: 1 documents; replaced: 0." in result.stdout


def test_a_configuration_decides(corpus, tmp_path):
    path = tmp_path / "training.yaml"
    path.write_text("parameters: {training: {drop_duplicates: false}}", encoding="utf-8")
    assert "Left out of 9 documents: none." in run("--format", "jsonl", "-o", tmp_path / "out", "-c", path).stdout


def test_an_earlier_export_is_replaced_only_on_demand(corpus, tmp_path):
    arguments = ("--format", "jsonl", "--output", tmp_path / "out")
    run(*arguments)
    with pytest.raises(ConfigurationError, match="--overwrite"):
        run(*arguments)
    assert run(*arguments, "--overwrite").exit_code == 0


def test_a_version_that_is_not_there_is_an_error(corpus, tmp_path):
    with pytest.raises(TerminalError, match="no version 9"):
        run("--format", "jsonl", "-o", tmp_path / "out", "--version", "9")
