"""The command `evaluate`."""

import json

import pytest
import typer
from typer.testing import CliRunner

from commands import evaluate
from feature_store.errors import ConfigurationError
from feature_store.ids import document_id
from feature_store.index import open_qdrant
from feature_store.settings import Settings
from tests.flow import Flow, note, notes_config
from tests.stand_in import HashEncoder
from tests.support import make_parameters, write_config

application = typer.Typer()
application.command("evaluate")(evaluate.evaluate)


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("installation")
    settings = Settings(data_dir=folder / "data", _env_file=None)
    with open_qdrant(settings) as client:
        flow = Flow(settings.data_dir, notes_config(), client)
        flow.load_encoder = lambda config: HashEncoder()
        flow.run([note("tea", "Green tea is steeped briefly."), note("rust", "Iron rusts in the rain.")])
    write_config(folder / "notes.yaml", make_parameters("unused"))
    lines = [
        {"query": "Iron rusts in the rain.", "relevant": ["notes:rust", "notes:gone"]},
        {"query": "Green tea is steeped briefly.", "relevant": ["notes:tea"]},
    ]
    (folder / "golden.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def run(monkeypatch, installation, *arguments):
    monkeypatch.setenv("DATA_DIR", str(installation / "data"))
    monkeypatch.setattr("inference.retriever.load_encoder", lambda config: HashEncoder())
    command = ["--data", installation / "golden.jsonl", "-c", installation / "notes.yaml", *arguments]
    return CliRunner().invoke(application, list(map(str, command)), catch_exceptions=False)


def test_the_first_index_is_evaluated_and_the_measures_are_shown(monkeypatch, installation):
    result = run(monkeypatch, installation)
    assert result.exit_code == 0
    assert "notes_index__" in result.stdout
    assert "at version 1, 2 queries" in result.stdout
    measures = next(line for line in result.stdout.splitlines() if line.rstrip().endswith("100.0%"))
    assert measures.split()[1:] == ["75.0%", "75.0%", "100.0%"]
    assert "1 judged documents are not in the index" in result.stdout
    assert "Iron rusts" in result.stdout
    assert "Green tea" not in result.stdout  # nothing is wrong with it


def test_a_program_gets_every_query(monkeypatch, installation):
    result = run(monkeypatch, installation, "--json", "--index", "notes_index")
    found = json.loads(result.stdout)
    assert found["index"] == "notes_index"
    assert found["version"] == 1
    assert found["metrics"]["queries"] == 2
    assert found["missing"] == [document_id("notes", "gone")]
    assert [query["recall_at_100"] for query in found["queries"]] == [0.5, 1.0]
    assert found["queries"][1]["found"][0] == document_id("notes", "tea")


def test_what_cannot_be_evaluated_is_an_error_with_a_remedy(monkeypatch, installation):
    with pytest.raises(ConfigurationError, match="There is no index 'other' that serves"):
        run(monkeypatch, installation, "--index", "other")
    with pytest.raises(ConfigurationError, match="There is no format 'csv'"):
        run(monkeypatch, installation, "--format", "csv")
