"""The order of a load, which is what makes it safe: write, remove what is stale, record, reconcile, publish.

The first collection of an index serves from the end of its first load on; one that is built beside it waits for its
gate.

A load that fails leaves its lease in the collection and a note in the record, so that the next one knows that the
points of the changed documents are of two versions. It writes all of them, and removes whatever else is there. Where
the collection does not hold what it should, the record is forgotten: the next load writes everything anew, in place.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from qdrant_client import QdrantClient

from feature_store.config import CategoryConfig
from feature_store.encoders import Encoder
from feature_store.errors import ReconciliationError, TransientError
from feature_store.handles import CleanedDocuments, Embeddings, IndexReport
from feature_store.index import (
    NOTHING,
    IndexMetadata,
    VersionName,
    collection_names,
    count_points,
    read_metadata,
    serving_collection,
    write_metadata,
)
from feature_store.index_config import IndexConfig
from feature_store.index_record import IndexRecord, StartingPoint, starting_point
from feature_store.parts import count_rows, list_parts
from feature_store.progress import progress
from feature_store.serving import promote
from feature_store.versions import Version, now
from steps.load.bulk import indexing_deferred
from steps.load.collection import ensure_collection
from steps.load.lease import HeldLease, take_lease
from steps.load.local_storage import flushed_once
from steps.load.points import (
    reconcile,
    remove_all_but,
    remove_orphans,
    remove_part,
    require_points,
    update_payloads,
    upsert_parents,
    upsert_part,
)


def bring_to_version(
    client: QdrantClient,
    indexes_folder: Path,
    embeddings: Embeddings,
    cleaned_documents: CleanedDocuments,
    index: IndexConfig,
    categories: Sequence[CategoryConfig],
    encoder: Encoder,
) -> IndexReport:
    """Bring the collection to the version of ``embeddings``; one that is there already is only counted.

    Raises:
        TransientError: if the collection was changed or removed since its chunks were made.
        LockedError: if another run is loading it.
        ReconciliationError: if the collection does not hold what it should; its version then stays where it was, and
            the next load writes everything anew.
    """
    collection, version = embeddings.collection, cleaned_documents.at()
    record = IndexRecord(indexes_folder, collection)
    seen = read_metadata(client, collection)
    start = starting_point(seen, record, cleaned_documents.store(), version)
    _require_unchanged(embeddings, start)
    ensure_collection(client, collection, index, categories, encoder, version.store_id)
    target = VersionName.of(version)
    if start.since == target and start.record is not None:
        with _forgotten_if_wrong(record):
            expected = record.count_points()
            points = require_points(client, collection, expected)
        _serve_if_nothing_does(client, index.name, collection)
        return _report(embeddings, points, expected)
    held = take_lease(client, collection, seen, start.since, target, record.lease_token())
    with _forgotten_if_wrong(record), held as lease:
        return _load(client, record, embeddings, start, version, index.upsert_batch, lease)


@contextmanager
def _forgotten_if_wrong(record: IndexRecord) -> Iterator[None]:
    try:
        yield
    except ReconciliationError:
        record.forget()
        raise


def _load(
    client: QdrantClient,
    record: IndexRecord,
    embeddings: Embeddings,
    start: StartingPoint,
    version: Version,
    batch_size: int,
    lease: HeldLease,
) -> IndexReport:
    collection, target = embeddings.collection, VersionName.of(version)
    record.begin(start.since, target, lease.lease.token)
    counts = _write(client, embeddings, start, batch_size, lease)
    documents = list_parts(embeddings.folder, "documents")
    expected = record.write(documents, lease.keep)
    points = reconcile(client, collection, expected, documents, lease.keep)
    metadata = lease.renew()
    record.publish(target)
    precisions = sorted({*metadata.precisions, *embeddings.precisions})
    moved = {"version": version.number, "version_run_id": version.run_id, "points": points, "precisions": precisions}
    done = metadata.model_copy(update={**moved, "updated_at": now(), "lease": None})
    publish(client, collection, done)
    return _report(embeddings, points, expected).model_copy(update=counts)


def publish(client: QdrantClient, collection: str, metadata: IndexMetadata) -> None:
    """Let a collection say what it reflects now; the first one of its index serves from then on."""
    write_metadata(client, collection, metadata)
    _serve_if_nothing_does(client, metadata.index, collection)


def _serve_if_nothing_does(client: QdrantClient, index: str, collection: str) -> None:
    if serving_collection(client, index) not in collection_names(client):  # an alias may have outlived its collection
        promote(client, index, collection)


def _require_unchanged(embeddings: Embeddings, start: StartingPoint) -> None:
    if (start.since.number, start.record) != (embeddings.since, embeddings.record):
        raise TransientError(
            f"While the run was at work, the collection {embeddings.collection} went from version {embeddings.since} "
            f"to {start.since.number}, or its record to another one.",
            "Nothing was written to it. Run again.",
        )


def _write(
    client: QdrantClient, embeddings: Embeddings, start: StartingPoint, batch_size: int, lease: HeldLease
) -> dict[str, int]:
    """Write points and payloads, then remove stale points; return how many of each."""
    folder, collection = embeddings.folder, embeddings.collection
    new, parents, moved = (list_parts(folder, name) for name in ("embedded", "parents", "payloads"))
    before = count_points(client, collection)
    total = count_rows(new + parents + moved)
    with (
        flushed_once(client, collection),
        indexing_deferred(client, collection, count_rows(new), lease.keep),
        progress(f"loading {embeddings.index}", total, "point") as advance,
    ):

        def done(units: int) -> None:
            advance(units)
            lease.keep()

        # Parents first: no child ever leads to one that is not there.
        written = sum(upsert_parents(client, collection, part, batch_size, done) for part in parents)
        written += sum(upsert_part(client, collection, part, batch_size, done) for part in new)
        lease.confirm()
        updated = sum(update_payloads(client, collection, part, batch_size, done) for part in moved)
        between = count_points(client, collection)
        lease.confirm()
        _remove_stale(client, embeddings, start, before, lease)
    return {"written": written, "updated": updated, "removed": between - count_points(client, collection)}


def _remove_stale(
    client: QdrantClient, embeddings: Embeddings, start: StartingPoint, before: int, lease: HeldLease
) -> None:
    """Remove what is no chunk any more: by id where the record knew it, else whatever else is there."""
    folder, collection = embeddings.folder, embeddings.collection
    documents = list_parts(folder, "documents")
    if start.record is not None:
        for part in list_parts(folder, "stale"):
            remove_part(client, collection, part, lease.keep)
    elif start.since != NOTHING:
        for part in documents:
            remove_orphans(client, collection, part, lease.keep)
    elif before:
        remove_all_but(client, collection, documents, lease.keep)


def _report(embeddings: Embeddings, points: int, expected: int) -> IndexReport:
    return IndexReport(
        index=embeddings.index,
        collection=embeddings.collection,
        version_before=embeddings.since,
        version=embeddings.version,
        points=points,
        expected_points=expected,
    )
