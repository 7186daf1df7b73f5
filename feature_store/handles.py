"""What one stage hands to the next: small values that say where the part files are, and what was counted.

They are also the ZenML artifacts, so their names and module are part of the stored data: when one moves, leave an alias
behind. Data is never copied into an artifact.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import lance
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, computed_field

from feature_store.dataset import DocumentDataset, LazyDocuments, copies_folder
from feature_store.errors import ConfigurationError, TerminalError
from feature_store.exports import ExportFormat
from feature_store.parts import StoredFolder
from feature_store.store import FeatureStore, open_feature_store
from feature_store.versions import Position, Version, version_numbers

if TYPE_CHECKING:
    import datasets


class Handle(BaseModel):
    """A value that is stored as JSON; what another release added to it is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def _with_document_id(samples: Any) -> Any:
    """Leave out samples of earlier releases: they did not say of which document they are."""
    if not isinstance(samples, list):
        return samples
    return [sample for sample in samples if not isinstance(sample, dict) or "document_id" in sample]


class ResourceUse(Handle):
    """What making something has cost beside time.

    ``processor_seconds`` are those of the process and its children. ``peak_memory`` is the most that the process had in
    memory so far, in bytes; ``children_memory`` the most that its children held together meanwhile.
    """

    processor_seconds: float = 0.0
    peak_memory: int = 0
    children_memory: int = 0


class CaptureCounts(Handle):
    """Documents of one category, as compared with the feature store.

    ``read`` counts the documents that were read whole. ``added`` are those that the store held neither as documents nor
    as rejects; ``rejected`` those that an earlier run rejected and that are still the same; ``deleted`` those that the
    source no longer has, ``held_back`` those of them that the guard did not let through.
    """

    read: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    deleted: int = 0
    held_back: int = 0


class Capture(Handle):
    """How the changes of one category were found.

    ``reason`` says why by this mode, and why everything was compared where it was (``whole``). ``held_before`` counts
    the documents and rejects that the store held of the category; ``compared_ids`` the ids that were read alone, to
    find deletions. ``more`` says that further changes wait in the source. ``digest`` names what differs, whatever the
    order in which it was read. ``position`` is None where it must stay where it was.
    """

    mode: str
    whole: bool
    reason: str
    held_before: int = 0
    compared_ids: int = 0
    more: bool = False
    digest: str = ""
    position: Position | None = None


class RawDocuments(Handle):
    """The raw documents that are new or changed, and the ids of those that are gone.

    ``folder`` holds parts ``raw`` and ``removed``, and ``outbox``: the entries to mark as done once the table has what
    they announced.
    """

    folder: StoredFolder
    categories: dict[str, CaptureCounts] = Field(default_factory=dict)
    captures: dict[str, Capture] = Field(default_factory=dict)
    seconds: float = 0.0
    use: ResourceUse = Field(default_factory=ResourceUse)


class CleanCounts(Handle):
    """What became of the raw documents of one category.

    ``read`` = ``added`` + ``changed`` + ``metadata_changed`` + ``unchanged`` + ``rejected``: a capture that reads only
    what may have changed counts only that. ``rejected`` counts those of this run and those of earlier runs that were
    read and are still the same. ``deleted`` ones that the guard did not let through are ``held_back``.
    """

    read: int = 0
    added: int = 0
    changed: int = 0
    metadata_changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    held_back: int = 0
    rejected: int = 0
    newly_rejected: int = 0


class QualityFinding(Handle):
    """An expectation of the configuration that the documents of a category do not fulfil.

    ``expectation`` is its place below ``quality``: ``present.url``. ``figure`` is what was measured, ``threshold`` what
    it missed. An ``accepted`` failure was let through for one run.
    """

    category: str
    expectation: str
    level: Literal["warn", "fail"]
    figure: float
    threshold: float
    accepted: bool = False

    def __str__(self) -> str:
        side = "below" if self.figure < self.threshold else "above"
        missed = f"{self.expectation} is {self.figure:.4g}, {side} {self.level} {self.threshold:g}"
        return f"{self.category}: {missed}{', accepted for this run' if self.accepted else ''}"


