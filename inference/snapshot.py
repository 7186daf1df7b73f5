"""What a search needs to know of the collection that serves an index, and keeping up with it while others promote."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock

from loguru import logger
from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import UnexpectedResponse

from feature_store.encoders import Encoder, SparseVector, load_sparse_encoder
from feature_store.errors import ConfigurationError
from feature_store.index import PAYLOAD_VERSION, IndexMetadata, read_metadata, serving_collection, sizes_of
from feature_store.index_config import ChunkingConfig, EncoderConfig, SparseConfig

_READABLE_PAYLOADS = {PAYLOAD_VERSION}
_NOT_FOUND = 404
_LOOKUPS = 3
_PAUSE_SECONDS = 0.05
_ENCODER_LOCKS: dict[str, Lock] = {}


@dataclass(frozen=True)
class Snapshot:
    """One collection with the model that made its vectors, checked; it never changes.

    Tokenizers cannot be shared by threads, so the encoder is used only by who holds ``alone``.
    """

    collection: str
    metadata: IndexMetadata
    chunking: ChunkingConfig
    encoder: Encoder
    embed_keywords: Callable[[str], SparseVector]
    alone: Lock

    @cached_property
    def sizes(self) -> list[int | None]:
        """The sizes of the chunks; [None] where there is one size."""
        return sizes_of(self.chunking)

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return the character span of every token of a text, special tokens left out."""
        with self.alone:
            return self.encoder.token_spans(text)

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, special tokens left out."""
        return len(self.token_spans(text))


@dataclass
class Serving:
    """Keeps the snapshot of the collection that serves an index, or of the one ``collection`` that was asked for.

    Alias and metadata are read again at most every ``refresh_seconds``, by one of the threads that search, while the
    others go on with the snapshot they have. A snapshot is replaced as a whole, once the new one's model is loaded.
    """

    client: QdrantClient
    index: str
    encoder: EncoderConfig | Encoder | None
    load_encoder: Callable[[EncoderConfig], Encoder]
    collection: str | None = None
    refresh_seconds: float = 5.0
    _snapshot: Snapshot = field(init=False)
    _due: float = field(init=False)
    _refused: str | None = field(init=False, default=None)
    _refreshing: Lock = field(init=False, default_factory=Lock)

    def __post_init__(self) -> None:
        self._replace(self._open(*self._look_up()))

    def current(self) -> Snapshot:
        """Return the snapshot to search with."""
        if time.monotonic() >= self._due and self._refreshing.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._refreshing.release()
        return self._snapshot

    def refresh(self) -> Snapshot:
        """Look now which collection serves, and return its snapshot.

        Raises:
            ConfigurationError: if none serves, or the model here is not the one that made its vectors.
        """
        with self._refreshing:
            self._replace(self._follow(*self._look_up()))
        return self._snapshot

    def after(self, gone: Snapshot) -> Snapshot:
        """Return the snapshot that takes the place of one whose collection is gone.

        Raises:
            ConfigurationError: if none serves, or the model here is not the one that made its vectors.
        """
        with self._refreshing:
            if self._snapshot.collection == gone.collection:  # nobody was faster
                self._replace(self._follow(*self._look_up()))
        return self._snapshot

    def _refresh(self) -> None:
        self._due = time.monotonic() + self.refresh_seconds
        collection = None
        try:
            collection, metadata = self._look_up()
            if collection != self._refused:
                self._replace(self._follow(collection, metadata))
        except ConfigurationError as error:
            # What is here still answers; once its collection is gone, the search says why it cannot.
            self._refused = collection
            logger.warning("{} still searches {}: {}", self.index, self._snapshot.collection, error)

    def _replace(self, snapshot: Snapshot) -> None:
        self._snapshot, self._refused = snapshot, None
        self._due = time.monotonic() + self.refresh_seconds

    def _follow(self, collection: str, metadata: IndexMetadata) -> Snapshot:
        """Open another collection; searches go on with the one before until its model is loaded."""
        snapshot = self._open(collection, metadata)
        if snapshot.encoder is not self._snapshot.encoder:
            snapshot.encoder.load()
        return snapshot

    def _look_up(self) -> tuple[str, IndexMetadata]:
        """Return the collection to search and what it says of itself.

        Others may promote and drop between two requests, and in local mode an alias is gone while it moves: a second
        look then finds what serves by now.
        """
        for attempt in range(_LOOKUPS):
            time.sleep(attempt * _PAUSE_SECONDS)
            collection = self.collection or serving_collection(self.client, self.index)
            metadata = _metadata(self.client, collection) if collection else None
            if collection is not None and metadata is not None:
                return collection, metadata
        if self.collection is not None:
            raise ConfigurationError(f"There is no collection {self.collection!r}.", "See `feature-pipeline status`.")
        raise ConfigurationError(
            f"There is no index {self.index!r} that serves.", "Run the feature pipeline; see `feature-pipeline status`."
        )

    def _open(self, collection: str, metadata: IndexMetadata) -> Snapshot:
        """Check a collection against the model and the code of this process."""
        if metadata.payload_version not in _READABLE_PAYLOADS:
            raise ConfigurationError(
                f"The points of {collection} are of payload version {metadata.payload_version}, unknown here.",
                "Use the retriever of the pipeline that built it, or run this pipeline to build it anew.",
            )
        encoder = self._load_encoder(metadata)
        if encoder.fingerprint != metadata.encoder.fingerprint:
            raise ConfigurationError(
                f"{metadata.encoder.model} on this machine is not the model that made the vectors of {self.index!r}.",
                "Use the same weights here, or run the feature pipeline with these.",
            )
        _, embed_keywords = load_sparse_encoder(SparseConfig.model_validate(metadata.sparse))
        return Snapshot(
            collection=collection,
            metadata=metadata,
            chunking=metadata.chunking_config(),
            encoder=encoder,
            embed_keywords=embed_keywords,
            # One lock a model, not a snapshot: a loaded model is shared by all that use it.
            alone=_ENCODER_LOCKS.setdefault(encoder.fingerprint, Lock()),
        )

    def _load_encoder(self, metadata: IndexMetadata) -> Encoder:
        match self.encoder:
            case None if metadata.encoder_config.trust_remote_code:
                raise ConfigurationError(
                    f"The model of {self.index!r} brings its own code, which what is in Qdrant must not decide to run.",
                    "Give the encoder of your own configuration to Retriever.from_index.",
                )
            case None:
                return self.load_encoder(metadata.encoder_config)
            case EncoderConfig():
                return self.load_encoder(self.encoder)
            case loaded:
                return loaded


def _metadata(client: QdrantClient, collection: str) -> IndexMetadata | None:
    try:
        return read_metadata(client, collection)
    except (UnexpectedResponse, ValueError) as error:
        if is_gone(error, collection):
            return None
        raise


def is_gone(error: Exception, collection: str) -> bool:
    """Return whether an error of Qdrant says that a collection does not exist (any more)."""
    if isinstance(error, UnexpectedResponse):
        return error.status_code == _NOT_FOUND
    return isinstance(error, ValueError) and str(error) == f"Collection {collection} not found"  # local mode
