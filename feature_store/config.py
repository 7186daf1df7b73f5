"""The configuration of a pipeline: validated once, at the edge, before any work.

A configuration file is a ZenML run configuration whose ``parameters`` are the fields of ``PipelineConfig``. Services
and secrets are not in it: they come from the environment (``feature_store.settings``).
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from feature_store.errors import ConfigurationError
from feature_store.ids import fingerprint

REPOSITORY = Path(__file__).resolve().parents[1]
DEFAULT_CONFIG = REPOSITORY / "configs" / "feature.yaml"

SourceFormat = Literal["text", "markdown", "rst", "html", "docstring"]
# No double underscore: it separates an index from its fingerprint.
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=63)]
DottedPath = Annotated[str, Field(pattern=r"^[^.$\x00][^\x00]*$", max_length=200)]

# The keys of a run configuration that this pipeline uses; ZenML itself ignores misspelt ones in silence.
RUN_CONFIGURATION_KEYS = {"parameters", "settings", "run_name", "tags", "enable_step_logs", "extra"}


class Strict(BaseModel):
    """A part of the configuration: unknown keys are errors, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class CategoryConfig(Strict):
    """Maps one collection of the warehouse to the fields that matter.

    Every field is a dotted path into the document (``content.Title``). ``text`` takes one or more paths: a string is
    taken as it is, a list is joined by blank lines, a mapping gives each of its texts under its key as a heading.
    ``format_field`` names a field that states the format document by document (``text/x-rst``, ``markdown``, …);
    ``format`` holds where it is missing. ``metadata`` maps names in the payload to paths. An ``optional`` collection
    may be missing from the warehouse.
    """

    name: Name
    collection: Annotated[str, Field(min_length=1, max_length=200)]
    text: Annotated[list[DottedPath], BeforeValidator(_as_list), Field(min_length=1)]
    format: SourceFormat = "text"
    format_field: DottedPath | None = None
    title: DottedPath | None = None
    url: DottedPath | None = None
    author: DottedPath | None = None
    published_at: DottedPath | None = None
    updated_at: DottedPath | None = None
    external_id: DottedPath | None = None
    metadata: dict[Name, DottedPath] = Field(default_factory=dict)
    optional: bool = False

    def paths(self) -> list[str]:
        """Return every dotted path that the category reads, sorted, without repetition."""
        single = (
            self.format_field,
            self.title,
            self.url,
            self.author,
            self.published_at,
            self.updated_at,
            self.external_id,
        )
        return sorted({*self.text, *(path for path in single if path), *self.metadata.values()})


class CleaningConfig(Strict):
    """Rules for all categories.

    A run fails before anything is committed when more than ``max_rejected_share`` of a category's documents are
    rejected; the share counts from ``rejected_share_minimum`` rejected documents on.
    """

    max_characters: Annotated[int, Field(ge=1)] = 2_000_000
    min_characters: Annotated[int, Field(ge=1)] = 1
    max_rejected_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    rejected_share_minimum: Annotated[int, Field(ge=0)] = 10

    def fingerprint(self, version: int) -> str:
        """Return 12 hexadecimal characters that change when documents would be cleaned in another way.

        ``version`` is that of the code; the limits of rejected shares clean nothing.
        """
        return fingerprint([version, self.max_characters, self.min_characters])


class WindowSize(Strict):
    """A window and its overlap, in tokens of the encoder's own tokenizer."""

    window: Annotated[int, Field(ge=8, le=100_000)]
    overlap: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def overlap_is_at_most_half(self) -> Self:
        if self.overlap * 2 > self.window:
            raise ValueError(
                f"overlap {self.overlap} is more than half of window {self.window}; choose a smaller overlap"
            )
        return self


class SlidingWindowConfig(WindowSize):
    """Sliding-window chunks; ``categories`` overrides the size for single categories.

    ``heading_prefix`` puts the heading path in front of the text that is embedded; the chunk's own text stays as it is.
    """

    strategy: Literal["sliding_window"] = "sliding_window"
    window: Annotated[int, Field(ge=8, le=100_000)] = 200
    overlap: Annotated[int, Field(ge=0)] = 40
    categories: dict[Name, WindowSize] = Field(default_factory=dict)
    heading_prefix: bool = False

    def size_for(self, category: str) -> WindowSize:
        """Return the window and overlap that hold for a category."""
        return self.categories.get(category, WindowSize(window=self.window, overlap=self.overlap))


