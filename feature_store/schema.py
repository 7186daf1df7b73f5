"""The columns of every table and part file."""

import pyarrow as pa

DOCUMENTS = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("source_hash", pa.string(), nullable=False),
        pa.field("state", pa.string(), nullable=False),  # live, or deleted: a tombstone without text
        pa.field("text", pa.large_string()),
        pa.field("text_format", pa.string()),
        pa.field("title", pa.string()),
        pa.field("url", pa.string()),
        pa.field("author", pa.string()),
        pa.field("published_at", pa.string()),
        pa.field("updated_at", pa.string()),
        pa.field("external_id", pa.string()),
        pa.field("language", pa.string()),
        pa.field("metadata", pa.string()),  # JSON object
        pa.field("text_hash", pa.string()),
        pa.field("content_hash", pa.string()),  # of text and metadata
        pa.field("duplicate_of", pa.string()),  # document_id of the first document with the same text
        pa.field("characters", pa.int64(), nullable=False),
        pa.field("added_in", pa.int64(), nullable=False),  # version numbers
        pa.field("changed_in", pa.int64(), nullable=False),
    ]
)

REJECTS = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("source_hash", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("excerpt", pa.string(), nullable=False),
        pa.field("rejected_in", pa.int64(), nullable=False),
    ]
)

RAW = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("source_hash", pa.string(), nullable=False),
        pa.field("fields", pa.large_string()),  # MongoDB Extended JSON: dotted path to value
        pa.field("problem", pa.string()),  # why the document cannot be read at all
        pa.field("forgotten", pa.bool_()),  # it must not be taken in: nothing of it is here
    ]
)

DOCUMENT_IDS = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
    ]
)

CHUNKS = pa.schema(
    [
        pa.field("chunk_id", pa.string(), nullable=False),
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("end", pa.int64(), nullable=False),
        pa.field("embedded_text", pa.large_string(), nullable=False),
        pa.field("text_hash", pa.string(), nullable=False),  # of embedded_text
        pa.field("token_count", pa.int32(), nullable=False),
        pa.field("size", pa.int32()),  # decides the names of the vectors; null where the index has one size
        pa.field("payload", pa.large_string(), nullable=False),  # JSON object
    ]
)

PARENTS = pa.schema(
    [
        pa.field("chunk_id", pa.string(), nullable=False),
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("payload", pa.large_string(), nullable=False),  # JSON object
    ]
)

PAYLOADS = pa.schema(
    [
        pa.field("chunk_id", pa.string(), nullable=False),
        pa.field("payload", pa.large_string(), nullable=False),  # JSON object
    ]
)

CHUNK_IDS = pa.schema([pa.field("chunk_id", pa.string(), nullable=False)])


def embedded_chunks(dimension: int) -> pa.Schema:
    """Return the columns of chunks with their vectors: ``dimension`` floats dense, BM25 sparse."""
    return pa.schema(
        [
            pa.field("chunk_id", pa.string(), nullable=False),
            pa.field("document_id", pa.string(), nullable=False),
            pa.field("size", pa.int32()),
            pa.field("payload", pa.large_string(), nullable=False),
            pa.field("dense", pa.list_(pa.float32(), dimension), nullable=False),
            pa.field("sparse_indices", pa.list_(pa.uint32()), nullable=False),
            pa.field("sparse_values", pa.list_(pa.float32()), nullable=False),
        ]
    )


def vectors(dimension: int) -> pa.Schema:
    """Return the columns of a vectors table: one row for each distinct text that an encoder has embedded."""
    return pa.schema(
        [
            pa.field("text_hash", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), dimension), nullable=False),
            pa.field("precision", pa.string(), nullable=False),
        ]
    )


INDEX_RECORD = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("chunks", pa.int64(), nullable=False),
        pa.field("chunk_ids", pa.large_binary(), nullable=False),  # 16 bytes each, one after the other
        pa.field("payload_hashes", pa.large_binary(), nullable=False),  # 8 bytes each, in the same order
    ]
)
