"""Audit of indexes: does each collection hold what the feature store says that it must?

The truth is the record of an index (which points, with which payloads), the feature store at the version that the
collection reflects, and the vectors table. The chunks are not made again for that; only a repair does so, for the
documents of wrong points.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field
from qdrant_client import QdrantClient

from feature_store import lock
from feature_store.config import PayloadType, PipelineConfig
from feature_store.errors import ConfigurationError, TerminalError, TransientError
from feature_store.index import (
    IndexMetadata,
    collection_names,
    count_points,
    index_collections,
    open_qdrant,
    read_metadata,
    serving_collection,
)
from feature_store.index_record import IndexRecord, is_of_history
from feature_store.payload_schema import indexed_fields
from feature_store.progress import progress
from feature_store.settings import Settings
from feature_store.store import FeatureStore, open_feature_store
from feature_store.versions import Version
from steps.load.audit import DocumentsAudit, PointsAudit, audit_documents, audit_ids, audit_points
from steps.load.audit_collection import Finding, audit_alias, audit_metadata, audit_payload_indexes, audit_record
from steps.load.audit_points import Difference, VectorTruth, load_truth

EXAMPLES = 10
_DETAILS = {
    "lost": "points are not there",
    "foreign": "points are none of ours",
    "payload": "points have another payload",
    "dense": "points have another dense vector than the text they stand for",
    "sparse": "points have another BM25 vector than the text they stand for",
    "missing_vector": "points lack a vector",
    "surplus_vector": "points have a vector that they must not have",
}
# Where one of these is found, nothing says what the points must be.
_BLOCKING = {"load", "record", "metadata", "vectors"}
_GIVE_UP = "`audit --repair` gives the record up; the run after it writes the index anew, nothing is embedded."


class Audited(BaseModel):
    """Part of what an audit tells."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Repair(Audited):
    """What a repair did: points written and removed, texts that had to be embedded, fields that got an index.

    ``alias`` is the collection that serves again. With its record ``given_up`` the next run writes an index anew.
    """

    written: int = 0
    removed: int = 0
    embedded: int = 0
    payload_indexes: list[str] = Field(default_factory=list)
    alias: str | None = None
    given_up: bool = False


