"""Everything that can be wrong outside of the configuration file, checked before any work and reported at once."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from pymongo.database import Database

from feature_store.config import CategoryConfig, PipelineConfig, RunOptions
from feature_store.encoders import load_encoder, load_sparse_encoder
from feature_store.errors import ConfigurationError, PipelineError, PreflightError, TerminalError
from feature_store.executors.opening import open_executor
from feature_store.index import collection_names as qdrant_collections
from feature_store.index import collections_of, open_qdrant, read_metadata, serving_collection
from feature_store.index_config import IndexConfig, SlidingWindowConfig
from feature_store.journal import require_no_erasure
from feature_store.parts import probe
from feature_store.settings import Settings
from feature_store.store import FeatureStore, open_feature_store
from inference.evaluation.golden import read_golden
from warehouse.capture_mode import choose_mode
from warehouse.connection import collection_names, open_warehouse

_MEGABYTE = 1_000_000
_WINDOW_SETTINGS = {
    "sliding_window": "chunking.window",
    "small_to_big": "chunking.child.window",
    "multi_size": "every window in chunking.sizes",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check: ``problem`` is None where all is well, and ``detail`` says what was seen."""

    check: str
    detail: str
    problem: PipelineError | None = None


def run_checks(settings: Settings, config: PipelineConfig) -> list[Finding]:
    """Run every check, whatever the others find, and return the findings in order."""
    return [finding for name, check in CHECKS.items() for finding in _guarded(name, check, settings, config)]


def require_readiness(settings: Settings, config: PipelineConfig) -> list[Finding]:
    """Run every check and return the findings.

    Raises:
        PreflightError: with all problems found.
    """
    findings = run_checks(settings, config)
    problems = [finding.problem for finding in findings if finding.problem is not None]
    if problems:
        raise PreflightError(problems)
    return findings


