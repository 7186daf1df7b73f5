"""The training configuration: its defaults, its file, and what it says about mistakes."""

import pytest

from feature_store.defaults import DEFAULT_TRAINING_CONFIG
from feature_store.errors import ConfigurationError
from feature_store.training import TrainingConfig, load_training_config, validate_training


def test_the_file_that_comes_along_holds_the_defaults():
    assert load_training_config(DEFAULT_TRAINING_CONFIG) == TrainingConfig()


def test_a_file_says_only_what_differs(tmp_path):
    path = tmp_path / "training.yaml"
    path.write_text("parameters:\n  training:\n    filters: {min_characters: 9}\n", encoding="utf-8")
    training = load_training_config(path)
    assert training.filters.min_characters == 9
    assert training.model_copy(update={"filters": TrainingConfig().filters}) == TrainingConfig()


def test_evaluation_files_are_looked_for_beside_the_configuration(tmp_path):
    path = tmp_path / "training.yaml"
    files = "[a.txt, {path: /b.jsonl, field: question}]"
    path.write_text(f"parameters: {{training: {{decontamination: {{files: {files}}}}}}}", encoding="utf-8")
    one, other = load_training_config(path).decontamination.files
    assert (one.path, one.field) == (tmp_path / "a.txt", "text")
    assert (str(other.path), other.field) == ("/b.jsonl", "question")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"splits": {"train": 0.9, "validation": 0.2, "test": 0.1}}, r"splits: .*add up to 1\.2; make them"),
        ({"splits": {"train": 1.5}}, r"splits\.train: .*1\.5"),
        ({"near_duplicates": {"threshold": 0.2}}, r"near_duplicates\.threshold: .*0\.2"),
        ({"filters": {"min_characters": 9, "max_characters": 3}}, "max_characters 3 is below min_characters 9"),
        ({"filtres": {}}, "filtres: .*correct its spelling"),
        ({"decontamination": {"files": [{"file": "x"}]}}, r"decontamination\.files\.0\.path"),
        ({"rows_per_file": 0}, "rows_per_file"),
        ({"languages": "en"}, "languages"),
        ([], "valid training configuration"),
    ],
)
def test_a_mistake_is_named_with_field_and_value(given, words):
    with pytest.raises(ConfigurationError, match=words):
        validate_training(given, "a test")


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "feature.yaml"
    path.write_text("parameters: {categories: []}", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="no `training` under `parameters`, but categories"):
        load_training_config(path)
