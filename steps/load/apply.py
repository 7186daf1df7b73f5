"""The order of a load, which is what makes it safe: write, remove what is stale, record, reconcile, publish."""

from collections.abc import Sequence
from pathlib import Path

from qdrant_client import QdrantClient

from feature_store.config import CategoryConfig, IndexConfig
from feature_store.encoders import load_encoder
from feature_store.handles import CleanedDocuments, Embeddings, IndexReport
from feature_store.index import count_points, serving_collection, version_to_start_from, write_metadata
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
    """Bring the collection to the version of ``embeddings``; a collection that is there already is left untouched.

    Raises:
        ReconciliationError: if the collection does not hold what it should; its version then stays where it was.
    """
    collection = embeddings.collection
    since = version_to_start_from(client, collection, indexes_folder)
    if since == embeddings.version and serving_collection(client, index.name) == collection:
        points = reconcile(client, collection, indexes_folder)
        return _report(embeddings, since, points)
    store_id = cleaned_documents.at().store_id
    own = [category for category in categories if category.name in index.categories]
    metadata = ensure_collection(client, collection, index, load_encoder(index.encoder), indexed_fields(own), store_id)
    if since == 0 and metadata.version:
        # Its record is lost: until it is filled again, the collection must not claim a version.
        metadata = metadata.model_copy(update={"version": 0})
        write_metadata(client, collection, metadata)
    before = count_points(client, collection)
    documents = list_parts(embeddings.folder, "documents")
    written = 0
    with flushed_once(client, collection):
        with progress(f"loading {index.name}", embeddings.chunks) as advance:
            for part in list_parts(embeddings.folder, "embedded"):
                written += upsert_part(client, collection, part, index.upsert_batch, advance)
        between = count_points(client, collection)
        if before:
            remove_stale(client, collection, documents, embeddings.version)
    record_chunk_counts(indexes_folder, collection, documents, since)
    points = reconcile(client, collection, indexes_folder)
    precisions = {*metadata.precisions, *([embeddings.precision] if embeddings.chunks else [])}
    moved = metadata.model_copy(
        update={
            "version": embeddings.version,
            "points": points,
            "precisions": sorted(precisions),
            "updated_at": now(),
        }
    )
    previous = publish(client, moved, collection)
    report = _report(embeddings, since, points)
    return report.model_copy(update={"previous_collection": previous, "written": written, "removed": between - points})


def _report(embeddings: Embeddings, since: int, points: int) -> IndexReport:
    return IndexReport(
        index=embeddings.index,
        collection=embeddings.collection,
        version_before=since,
        version=embeddings.version,
        points=points,
        expected_points=points,
    )
