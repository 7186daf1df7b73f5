"""The configuration of a training set: what decides which documents are in it, and in which split.

It is the part ``training`` of the parameters of a run configuration; everything has a default.
"""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from feature_store.config import read_parameters, validated
from feature_store.defaults import DEFAULT_TRAINING_CONFIG
from feature_store.errors import ConfigurationError
from feature_store.strict import Name, Strict

_SHARE_TOLERANCE = 1e-6

Share = Annotated[float, Field(ge=0, le=1)]


def _as_file(value: Any) -> Any:
    return {"path": value} if isinstance(value, str | Path) else value


class SplitConfig(Strict):
    """The share of each split, and a ``salt``: another one deals the documents anew."""

    train: Share = 0.9
    validation: Share = 0.05
    test: Share = 0.05
    salt: Annotated[str, Field(max_length=200)] = ""

    @model_validator(mode="after")
    def shares_add_up(self) -> Self:
        total = sum(self.shares().values())
        if abs(total - 1) > _SHARE_TOLERANCE:
            raise ValueError(f"the shares of train, validation and test add up to {total:g}; make them add up to 1")
        return self

    def shares(self) -> dict[str, float]:
        """Return the share of each split, by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


class NearDuplicateConfig(Strict):
    """Two documents are near-duplicates from this estimated Jaccard similarity of their word sequences on.

    ``words`` is the length of a sequence. ``drop`` leaves them out; otherwise they share a split.
    """

    # Below a half, single permutations would have to be compared: nearly every pair of documents.
    threshold: Annotated[float, Field(ge=0.5, le=1)] = 0.8
    words: Annotated[int, Field(ge=1, le=50)] = 5
    permutations: Annotated[int, Field(ge=16, le=512)] = 128
    drop: bool = False


class FilterConfig(Strict):
    """What a document must fulfil by itself; a filter that is null lets everything through.

    ``max_duplicate_lines`` bounds the share of lines that repeat an earlier line of the same document; 0.3 is that of
    MassiveText (Rae et al. 2021, "Scaling Language Models: … Gopher", table A1).
    """

    min_characters: Annotated[int, Field(ge=0)] = 1
    max_characters: Annotated[int, Field(ge=1)] | None = None
    languages: Annotated[list[str], Field(min_length=1)] | None = None
    max_duplicate_lines: Share | None = 0.3

    @model_validator(mode="after")
    def lengths_leave_room(self) -> Self:
        if self.max_characters is not None and self.max_characters < self.min_characters:
            raise ValueError(f"max_characters {self.max_characters} is below min_characters {self.min_characters}")
        return self


class EvaluationFile(Strict):
    """A file of evaluation texts: one a line, or JSON lines (``.jsonl``) that hold them in ``field``."""

    path: Path
    field: Annotated[str, Field(min_length=1)] = "text"


class DecontaminationConfig(Strict):
    """Documents that share ``ngram`` words in a row with an evaluation text are left out.

    13 is the length that GPT-3 was cleaned with (Brown et al. 2020, appendix C).
    """

    files: list[Annotated[EvaluationFile, BeforeValidator(_as_file)]] = Field(default_factory=list)
    ngram: Annotated[int, Field(ge=1, le=100)] = 13


class TrainingConfig(Strict):
    """A training set.

    ``categories`` None means all; ``where`` is an SQL condition over the columns of the documents. ``tokenizer`` is the
    name of a model, a folder or a ``tokenizer.json``; it only counts.
    """

    categories: Annotated[list[Name], Field(min_length=1)] | None = None
    where: str | None = None
    splits: SplitConfig = SplitConfig()
    near_duplicates: NearDuplicateConfig = NearDuplicateConfig()
    drop_duplicates: bool = True
    filters: FilterConfig = FilterConfig()
    decontamination: DecontaminationConfig = DecontaminationConfig()
    tokenizer: Annotated[str, Field(min_length=1)] = "sentence-transformers/all-MiniLM-L6-v2"
    rows_per_file: Annotated[int, Field(ge=1)] = 50_000


def load_training_config(path: Path = DEFAULT_TRAINING_CONFIG) -> TrainingConfig:
    """Read and validate a training configuration; paths in it are relative to its own folder.

    Raises:
        ConfigurationError: naming file, field, value and remedy.
    """
    parameters = read_parameters(path)
    if "training" not in parameters:
        found = ", ".join(sorted(map(str, parameters))) or "nothing"
        raise ConfigurationError(
            f"{path} has no `training` under `parameters`, but {found}.", "See configs/training.yaml."
        )
    training = validate_training(parameters["training"] or {}, str(path))
    folder = path.resolve().parent
    files = [file.model_copy(update={"path": folder / file.path}) for file in training.decontamination.files]
    decontamination = training.decontamination.model_copy(update={"files": files})
    tokenizer = folder / training.tokenizer
    where = {"tokenizer": str(tokenizer)} if tokenizer.exists() else {}  # otherwise a name
    return training.model_copy(update={"decontamination": decontamination, **where})


def validate_training(training: Any, origin: str) -> TrainingConfig:
    """Validate the ``training`` of a run configuration.

    Raises:
        ConfigurationError: with every problem on a line of its own.
    """
    return validated(TrainingConfig, training, f"{origin} is not a valid training configuration")
