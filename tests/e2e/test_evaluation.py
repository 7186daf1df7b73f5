"""An evaluation as a user makes it: the pipeline by its command, and the command that prints the same figures."""

import json
from pathlib import Path

import pytest

from tests.e2e.installation import Installation
from tests.support import fill_warehouse, make_notes, write_config

NOTES = 12


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Installation:
    """An installation with an index that serves, and golden queries: the first paragraphs of some documents."""
    made = Installation(tmp_path_factory.mktemp("installation"), tiny_model)
    notes = make_notes(NOTES)
    fill_warehouse(made.settings, notes)
    code, output = made.execute("zenml", "pipeline", "run", "feature_pipeline", "-c", str(made.config))
    assert code == 0, output
    lines = [{"query": note["body"].split("\n\n")[1], "relevant": [f"notes:{note['_id']}"]} for note in notes[:4]]
    lines.append({"query": "what is not there", "relevant": ["notes:gone"]})
    (made.folder / "golden.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return made


def test_an_evaluation_is_an_artifact_that_names_what_was_asked(installation: Installation) -> None:
    evaluation = {"index": "notes_index", "data": "golden.jsonl", "worst": 2}
    config = write_config(installation.folder / "evaluation.yaml", {"evaluation": evaluation})
    code, output = installation.execute("zenml", "pipeline", "run", "retrieval_evaluation_pipeline", "-c", str(config))
    assert code == 0, output
    code, output = installation.execute("python", "tests/e2e/read_evaluation.py")
    assert code == 0, output
    found = json.loads(output[output.index("{") :])
    assert found["run"] == ["retrieval_evaluation_pipeline", "completed"]
    assert list(found["views"]) == ["summary.md", "queries.html"]
    handle, metadata = found["handle"], found["metadata"]
    (index,) = installation.status()["indexes"]
    assert (handle["index"], handle["collection"]) == ("notes_index", index["collection"])
    assert handle["collection"].endswith(handle["fingerprint"])
    assert (handle["version"], handle["queries"], handle["missing"]) == (1, 5, 1)
    assert handle["mrr"] == handle["recall_at_10"] == 0.8
    assert handle["worst"][0]["query"] == "what is not there"
    assert len(handle["worst"]) == 2
    assert (metadata["ndcg_at_10"], metadata["version"], metadata["fingerprint"]) == (0.8, 1, handle["fingerprint"])
    assert not [name for name, value in metadata.items() if isinstance(value, dict | list)]


def test_the_command_gives_the_same_figures(installation: Installation) -> None:
    data, config = str(installation.folder / "golden.jsonl"), str(installation.config)
    code, output = installation.execute("feature-pipeline", "evaluate", "--data", data, "-c", config, "--json")
    assert code == 0, output
    found = json.loads(output[output.index("{") :])
    assert found["index"] == "notes_index"
    assert (found["metrics"]["mrr"], found["metrics"]["queries"]) == (0.8, 5)
    assert len(found["missing"]) == 1


def test_an_evaluation_of_what_does_not_serve_says_what_to_do(installation: Installation) -> None:
    config = write_config(
        installation.folder / "other.yaml", {"evaluation": {"index": "other", "data": "golden.jsonl"}}
    )
    code, output = installation.execute("zenml", "pipeline", "run", "retrieval_evaluation_pipeline", "-c", str(config))
    assert code != 0
    assert "There is no index 'other' that serves. Run the feature pipeline" in " ".join(output.split())
