"""What a person does to the collections of an index: promote one, go back, and drop those that are retired."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from loguru import logger
from pydantic import BaseModel, ConfigDict
from qdrant_client import QdrantClient

from feature_store import lock
from feature_store.config import PipelineConfig
from feature_store.encoders import load_encoder
from feature_store.errors import ConfigurationError, PromotionRefusedError, TerminalError
from feature_store.handles import CleanedDocuments, GateCheck
from feature_store.index import (
    IndexMetadata,
    count_points,
    index_collections,
    open_qdrant,
    our_collections,
    retrying,
    serving_collection,
)
from feature_store.index_config import IndexConfig
from feature_store.index_record import IndexRecord
from feature_store.parts import remove_folder
from feature_store.releases import list_releases, read_release
from feature_store.serving import hold, note_promotion, promote, settle
from feature_store.settings import Settings
from feature_store.store import open_feature_store
from feature_store.versions import now
from pipelines.serving import Workplace, check_candidate, golden_checks, promote_collection
from pipelines.status import lag_of

COPY_SIGN = "@"  # in the name of an index that `rebuild` made


class Promoted(BaseModel):
    """What `promote` did; without ``checks`` the collection served already."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: str
    collection: str
    previous: str | None
    checks: list[GateCheck]


class RolledBack(BaseModel):
    """What `rollback` did: ``left`` no longer serves, and no run promotes it; ``lag`` counts documents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: str
    collection: str
    left: str
    version: int
    lag: int


class RetiredCollection(BaseModel):
    """A collection that does not serve; ``kept`` says why it stays, and is empty for one that goes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: str
    collection: str
    points: int
    retired_at: datetime | None
    kept: str = ""


def promote_index(
    settings: Settings, config: PipelineConfig, name: str, collection: str | None = None, *, force: bool = False
) -> Promoted:
    """Let a collection of an index serve, if its gate opens; the configured one, unless another is named.

    ``force`` leaves out the golden queries, never what proves that the collection is whole. If it takes the place of
    what the configuration asks for, no run moves the alias back.

    Raises:
        ConfigurationError: if there is no such index or collection.
        PromotionRefusedError: if the gate does not open.
        LockedError: if a run is at work.
    """
    index = _configured_index(config, name)
    with _opened(settings, config, f"promote {name}") as place:
        client = place.client
        settle(client, name)
        serving, configured = serving_collection(client, name), place.configured_collection(index)
        target = collection or configured
        known = index_collections(client, name)
        if target not in known:
            raise ConfigurationError(
                f"Index {name} has no collection {target}.",
                f"It has: {', '.join(known) or 'none yet'}. A run builds the configured one.",
            )
        if target == serving:
            return Promoted(index=name, collection=target, previous=None, checks=[])
        golden = None if force or serving is None else golden_checks(place, index, target, serving)
        gate = check_candidate(place, index, target, golden)
        if not gate.opens:
            note_promotion(client, target, known[target], refused=gate.refusal)
            raise PromotionRefusedError(
                f"{target} must not serve: {gate.refusal}.",
                "A run completes what is missing; --force leaves out the golden queries, and only those."
                if target == configured
                else f"Runs complete what the configuration asks for ({configured}) and what serves, no others. "
                "`rollback` goes back to what served before, as it is.",
            )
        if serving == configured:
            hold(client, serving, f"{target} was promoted by hand in its place on {now():%Y-%m-%d %H:%M} UTC")
        previous = promote_collection(place, index, target)
        return Promoted(index=name, collection=target, previous=previous, checks=gate.checks)


def roll_back(settings: Settings, name: str) -> RolledBack:
    """Let the collection serve again that served before; the one that it replaces is held: no run promotes it.

    It serves as it is, at once; the next run brings it to the newest version.

    Raises:
        TerminalError: if nothing serves, or nothing is there to go back to.
        LockedError: if a run is at work.
    """
    with lock.held(settings, f"rollback {name}"), open_qdrant(settings) as client:
        settle(client, name)
        known, serving = index_collections(client, name), serving_collection(client, name)
        if serving is None or serving not in known:
            raise TerminalError(f"Nothing serves the index {name}.", "`feature-pipeline indexes` shows what is there.")
        target = previous_collection(known, serving)
        # The hold first: a run that finds the alias moved back must know that this was meant.
        hold(client, serving, f"rolled back to {target} on {now():%Y-%m-%d %H:%M} UTC")
        promote(client, name, target)
        logger.info("{}: {} serves again, in the place of {}", name, target, serving)
        store = open_feature_store(settings.feature_store_folder)
        metadata = known[target]
        lag = lag_of(store, store.newest(), metadata)
        return RolledBack(index=name, collection=target, left=serving, version=metadata.version, lag=lag)


def previous_collection(known: dict[str, IndexMetadata], serving: str) -> str:
    """Return the collection that served before: the one that ``serving`` names, else the newest that was retired.

    Raises:
        TerminalError: if none is left.
    """
    previous = known[serving].promotion.previous
    if previous is not None and previous in known:
        return previous
    retired = [
        (said.promotion.retired_at, name)
        for name, said in known.items()
        if name != serving and said.promotion.retired_at is not None and said.promotion.held is None
    ]
    if not retired:
        raise TerminalError(
            f"Before {serving} no other collection served that is still there.",
            f"`feature-pipeline promote {known[serving].index}` goes forward, to what the configuration asks for. For "
            "another one put its configuration back and run: it is built from the feature store.",
        )
    return max(retired)[1]


