"""What a run would do: the stages up to chunking, on a folder that is thrown away. Nothing is embedded or written."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from qdrant_client import QdrantClient

from feature_store import schema, tables
from feature_store.config import ExecutorConfig, PipelineConfig, PlanReference, RunOptions
from feature_store.encoders import Encoder, load_encoder
from feature_store.errors import ConfigurationError, PreflightError
from feature_store.executors.interface import Executor
from feature_store.executors.opening import open_executor
from feature_store.handles import Chunks, RawDocuments
from feature_store.index import (
    NOTHING,
    configured_collection,
    open_qdrant,
    read_metadata,
    serving_collection,
)
from feature_store.index_config import IndexConfig
from feature_store.index_record import IndexRecord, StartingPoint, starting_point
from feature_store.parts import Part, list_parts, read_part
from feature_store.settings import Settings
from feature_store.store import DELETED, FeatureStore, open_feature_store
from feature_store.vectors import VectorTable, vectors_path
from feature_store.versions import Version, now
from pipelines.throughput import Throughput, read_throughput
from steps.chunk.apply import COLUMNS, chunk_changes
from steps.chunk.tokens import tokens_of
from steps.clean.apply import clean_parts, total_counts
from steps.clean.rules import CLEANING_VERSION
from steps.extract.apply import CapturePolicy, capture_categories
from steps.preflight.checks import check_warehouse
from warehouse.connection import open_warehouse


class CategoryPlan(BaseModel):
    """What would become of the documents of one category; ``digest`` names which differ, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    category: str
    mode: str
    whole: bool
    reason: str
    read: int
    added: int
    changed: int
    metadata_changed: int
    deleted: int
    held_back: int
    unchanged: int
    rejected: int
    more: bool
    digest: str


class IndexPlan(BaseModel):
    """What would be done to one index.

    ``collection`` is None before the first version of the feature store, which decides its name. ``embed`` and
    ``reuse`` count distinct texts; ``write``, ``update`` and ``remove`` points. ``remove`` is None where the record of
    the collection cannot be trusted, so that only the load itself finds out. ``chunks`` and ``unchanged`` leave out
    parents, which are points too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: str
    collection: str | None
    serving: str | None
    version_before: int
    documents: int
    chunks: int
    unchanged: int
    embed: int
    reuse: int
    write: int
    update: int
    remove: int | None


class Plan(BaseModel):
    """What a run would do at this moment.

    ``version`` is that of the feature store, 0 before the first. ``configuration`` says in sentences what is new about
    it. ``seconds`` are estimated from what the last runs needed, by stage; a stage that never ran is missing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    made_at: datetime
    version: int
    config_fingerprint: str
    options: RunOptions
    configuration: list[str]
    categories: list[CategoryPlan]
    indexes: list[IndexPlan]
    seconds: dict[str, float] = Field(default_factory=dict)

    def reference(self) -> PlanReference:
        """Return what a run has to find as the plan found it."""
        digests = {category.category: category.digest for category in self.categories}
        return PlanReference(version=self.version, config_fingerprint=self.config_fingerprint, digests=digests)


def make_plan(settings: Settings, config: PipelineConfig) -> Plan:
    """Return what a run with this configuration and its options would do now.

    Raises:
        PreflightError: if a run would refuse to start because of the warehouse.
        PipelineError: if the warehouse or Qdrant does not answer, or a run has the embedded one open.
    """
    problems = [finding.problem for finding in check_warehouse(settings, config) if finding.problem is not None]
    if problems:
        raise PreflightError(problems)
    store = open_feature_store(settings.feature_store_folder)
    newest = store.newest()
    with TemporaryDirectory(prefix="feature-pipeline-plan-") as name, open_executor(_local(config.executor)) as workers:
        folder = Path(name)
        raw = _capture(settings, config, store, folder / "raw")
        categories = _clean(store, config, raw, folder, workers)
        indexes = _plan_indexes(settings, config, store, folder, workers)
    return Plan(
        made_at=now(),
        version=newest.number if newest else 0,
        config_fingerprint=config.fingerprint(),
        options=config.options,
        configuration=list(_describe_configuration(config, newest, categories, indexes)),
        categories=categories,
        indexes=indexes,
        seconds=_estimate(read_throughput(settings.reports_folder), categories, indexes),
    )


