"""The configuration of an evaluation: which index is asked which queries.

It is the part ``evaluation`` of the parameters of a run configuration.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from feature_store.config import read_parameters, validated
from feature_store.defaults import REPOSITORY
from feature_store.errors import ConfigurationError
from feature_store.index_config import EncoderConfig
from feature_store.strict import Name, Strict
from inference.evaluation.evaluate import EvaluationFormat

DEFAULT_EVALUATION_CONFIG = REPOSITORY / "configs" / "evaluation.yaml"


class EvaluationConfig(Strict):
    """An index that serves, and the ``data`` that it is judged by.

    That is a file of golden queries or, with format ``beir``, a folder. ``worst`` is how many of the queries that were
    answered worst are kept. ``encoder`` says where the model is on this machine, and whether its own code may run.
    """

    index: Name
    data: Path
    format: EvaluationFormat = "golden"
    worst: Annotated[int, Field(ge=0, le=1000)] = 20
    encoder: EncoderConfig | None = None


def load_evaluation_config(path: Path = DEFAULT_EVALUATION_CONFIG) -> EvaluationConfig:
    """Read and validate an evaluation's configuration; a path in it is relative to its own folder.

    Raises:
        ConfigurationError: naming file, field, value and remedy.
    """
    parameters = read_parameters(path)
    if set(parameters) != {"evaluation"}:
        found = ", ".join(sorted(map(str, parameters))) or "nothing"
        raise ConfigurationError(
            f"{path} must have `evaluation` and nothing else under `parameters`; it has {found}.",
            "See configs/evaluation.yaml.",
        )
    evaluation = validate_evaluation(parameters["evaluation"] or {}, str(path))
    return evaluation.model_copy(update={"data": path.resolve().parent / evaluation.data})


def validate_evaluation(evaluation: Any, origin: str) -> EvaluationConfig:
    """Validate the ``evaluation`` of a run configuration.

    Raises:
        ConfigurationError: with every problem on a line of its own.
    """
    return validated(EvaluationConfig, evaluation, f"{origin} is not a valid evaluation")
