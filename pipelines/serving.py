"""Which collection serves: promotion through the gate, and keeping what serves up to date while another one waits."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from loguru import logger
from pydantic import ValidationError
from qdrant_client import QdrantClient

from feature_store.config import CategoryConfig
from feature_store.encoders import Encoder, load_sparse_encoder
from feature_store.errors import ConfigurationError, PipelineError, ReconciliationError, TransientError
from feature_store.executors.here import HERE
from feature_store.executors.interface import Executor
from feature_store.handles import CleanedDocuments, Embeddings, GateCheck, IndexReport, ServedIndex
from feature_store.index import (
    CHUNKER_VERSION,
    PAYLOAD_VERSION,
    IndexMetadata,
    VersionName,
    configured_collection,
    count_points,
    index_fingerprint,
    is_local,
    read_metadata,
    retrying,
    serving_collection,
)
from feature_store.index_config import EncoderConfig, IndexConfig, SparseConfig
from feature_store.index_record import IndexRecord, starting_point
from feature_store.parts import Folder
from feature_store.payload_schema import indexed_fields
from feature_store.serving import note_promotion, promote, settle
from feature_store.settings import Settings
from feature_store.vectors import VectorTable
from feature_store.versions import Version
from pipelines.status import lag_of
from steps.chunk.apply import chunk_index
from steps.embed.apply import embed_chunks
from steps.load.apply import bring_to_version
from steps.load.audit_points import SampleAudit, audit_sample, load_truth
from steps.load.snapshots import take_snapshot
from steps.serve.gate import Checks, Found, Gate, Wanted, run_gate

_SHOWN = 3  # points in a message


@dataclass(frozen=True)
class Workplace:
    """With what the collections of all configured indexes are looked after; parts of a load go into ``folder``."""

    client: QdrantClient
    settings: Settings
    documents: CleanedDocuments
    indexes: Sequence[IndexConfig]
    categories: Sequence[CategoryConfig]
    folder: Folder
    load_encoder: Callable[[EncoderConfig], Encoder]
    executor: Executor = HERE

    @cached_property
    def version(self) -> Version:
        """The version of the feature store that every collection is brought to."""
        return self.documents.at()

    def configured_collection(self, index: IndexConfig) -> str:
        """Return the name of the collection that the configuration asks for."""
        return configured_collection(index, self.load_encoder(index.encoder), self.version.store_id)

    def record(self, collection: str) -> IndexRecord:
        """Return the record of a collection."""
        return IndexRecord(self.settings.indexes_folder, collection)

    def metadata(self, collection: str) -> IndexMetadata:
        """Return what a collection says of itself.

        Raises:
            TransientError: if it is not there any more.
        """
        metadata = read_metadata(self.client, collection)
        if metadata is None:
            raise TransientError(f"The collection {collection} was removed while the run was at work.", "Run again.")
        return metadata


def serve_index(place: Workplace, index: IndexConfig, report: IndexReport) -> ServedIndex:
    """Let the newly loaded collection serve, if its gate opens; else bring the one that serves to the newest version.

    What serves in the end is compared with the record of the index by a sample.

    Raises:
        ReconciliationError: if a point of it is not what it must be; its record is forgotten then.
        TransientError: if nothing serves the index any more.
    """
    settle(place.client, index.name)
    serving = serving_collection(place.client, index.name)
    if serving is None:
        raise TransientError(f"The alias {index.name} was removed while the run was at work.", "Run again.")
    served = ServedIndex(index=index.name, collection=serving, version=report.version, outcome="serves")
    if serving == report.collection:
        return served.model_copy(update={"sampled": _require_sound(place, index, serving)})
    # First of all: what clients find now must not wait for a gate. And it is what golden queries compare with.
    kept = _bring_along(place, index, serving)
    decision = _decide(place, index, report.collection, serving)
    served = served.model_copy(update={**kept, **decision})
    if served.outcome == "promoted" or served.problem:
        return served
    return served.model_copy(update={"sampled": _require_sound(place, index, serving)})


def check_candidate(place: Workplace, index: IndexConfig, collection: str, golden: Checks | None) -> Gate:
    """Run the gate of a collection that may take the place of the one that serves."""
    metadata = place.metadata(collection)
    fields = indexed_fields(item for item in place.categories if item.name in metadata.categories)
    wanted = Wanted(
        fingerprint=collection.rsplit("__", 1)[1],
        version=VersionName.of(place.version),
        points=place.record(collection).count_points(),
        fields=fields,
    )
    schema = retrying()(place.client.get_collection, collection).payload_schema
    indexed = None if is_local(place.client) else frozenset(schema)
    found = Found(metadata, count_points(place.client, collection), indexed)
    return run_gate(collection, wanted, found, lambda: [_sample_check(place, index, collection)], golden)


def golden_checks(place: Workplace, index: IndexConfig, collection: str, serving: str) -> Checks | None:
    """Return how the configured golden queries compare two collections; None where none are configured.

    Where they cannot be compared, because a model or the file is not here, that is a check that does not hold.
    """
    path = index.promotion.golden_queries
    if path is None:
        return None

    def compare() -> Sequence[GateCheck]:
        from inference.evaluation.golden import read_golden
        from inference.retriever import Retriever
        from steps.serve.golden import compare_golden

        try:
            golden = read_golden(Path(path).expanduser())
            new, old = (
                Retriever.from_index(index.name, place.client, _trusted_encoder(place, name), collection=name)
                for name in (collection, serving)
            )
            return compare_golden(golden, new, old, index.promotion.tolerance)
        except PipelineError as error:
            return [GateCheck(name="golden queries can be compared", holds=False, figures=error.problem)]

    return compare


def promote_collection(place: Workplace, index: IndexConfig, collection: str) -> str | None:
    """Let a collection serve, and have the server write a snapshot of it if configured; return what served before."""
    previous = promote(place.client, index.name, collection)
    logger.info("{}: {} serves now, in the place of {}", index.name, collection, previous)
    if index.server.snapshot_after_promotion:
        try:
            logger.info("{}: snapshot {}", collection, take_snapshot(place.client, collection))
        except TransientError as error:  # it serves all the same
            logger.warning("{}: {}", index.name, error)
    return previous


def _decide(place: Workplace, index: IndexConfig, candidate: str, serving: str) -> dict[str, Any]:
    """Promote the candidate, or say why not."""
    metadata = place.metadata(candidate)
    waiting: dict[str, Any] = {"candidate": candidate}
    if metadata.promotion.held is not None:
        return {**waiting, "outcome": "held", "reason": metadata.promotion.held}
    if index.promotion.mode == "manual":
        return {**waiting, "outcome": "waits", "reason": "it is promoted by hand: promotion.mode is manual"}
    gate = check_candidate(place, index, candidate, golden_checks(place, index, candidate, serving))
    if not gate.opens:
        note_promotion(place.client, candidate, metadata, refused=gate.refusal)
        logger.warning("{}: {} is refused by its gate: {}", index.name, candidate, gate.refusal)
        return {**waiting, "outcome": "refused", "reason": gate.refusal, "checks": gate.checks}
    previous = promote_collection(place, index, candidate)
    newest = {"version": place.version.number, "problem": "", "lag": 0}
    return {**newest, "outcome": "promoted", "collection": candidate, "previous": previous, "checks": gate.checks}


def _bring_along(place: Workplace, index: IndexConfig, collection: str) -> dict[str, Any]:
    """Bring a collection to the newest version by what it says of itself, or say why that is not possible."""
    metadata = place.metadata(collection)
    start = starting_point(metadata, place.record(collection), place.documents.store(), place.version)
    if start.since == VersionName.of(place.version) and start.record is not None:
        return {"version": metadata.version}
    try:
        built, encoder = _as_built(place, index, metadata)
    except ConfigurationError as error:
        lag = lag_of(place.documents.store(), place.version, metadata)
        logger.warning("{}: {} cannot be kept up to date: {}", index.name, collection, error.problem)
        return {"version": metadata.version, "problem": error.problem, "lag": lag}
    embeddings, report = bring_collection(place, built, encoder, collection)
    counts = {"written": report.written, "updated": report.updated, "removed": report.removed}
    return {"version": report.version, "embedded": embeddings.embedded, **counts}


def bring_collection(
    place: Workplace, index: IndexConfig, encoder: Encoder, collection: str
) -> tuple[Embeddings, IndexReport]:
    """Chunk, embed and load what a collection has not seen, as the branch of an index does in a run."""
    documents, folder = place.documents, place.folder / collection
    records, executor = place.settings.indexes_folder, place.executor
    chunks = chunk_index(place.client, records, documents, index, encoder, collection, folder, executor)
    sparse, _ = load_sparse_encoder(index.sparse)
    vectors = VectorTable(place.settings.vectors_folder, encoder.fingerprint, encoder.dimension)
    load = partial(place.load_encoder, index.encoder)
    embeddings = embed_chunks(chunks, encoder, sparse, vectors, executor, load)
    indexes_folder, categories = place.settings.indexes_folder, place.categories
    report = bring_to_version(place.client, indexes_folder, embeddings, documents, index, categories, encoder)
    return embeddings, report


def _as_built(place: Workplace, index: IndexConfig, metadata: IndexMetadata) -> tuple[IndexConfig, Encoder]:
    """Return by which configuration a collection was made, and its model.

    Raises:
        ConfigurationError: if that would make other points here.
    """
    if metadata.store_id != place.version.store_id:
        raise ConfigurationError("It was made from another feature store.")
    chunking = metadata.chunking_config()
    try:
        sparse = SparseConfig.model_validate(metadata.sparse)
    except ValidationError:
        raise ConfigurationError("Its keywords are not weighed in a way that this release knows.") from None
    encoder = place.load_encoder(_trusted(place, metadata.encoder_config))
    if encoder.fingerprint != metadata.encoder.fingerprint:
        raise ConfigurationError(f"{metadata.encoder.model} here is not the model that made its vectors.")
    of_collection = {"chunking": chunking, "sparse": sparse, "encoder": metadata.encoder_config}
    stated = {"categories": metadata.categories, "retrieval": metadata.retrieval, "server": metadata.server}
    built = index.model_copy(update={**of_collection, **stated})
    if index_fingerprint(built, encoder, CHUNKER_VERSION, metadata.store_id) != metadata.fingerprint:
        raise ConfigurationError(
            f"This release makes other chunks or payloads: it has chunker {CHUNKER_VERSION} and payload "
            f"{PAYLOAD_VERSION}, the collection chunker {metadata.chunker_version} and payload "
            f"{metadata.payload_version}."
        )
    return built, encoder


def _trusted(place: Workplace, config: EncoderConfig) -> EncoderConfig:
    """Return the configuration of a model as a collection gives it; its own code runs only where ours says so too."""
    if not config.trust_remote_code:
        return config
    ours = [item.encoder for item in place.indexes if item.encoder.trust_remote_code]
    if not any((item.model, item.revision) == (config.model, config.revision) for item in ours):
        raise ConfigurationError(f"Its model {config.model} brings its own code, and no configured index trusts it.")
    return config


def _trusted_encoder(place: Workplace, collection: str) -> Encoder:
    return place.load_encoder(_trusted(place, place.metadata(collection).encoder_config))


def _require_sound(place: Workplace, index: IndexConfig, collection: str) -> int:
    """Return how many points of a collection were compared with its record, all of them right.

    Raises:
        ReconciliationError: if one is not; the record is forgotten, so that the next load writes everything anew.
    """
    audit = _sample(place, index, collection)
    if audit.wrong:
        place.record(collection).forget()
        raise ReconciliationError(
            f"The collection {collection} is not what was written to it: {_describe(audit)}.",
            "Something else writes to it, or it was damaged. Run again: it is written anew, and nothing is embedded "
            "for it.",
        )
    return audit.points


def _sample_check(place: Workplace, index: IndexConfig, collection: str) -> GateCheck:
    audit = _sample(place, index, collection)
    name = "sampled points are exactly what was written"
    return GateCheck(name=name, holds=not audit.wrong, figures=_describe(audit))


def _sample(place: Workplace, index: IndexConfig, collection: str) -> SampleAudit:
    """Compare some points exactly: their payloads with the record, their vectors with the vectors table."""
    metadata = place.metadata(collection)
    seed = random.randrange(2**32)  # noqa: S311 - other points each time
    truth = load_truth(metadata, place.settings.vectors_folder)
    return audit_sample(place.client, place.record(collection), truth, index.promotion.sample, seed)


def _describe(audit: SampleAudit) -> str:
    told = f"{audit.points:,} points compared"
    if not audit.wrong:
        return told
    named = ", ".join(f"{item.chunk_id} ({item.kind})" for item in audit.wrong[:_SHOWN])
    return f"{told}, {len(audit.wrong):,} differences, such as {named}"