def options_of_plan(path: Path) -> RunOptions:
    """Return the options of a run that does what a plan says, or refuses.

    Raises:
        ConfigurationError: if the file is no plan.
    """
    try:
        plan = Plan.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"Cannot read {path}: {error.strerror}.", "Give the path of a plan.") from None
    except ValidationError:
        raise ConfigurationError(
            f"{path} is no plan of this release.", "Make one: `feature-pipeline plan --json > plan.json`."
        ) from None
    given = {name: getattr(plan.options, name) for name in plan.options.model_fields_set}
    return RunOptions(**{**given, "plan": plan.reference()})


def _capture(settings: Settings, config: PipelineConfig, store: FeatureStore, folder: Path) -> RawDocuments:
    rules = config.cleaning.fingerprint(CLEANING_VERSION)
    policy = CapturePolicy(rules, config.deletions, config.options)
    with open_warehouse(settings) as database:
        return capture_categories(database, store, config.categories, policy, folder)


def _local(executor: ExecutorConfig) -> ExecutorConfig:
    # The folder of a plan is on this machine: a cluster does not reach it.
    return executor if executor.kind == "local" else ExecutorConfig()


def _clean(
    store: FeatureStore, config: PipelineConfig, raw: RawDocuments, folder: Path, executor: Executor
) -> list[CategoryPlan]:
    outcomes = clean_parts(store, raw, config.categories, config.cleaning, folder, executor)
    plans = []
    for name, capture in raw.captures.items():
        totals = total_counts(raw.categories[name], outcomes[name]).model_dump(exclude={"newly_rejected"})
        found = capture.model_dump(include={"mode", "whole", "reason", "more", "digest"})
        plans.append(CategoryPlan(category=name, **totals, **found))
    return plans


def _plan_indexes(
    settings: Settings, config: PipelineConfig, store: FeatureStore, folder: Path, executor: Executor
) -> list[IndexPlan]:
    with ExitStack() as stack:
        # Opening local mode would make its folder.
        is_there = settings.qdrant_url is not None or settings.qdrant_folder.is_dir()
        client = stack.enter_context(open_qdrant(settings)) if is_there else None
        return [_plan_index(settings, client, store, index, folder, executor) for index in config.indexes]


def _plan_index(
    settings: Settings,
    client: QdrantClient | None,
    store: FeatureStore,
    index: IndexConfig,
    folder: Path,
    executor: Executor,
) -> IndexPlan:
    encoder, newest = load_encoder(index.encoder), store.newest()
    collection, start, known, metadata = None, StartingPoint(NOTHING), None, None
    if newest is not None:
        collection = configured_collection(index, encoder, newest.store_id)
        record = IndexRecord(settings.indexes_folder, collection)
        metadata = read_metadata(client, collection) if client else None
        start = starting_point(metadata, record, store, newest)
        known = None if start.record is None else record.known_points(start.record)
    handle = Chunks(
        folder=folder / index.name,
        index=index.name,
        collection=collection or "",
        since=start.since.number,
        version=store.next_number(),
    )
    rows = _coming_rows(store, newest, start, index, folder)
    tokens, limit = tokens_of(encoder), encoder.token_limit
    chunks = chunk_changes(rows, index.chunking, tokens, limit, handle, known, _quietly, executor)
    embed, reuse = _count_texts(settings, encoder, chunks)
    return IndexPlan(
        index=index.name,
        collection=collection,
        serving=serving_collection(client, index.name) if client else None,
        version_before=start.since.number,
        documents=chunks.documents,
        chunks=chunks.chunks,
        unchanged=chunks.unchanged,
        embed=embed,
        reuse=reuse,
        write=chunks.new + chunks.new_parents,
        update=chunks.moved + chunks.moved_parents,
        remove=None if known is None and metadata is not None else chunks.stale,
    )


