"""The state of the feature store and of every index, read without changing anything."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field
from qdrant_client import QdrantClient

from feature_store import tables
from feature_store.config import PipelineConfig
from feature_store.index import (
    PAYLOAD_VERSION,
    IndexMetadata,
    collections_of,
    count_points,
    open_qdrant,
    read_metadata,
    serving_collection,
)
from feature_store.index_config import IndexConfig
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


class IndexStatus(BaseModel):
    """One physical collection, or None for a configured index that has not been built.

    ``lag`` counts the documents that changed after its ``version``; all of them where the collection was made from
    another feature store, or is ahead of this one. ``configured`` says whether it is what the configuration asks for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: str
    collection: str | None = None
    fingerprint: str | None = None
    configured: bool
    serving: bool = False
    points: int = 0
    expected_points: int = 0
    version: int = 0
    lag: int
    model: str
    updated_at: datetime | None = None


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


def _describe_index(
    client: QdrantClient, settings: Settings, store: FeatureStore, index: IndexConfig
) -> list[IndexStatus]:
    newest = store.newest()
    serving = serving_collection(client, index.name)
    rows = []
    for collection in collections_of(client, index.name):
        metadata = read_metadata(client, collection)
        if metadata is None:
            continue
        rows.append(
            IndexStatus(
                index=index.name,
                collection=collection,
                fingerprint=metadata.fingerprint,
                configured=_is_configured(metadata, index, newest),
                serving=collection == serving,
                points=count_points(client, collection),
                expected_points=IndexRecord(settings.indexes_folder, collection).count_points(),
                version=metadata.version,
                lag=_lag(store, newest, metadata),
                model=metadata.encoder.model,
                updated_at=metadata.updated_at,
            )
        )
    if not any(row.configured for row in rows):
        lag = store.count_changes(0, newest, index.categories) if newest else 0
        rows.append(IndexStatus(index=index.name, configured=True, lag=lag, model=index.encoder.model))
    return rows


def _is_configured(metadata: IndexMetadata, index: IndexConfig, newest: Version | None) -> bool:
    # Without loading the model: its name stands for it here.
    decisive = {"model", "revision", "max_tokens"}
    return (
        newest is not None
        and metadata.store_id == newest.store_id
        and metadata.payload_version == PAYLOAD_VERSION
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


def _lag(store: FeatureStore, newest: Version | None, metadata: IndexMetadata) -> int:
    if newest is None:
        return 0
    is_of_this_store = metadata.store_id == newest.store_id and is_of_history(store, newest, metadata.reflects)
    return store.count_changes(metadata.version if is_of_this_store else 0, newest, metadata.categories)
