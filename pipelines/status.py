"""The state of the feature store and of every index, read without changing anything."""

from datetime import datetime
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from qdrant_client import QdrantClient

from feature_store import tables
from feature_store.config import PipelineConfig
from feature_store.index import (
    CHUNKER_VERSION,
    CHUNKING,
    PAYLOAD_VERSION,
    IndexMetadata,
    count_points,
    index_collections,
    open_qdrant,
    our_collections,
    serving_collection,
)
from feature_store.index_config import IndexConfig, MultiSizeConfig, SmallToBigConfig, WindowSize
from feature_store.index_record import IndexRecord, is_of_history
from feature_store.settings import Settings
from feature_store.store import IS_LIVE, FeatureStore, open_feature_store
from feature_store.versions import Version


class StoreStatus(BaseModel):
    """The newest version of the feature store; ``version`` is None before the first run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int | None = None
    created_at: datetime | None = None
    documents: int = 0
    rejects: int = 0
    duplicates: int = 0
    categories: dict[str, int] = Field(default_factory=dict)


State = Literal["serving", "candidate", "retired", "unused", "not built"]


class IndexStatus(BaseModel):
    """One physical collection, or None for a configured index that has not been built.

    ``lag`` counts the documents that changed after its ``version``; all of them where the collection was made from
    another feature store, or is ahead of this one. ``configured`` says whether it is what the configuration asks for:
    if another serves, it is the ``candidate``. ``retired`` ones have served, ``unused`` ones never did. ``refused`` is
    what its gate found, ``held`` why no run may promote it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: str
    collection: str | None = None
    fingerprint: str | None = None
    configured: bool
    serving: bool = False
    state: State
    held: str | None = None
    refused: str | None = None
    points: int = 0
    expected_points: int = 0
    version: int = 0
    lag: int
    model: str
    chunking: str
    created_at: datetime | None = None
    updated_at: datetime | None = None
    promoted_at: datetime | None = None
    retired_at: datetime | None = None


class Status(BaseModel):
    """What `feature-pipeline status` shows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    feature_store: StoreStatus
    indexes: list[IndexStatus]


def describe_status(settings: Settings, config: PipelineConfig) -> Status:
    """Return the state of the feature store and of every collection of the configured indexes.

    Raises:
        PipelineError: if Qdrant does not answer, or a run has the embedded one open.
    """
    store = open_feature_store(settings.feature_store_folder)
    with open_qdrant(settings) as client:
        indexes = [row for index in config.indexes for row in _describe_index(client, settings, store, index)]
    return Status(feature_store=describe_store(store), indexes=indexes)


def describe_collections(settings: Settings, config: PipelineConfig) -> list[IndexStatus]:
    """Return the state of every collection that this pipeline made, also of indexes that are not configured any more.

    Raises:
        PipelineError: if Qdrant does not answer, or a run has the embedded one open.
    """
    store = open_feature_store(settings.feature_store_folder)
    with open_qdrant(settings) as client:
        rows = [row for index in config.indexes for row in _describe_index(client, settings, store, index)]
        known = {row.collection for row in rows}
        for collection, metadata in our_collections(client).items():
            if collection not in known:
                serving = serving_collection(client, metadata.index) == collection
                rows.append(_describe(client, settings, store, collection, metadata, serving=serving, configured=False))
    return rows


def _describe_index(
    client: QdrantClient, settings: Settings, store: FeatureStore, index: IndexConfig
) -> list[IndexStatus]:
    newest = store.newest()
    serving = serving_collection(client, index.name)
    rows = []
    for collection, metadata in index_collections(client, index.name).items():
        standing = {"serving": collection == serving, "configured": _is_configured(metadata, index, newest)}
        rows.append(_describe(client, settings, store, collection, metadata, **standing))
    if not any(row.configured for row in rows):
        lag = store.count_changes(0, newest, index.categories) if newest else 0
        described = {"model": index.encoder.model, "chunking": _in_words(index.chunking)}
        rows.append(IndexStatus(index=index.name, configured=True, state="not built", lag=lag, **described))
    return sorted(rows, key=lambda row: get_args(State).index(row.state))


def _describe(
    client: QdrantClient,
    settings: Settings,
    store: FeatureStore,
    collection: str,
    metadata: IndexMetadata,
    *,
    serving: bool,
    configured: bool,
) -> IndexStatus:
    promotion = metadata.promotion
    return IndexStatus(
        index=metadata.index,
        collection=collection,
        fingerprint=metadata.fingerprint,
        configured=configured,
        serving=serving,
        state=_state(metadata, serving=serving, configured=configured),
        held=promotion.held,
        refused=promotion.refused,
        points=count_points(client, collection),
        expected_points=IndexRecord(settings.indexes_folder, collection).count_points(),
        version=metadata.version,
        lag=lag_of(store, store.newest(), metadata),
        model=metadata.encoder.model,
        chunking=_in_words(metadata.chunking),
        created_at=metadata.created_at,
        updated_at=metadata.updated_at,
        promoted_at=promotion.promoted_at,
        retired_at=promotion.retired_at,
    )


def _state(metadata: IndexMetadata, *, serving: bool, configured: bool) -> State:
    if serving:
        return "serving"
    if configured:
        return "candidate"
    return "unused" if metadata.promotion.promoted_at is None else "retired"


def _in_words(chunking: Any) -> str:
    """Return a chunking in a few words, as ``sliding_window 200/40``: window and overlap in tokens."""
    try:
        config = CHUNKING.validate_python(chunking)
    except ValidationError:
        return "unknown to this release"
    if isinstance(config, SmallToBigConfig):
        parent = config.parent
        return f"{config.strategy} {_size(config.child)} in {parent.unit}s of {parent.window}"
    sizes = config.sizes if isinstance(config, MultiSizeConfig) else [config]
    return f"{config.strategy} {' + '.join(map(_size, sizes))}"


def _size(size: WindowSize) -> str:
    return f"{size.window}/{size.overlap}"


def _is_configured(metadata: IndexMetadata, index: IndexConfig, newest: Version | None) -> bool:
    # Without loading the model: its name stands for it here.
    decisive = {"model", "revision", "max_tokens"}
    return (
        newest is not None
        and metadata.store_id == newest.store_id
        and (metadata.payload_version, metadata.chunker_version) == (PAYLOAD_VERSION, CHUNKER_VERSION)
        and metadata.categories == sorted(set(index.categories))
        and metadata.chunking == index.chunking.model_dump(mode="json")
        and metadata.sparse == index.sparse.model_dump(mode="json")
        and metadata.encoder_config.model_dump(include=decisive) == index.encoder.model_dump(include=decisive)
    )


def describe_store(store: FeatureStore) -> StoreStatus:
    """Return the counts of the newest version."""
    newest = store.newest()
    if newest is None:
        return StoreStatus()
    categories = tables.count_values(store.documents(newest), "category", IS_LIVE)
    return StoreStatus(
        version=newest.number,
        created_at=newest.created_at,
        documents=categories.total(),
        rejects=int(store.rejects(newest).count_rows()),
        duplicates=store.count_duplicates(newest),
        categories=categories,
    )


def lag_of(store: FeatureStore, newest: Version | None, metadata: IndexMetadata) -> int:
    """Return how many documents changed since the version of a collection; all, if it has none of this store."""
    if newest is None:
        return 0
    is_of_this_store = metadata.store_id == newest.store_id and is_of_history(store, newest, metadata.reflects)
    return store.count_changes(metadata.version if is_of_this_store else 0, newest, metadata.categories)