def _coming_rows(
    store: FeatureStore, newest: Version | None, start: StartingPoint, index: IndexConfig, folder: Path
) -> Iterator[pa.RecordBatch]:
    """Yield the rows that the index would have to follow: those it lags behind, and those that the run would write."""
    written = [_written_rows(part, index, store.next_number()) for part in list_parts(folder, "documents")]
    gone = _ids(folder / "raw", "removed", index) + _ids(folder, "rejects", index)
    replaced = pa.array([*gone, *(name for rows in written for name in rows.column("document_id").to_pylist())])
    if newest is not None:
        for batch in store.changes(start.since.number, newest, index.categories, COLUMNS):
            is_replaced = pc.is_in(batch.column("document_id"), value_set=replaced.cast(pa.string()))
            yield batch.filter(pc.invert(is_replaced))
    for rows in written:
        yield from rows.to_batches()
    for some in tables.batches_of(gone, tables.LOOKUP_BATCH):
        yield pa.RecordBatch.from_pylist([{"document_id": name, "state": DELETED} for name in some], schema=_TOMBSTONE)


_TOMBSTONE = pa.schema([pa.field(name, schema.DOCUMENTS.field(name).type) for name in COLUMNS])


def _written_rows(part: Part, index: IndexConfig, number: int) -> pa.Table:
    rows = read_part(part)
    is_ours = pc.is_in(rows.column("category"), value_set=pa.array(index.categories))
    return rows.filter(pc.and_(is_ours, pc.equal(rows.column("changed_in"), number))).select(COLUMNS)


def _ids(folder: Path, name: str, index: IndexConfig) -> list[str]:
    found: list[str] = []
    for part in list_parts(folder, name):
        rows = read_part(part)
        is_ours = pc.is_in(rows.column("category"), value_set=pa.array(index.categories))
        found += rows.filter(is_ours).column("document_id").to_pylist()
    return found


def _count_texts(settings: Settings, encoder: Encoder, chunks: Chunks) -> tuple[int, int]:
    """Return how many distinct texts would be embedded, and how many have a vector."""
    texts: set[str] = set()
    for part in list_parts(chunks.folder, "chunks"):
        texts.update(read_part(part).column("text_hash").to_pylist())
    if not tables.exists(vectors_path(settings.vectors_folder, encoder.fingerprint)):
        return len(texts), 0
    vectors = VectorTable(settings.vectors_folder, encoder.fingerprint, encoder.dimension)
    known = len(vectors.known(sorted(texts)))
    return len(texts) - known, known


def _describe_configuration(
    config: PipelineConfig, newest: Version | None, categories: Sequence[CategoryPlan], indexes: Sequence[IndexPlan]
) -> Iterator[str]:
    if newest is None:
        yield "The feature store is empty: everything is new."
    elif newest.config_fingerprint != config.fingerprint():
        yield f"The configuration is another than that of version {newest.number}."
    for category in categories:
        if category.whole and category.mode != "hash":
            yield f"{category.category}: all documents are compared, not only those that the {category.mode} names."
    for index in indexes:
        if index.serving is not None and index.serving != index.collection:
            yield (
                f"{index.index}: the collection {index.collection} is filled from the feature store; {index.serving} "
                "serves until its gate opens."
            )


def _estimate(
    throughput: Throughput, categories: Sequence[CategoryPlan], indexes: Sequence[IndexPlan]
) -> dict[str, float]:
    units = {
        "extract": sum(plan.read for plan in categories),
        "clean": sum(plan.added + plan.changed + plan.metadata_changed for plan in categories),
        "chunk": sum(plan.chunks for plan in indexes),
        "embed": sum(plan.embed for plan in indexes),
        "load": sum(plan.write + plan.update + (plan.remove or 0) for plan in indexes),
    }
    return {stage: count / throughput[stage] for stage, count in units.items() if stage in throughput}


def _quietly(units: int) -> None:
    """Report progress to nobody."""