class CleanedDocuments(Handle, LazyDocuments):
    """The cleaned documents at one version of the feature store; reading them gives the live ones.

    ``store_id`` and ``version_run_id`` tell whether the store in ``folder`` is still the one that they are in.
    ``quality`` has the expectations that this run found unfulfilled and went on, ``config_fingerprint`` is that of its
    configuration, also where it made no version.
    """

    folder: Path
    version: int
    config_fingerprint: str = ""
    previous_version: int | None = None
    store_id: str | None = None
    version_run_id: str | None = None
    categories: dict[str, CleanCounts] = Field(default_factory=dict)
    quality: list[QualityFinding] = Field(default_factory=list)
    seconds: float = 0.0
    use: ResourceUse = Field(default_factory=ResourceUse)

    def store(self) -> FeatureStore:
        """Return the feature store that this version belongs to."""
        return open_feature_store(self.folder)

    def at(self) -> Version:
        """Return the version's own record.

        Raises:
            TerminalError: if it was pruned, or the folder holds another feature store now.
        """
        numbers = version_numbers(self.folder)
        if self.version not in numbers and numbers and self.version < numbers[-1]:
            raise TerminalError(
                f"Version {self.version} of the feature store in {self.folder} was pruned.",
                "Take the artifact of a version that is there: `feature-pipeline versions`. A tag keeps a version.",
            )
        version = self.store().version(self.version)
        expected = (self.store_id or version.store_id, self.version_run_id or version.run_id)
        if expected != (version.store_id, version.run_id):
            raise TerminalError(
                f"The feature store in {self.folder} is not the one that these documents were in: its version "
                f"{version.number} was made by run {version.run_id} of store {version.store_id}, not by run "
                f"{expected[1]} of store {expected[0]}.",
                "Put back the data folder that the artifact was made from, or take an artifact of this store.",
            )
        return version

    def dataset(self) -> lance.LanceDataset:
        """Return the documents at this version as a Lance dataset; live ones have ``state = 'live'``."""
        return self.store().documents(self.at())

    def documents(self, categories: Sequence[str] | None = None, where: str | None = None) -> DocumentDataset:
        """Return the live documents of some categories, as far as the SQL condition ``where`` holds.

        Raises:
            ConfigurationError: if ``where`` cannot be understood, or a category is not known.
            TerminalError: if the version cannot be read any more.
        """
        return DocumentDataset(self.store(), self.at(), None if categories is None else tuple(categories), where)

    def selection(self) -> DocumentDataset:
        """Return all live documents of the version."""
        return self.documents()


class SampledChunk(Handle):
    """Where a chunk is in the text of its document: ``start`` and ``end`` in characters, its length in ``tokens``.

    ``size`` is there where the index has several; ``parent`` is the position of a child's parent.
    """

    position: int
    start: int
    end: int
    tokens: int
    heading_path: str = ""
    size: int | None = None
    parent: int | None = None


class SampledDocument(Handle):
    """A document with its chunks, for a view: the beginning of its ``text``, and the chunks that begin in there.

    ``characters`` counts those of the whole text. ``parents`` are those of the chunks.
    """

    document_id: str
    category: str
    title: str
    text: str
    characters: int
    chunks: list[SampledChunk] = Field(default_factory=list)
    parents: list[SampledChunk] = Field(default_factory=list)


class Chunks(Handle):
    """The chunks of the documents that changed since the version of one index, compared with what its collection holds.

    ``folder`` holds parts ``chunks`` (to be embedded and written whole), ``parents`` (to be written without vectors),
    ``payloads`` (of points that are there, whose payload is another now), ``stale`` (ids of points to be removed) and
    ``documents`` (rows for the record of the index). ``since`` and ``version`` are versions of the feature store.
    ``record`` is the Lance version of the record that was compared with; None where none could be trusted: then all
    chunks are ``new``, and what is stale is unknown.

    ``chunks`` = ``new`` + ``moved`` + ``unchanged``: all chunks of the documents that are embedded. Their ``parents``
    count apart, as do those of them that are ``new_parents`` or ``moved_parents``; ``stale`` counts both kinds.
    ``token_counts`` counts chunks by tenths of the window for which each was cut: one of ``windows``, of which
    ``window`` is the largest.
    """

    folder: StoredFolder
    index: str
    collection: str
    since: int
    version: int
    record: int | None = None
    documents: int = 0
    deleted_documents: int = 0
    chunks: int = 0
    new: int = 0
    moved: int = 0
    unchanged: int = 0
    parents: int = 0
    new_parents: int = 0
    moved_parents: int = 0
    stale: int = 0
    characters: int = 0
    dropped_characters: int = 0
    window: int = 0
    windows: list[int] = Field(default_factory=list)
    token_counts: list[int] = Field(default_factory=list)
    longest: int = 0
    token_limit: int = 0
    samples: Annotated[list[SampledDocument], BeforeValidator(_with_document_id)] = Field(default_factory=list)
    seconds: float = 0.0
    use: ResourceUse = Field(default_factory=ResourceUse)


