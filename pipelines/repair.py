"""Repair of indexes: what an audit found wrong is written again, and nothing else.

The documents of wrong points are chunked again, as they are at the version that the collection reflects; their vectors
come from the vectors table. Version and record stay. Everything can be done again: whatever a repair that died left
undone, the next audit finds.
"""

import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import lance
import pyarrow as pa
from qdrant_client import QdrantClient, models

from feature_store import tables
from feature_store.config import PipelineConfig
from feature_store.encoders import Encoder, load_encoder
from feature_store.errors import ConfigurationError, ReconciliationError
from feature_store.handles import Chunks
from feature_store.index import (
    CHUNKER_VERSION,
    PAYLOAD_VERSION,
    IndexMetadata,
    retrying,
    write_metadata,
)
from feature_store.parts import count_rows, list_parts, remove_folder
from feature_store.points import DocumentPoints
from feature_store.progress import progress
from feature_store.serving import promote
from feature_store.settings import Settings
from feature_store.versions import now
from pipelines.audit import (
    Examined,
    IndexAudit,
    Place,
    Repair,
    Target,
    examine,
    find_targets,
    findings_of,
    opened_place,
)
from steps.chunk.apply import COLUMNS, chunk_changes
from steps.chunk.tokens import tokens_of
from steps.embed.apply import embed_chunks
from steps.load.audit_collection import ALIAS, Finding, audit_alias, audit_payload_indexes
from steps.load.audit_points import Difference, check_points
from steps.load.collection import index_fields
from steps.load.lease import HeldLease, take_lease
from steps.load.local_storage import flushed_once
from steps.load.points import IDS_PER_REQUEST, upsert_parents, upsert_part

POINTS_PER_UPSERT = 128
DOCUMENTS_AT_ONCE = 256


def repair_indexes(
    settings: Settings, config: PipelineConfig, names: Sequence[str] = (), *, quick: bool = False
) -> list[IndexAudit]:
    """Audit as `audit_indexes` does, write again what differs, and audit what was touched.

    Raises:
        PipelineError: as `audit_indexes` does.
        LockedError: if somebody is loading one of the collections.
        ConfigurationError: if the model here, or this release, would make other points.
    """
    with opened_place(settings, config, "audit --repair") as place:
        return [repair_index(place, target, quick=quick) for target in find_targets(place, names)]


def repair_index(place: Place, target: Target, *, quick: bool) -> IndexAudit:
    """Audit one collection, and write again what differs.

    Where the documents are not those that the record knows, it is given up: the next run writes everything anew.

    Raises:
        PipelineError: as `repair_indexes` does.
    """
    started = time.monotonic()
    report, examined = examine(place, target, quick=quick)
    if report.is_clean or report.refused:
        return report
    repair, left = Repair(), [finding for finding in report.findings if finding.kind != ALIAS]
    if examined is not None:
        repair, left = _repaired(place, examined, left)
    if target.alias is not None and (broken := audit_alias(place.client, target.alias, target.collection)):
        if left or target.collection is None:
            left = [*left, broken]  # what is not whole must not serve
        else:
            promote(place.client, target.alias, target.collection)
            repair = repair.model_copy(update={"alias": target.collection})
    return report.model_copy(update={"repair": repair, "left": left, "seconds": time.monotonic() - started})


def _repaired(place: Place, examined: Examined, findings: list[Finding]) -> tuple[Repair, list[Finding]]:
    """Mend one collection; return what was done, and what is left of the findings."""
    if examined.documents.missing or examined.documents.stale:
        examined.record.forget()
        return Repair(given_up=True), findings
    try:
        return _mend(place, examined)
    except ReconciliationError as error:
        examined.record.forget()
        return Repair(given_up=True), [*findings, Finding(kind="record", detail=error.problem, remedy=error.remedy)]


def _mend(place: Place, examined: Examined) -> tuple[Repair, list[Finding]]:
    """Bring a collection to what it must be, under its lease; return what was done, and what is still wrong."""
    client, metadata, collection = place.client, examined.metadata, examined.record.collection
    differences = examined.points.differences
    wrong = [found for found in differences if found.kind != "foreign"]
    foreign = [found.chunk_id for found in differences if found.kind == "foreign"]
    encoder = _encoder_of(place.config, metadata) if wrong else None
    token = examined.record.lease_token()
    with take_lease(client, collection, metadata, metadata.reflects, metadata.reflects, token) as lease:
        lacking = audit_payload_indexes(client, collection, metadata, examined.fields)
        present = retrying()(client.get_collection, collection).payload_schema
        index_fields(client, collection, present, examined.fields, metadata.server.tenant)
        written, embedded = (0, 0) if encoder is None else _write_again(place, examined, wrong, encoder, lease)
        removed = _remove(client, collection, foreign, lease)
        left = _audit_again(examined, client, wrong, foreign)
        indexed = {**metadata.payload_indexes, **examined.fields}
        done = {"payload_indexes": indexed, "points": examined.record.count_points(), "updated_at": now()}
        said = lease.renew().model_copy(update={**done, "lease": None})
        write_metadata(client, collection, said)
    lacking_still = audit_payload_indexes(client, collection, said, examined.fields)
    repair = Repair(
        written=written, removed=removed, embedded=embedded, payload_indexes=lacking.examples if lacking else []
    )
    return repair, [*left, *([lacking_still] if lacking_still else [])]


