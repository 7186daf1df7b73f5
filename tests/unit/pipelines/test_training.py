"""The training pipeline: which documents it takes, what it refuses, and what its artifact gives back."""

from pathlib import Path
from typing import Annotated

import pytest
import yaml
from zenml import pipeline, step

from feature_store.defaults import DEFAULT_TRAINING_CONFIG
from feature_store.errors import ConfigurationError, TerminalError
from feature_store.exports import read_members
from feature_store.handles import CleanedDocuments, TrainingDataset
from feature_store.materializers import HandleMaterializer
from feature_store.training import TrainingConfig, load_training_config
from pipelines.training import checked_configuration, find_cleaned_documents
from steps.export.apply import export_training_set
from steps.export.step import describe_training_dataset
from tests.flow import Flow, note, notes_config
from tests.support import make_notes


@step(enable_cache=False, output_materializers=HandleMaterializer)
def clean(handle: CleanedDocuments) -> Annotated[CleanedDocuments, "cleaned_documents"]:
    return handle


@step(enable_cache=False)
def load(documents: CleanedDocuments, fails: bool) -> None:
    if fails:
        raise ConnectionError


def stages(handle: CleanedDocuments, fails: bool) -> None:
    load(clean(handle), fails)


def run_stages(handle, fails=False, name="feature_pipeline"):
    """Stand for a run of the feature pipeline that had these documents."""
    stages.__name__ = name
    made = pipeline(stages, name=name, enable_cache=False)
    if fails:
        with pytest.raises(RuntimeError, match="step"):
            made(handle, fails)
    else:
        made(handle, fails)


@pytest.fixture
def flow(tmp_path):
    return Flow(tmp_path / "data", notes_config())


def found(flow, number):
    handle = find_cleaned_documents(flow.store.folder, flow.store.version(number)).load()
    assert isinstance(handle, CleanedDocuments)
    return handle


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_documents_come_from_the_last_completed_run_of_this_store_that_had_the_version(flow, tmp_path, monkeypatch):
    monkeypatch.setattr("zenml.environment.Environment.get_python_packages", list)  # seconds for each run
    other = Flow(tmp_path / "elsewhere", notes_config())
    _, first = flow.commit([note("a", "alpha")])
    _, second = flow.commit([note("a", "alpha, edited")])
    _, third = flow.commit([note("a", "alpha, edited again")])
    _, foreign = other.commit([note("a", "not ours")])
    run_stages(first)
    run_stages(second.model_copy(update={"seconds": 1.0}))
    run_stages(second.model_copy(update={"seconds": 2.0}))  # a run that changed nothing
    run_stages(second.model_copy(update={"seconds": 3.0}), fails=True)
    run_stages(second.model_copy(update={"seconds": 4.0}), name="another_pipeline")
    run_stages(third, fails=True)
    run_stages(third.model_copy(update={"store_id": "that was in this folder before"}))
    run_stages(foreign)
    assert found(flow, 1) == first
    assert found(flow, 2).seconds == 2.0
    assert found(other, 1) == foreign
    with pytest.raises(TerminalError, match=r"No completed run of feature_pipeline has version 3 .*zenml pipeline run"):
        found(flow, 3)


def write(path, parameters):
    path.write_text(yaml.safe_dump({"parameters": parameters}), encoding="utf-8")
    return path


def test_the_default_configuration_is_that_of_the_code():
    assert checked_configuration(DEFAULT_TRAINING_CONFIG) == DEFAULT_TRAINING_CONFIG
    assert load_training_config() == TrainingConfig()


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"training": {}, "vesion": "v1"}, r"vesion.*version, training, output_format"),
        ({"training": {"filterz": {}}}, "filterz"),
        ({"training": {"splits": {"train": 0.9, "validation": 0.9, "test": 0.1}}}, "add up"),
    ],
    ids=["parameter", "option", "value"],
)
def test_a_configuration_that_says_nothing_to_the_pipeline_is_refused(tmp_path, parameters, problem):
    with pytest.raises(ConfigurationError, match=problem):
        checked_configuration(write(tmp_path / "mine.yaml", parameters))


