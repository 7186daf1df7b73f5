"""The configuration of a pipeline: validated once, at the edge, before any work.

A configuration file is a ZenML run configuration whose ``parameters`` are the fields of ``PipelineConfig``. Services
and secrets are not in it: they come from the environment (``feature_store.settings``).
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from feature_store.defaults import DEFAULT_CONFIG
from feature_store.errors import ConfigurationError
from feature_store.ids import fingerprint
from feature_store.index_config import STRATEGIES, IndexConfig, SlidingWindowConfig
from feature_store.strict import Name, Strict

DEFAULT_OUTBOX = "outbox"

SourceFormat = Literal["text", "markdown", "rst", "html", "docstring"]
DottedPath = Annotated[str, Field(pattern=r"^[^.$\x00][^\x00]*$", max_length=200)]
DOCUMENT_FIELDS = ("title", "url", "author", "published_at", "updated_at", "external_id", "language")
PayloadType = Literal["keyword", "integer", "float", "bool", "datetime"]
CaptureMode = Literal["auto", "hash", "timestamp", "log", "outbox"]

_Model = TypeVar("_Model", bound=BaseModel)

# The keys of a run configuration that this pipeline uses; ZenML itself ignores misspelt ones in silence.
RUN_CONFIGURATION_KEYS = {"parameters", "settings", "steps", "run_name", "tags", "enable_step_logs", "extra"}


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_mode(value: Any) -> Any:
    return {"mode": value} if isinstance(value, str) else value


class CaptureConfig(Strict):
    """How changes of a collection are found; a plain string is the ``mode``.

    ``hash`` reads every document and compares. ``timestamp`` reads what is new by ``field``, a date that every write
    moves, from ``overlap_seconds`` before the watermark on, and compares ids to find deletions and documents that the
    field does not show; without ``compare_ids`` deletions are seen only by the category's ``deleted_field``. ``log``
    follows the change stream. ``outbox`` drains the collection ``outbox``, which the application or a trigger writes.
    ``auto`` takes ``log`` where the server has a log, else ``timestamp`` where ``field`` is given and indexed, else
    ``hash``.
    """

    mode: CaptureMode = "auto"
    field: DottedPath | None = None
    overlap_seconds: Annotated[float, Field(ge=0, le=31_536_000)] = 60.0
    compare_ids: bool = True
    outbox: Annotated[str, Field(min_length=1, max_length=200)] = DEFAULT_OUTBOX

    @model_validator(mode="after")
    def has_what_its_mode_needs(self) -> Self:
        if self.mode == "timestamp" and self.field is None:
            raise ValueError("capture mode timestamp needs `field`: the path of a date that every write moves")
        if self.field is not None and self.mode not in {"timestamp", "auto"}:
            raise ValueError(f"`field` means nothing to capture mode {self.mode}; remove it or change `mode`")
        if self.outbox != DEFAULT_OUTBOX and self.mode != "outbox":
            raise ValueError(f"`outbox` means nothing to capture mode {self.mode}; remove it or change `mode`")
        return self


Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _as_failure(value: Any) -> Any:
    return {"fail": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class AtLeast(Strict):
    """A share that a figure must reach: below ``warn`` a run warns, below ``fail`` it fails.

    One of them may be left out; a plain number is ``fail``.
    """

    warn: Share | None = None
    fail: Share | None = None

    @model_validator(mode="after")
    def warns_before_it_fails(self) -> Self:
        if self.warn is None and self.fail is None:
            raise ValueError("neither `warn` nor `fail` is given; give one, or remove the expectation")
        if self.warn is not None and self.fail is not None and self.warn < self.fail:
            raise ValueError(f"`warn` {self.warn} is below `fail` {self.fail}, so it would never warn; raise it")
        return self


class AtMost(Strict):
    """What a figure must not exceed: above ``warn`` a run warns, above ``fail`` it fails.

    One of them may be left out; a plain number is ``fail``.
    """

    warn: Amount | None = None
    fail: Amount | None = None

    @model_validator(mode="after")
    def warns_before_it_fails(self) -> Self:
        if self.warn is None and self.fail is None:
            raise ValueError("neither `warn` nor `fail` is given; give one, or remove the expectation")
        if self.warn is not None and self.fail is not None and self.warn > self.fail:
            raise ValueError(f"`warn` {self.warn} is above `fail` {self.fail}, so it would never warn; lower it")
        return self


class ShareAtMost(AtMost):
    """The same for a figure between 0 and 1."""

    warn: Share | None = None
    fail: Share | None = None


ShareFloor = Annotated[AtLeast, BeforeValidator(_as_failure)]
ShareCeiling = Annotated[ShareAtMost, BeforeValidator(_as_failure)]
Ceiling = Annotated[AtMost, BeforeValidator(_as_failure)]
# `unknown`: the text is too short to tell.
Language = Annotated[str, Field(pattern=r"^([a-z]{2,3}|unknown)$")]


class LengthExpectation(Strict):
    """Documents should have ``minimum`` to ``maximum`` characters; ``outside`` bounds the share that has not."""

    minimum: Annotated[int, Field(ge=0)] = 0
    maximum: Annotated[int, Field(ge=1)] | None = None
    outside: ShareCeiling

    @model_validator(mode="after")
    def allows_something(self) -> Self:
        if not self.minimum and self.maximum is None:
            raise ValueError("`minimum` or `maximum` must be given, in characters")
        if self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"`minimum` {self.minimum} is above `maximum` {self.maximum}; exchange them")
        return self


class LanguageExpectation(Strict):
    """Bounds for the share of the documents that are in one language."""

    at_least: ShareFloor | None = None
    at_most: ShareCeiling | None = None

    @model_validator(mode="after")
    def bounds_something(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("`at_least` or `at_most` must be given")
        floor, ceiling = (bound.fail if bound else None for bound in (self.at_least, self.at_most))
        if floor is not None and ceiling is not None and floor > ceiling:
            raise ValueError(f"`at_least` {floor} is above `at_most` {ceiling}, so every run would fail; exchange them")
        return self


class DriftExpectation(Strict):
    """How far a version may be from the last one; judged from ``minimum_documents`` on, which the last one must have.

    ``documents`` bounds the relative change of their number, up or down: 0.2 for a fifth. ``lengths`` bounds the
    population stability index of the lengths (above 0.1 something has changed, above 0.25 much has), ``vocabulary`` the
    Jensen-Shannon distance of the words of a sample, from 0 (equal) to 1 (not one word in common).
    """

    documents: Ceiling | None = None
    lengths: Ceiling | None = None
    vocabulary: ShareCeiling | None = None
    minimum_documents: Annotated[int, Field(ge=1)] = 100

    @model_validator(mode="after")
    def bounds_something(self) -> Self:
        if self.documents is None and self.lengths is None and self.vocabulary is None:
            raise ValueError("`documents`, `lengths` or `vocabulary` must be given")
        return self


class QualityConfig(Strict):
    """What the documents of a category are expected to be, judged before a version is published.

    ``present`` names fields and the share of the documents that must have them; ``metadata.<name>`` is one of the
    category's metadata. ``languages`` are ISO 639-1 codes (``"no"`` in quotes: YAML takes it for false), or
    ``unknown``. As YAML, with every kind of expectation::

        quality:
          present:
            url: 0.99                                  # fails below
            author: {warn: 0.9, fail: 0.5}
            metadata.license: {warn: 0.8}
          length: {minimum: 50, maximum: 200000, outside: {warn: 0.01, fail: 0.1}}
          languages:
            en: {at_least: {warn: 0.9, fail: 0.5}}
            de: {at_most: 0.1}
          drift:
            documents: {warn: 0.2, fail: 0.5}
            lengths: {warn: 0.1, fail: 0.25}
            vocabulary: {warn: 0.1, fail: 0.3}
    """

    present: dict[str, ShareFloor] = Field(default_factory=dict)
    length: LengthExpectation | None = None
    languages: dict[Language, LanguageExpectation] = Field(default_factory=dict)
    drift: DriftExpectation | None = None


class CategoryConfig(Strict):
    """Maps one collection of the warehouse to the fields that matter.

    Every field is a dotted path into the document (``content.Title``). ``text`` takes one or more paths: a string is
    taken as it is, a list is joined by blank lines, a mapping gives each of its texts under its key as a heading.
    ``format_field`` names a field that states the format document by document (``text/x-rst``, ``markdown``, …);
    ``format`` holds where it is missing. ``metadata`` maps names in the payload to paths; ``metadata_types`` says as
    what Qdrant indexes them for filters, ``keyword`` where nothing is said. An ``optional`` collection
    may be missing from the warehouse. Documents whose ``deleted_field`` is set (to anything but null, false, 0 or an
    empty string) count as deleted. ``quality`` says what its documents are expected to be.
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
    metadata_types: dict[Name, PayloadType] = Field(default_factory=dict)
    optional: bool = False
    capture: Annotated[CaptureConfig, BeforeValidator(_as_mode)] = CaptureConfig()
    deleted_field: DottedPath | None = None
    quality: QualityConfig = QualityConfig()

    @model_validator(mode="after")
    def types_are_those_of_metadata(self) -> Self:
        unknown = sorted(set(self.metadata_types) - set(self.metadata))
        if unknown:
            known = ", ".join(self.metadata) or "none"
            raise ValueError(f"`metadata_types` names unknown metadata {', '.join(unknown)}; known are {known}")
        return self

    @model_validator(mode="after")
    def quality_names_fields_that_there_are(self) -> Self:
        known = [*DOCUMENT_FIELDS, *(f"metadata.{name}" for name in self.metadata)]
        unknown = sorted(set(self.quality.present) - set(known))
        if unknown:
            raise ValueError(
                f"`quality.present` names unknown fields {', '.join(unknown)}; known are {', '.join(known)}"
            )
        return self

    @model_validator(mode="after")
    def deletions_can_be_seen(self) -> Self:
        if self.capture.mode == "timestamp" and not self.capture.compare_ids and self.deleted_field is None:
            raise ValueError("without `capture.compare_ids` deletions need `deleted_field`; set one of them")
        return self

    def mapping(self) -> dict[str, Any]:
        """Return the part of the category that decides what its documents become, not how they are captured."""
        not_decisive = {"metadata_types", "optional", "capture", "deleted_field", "quality"}
        return self.model_dump(mode="json", exclude=not_decisive)

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