def check_data_folder(settings: Settings, _: PipelineConfig) -> Iterator[Finding]:
    """The data folder can be written, and its disk has room."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=settings.data_dir) as file:
            file.write(b"x")
    except OSError as error:
        raise TerminalError(
            f"The data folder {settings.data_dir} cannot be written: {error.strerror}.",
            "Set DATA_DIR to a folder that this user may write.",
        ) from error
    free = shutil.disk_usage(settings.data_dir).free // _MEGABYTE
    if free < settings.minimum_free_disk_mb:
        raise TerminalError(
            f"The disk of {settings.data_dir} has {free:,} MB free, less than MINIMUM_FREE_DISK_MB = "
            f"{settings.minimum_free_disk_mb:,}.",
            "Free some space, or set DATA_DIR to another disk.",
        )
    yield Finding("data folder", f"{settings.data_dir}, {free:,} MB free")


def check_feature_store(settings: Settings, _: PipelineConfig) -> Iterator[Finding]:
    """The newest version of the feature store can be opened, and no erasure was interrupted."""
    store = open_feature_store(settings.feature_store_folder)
    require_no_erasure(store.folder)
    newest = store.newest()
    if newest is None:
        yield Finding("feature store", "empty: the first run fills it")
        return
    store.documents(newest)
    store.rejects(newest)
    yield Finding("feature store", f"version {newest.number}")


def check_warehouse(settings: Settings, config: PipelineConfig) -> Iterator[Finding]:
    """The warehouse answers, has the collections that the configuration names, and can be captured as configured."""
    store = open_feature_store(settings.feature_store_folder)
    with open_warehouse(settings) as database:
        present = collection_names(database)
        yield Finding("warehouse", f"{settings.describe_warehouse()}, database {settings.mongo_database}")
        for category in config.categories:
            if category.collection in present:
                yield _check_capture(database, category, config.options)
            else:
                yield _check_missing(store, category, config.options, present)


def _check_capture(database: Database[dict[str, Any]], category: CategoryConfig, options: RunOptions) -> Finding:
    name = f"category {category.name}"
    try:
        mode, why = choose_mode(database, category, options.capture)
    except PipelineError as problem:
        return Finding(name, "", problem)
    return Finding(name, f"collection {category.collection}, captured by {mode} ({why})")


def _check_missing(
    store: FeatureStore, category: CategoryConfig, options: RunOptions, present: Sequence[str]
) -> Finding:
    name, collection = f"category {category.name}", category.collection
    held = store.count_held(category.name)
    approved = options.approved_deletions.get(category.name, 0)
    if held > approved:
        problem = ConfigurationError(
            f"Category {category.name}: the collection {collection!r} is gone, but the feature store holds {held:,} "
            "documents of it.",
            "A collection that vanished is not taken for one whose documents were deleted: restore it, correct "
            f"`collection`, or approve the deletion of all {held:,}.",
        )
        return Finding(name, "", problem)
    if held:
        return Finding(name, f"collection {collection} is gone, and the deletion of its {held:,} documents is approved")
    if category.optional:
        return Finding(name, f"collection {collection} is missing, which is allowed")
    known = ", ".join(present) or "none"
    problem = ConfigurationError(
        f"Category {category.name}: the warehouse has no collection {collection!r}; it has: {known}.",
        "Correct `collection`, fill it with `feature-pipeline import`, or set `optional: true`.",
    )
    return Finding(name, "", problem)


def check_qdrant(settings: Settings, config: PipelineConfig) -> Iterator[Finding]:
    """Qdrant answers, and the names of the indexes are free or ours."""
    with open_qdrant(settings) as client:
        collections = qdrant_collections(client)
        yield Finding("qdrant", settings.describe_qdrant())
        for index in config.indexes:
            serving = serving_collection(client, index.name)
            if index.name in collections or (serving and not serving.startswith(f"{index.name}__")):
                problem: PipelineError = ConfigurationError(
                    f"Index {index.name}: Qdrant has a collection or an alias of that name, and it is not ours.",
                    "Rename the index, or remove that collection or alias.",
                )
                yield Finding(f"index {index.name}", "", problem)
            if settings.qdrant_url is None and index.server.given():
                idle = ", ".join(f"server.{name}" for name in index.server.given())
                yield Finding(f"settings of {index.name}", f"without effect in an embedded Qdrant: {idle}")
            for collection in collections_of(client, index.name):
                try:
                    read_metadata(client, collection)
                except TerminalError as foreign:
                    yield Finding(f"index {index.name}", "", foreign)


def check_encoders(_: Settings, config: PipelineConfig) -> Iterator[Finding]:
    """The models can be loaded, and the windows fit them."""
    for index in config.indexes:
        try:
            yield from _check_encoder(index)
        except PipelineError as problem:
            yield Finding(f"model of {index.name}", "", problem)


def _check_encoder(index: IndexConfig) -> Iterator[Finding]:
    load_sparse_encoder(index.sparse)
    encoder = load_encoder(index.encoder)
    for name, window in _embedded_windows(index):
        if window > encoder.token_limit:
            problem = ConfigurationError(
                f"Index {index.name}: the window {window} of {name} is more than the {encoder.token_limit} "
                f"tokens that {encoder.name} can take.",
                f"Set {_WINDOW_SETTINGS[index.chunking.strategy]} to {encoder.token_limit} or less, or choose a model "
                "with a longer context.",
            )
            yield Finding(f"chunking of {name}", "", problem)
    detail = f"{encoder.name}, {encoder.dimension} dimensions, {encoder.token_limit} tokens, {encoder.precision}"
    yield Finding(f"model of {index.name}", detail)


def _embedded_windows(index: IndexConfig) -> Iterator[tuple[str, int]]:
    """Yield whose each window is: a category's that has its own, or the index's."""
    windows = index.chunking.windows()
    categories = list(index.chunking.categories) if isinstance(index.chunking, SlidingWindowConfig) else []
    yield from zip([index.name] * (len(windows) - len(categories)) + categories, windows, strict=True)


def check_part_files(settings: Settings, config: PipelineConfig) -> Iterator[Finding]:
    """Storage for part files other than the data folder can be used, by every node of the cluster if there is one."""
    on_cluster = config.executor.kind == "ray"
    if settings.parts_uri is None and not on_cluster:
        return
    folder = settings.runs_folder
    if (
        settings.parts_uri
        and settings.parts_uri.startswith("memory:")
        and not on_cluster
        and config.executor.workers != 1
    ):
        raise ConfigurationError(
            "PARTS_URI: what is in memory:// is seen by one process only, and several clean and chunk.",
            "Set PARTS_URI to a folder or a bucket, or executor.workers to 1.",
        )
    probe(folder)
    yield Finding("part files", str(folder))
    if on_cluster:
        with open_executor(config.executor):  # says what to do where Ray is not installed
            from feature_store.executors.cluster import examine_cluster

            yield Finding("cluster", examine_cluster(config.executor, folder))


def check_golden_queries(_: Settings, config: PipelineConfig) -> Iterator[Finding]:
    """The golden queries by which a new collection is compared can be read."""
    for index in config.indexes:
        path = index.promotion.golden_queries
        if path is None:
            continue
        try:
            queries = read_golden(Path(path).expanduser())
        except ConfigurationError as problem:
            yield Finding(f"golden queries of {index.name}", "", problem)
        else:
            yield Finding(f"golden queries of {index.name}", f"{len(queries):,} in {path}")


Check = Callable[[Settings, PipelineConfig], Iterator[Finding]]

CHECKS: dict[str, Check] = {
    "data folder": check_data_folder,
    "feature store": check_feature_store,
    "warehouse": check_warehouse,
    "qdrant": check_qdrant,
    "models": check_encoders,
    "golden queries": check_golden_queries,
    "part files": check_part_files,
}


def _guarded(name: str, check: Check, settings: Settings, config: PipelineConfig) -> Iterator[Finding]:
    try:
        yield from check(settings, config)
    except PipelineError as problem:
        yield Finding(name, "", problem)
    except OSError as error:
        yield Finding(name, "", TerminalError(f"{error}.", "Check DATA_DIR, its rights and its disk."))