def test_evaluation_texts_beside_the_configuration_are_found_from_any_folder(tmp_path, monkeypatch):
    training = {"decontamination": {"files": ["questions.txt"], "ngram": 8}}
    path = checked_configuration(write(tmp_path / "mine.yaml", {"version": "v3", "training": training}))
    monkeypatch.chdir("/")
    assert yaml.safe_load(path.read_text())["parameters"]["version"] == "v3"
    decontamination = load_training_config(path).decontamination
    assert [file.path for file in decontamination.files] == [tmp_path / "questions.txt"]
    assert decontamination.ngram == 8


def test_a_tokenizer_beside_the_configuration_is_found_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "mine.json").write_text("{}", encoding="utf-8")
    path = checked_configuration(write(tmp_path / "mine.yaml", {"training": {"tokenizer": "mine.json"}}))
    monkeypatch.chdir("/")
    assert load_training_config(path).tokenizer == str(tmp_path / "mine.json")
    name = write(tmp_path / "name.yaml", {"training": {"tokenizer": "gpt2"}})
    assert load_training_config(checked_configuration(name)).tokenizer == "gpt2"


def make(flow, output_format, folder, **options):
    _, cleaned = flow.commit([*make_notes(60), note("copy", make_notes(1)[0]["body"])])
    record = export_training_set(flow.store, cleaned.at(), TrainingConfig(**options), output_format, folder)
    made = describe_training_dataset(record, cleaned)
    return record, TrainingDataset.model_validate_json(made.model_dump_json())


@pytest.mark.parametrize("output_format", ["parquet", "jsonl", "huggingface"])
def test_the_artifact_gives_back_the_documents_of_each_split(flow, tmp_path, output_format):
    record, made = make(flow, output_format, tmp_path / "export")
    assert (made.version, made.export_id, made.format, made.folder) == (
        1,
        record.export_id,
        output_format,
        record.folder,
    )
    assert made.considered == sum(made.splits.values()) + sum(made.excluded.values()) == 61
    assert made.excluded["duplicate"] == 1
    assert list(made.splits) == list(made.tokens) == ["train", "validation", "test"]
    assert all(made.splits.values())
    members = {}
    for batch in read_members(flow.store.folder, made.export_id):
        for row in batch.to_pylist():
            members.setdefault(row["split"], set()).add(row["document_id"])
    texts = {row["document_id"]: row["text"] for row in flow.live().values()}
    for split, documents in made.splits.items():
        rows = list(made.to_huggingface(split))
        assert len(rows) == documents
        assert {row["document_id"] for row in rows} == members[split]
        assert all(row["text"] == texts[row["document_id"]] for row in rows)
        assert sum(row["tokens"] for row in rows) == made.tokens[split]


@pytest.mark.parametrize("output_format", ["parquet", "jsonl", "huggingface"])
def test_a_split_without_documents_is_named(flow, tmp_path, output_format):
    _, made = make(flow, output_format, tmp_path / "export", splits={"train": 1, "validation": 0, "test": 0})
    with pytest.raises(TerminalError, match="'test' of the training set has no documents"):
        made.to_huggingface("test")


def test_copies_that_are_made_for_reading_stay_in_the_feature_store(flow, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    _, made = make(flow, "parquet", tmp_path / "export")
    for file in made.to_huggingface().cache_files:
        assert Path(file["filename"]).is_relative_to(flow.store.folder / "copies")


def test_a_split_that_is_not_there_and_files_that_are_gone_are_named(flow, tmp_path):
    _, made = make(flow, "parquet", tmp_path / "export")
    with pytest.raises(ConfigurationError, match=r"'dev'.*train, validation, test"):
        made.to_huggingface("dev")
    gone = next((tmp_path / "export" / "data").glob("train*"))
    gone.unlink()
    with pytest.raises(TerminalError, match=rf"lacks 1 of its files, such as data/{gone.name}.*Make it again"):
        made.to_huggingface()
