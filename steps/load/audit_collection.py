"""What a collection is and says of itself, beside what its record, its alias and the configuration say."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field
from qdrant_client import QdrantClient, models

from feature_store.config import PayloadType
from feature_store.ids import fingerprint
from feature_store.index import (
    NOTHING,
    IndexMetadata,
    collection_names,
    distance,
    is_local,
    retrying,
    serving_collection,
    vector_names,
)
from feature_store.index_record import RecordNote
from feature_store.payload_schema import schema_type

ALIAS = "alias"


class Finding(BaseModel):
    """Something that is not as it must be. ``count`` of ``kind``, with some ``examples`` of ids or names.

    ``remedy`` is there where `audit --repair` cannot mend it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    count: int = 1
    detail: str
    examples: list[str] = Field(default_factory=list)
    remedy: str = ""


def audit_record(metadata: IndexMetadata, note: RecordNote | None) -> Finding | None:
    """Return why a record cannot be trusted; None if it says what the collection must hold."""
    lease = metadata.lease
    loading = note.loading if note else None
    if lease is not None and lease.loading != metadata.reflects:
        loading = lease.loading
    if metadata.reflects == NOTHING or loading is not None:
        detail = f"a load to version {(loading or NOTHING).number} is at work, or ended early"
        return Finding(kind="load", detail=detail, remedy="Run: it is completed.")
    if note is None or note.version == NOTHING:
        detail = "nothing says what the collection must hold"
        return Finding(kind="record", detail=detail, remedy="Run: it is written anew, nothing is embedded.")
    if note.version != metadata.reflects:
        detail = f"the collection says version {metadata.version}, its record {note.version.number}"
        return Finding(kind="record", detail=detail, remedy="Run: what changed since the older one is written.")
    return None


def audit_metadata(
    client: QdrantClient, collection: str, metadata: IndexMetadata, expected_points: int | None
) -> list[Finding]:
    """Return in what a collection contradicts itself: name, fingerprint, encoder, vectors, number of points, lease.

    ``expected_points`` is None where nothing says how many there must be.
    """
    findings = []
    made_of = metadata_fingerprint(metadata)
    if not made_of == metadata.fingerprint == collection.rsplit("__", 1)[-1]:
        detail = (
            f"{collection} says that it is {metadata.fingerprint}, and describes an encoder, a chunking and a store "
            f"that are {made_of}"
        )
        remedy = "Its metadata were changed. Remove the collection and run: it is written anew, nothing is embedded."
        findings.append(Finding(kind="metadata", detail=detail, remedy=remedy))
    if wrong := _wrong_vector_settings(client, collection, metadata):
        remedy = "Remove the collection and run: it is written anew, nothing is embedded."
        findings.append(
            Finding(
                kind="vectors", count=len(wrong), detail="missing or of another kind", examples=wrong, remedy=remedy
            )
        )
    if expected_points is not None and metadata.points != expected_points:
        detail = f"it says {metadata.points:,} points, and must hold {expected_points:,}"
        findings.append(Finding(kind="points", detail=detail))
    if metadata.lease is not None and metadata.lease.loading == metadata.reflects:
        detail = f"{metadata.lease.holder} began a repair or an erasure, and did not end it"
        findings.append(Finding(kind="lease", detail=detail))
    return findings


def audit_payload_indexes(
    client: QdrantClient, collection: str, metadata: IndexMetadata, wanted: Mapping[str, PayloadType]
) -> Finding | None:
    """Return which fields lack their payload index; in local mode as far as the metadata say."""
    lacking = {name for name, kind in wanted.items() if metadata.payload_indexes.get(name) != kind}
    if not is_local(client):
        present = retrying()(client.get_collection, collection).payload_schema
        kinds = {name: index.data_type for name, index in present.items()}
        lacking |= {name for name, kind in wanted.items() if kinds.get(name) != schema_type(kind)}
    if not lacking:
        return None
    detail = "fields that a filter may name have no payload index, or one of another type"
    return Finding(kind="payload_index", count=len(lacking), detail=detail, examples=sorted(lacking))


def audit_alias(client: QdrantClient, index: str, complete: str | None) -> Finding | None:
    """Return what is wrong with the alias of an index; ``complete`` is a collection that could serve."""
    serving = serving_collection(client, index)
    if serving is not None and serving not in collection_names(client):
        detail = f"the alias {index} points to {serving}, which is gone"
        return Finding(kind=ALIAS, detail=detail, remedy="" if complete else "Run: the index is made anew.")
    if serving is None and complete is not None:
        return Finding(kind=ALIAS, detail=f"{complete} is complete, and no alias {index} points to it")
    return None


def metadata_fingerprint(metadata: IndexMetadata) -> str:
    """Return the fingerprint of what a collection says of itself, as `index_fingerprint` makes it."""
    return fingerprint(
        {
            "chunking": metadata.chunking,
            "chunker_version": metadata.chunker_version,
            "categories": metadata.categories,
            "encoder": metadata.encoder.fingerprint,
            "sparse": metadata.sparse,
            "payload_version": metadata.payload_version,
            "store": metadata.store_id,
        }
    )


def _wrong_vector_settings(client: QdrantClient, collection: str, metadata: IndexMetadata) -> list[str]:
    params = retrying()(client.get_collection, collection).config.params
    dense = params.vectors if isinstance(params.vectors, dict) else {}
    sparse = params.sparse_vectors or {}
    expected = models.VectorParams(size=metadata.encoder.dimension, distance=distance(metadata.encoder.similarity))
    wrong = []
    for size in metadata.sizes():
        dense_name, sparse_name = vector_names(size)
        given = dense.get(dense_name)
        if given is None or (given.size, given.distance) != (expected.size, expected.distance):
            wrong.append(dense_name)
        if sparse_name not in sparse or sparse[sparse_name].modifier != models.Modifier.IDF:
            wrong.append(sparse_name)
    return wrong
