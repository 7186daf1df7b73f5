"""The retrieval evaluation pipeline: how good an index is at finding, as an artifact that names what was asked."""

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml
from zenml.enums import ExecutionMode
from zenml.pipelines.pipeline_definition import Pipeline

from inference.evaluation.config import EvaluationConfig, load_evaluation_config
from pipelines.light import LightPipeline
from steps.evaluate.step import evaluate_retrieval


class CheckedEvaluationPipeline(LightPipeline):
    """A pipeline that refuses a configuration file with misspelt keys, which ZenML would ignore in silence."""

    def with_options(self, *args: Any, **options: Any) -> Pipeline:
        if options.get("config_path") is not None:
            options["config_path"] = str(checked_configuration(Path(options["config_path"])))
        return super().with_options(*args, **options)


def evaluate_index(evaluation: EvaluationConfig) -> None:
    """Ask an index that serves the judged queries of a file or folder."""
    evaluate_retrieval(evaluation)


def checked_configuration(path: Path) -> Path:
    """Return a configuration file that means the same from any working folder: its data by an absolute path.

    Raises:
        ConfigurationError: if the file is no configuration of this pipeline.
    """
    evaluation = load_evaluation_config(path)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["parameters"]["evaluation"] = evaluation.model_dump(mode="json", exclude_unset=True)
    folder = Path(tempfile.mkdtemp(prefix="retrieval-evaluation-pipeline-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # ZenML reads the file again when it runs
    rewritten = folder / path.name
    rewritten.write_text(yaml.safe_dump(content), encoding="utf-8")
    return rewritten


retrieval_evaluation_pipeline = CheckedEvaluationPipeline(
    name="retrieval_evaluation_pipeline",
    entrypoint=evaluate_index,
    enable_cache=False,  # the index may have changed; ZenML cannot know
    execution_mode=ExecutionMode.FAIL_FAST,
)
