"""The order of a load, which is what makes it safe: write, remove what is stale, record, reconcile, publish."""

from collections.abc import Sequence
from pathlib import Path

from qdrant_client import QdrantClient

from feature_store.config import CategoryConfig, IndexConfig
from feature_store.encoders import load_encoder
from feature_store.errors import TransientError
from feature_store.handles import CleanedDocuments, Embeddings, IndexReport
from feature_store.index import (
    IndexMetadata,
    count_points,
    serving_collection,
    version_to_start_from,
    write_metadata,
)
from feature_store.parts import list_parts
from feature_store.progress import progress
from feature_store.versions import now
from steps.load.collection import ensure_collection, indexed_fields, publish
from steps.load.local_storage import flushed_once
from steps.load.points import reconcile, record_chunk_counts, remove_stale, upsert_part


def bring_to_version(
    client: QdrantClient,
    indexes_folder: Path,
    embeddings: Embeddings,
    cleaned_documents: CleanedDocuments,
    index: IndexConfig,
    categories: Sequence[CategoryConfig],
) -> IndexReport:
    """Bring the collection to the version of ``embeddings``; one that is there already is only counted.

    Raises:
        TransientError: if the collection was changed or removed since its chunks were made.
        ReconciliationError: if the collection does not hold what it should; its version then stays where it was.
    """
    collection, version = embeddings.collection, embeddings.version
    since = version_to_start_from(client, collection, indexes_folder, version)
    if since != embeddings.since:
        raise TransientError(
            f"The collection {collection} went from version {embeddings.since} to {since} while the run was at work.",
            "Nothing was written to it. Run again.",
        )
    documents = list_parts(embeddings.folder, "documents")
    if since == version and serving_collection(client, index.name) == collection:
        points, expected = reconcile(client, collection, indexes_folder, documents)
        return _report(embeddings, points, expected)
    store_id = cleaned_documents.at().store_id
    fields = indexed_fields(category for category in categories if category.name in index.categories)
    metadata = ensure_collection(client, collection, index, load_encoder(index.encoder), fields, store_id)
    if since == 0 and metadata.version:
        # Its record is lost or of no use: until it is filled again, the collection must not claim a version.
        metadata = metadata.model_copy(update={"version": 0})
        write_metadata(client, collection, metadata)
    written, removed = _write(client, embeddings, documents, index.upsert_batch)
    record_chunk_counts(indexes_folder, collection, documents, since)
    points, expected = reconcile(client, collection, indexes_folder, documents)
    previous = publish(client, _moved(metadata, embeddings, points), collection)
    report = _report(embeddings, points, expected)
    return report.model_copy(update={"previous_collection": previous, "written": written, "removed": removed})


def _write(client: QdrantClient, embeddings: Embeddings, documents: Sequence[Path], batch_size: int) -> tuple[int, int]:
    """Write the points, then remove stale ones; return how many of each."""
    collection, written = embeddings.collection, 0
    before = count_points(client, collection)
    with flushed_once(client, collection):
        with progress(f"loading {embeddings.index}", embeddings.chunks) as advance:
            for part in list_parts(embeddings.folder, "embedded"):
                written += upsert_part(client, collection, part, batch_size, advance)
        between = count_points(client, collection)
        if before:
            remove_stale(client, collection, documents, embeddings.version)
    return written, between - count_points(client, collection)


def _moved(metadata: IndexMetadata, embeddings: Embeddings, points: int) -> IndexMetadata:
    precisions = sorted({*metadata.precisions, *embeddings.precisions})
    return metadata.model_copy(
        update={"version": embeddings.version, "points": points, "precisions": precisions, "updated_at": now()}
    )


def _report(embeddings: Embeddings, points: int, expected: int) -> IndexReport:
    return IndexReport(
        index=embeddings.index,
        collection=embeddings.collection,
        version_before=embeddings.since,
        version=embeddings.version,
        points=points,
        expected_points=expected,
    )