class MapPoint(Handle):
    """A chunk on the map of the embeddings: the first two principal components of the vectors that are shown.

    Without ``document_id`` it is any text that the encoder has embedded; it shows where the others lie.
    """

    document_id: str | None = None
    category: str = ""
    title: str = ""
    x: float
    y: float


class Embeddings(Handle):
    """The new chunks with their vectors; ``folder`` is that of the chunks, and holds parts ``embedded`` too.

    ``chunks`` counts them. ``embedded`` counts the texts that the model saw in this run, ``reused`` those that had a
    vector; ``precisions`` are those at which the vectors of all of them were made. ``samples`` are a map of some.

    ``tokens`` counts those that the model saw, padding left out, and ``operations`` the floating point operations for
    them; ``gemm_speed`` is how many of those a second this machine's matrix multiplication reaches. 0 is unknown.
    """

    folder: StoredFolder
    index: str
    collection: str
    since: int
    version: int
    record: int | None = None
    model: str
    encoder_fingerprint: str
    dimension: int
    precisions: list[str] = Field(default_factory=list)
    chunks: int = 0
    embedded: int = 0
    reused: int = 0
    tokens: int = 0
    operations: float = 0.0
    gemm_speed: float = 0.0
    samples: list[MapPoint] = Field(default_factory=list)
    seconds: float = 0.0
    use: ResourceUse = Field(default_factory=ResourceUse)


class IndexReport(Handle):
    """What was done to one Qdrant collection, and what it holds now.

    ``written`` counts points that were written whole, ``updated`` those that only got another payload.
    """

    index: str
    collection: str
    previous_collection: str | None = None
    version_before: int
    version: int
    written: int = 0
    updated: int = 0
    removed: int = 0
    points: int = 0
    expected_points: int = 0
    seconds: float = 0.0
    use: ResourceUse = Field(default_factory=ResourceUse)


class GateCheck(Handle):
    """One question that a gate asks before a collection may serve, with the figures that answer it."""

    name: str
    holds: bool
    figures: str


class ServedIndex(Handle):
    """Which collection of an index serves after a run, and what the run did for that.

    ``candidate`` is the one that the configuration asks for, where another serves; ``reason`` says why it waits:
    ``refused`` by the ``checks`` of its gate, ``held`` by somebody who went back, or for a promotion by hand
    (``waits``). ``previous`` served before a promotion. Beside a candidate the one that serves is brought to the newest
    version too: ``embedded`` counts texts, the others points. ``problem`` says why it could not be; then ``lag`` counts
    the documents that changed since its ``version``. ``sampled`` points of it were compared exactly.
    """

    index: str
    collection: str
    version: int
    outcome: Literal["serves", "promoted", "refused", "held", "waits"]
    candidate: str | None = None
    previous: str | None = None
    reason: str = ""
    checks: list[GateCheck] = Field(default_factory=list)
    embedded: int = 0
    written: int = 0
    updated: int = 0
    removed: int = 0
    sampled: int = 0
    problem: str = ""
    lag: int = 0


class ServingReport(Handle):
    """Which collections serve at the end of a run."""

    indexes: list[ServedIndex] = Field(default_factory=list)
    seconds: float = 0.0
    use: ResourceUse = Field(default_factory=ResourceUse)


class StageFigures(Handle):
    """What a stage of a run did: ``rows`` of ``unit``, for one ``index`` or (empty) for all, and what that cost.

    ``rate`` is rows a second, ``cores`` how many processors were at work, ``gemm_share`` the part (0 to 1) of the speed
    of this machine's matrix multiplication that the model reached, over the whole stage. None is unknown.
    """

    stage: str
    index: str = ""
    seconds: float
    rows: int
    unit: str
    use: ResourceUse = Field(default_factory=ResourceUse)
    tokens: int = 0
    operations: float = 0.0
    gemm_speed: float = 0.0

    @property
    def name(self) -> str:
        """The stage, and the index that it worked for."""
        return f"{self.stage} {self.index}".strip()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rate(self) -> float | None:
        return self.rows / self.seconds if self.rows and self.seconds else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def token_rate(self) -> float | None:
        return self.tokens / self.seconds if self.tokens and self.seconds else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def cores(self) -> float | None:
        return self.use.processor_seconds / self.seconds if self.use.processor_seconds and self.seconds else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def gemm_share(self) -> float | None:
        if not (self.operations and self.gemm_speed and self.seconds):
            return None
        return self.operations / self.seconds / self.gemm_speed


