"""The state of the feature store and of every index, read without changing anything."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from feature_store.config import PipelineConfig
from feature_store.index import (
    collections_of,
    count_points,
    expected_points,
    open_qdrant,
    read_metadata,
    serving_collection,
)
from feature_store.settings import Settings
from feature_store.store import LIVE, FeatureStore, open_feature_store


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
    """One physical collection. ``lag`` counts the documents that changed after its ``version``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: str
    collection: str
    fingerprint: str
    serving: bool
    points: int
    expected_points: int
    version: int
    lag: int
    model: str
    updated_at: datetime


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
    indexes = []
    with open_qdrant(settings) as client:
        for index in config.indexes:
            serving = serving_collection(client, index.name)
            for collection in collections_of(client, index.name):
                metadata = read_metadata(client, collection)
                if metadata is None:
                    continue
                indexes.append(
                    IndexStatus(
                        index=index.name,
                        collection=collection,
                        fingerprint=metadata.fingerprint,
                        serving=collection == serving,
                        points=count_points(client, collection),
                        expected_points=expected_points(settings.indexes_folder, collection),
                        version=metadata.version,
                        lag=_lag(store, metadata.version, metadata.categories),
                        model=metadata.encoder.model,
                        updated_at=metadata.updated_at,
                    )
                )
    return Status(feature_store=describe_store(store), indexes=indexes)


def describe_store(store: FeatureStore) -> StoreStatus:
    """Return the counts of the newest version."""
    newest = store.newest()
    if newest is None:
        return StoreStatus()
    categories: dict[str, int] = {}
    for batch in store.documents(newest).scanner(columns=["category"], filter=f"state = '{LIVE}'").to_batches():
        for name in batch.column("category").to_pylist():
            categories[name] = categories.get(name, 0) + 1
    return StoreStatus(
        version=newest.number,
        created_at=newest.created_at,
        documents=sum(categories.values()),
        rejects=int(store.rejects(newest).count_rows()),
        duplicates=store.count_documents(newest, f"state = '{LIVE}' AND duplicate_of IS NOT NULL"),
        categories=categories,
    )


def _lag(store: FeatureStore, version: int, categories: list[str]) -> int:
    newest = store.newest()
    return store.count_changes(version, newest, categories) if newest else 0