class DeletionGuard(Strict):
    """Deletions of a category are held back when they are more than both limits allow.

    ``max_share`` is that of the documents which the feature store holds of the category.
    """

    max_documents: Annotated[int, Field(ge=0)] = 100
    max_share: Annotated[float, Field(ge=0, le=1)] = 0.1


class ExecutorConfig(Strict):
    """Where the work on parts is done: on this machine (``local``) or on a Ray cluster (``ray``).

    A plain string is the ``kind``. It changes no result. ``workers`` are processes for cleaning and chunking, with that
    of the step (None: one for each core); ``encoders`` are copies of the model (None: one on this machine, which uses
    all cores; on a cluster one for each GPU, or one for each node without GPUs). ``cores_per_encoder`` and
    ``gpus_per_encoder`` are what each takes of a cluster.
    """

    kind: Literal["local", "ray"] = "local"
    workers: Annotated[int, Field(ge=1, le=100_000)] | None = None
    encoders: Annotated[int, Field(ge=1, le=10_000)] | None = None
    cores_per_encoder: Annotated[float, Field(gt=0)] | None = None
    gpus_per_encoder: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def a_string_is_the_kind(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value


class PlanReference(Strict):
    """What a run that applies a plan has to find as the plan found it.

    ``digests`` names, for each category, the documents that differ and how; ``version`` is that of the feature store
    (0 before the first).
    """

    version: int
    config_fingerprint: str
    digests: dict[Name, str]


class RunOptions(Strict):
    """What holds for one run only and is no part of the configuration's fingerprint.

    ``capture`` takes the place of every category's own mode. ``approved_deletions`` are ceilings: a category with no
    more deletions than that has them applied, whatever the guard says. ``max_changes`` bounds the documents that a run
    takes from each log or outbox; the rest waits for the next run. ``retry_rejects`` cleans rejected documents again
    although neither they nor the rules have changed: those of these reasons, of all for ``all``. ``message`` is kept
    with the version that the run makes. Categories of ``accepted_quality`` are committed although expectations fail.
    """

    capture: CaptureMode | None = None
    approved_deletions: dict[Name, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    max_changes: Annotated[int, Field(ge=1)] | None = None
    retry_rejects: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(default_factory=list)
    message: Annotated[str, Field(max_length=1000)] = ""
    accepted_quality: list[Name] = Field(default_factory=list)
    plan: PlanReference | None = None


class PipelineConfig(Strict):
    """Everything that a run needs to know and that is not a service or a secret."""

    categories: Annotated[list[CategoryConfig], Field(min_length=1)]
    cleaning: CleaningConfig = CleaningConfig()
    deletions: DeletionGuard = DeletionGuard()
    indexes: list[IndexConfig] = Field(default_factory=list)
    executor: ExecutorConfig = ExecutorConfig()
    options: RunOptions = RunOptions()

    @model_validator(mode="after")
    def names_are_unique_and_known(self) -> Self:
        known = [category.name for category in self.categories]
        for label, names in (("category", known), ("index", [index.name for index in self.indexes])):
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(f"{label} {', '.join(repeated)} appears more than once; give each its own name")
        for index in self.indexes:
            overridden = index.chunking.categories if isinstance(index.chunking, SlidingWindowConfig) else {}
            unknown = sorted({*index.categories, *overridden} - set(known))
            if unknown:
                raise ValueError(
                    f"index {index.name} asks for unknown categories {', '.join(unknown)}; known are {', '.join(known)}"
                )
        for option in ("approved_deletions", "accepted_quality"):
            unknown = sorted(set(getattr(self.options, option)) - set(known))
            if unknown:
                raise ValueError(
                    f"{option} names unknown categories {', '.join(unknown)}; known are {', '.join(known)}"
                )
        return self

    @model_validator(mode="after")
    def tenants_are_indexed(self) -> Self:
        from feature_store.payload_schema import indexed_fields  # made of the categories that are defined here

        for index in self.indexes:
            fields = indexed_fields(category for category in self.categories if category.name in index.categories)
            keywords = [name for name, payload_type in fields.items() if payload_type == "keyword"]
            if index.server.tenant is not None and index.server.tenant not in keywords:
                raise ValueError(
                    f"index {index.name}: `server.tenant` {index.server.tenant} is no keyword of its payload; "
                    f"choose one of {', '.join(keywords)}"
                )
        return self

    def fingerprint(self) -> str:
        """Return 12 hexadecimal characters that name this configuration, without what changes no result."""
        return fingerprint(self.model_dump(mode="json", exclude={"executor", "options"}))


def load_config(path: Path = DEFAULT_CONFIG) -> PipelineConfig:
    """Read and validate a run configuration; what it leaves out comes from ``configs/feature.yaml``, key by key.

    Raises:
        ConfigurationError: naming file, field, value and remedy.
    """
    parameters = read_parameters(path)
    if path.resolve() != DEFAULT_CONFIG.resolve():
        parameters = _merged(read_parameters(DEFAULT_CONFIG), parameters)
    return validate_parameters(parameters, str(path))


def validate_parameters(parameters: dict[str, Any], origin: str) -> PipelineConfig:
    """Validate the ``parameters`` of a run configuration.

    Raises:
        ConfigurationError: with every problem on a line of its own.
    """
    return validated(PipelineConfig, parameters, f"{origin} is not a valid configuration")


def validated(model: type[_Model], values: Any, problem: str) -> _Model:
    """Return values as a part of the configuration.

    Raises:
        ConfigurationError: ``problem``, and everything that is wrong on a line of its own.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(f"{problem}:\n{explained(error)}") from None


def read_parameters(path: Path) -> dict[str, Any]:
    """Return the ``parameters`` of a run configuration, as they stand there.

    Raises:
        ConfigurationError: if the file cannot be read or is none.
    """
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


def explained(error: ValidationError) -> str:
    """Return a line for each problem: field, what is wrong with it, and what was given."""
    lines = []
    for item in error.errors():
        # Pydantic puts the chosen strategy into the path; the file has no such key.
        field = ".".join(str(part) for part in item["loc"] if part not in STRATEGIES) or "(whole)"
        given = "" if item["type"] in {"missing", "value_error"} else f" (given: {item['input']!r})"
        remedy = "; remove it or correct its spelling" if item["type"] == "extra_forbidden" else ""
        lines.append(f"  {field}: {item['msg'].removeprefix('Value error, ')}{given}{remedy}")
    return "\n".join(lines)