class ProvenPromise(Handle):
    """An invariant of a run, with the figures that prove it."""

    name: str
    holds: bool
    figures: str


class RunReport(Handle):
    """The report of a run: what it did in words (``markdown``), its promises, and what each stage did and cost.

    ``seconds`` are those since the run began, up to its report; 0 is unknown.
    """

    run_id: str
    headline: str
    markdown: str
    version_before: int | None = None
    version: int
    changed: bool
    counts: dict[str, int] = Field(default_factory=dict)
    promises: list[ProvenPromise] = Field(default_factory=list)
    stages: list[StageFigures] = Field(default_factory=list)
    seconds: float = 0.0


class TrainingDataset(Handle):
    """A training set: the files in ``folder``, made from one version of the cleaned documents.

    ``store_folder``, ``store_id`` and ``version_run_id`` name that version for good; ``since`` is there for one that
    has only what changed after it. ``export_id`` is its name in the register of exports. ``splits`` and ``tokens``
    count documents and tokens of each split, ``excluded`` the documents left out by reason, ``files`` are their SHA-256
    by name. ``near_duplicate_pairs`` are the most similar documents: two ids and their estimated Jaccard similarity.
    """

    folder: Path
    store_folder: Path
    store_id: str
    version: int
    version_run_id: str
    since: int | None = None
    export_id: str
    format: ExportFormat
    considered: int = 0
    splits: dict[str, int] = Field(default_factory=dict)
    tokens: dict[str, int] = Field(default_factory=dict)
    excluded: dict[str, int] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    near_duplicate_pairs: list[tuple[str, str, float]] = Field(default_factory=list)
    seconds: float = 0.0

    def to_huggingface(self, split: str = "train") -> "datasets.Dataset":
        """Return one split as a Hugging Face dataset, read from disk as it is used.

        Raises:
            ConfigurationError: if there is no such split.
            TerminalError: if the files are gone, or the split has no documents.
        """
        import datasets

        if split not in self.splits:
            raise ConfigurationError(f"The training set has no split {split!r}.", f"It has: {', '.join(self.splits)}.")
        if missing := [name for name in self.files if not (self.folder / name).is_file()]:
            raise TerminalError(
                f"The training set in {self.folder} lacks {len(missing):,} of its files, such as {missing[0]}: it was "
                "moved, or removed because a document in it was erased.",
                "Make it again: `zenml pipeline run training_dataset_pipeline`.",
            )
        if not self.splits[split]:  # where there are no files for it, the library does not know it
            raise TerminalError(f"The split {split!r} of the training set has no documents.", "Take another split.")
        if self.format == "huggingface":
            whole: datasets.DatasetDict = datasets.load_from_disk(str(self.folder))
            return whole[split]
        return datasets.load_dataset(str(self.folder), split=split, cache_dir=str(copies_folder(self.store_folder)))


class AnsweredQuery(Handle):
    """A query that an index was asked: what had been judged relevant, and the first documents that it found, by id.

    ``rank`` is that of the first relevant document, from 1; None where none was found.
    """

    query_id: str
    query: str
    ndcg_at_10: float
    recall_at_100: float
    rank: int | None = None
    relevant: list[str] = Field(default_factory=list)
    found: list[str] = Field(default_factory=list)


class RetrievalEvaluation(Handle):
    """How good one index is at finding the documents that ``queries`` judged queries of ``data`` ask for.

    ``collection``, ``fingerprint`` and ``version`` name what was asked; ``store_id`` and ``version_run_id`` that
    version of the feature store for good. The measures are means, each from 0 to 1; ``ndcg_counts`` counts the queries
    by tenths of their nDCG@10. ``missing`` judged documents are not in the index. ``worst`` are the queries that were
    answered worst, the worst first.
    """

    index: str
    collection: str
    fingerprint: str
    store_id: str
    version: int
    version_run_id: str
    points: int
    model: str
    chunking: str
    data: str
    format: str
    queries: int
    ndcg_at_10: float
    recall_at_10: float
    recall_at_100: float
    mrr: float
    missing: int = 0
    ndcg_counts: list[int] = Field(default_factory=list)
    worst: list[AnsweredQuery] = Field(default_factory=list)
    seconds: float = 0.0