def plan_dropping(
    settings: Settings, config: PipelineConfig, name: str | None, keep: int, older_than: timedelta | None
) -> list[RetiredCollection]:
    """Return what `drop_retired` would remove, and what it would keep and why; it raises the same errors."""
    with open_qdrant(settings) as client:
        return _judge_all(_workplace(client, settings, config), name, keep, older_than)


def drop_retired(
    settings: Settings, config: PipelineConfig, name: str | None, keep: int, older_than: timedelta | None
) -> list[RetiredCollection]:
    """Remove collections that serve no more, with their records; return them, and those that are kept, with the reason.

    Of each index the newest ``keep`` stay for a rollback; so does what serves, is configured, or is in a release, and
    what was retired less than ``older_than`` ago. Indexes that `rebuild` made are looked at only if ``name`` names one.

    Raises:
        ConfigurationError: if the model of a configured index cannot be loaded: what it asks for is not known then.
        TerminalError: if the feature store has no version.
        LockedError: if a run is at work.
    """
    with _opened(settings, config, "drop-retired") as place:
        judged = _judge_all(place, name, keep, older_than)
        for item in judged:
            if not item.kept:
                _drop(place, item.collection)
    return judged


def _judge_all(place: Workplace, name: str | None, keep: int, older_than: timedelta | None) -> list[RetiredCollection]:
    client, by_index = place.client, dict[str, dict[str, IndexMetadata]]()
    for collection, metadata in our_collections(client).items():
        if metadata.index == name or (name is None and COPY_SIGN not in metadata.index):
            by_index.setdefault(metadata.index, {})[collection] = metadata
    if name is not None and name not in by_index:
        raise ConfigurationError(f"There is no index {name!r}.", "`feature-pipeline indexes` shows all.")
    needed = _needed(place)
    judged = []
    for index, known in sorted(by_index.items()):
        serving = serving_collection(client, index)
        previous = known[serving].promotion.previous if serving in known else None
        idle = [collection for collection in known if collection not in needed]
        newest = sorted(idle, key=lambda item: (item == previous, _idle_since(known[item])), reverse=True)
        for collection, metadata in known.items():
            if collection == serving:
                continue
            kept = needed.get(collection) or (
                "kept for a rollback" if collection in newest[:keep] else _too_young(place, metadata, older_than)
            )
            retired_at, points = metadata.promotion.retired_at, count_points(client, collection)
            judged.append(
                RetiredCollection(index=index, collection=collection, points=points, retired_at=retired_at, kept=kept)
            )
    return judged


def _needed(place: Workplace) -> dict[str, str]:
    """Return the collections that must stay whatever their age, and why."""
    folder = place.settings.feature_store_folder
    releases = [read_release(folder, name) for name in list_releases(folder)]
    aliases = retrying()(place.client.get_aliases).aliases
    return {
        **{item.collection: f"release {release.name} pins it" for release in releases for item in release.indexes},
        **{place.configured_collection(index): "it is what the configuration asks for" for index in place.indexes},
        **{alias.collection_name: f"it serves as {alias.alias_name}" for alias in aliases},
    }


def _too_young(place: Workplace, metadata: IndexMetadata, older_than: timedelta | None) -> str:
    lease = metadata.lease
    if lease is not None and lease.expires_at > now():
        return f"{lease.holder} is loading it"
    if metadata.promotion.promoted_at is None and metadata.store_id != place.version.store_id:
        return "it was built from another feature store, and never served"
    if older_than is not None and _idle_since(metadata) > now() - older_than:
        return f"retired less than {older_than.total_seconds() / 86_400:g} days ago"
    return ""


def _idle_since(metadata: IndexMetadata) -> datetime:
    return metadata.promotion.retired_at or metadata.updated_at


def _drop(place: Workplace, collection: str) -> None:
    # The record first: without it a collection that is left after all is written anew, should it ever be needed.
    record = IndexRecord(place.settings.indexes_folder, collection)
    record.forget()
    remove_folder(record.table_path)
    retrying()(place.client.delete_collection, collection)
    logger.info("{} is dropped", collection)


def _configured_index(config: PipelineConfig, name: str) -> IndexConfig:
    for index in config.indexes:
        if index.name == name:
            return index
    known = ", ".join(index.name for index in config.indexes) or "none"
    raise ConfigurationError(f"The configuration has no index {name!r}.", f"It has: {known}.")


@contextmanager
def _opened(settings: Settings, config: PipelineConfig, purpose: str) -> Iterator[Workplace]:
    with lock.held(settings, purpose), open_qdrant(settings) as client:
        yield _workplace(client, settings, config)


def _workplace(client: QdrantClient, settings: Settings, config: PipelineConfig) -> Workplace:
    newest = open_feature_store(settings.feature_store_folder).newest()
    if newest is None:
        raise TerminalError("The feature store has no version yet.", "Run the feature pipeline.")
    documents = CleanedDocuments(folder=settings.feature_store_folder, version=newest.number)
    folder = settings.work_folder / "promotion"
    return Workplace(client, settings, documents, config.indexes, config.categories, folder, load_encoder)
