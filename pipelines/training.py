"""The training pipeline's first half: from the cleaned documents of a completed run to a training set of its own."""

import atexit
import inspect
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml
from zenml.client import Client
from zenml.enums import ExecutionMode
from zenml.models import ArtifactVersionResponse
from zenml.pipelines.pipeline_definition import Pipeline

from feature_store.defaults import LATEST
from feature_store.errors import ConfigurationError, TerminalError
from feature_store.exports import ExportFormat
from feature_store.handles import CleanedDocuments
from feature_store.names import find_version
from feature_store.settings import load_settings
from feature_store.training import TrainingConfig, load_training_config, validate_training
from feature_store.versions import Version
from pipelines.light import LightPipeline
from steps.export.step import make_training_dataset

_DEFAULTS = TrainingConfig()


class CheckedTrainingPipeline(LightPipeline):
    """A pipeline that refuses a configuration file with misspelt keys, which ZenML would ignore in silence."""

    def with_options(self, *args: Any, **options: Any) -> Pipeline:
        if options.get("config_path") is not None:
            options["config_path"] = str(checked_configuration(Path(options["config_path"])))
        return super().with_options(*args, **options)


def make_training_set(
    version: str = LATEST, training: TrainingConfig = _DEFAULTS, output_format: ExportFormat = "parquet"
) -> None:
    """Make a training set of one version of the documents: a number (``v12``), ``latest``, a tag or a release."""
    folder = load_settings().feature_store_folder
    cleaned_documents = find_cleaned_documents(folder, find_version(folder, version))
    make_training_dataset(cleaned_documents, training, output_format)


def checked_configuration(path: Path) -> Path:
    """Return a configuration file that means the same from any working folder: files by absolute paths.

    Raises:
        ConfigurationError: if the file is no configuration of this pipeline.
    """
    training = load_training_config(path)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    known = inspect.signature(make_training_set).parameters
    if unknown := sorted(set(content["parameters"]) - set(known)):
        raise ConfigurationError(
            f"{path}: unknown parameter(s) {', '.join(unknown)}.", f"Parameters are: {', '.join(known)}."
        )
    if training == validate_training(content["parameters"]["training"] or {}, str(path)):
        return path
    parameters = {**content["parameters"], "training": training.model_dump(mode="json", exclude_unset=True)}
    folder = Path(tempfile.mkdtemp(prefix="training-dataset-pipeline-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # ZenML reads the file again when it runs
    rewritten = folder / path.name
    rewritten.write_text(yaml.safe_dump({**content, "parameters": parameters}), encoding="utf-8")
    return rewritten


def find_cleaned_documents(folder: Path, version: Version) -> ArtifactVersionResponse:
    """Return the artifact of the documents at ``version``, from the last completed run that had it.

    Raises:
        TerminalError: if there is none: a run that failed leaves an artifact, but promises nothing.
    """
    client = Client()
    page = 1
    while True:
        found = client.list_artifact_versions(
            artifact="cleaned_documents",
            run_metadata=f"version:{version.number}",
            sort_by="desc:created",
            page=page,
            hydrate=True,
        )
        for artifact in found.items:
            if _is_of(artifact, folder, version) and _was_completed(client, artifact):
                return artifact
        if page >= found.total_pages:
            break
        page += 1
    raise TerminalError(
        f"No completed run of feature_pipeline has version {version.number} of the feature store in {folder}.",
        "Run it: `zenml pipeline run feature_pipeline`; or take a version of a run that was completed.",
    )


def _is_of(artifact: ArtifactVersionResponse, folder: Path, version: Version) -> bool:
    documents = artifact.load()
    return (
        isinstance(documents, CleanedDocuments)
        and (documents.folder, documents.version) == (folder, version.number)
        and documents.store_id in {None, version.store_id}
        and documents.version_run_id in {None, version.run_id}
    )


def _was_completed(client: Client, artifact: ArtifactVersionResponse) -> bool:
    run_id = artifact.producer_pipeline_run_id
    runs = client.list_pipeline_runs(id=run_id, pipeline="feature_pipeline", status="completed") if run_id else None
    return bool(runs and runs.total)


training_dataset_pipeline = CheckedTrainingPipeline(
    name="training_dataset_pipeline",
    entrypoint=make_training_set,
    enable_cache=False,  # the register of exports knows what was made; ZenML cannot
    execution_mode=ExecutionMode.FAIL_FAST,
)
