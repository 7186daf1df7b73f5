"""Training sets as a user makes and uses them: the second pipeline by its command, and a stranger's training script."""

import json
import re
import sys
from pathlib import Path

import pytest

from feature_store.store import open_feature_store
from feature_store.training import TrainingConfig
from steps.export.apply import export_training_set
from tests.e2e.installation import Installation
from tests.support import fill_warehouse, make_notes, write_config

NOTES = 60


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Installation:
    """An installation with two versions of its documents."""
    made = Installation(tmp_path_factory.mktemp("installation"), tiny_model)
    notes = make_notes(NOTES)
    for number in range(2):
        notes[0]["body"] += f"\n\nEdition {number}"
        fill_warehouse(made.settings, notes)
        code, output = made.execute("zenml", "pipeline", "run", "feature_pipeline", "-c", str(made.config))
        assert code == 0, output
    return made


def read(installation: Installation) -> dict:
    code, output = installation.execute("python", "tests/e2e/read_training_dataset.py")
    assert code == 0, output
    found: dict = json.loads(output[output.index("{") :])
    return found


def editions(found: dict) -> set[str]:
    return {text.splitlines()[-1] for text in found["written"] if "Edition" in text}


def test_the_training_pipeline_runs_by_its_name_and_leaves_an_artifact_with_its_lineage(
    installation: Installation,
) -> None:
    code, output = installation.execute("zenml", "pipeline", "run", "training_dataset_pipeline")
    assert code == 0, output
    found = read(installation)
    handle = found["handle"]
    assert found["runs"] == ["training_dataset_pipeline", "feature_pipeline", "completed"]
    assert handle["version"] == found["documents_version"] == 2
    assert found["written"] == found["documents"]
    assert editions(found) == {"Edition 1"}
    folder = installation.settings.data_dir / "training" / handle["export_id"]
    assert Path(handle["folder"]) == folder
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(handle["files"])
    assert [path for path in folder.parent.iterdir() if path != folder] == []
    assert sum(handle["splits"].values()) == NOTES
    store = open_feature_store(installation.settings.feature_store_folder)
    assert [json.loads(path.read_text())["folder"] for path in (store.folder / "exports").glob("*.json")] == [
        str(folder)
    ]
    assert found["metadata"]["export_id"] == handle["export_id"]
    assert not [name for name, value in found["metadata"].items() if isinstance(value, dict | list)]
    assert "summary.md" in found["views"]


def test_an_older_version_is_taken_from_the_run_that_had_it(installation: Installation) -> None:
    config = write_config(
        installation.folder / "old.yaml", {"version": "v1", "training": {}, "output_format": "huggingface"}
    )
    code, output = installation.execute("zenml", "pipeline", "run", "training_dataset_pipeline", "-c", str(config))
    assert code == 0, output
    found = read(installation)
    assert found["handle"]["version"] == found["documents_version"] == 1
    assert found["written"] == found["documents"]
    assert editions(found) == {"Edition 0"}


def test_before_the_first_run_the_training_pipeline_says_what_to_do(tmp_path: Path, tiny_model: Path) -> None:
    empty = Installation(tmp_path, tiny_model)
    code, output = empty.execute("zenml", "pipeline", "run", "training_dataset_pipeline")
    assert code != 0
    assert "The feature store has no version yet. Run the feature pipeline." in " ".join(output.split())


@pytest.mark.parametrize("output_format", ["parquet", "jsonl"])
def test_a_strangers_training_script_runs_on_an_export(installation: Installation, output_format: str) -> None:
    folder = installation.folder / output_format
    store = open_feature_store(installation.settings.feature_store_folder)
    export_training_set(store, store.version(2), TrainingConfig(), output_format, folder)
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(installation.folder / "hub")}
    code, output = installation.execute(
        Path(sys.executable).name, "examples/train.py", str(folder), "--steps", "4", **offline
    )
    assert code == 0, output
    told = re.search(r"(\d+) documents, 4 steps, loss ([\d.]+) -> ([\d.]+)", output)
    assert told is not None, output
    assert 0 < int(told[1]) <= NOTES
    assert float(told[3]) < float(told[2])