class EncoderConfig(Strict):
    """The embedding model: ``model`` is a name on the hub or a folder; prompts, limit and normalisation are its own.

    ``precision`` ``auto`` takes bfloat16 where the processor has it in hardware, else float32. ``trust_remote_code``
    is for models that bring their own code, such as gte-large.
    """

    model: Annotated[str, Field(min_length=1)] = "sentence-transformers/all-MiniLM-L6-v2"
    revision: str | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 16
    max_tokens: Annotated[int, Field(ge=16)] | None = None
    trust_remote_code: bool = False


class SparseConfig(Strict):
    """BM25 as Qdrant computes it; ``language`` chooses stemmer and stop words."""

    language: str = "english"
    average_length: Annotated[float, Field(gt=0)] = 256.0


class IndexConfig(Strict):
    """One Qdrant index: which categories, how they are chunked, and by which encoder they are embedded."""

    name: Name
    categories: Annotated[list[Name], Field(min_length=1)]
    chunking: SlidingWindowConfig = SlidingWindowConfig()
    encoder: EncoderConfig = EncoderConfig()
    sparse: SparseConfig = SparseConfig()
    upsert_batch: Annotated[int, Field(ge=1, le=2048)] = 128


class PipelineConfig(Strict):
    """Everything that a run needs to know and that is not a service or a secret."""

    categories: Annotated[list[CategoryConfig], Field(min_length=1)]
    cleaning: CleaningConfig = CleaningConfig()
    indexes: list[IndexConfig] = Field(default_factory=list)

    @model_validator(mode="after")
    def names_are_unique_and_known(self) -> Self:
        known = [category.name for category in self.categories]
        for label, names in (("category", known), ("index", [index.name for index in self.indexes])):
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(f"{label} {', '.join(repeated)} appears more than once; give each its own name")
        for index in self.indexes:
            unknown = sorted({*index.categories, *index.chunking.categories} - set(known))
            if unknown:
                raise ValueError(
                    f"index {index.name} asks for unknown categories {', '.join(unknown)}; known are {', '.join(known)}"
                )
        return self

    def fingerprint(self) -> str:
        """Return 12 hexadecimal characters that name this configuration."""
        return fingerprint(self.model_dump(mode="json"))


def load_config(path: Path = DEFAULT_CONFIG) -> PipelineConfig:
    """Read and validate a run configuration; what it leaves out comes from ``configs/feature.yaml``, key by key.

    Raises:
        ConfigurationError: naming file, field, value and remedy.
    """
    parameters = _read_parameters(path)
    if path.resolve() != DEFAULT_CONFIG.resolve():
        parameters = _merged(_read_parameters(DEFAULT_CONFIG), parameters)
    return validate_parameters(parameters, str(path))


def validate_parameters(parameters: dict[str, Any], origin: str) -> PipelineConfig:
    """Validate the ``parameters`` of a run configuration.

    Raises:
        ConfigurationError: with every problem on a line of its own.
    """
    try:
        return PipelineConfig.model_validate(parameters)
    except ValidationError as error:
        raise ConfigurationError(f"{origin} is not a valid configuration:\n{_explained(error)}") from None


def _read_parameters(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"Cannot read {path}: {error.strerror}.", "Give the path of a YAML file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"{path} holds no mapping.", "It needs `parameters:` at its top; see configs/feature.yaml."
        )
    unknown = sorted(str(key) for key in set(content) - RUN_CONFIGURATION_KEYS)
    if unknown:
        allowed = ", ".join(sorted(RUN_CONFIGURATION_KEYS))
        raise ConfigurationError(f"{path}: unknown key(s) {', '.join(unknown)} at the top.", f"Allowed are: {allowed}.")
    parameters = content.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise ConfigurationError(f"{path}: `parameters` is no mapping.", "See configs/feature.yaml.")
    return parameters


def _merged(default: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    # The rule of ZenML's own merge: mappings key by key, lists and values replaced.
    result = dict(default)
    for key, value in override.items():
        both_mappings = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both_mappings else value
    return result


def _explained(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"]) or "(whole)"
        given = "" if item["type"] in {"missing", "value_error"} else f" (given: {item['input']!r})"
        remedy = "; remove it or correct its spelling" if item["type"] == "extra_forbidden" else ""
        lines.append(f"  {field}: {item['msg'].removeprefix('Value error, ')}{given}{remedy}")
    return "\n".join(lines)