def _write_again(
    place: Place, examined: Examined, wrong: Sequence[Difference], encoder: Encoder, lease: HeldLease
) -> tuple[int, int]:
    """Chunk the documents of wrong points again and write these points; return how many, and how many texts were new.

    Raises:
        ReconciliationError: if the documents do not give these points.
    """
    folder = place.settings.work_folder / f"repair-{examined.record.collection}"
    remove_folder(folder)
    try:
        chunks = _chunk_again(place, examined, wrong, encoder, folder)
        lease.keep()
        embeddings = embed_chunks(chunks, encoder, examined.truth.sparse, examined.truth.vectors)
        lease.confirm()
        return _upsert(place.client, examined.record.collection, folder, lease), embeddings.embedded
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _chunk_again(
    place: Place, examined: Examined, wrong: Sequence[Difference], encoder: Encoder, folder: Path
) -> Chunks:
    """Write parts of the wrong points, as the stage `chunk` does for points that a collection lacks."""
    ids = {uuid.UUID(found.chunk_id).bytes for found in wrong}
    documents = sorted({found.document_id for found in wrong if found.document_id is not None})
    version, metadata = examined.version, examined.metadata
    handle = Chunks(
        folder=folder,
        index=metadata.index,
        collection=examined.record.collection,
        since=version.number,
        version=version.number,
        record=examined.table,
    )
    recorded = examined.record.known_points(examined.table)

    def right_points(some: Sequence[str]) -> Mapping[str, DocumentPoints]:
        return {
            document: {point: known for point, known in points.items() if point not in ids}
            for document, points in recorded(some).items()
        }

    rows = _rows(place.store.documents(version), documents)
    chunking, limit = metadata.chunking_config(), encoder.token_limit
    with progress(f"chunking for {metadata.index}", len(documents), "document") as advance:
        chunks = chunk_changes(rows, chunking, tokens_of(encoder), limit, handle, right_points, advance)
    if chunks.new + chunks.new_parents != len(ids) or chunks.moved or chunks.moved_parents or chunks.stale:
        raise ReconciliationError(
            f"The documents of version {version.number} give other chunks than the record of {handle.collection} has.",
            "Its record was given up. Run: the index is written anew, nothing is embedded.",
        )
    return chunks


def _rows(table: lance.LanceDataset, documents: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for some in tables.batches_of(documents, DOCUMENTS_AT_ONCE):
        condition = tables.in_list("document_id", some)
        yield from table.scanner(columns=COLUMNS, filter=condition).to_table().to_batches()


def _upsert(client: QdrantClient, collection: str, folder: Path, lease: HeldLease) -> int:
    parents, embedded = list_parts(folder, "parents"), list_parts(folder, "embedded")
    total = count_rows(parents + embedded)
    with flushed_once(client, collection), progress(f"repairing {collection}", total, "point") as bar:

        def done(units: int) -> None:
            bar(units)
            lease.keep()

        written = sum(upsert_parents(client, collection, part, POINTS_PER_UPSERT, done) for part in parents)
        return written + sum(upsert_part(client, collection, part, POINTS_PER_UPSERT, done) for part in embedded)


def _remove(client: QdrantClient, collection: str, foreign: Sequence[str], lease: HeldLease) -> int:
    for some in tables.batches_of(foreign, IDS_PER_REQUEST):
        ids = models.PointIdsList(points=[_point_id(name) for name in some])
        retrying()(client.delete, collection, points_selector=ids, wait=True)
        lease.keep()
    return len(foreign)


def _audit_again(
    examined: Examined, client: QdrantClient, wrong: Sequence[Difference], foreign: Sequence[str]
) -> list[Finding]:
    """Return what is still wrong with the documents and points that a repair touched."""
    collection = examined.record.collection
    documents = sorted({found.document_id for found in wrong if found.document_id is not None})
    recorded = examined.record.known_points(examined.table)
    left: list[Difference] = []
    for some in tables.batches_of(documents, DOCUMENTS_AT_ONCE):
        expected = {
            point: (document, known) for document, points in recorded(some).items() for point, known in points.items()
        }
        left += check_points(client, collection, expected, examined.truth)[0]
    for names in tables.batches_of(foreign, IDS_PER_REQUEST):
        there = retrying()(client.retrieve, collection, ids=[_point_id(name) for name in names], with_payload=False)
        left += [Difference("foreign", str(record.id), None) for record in there]
    return findings_of(left)


def _point_id(name: str) -> int | str:
    return int(name) if name.isdigit() else name


def _encoder_of(config: PipelineConfig, metadata: IndexMetadata) -> Encoder:
    """Load the model that made a collection.

    Raises:
        ConfigurationError: if the model here, or this release, would make other points.
    """
    made_by = metadata.encoder_config
    # Only our own configuration may say that a model's own code runs here.
    trusted = any(index.encoder.model == made_by.model and index.encoder.trust_remote_code for index in config.indexes)
    encoder = load_encoder(made_by.model_copy(update={"trust_remote_code": trusted}))
    if encoder.fingerprint != metadata.encoder.fingerprint:
        raise ConfigurationError(
            f"{encoder.name} on this machine is not the model that made index {metadata.index} (fingerprint "
            f"{encoder.fingerprint}, in the collection {metadata.encoder.fingerprint}).",
            "Put the same weights there and repair again, or run: a new collection is built.",
        )
    if (metadata.chunker_version, metadata.payload_version) != (CHUNKER_VERSION, PAYLOAD_VERSION):
        raise ConfigurationError(
            f"Index {metadata.index} was made with chunker {metadata.chunker_version} and payload "
            f"{metadata.payload_version}; this release has chunker {CHUNKER_VERSION} and payload {PAYLOAD_VERSION}.",
            "Run: a new collection is built. Or repair with the release that made it.",
        )
    return encoder