class IndexAudit(Audited):
    """What an audit found of one collection, and what of it is ``left`` after a repair; without one that is all of it.

    ``collection`` is None for an index that is not built. It holds ``points``, and must hold ``expected_points``.
    ``buckets`` of digests differed, and the ``looked_into`` points in them were compared one by one. ``unchecked``
    counts vectors that there was nothing to compare with. A ``refused`` audit says why it could not tell anything.
    """

    index: str
    collection: str | None
    version: int = 0
    quick: bool = False
    points: int = 0
    expected_points: int = 0
    buckets: int = 0
    looked_into: int = 0
    unchecked: int = 0
    findings: list[Finding] = Field(default_factory=list)
    left: list[Finding] = Field(default_factory=list)
    repair: Repair | None = None
    refused: str = ""
    seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Return whether nothing is wrong, or nothing is any more."""
        return not self.left and not self.refused


@dataclass(frozen=True)
class Place:
    """What an audit reads from: the services, the tables, and the configuration."""

    client: QdrantClient
    settings: Settings
    config: PipelineConfig
    store: FeatureStore
    newest: Version


@dataclass(frozen=True)
class Target:
    """A collection to audit, None if there is none, and the index whose alias is audited with it, if that is asked."""

    index: str
    collection: str | None
    alias: str | None


@dataclass(frozen=True)
class Examined:
    """The collection of an audit, and all that was found of it, point by point."""

    metadata: IndexMetadata
    record: IndexRecord
    table: int
    version: Version
    truth: VectorTruth
    fields: Mapping[str, PayloadType]
    points: PointsAudit
    documents: DocumentsAudit = field(default_factory=DocumentsAudit)


def audit_indexes(
    settings: Settings, config: PipelineConfig, names: Sequence[str] = (), *, quick: bool = False
) -> list[IndexAudit]:
    """Compare what collections hold with what they must hold; nothing is written.

    ``names`` are indexes or collections; without any, the collections that serve the configured indexes are meant.
    ``quick`` compares ids and counts, neither payloads nor vectors.

    Raises:
        ConfigurationError: if a name is neither.
        LockedError: if a run is at work.
        TransientError: if somebody else loaded a collection meanwhile.
    """
    with opened_place(settings, config, "audit") as place:
        return [examine(place, target, quick=quick)[0] for target in find_targets(place, names)]


@contextmanager
def opened_place(settings: Settings, config: PipelineConfig, purpose: str) -> Iterator[Place]:
    """Hold the lock of the data folder, and open what an audit reads.

    Raises:
        LockedError: if a run is at work.
        TerminalError: if the feature store has no version.
    """
    store = open_feature_store(settings.feature_store_folder)
    newest = store.newest()
    if newest is None:
        raise TerminalError("The feature store has no version yet.", "Run the feature pipeline.")
    with lock.held(settings, purpose), open_qdrant(settings) as client:
        yield Place(client, settings, config, store, newest)


def find_targets(place: Place, names: Sequence[str]) -> list[Target]:
    """Return what some names of indexes or collections stand for; without any, all configured indexes.

    Raises:
        ConfigurationError: if a name is neither.
    """
    configured = [index.name for index in place.config.indexes]
    collections = collection_names(place.client)
    targets = []
    for name in names or configured:
        if name in collections:
            targets.append(Target(name.rsplit("__", 1)[0], name, None))
        elif name in configured or serving_collection(place.client, name) or index_collections(place.client, name):
            targets.append(Target(name, _to_audit(place, name), name))
        else:
            raise ConfigurationError(
                f"{name} is neither an index nor a collection.",
                f"Indexes are: {', '.join(configured)}; collections: {', '.join(collections) or 'none'}.",
            )
    return targets


def examine(place: Place, target: Target, *, quick: bool) -> tuple[IndexAudit, Examined | None]:
    """Audit one collection; what a repair needs to know is None where nothing says what the points must be."""
    started = time.monotonic()
    collection = target.collection
    alias = audit_alias(place.client, target.alias, collection) if target.alias else None
    findings = [alias] if alias else []
    report = IndexAudit(index=target.index, collection=collection, quick=quick, findings=findings, left=findings)
    if collection is None:
        return report, None
    metadata = read_metadata(place.client, collection)
    if metadata is None:
        raise TransientError(f"The collection {collection} was removed meanwhile.", "Audit again.")
    report = report.model_copy(update={"version": metadata.version, "points": count_points(place.client, collection)})
    if refusal := _refusal(place, metadata):
        return report.model_copy(update={"refused": refusal}), None
    examined, some = _examine(place, collection, metadata, quick=quick)
    findings = [*findings, *some]
    told = {"findings": findings, "left": findings, "seconds": time.monotonic() - started}
    if examined is not None:
        points = examined.points
        told |= {"points": points.points, "expected_points": points.expected, "unchecked": points.unchecked}
        told |= {"buckets": points.buckets, "looked_into": points.looked_into}
    return report.model_copy(update=told), examined


def findings_of(differences: Sequence[Difference]) -> list[Finding]:
    """Return what differs, kind by kind, with some of the points."""
    by_kind = defaultdict(list)
    for difference in differences:
        by_kind[difference.kind].append(difference.chunk_id)
    return [
        Finding(kind=kind, count=len(ids), detail=detail, examples=sorted(ids)[:EXAMPLES])
        for kind, detail in _DETAILS.items()
        if (ids := by_kind.get(kind))  # type: ignore[call-overload]
    ]


def _to_audit(place: Place, index: str) -> str | None:
    """Return the collection that serves an index, or that could: the one that served last, or the newest complete."""
    known = index_collections(place.client, index)
    serving = serving_collection(place.client, index)
    if serving in collection_names(place.client):
        return serving
    complete = {name: said for name, said in known.items() if _could_serve(said, place.newest.store_id)}

    def rank(name: str) -> tuple[bool, str, int]:
        said = complete[name].promotion
        # It says so of itself until another one serves.
        serves = said.promoted_at is not None and said.retired_at is None
        return serves, str(said.promoted_at or ""), complete[name].version

    return max(complete, key=rank, default=None)


def _could_serve(metadata: IndexMetadata, store_id: str) -> bool:
    is_kept_back = metadata.promotion.held or metadata.promotion.refused
    return metadata.version > 0 and metadata.store_id == store_id and not is_kept_back


def _refusal(place: Place, metadata: IndexMetadata) -> str:
    """Return why nothing can be told of a collection; empty if it is one of this store and of its history."""
    if metadata.store_id != place.newest.store_id:
        return (
            "It was made from another feature store. Audit it with the data folder that made it; or run, which makes "
            "the index of this one."
        )
    if not is_of_history(place.store, place.newest, metadata.reflects):
        return (
            f"It reflects version {metadata.version}, which the feature store does not have, or not any more. Put back "
            "the data folder that made it; or run: it is written anew, nothing is embedded."
        )
    try:
        metadata.chunking_config()
    except ConfigurationError as error:
        return str(error)
    return ""


def _examine(
    place: Place, collection: str, metadata: IndexMetadata, *, quick: bool
) -> tuple[Examined | None, list[Finding]]:
    client, record = place.client, IndexRecord(place.settings.indexes_folder, collection)
    note = record.read_note()
    untrusted = audit_record(metadata, note)
    findings = audit_metadata(client, collection, metadata, None if untrusted else record.count_points())
    findings += [untrusted] if untrusted else []
    if note is None or any(finding.kind in _BLOCKING for finding in findings):
        return None, findings
    version = place.store.version(metadata.version)
    fields = indexed_fields(item for item in place.config.categories if item.name in metadata.categories)
    lacking = audit_payload_indexes(client, collection, metadata, fields)
    documents = audit_documents(place.store, version, metadata.categories, record, note.table)
    truth = load_truth(metadata, place.settings.vectors_folder)
    with progress(f"auditing {collection}", count_points(client, collection), "point") as advance:
        if quick:
            points = audit_ids(client, record, note.table, advance)
        else:
            points = audit_points(client, record, note.table, truth, advance)
    _require_unchanged(client, collection, metadata)
    findings += [*findings_of(points.differences), *_describe(documents), *([lacking] if lacking else [])]
    return Examined(metadata, record, note.table, version, truth, fields, points, documents), findings


def _describe(documents: DocumentsAudit) -> Iterator[Finding]:
    for ids, detail in (
        (documents.missing, "live documents are not in the index at all"),
        (documents.stale, "documents are in the index, and are none of the feature store's"),
    ):
        if ids:
            yield Finding(
                kind="documents", count=len(ids), detail=detail, examples=sorted(ids)[:EXAMPLES], remedy=_GIVE_UP
            )


def _require_unchanged(client: QdrantClient, collection: str, seen: IndexMetadata) -> None:
    said = read_metadata(client, collection)
    if said is None or (said.reflects, said.lease) != (seen.reflects, seen.lease):
        raise TransientError(f"The collection {collection} was loaded while it was audited.", "Audit again.")
