"""Qdrant indexes: how they are named, what they say of themselves, and how to open Qdrant.

An index is a materialised view of the feature store. Its physical collection is called ``<index>__<fingerprint>``; the
alias ``<index>`` points to the one that serves. The collection's own metadata says how it was made and which version
of the feature store it reflects, so that an inference service needs nothing but Qdrant.
"""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Self

import httpx
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from qdrant_client.local.qdrant_local import QdrantLocal
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from feature_store.config import PayloadType
from feature_store.encoders import Encoder
from feature_store.errors import ConfigurationError, LockedError, PipelineError, TerminalError, TransientError
from feature_store.ids import fingerprint
from feature_store.index_config import (
    ChunkingConfig,
    EncoderConfig,
    IndexConfig,
    MultiSizeConfig,
    RetrievalConfig,
    ServerConfig,
)
from feature_store.local_qdrant import open_local_qdrant
from feature_store.settings import Settings
from feature_store.start_up import build_qdrant_models
from feature_store.versions import Version

DENSE = "dense"
SPARSE = "bm25"
PAYLOAD_VERSION = 3
CHUNKER_VERSION = 1  # to be raised whenever the same document and configuration give other chunks
LOCAL_MODE_COMFORT = 20_000  # points; beyond, brute-force search gets slow
ATTEMPTS = 6
CHUNKING: TypeAdapter[ChunkingConfig] = TypeAdapter(ChunkingConfig)
_TIMEOUT_SECONDS = 60
_RETRIED_STATUS = {408, 429, 500, 502, 503, 504}
_DISTANCES = {
    "cosine": models.Distance.COSINE,
    "dot": models.Distance.DOT,
    "euclidean": models.Distance.EUCLID,
    "manhattan": models.Distance.MANHATTAN,
}


class VersionName(BaseModel):
    """A version of the feature store, told apart from one of that number in another history of the same store.

    Histories part when a data folder is restored from a backup, or copied. Number 0 means: no version.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    number: int = 0
    run_id: str = ""

    @classmethod
    def of(cls, version: Version) -> Self:
        """Return the name of a version."""
        return cls(number=version.number, run_id=version.run_id)


NOTHING = VersionName()


class Lease(BaseModel):
    """Who writes to a collection, until when at the latest, and to which version it is on its way.

    ``holder`` is ``<host>-<machine>:<process>``, where 8 hexadecimal characters tell machines and containers of one
    name apart; ``token`` is another one each time.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    holder: str
    token: str
    expires_at: datetime
    loading: VersionName


class Promotion(BaseModel):
    """What became of a collection since it was built: when it began to serve, and when it was retired.

    ``previous`` served before it. ``refused`` is what its gate found at the last attempt; the next run tries again.
    ``held`` says why no run may promote it: somebody went back to another one. Both are gone once it serves.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    promoted_at: datetime | None = None
    retired_at: datetime | None = None
    previous: str | None = None
    refused: str | None = None
    held: str | None = None


class EncoderDescription(BaseModel):
    """What a client must know to embed queries for a collection."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: str
    fingerprint: str
    dimension: int
    token_limit: int
    document_prompt: str
    query_prompt: str
    normalised: bool
    similarity: str


class IndexMetadata(BaseModel):
    """What a collection says of itself. ``version`` 0 means that its first load has not finished.

    ``version_run_id`` is the run that made that version of the feature store. ``payload_indexes`` are the fields that a
    filter may name, with their types; ``retrieval`` and ``server`` what the configuration says of searching. ``lease``
    is there while a load is at work; one that stays behind, expired or not, is that of a load that failed.
    ``indexing_threshold`` is there while a bulk load keeps the server from building its graph: what it was before.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    index: str
    fingerprint: str
    store_id: str
    version: int = 0
    version_run_id: str = ""
    points: int = 0
    categories: list[str]
    encoder: EncoderDescription
    encoder_config: EncoderConfig
    precisions: list[str] = Field(default_factory=list)
    chunking: dict[str, Any]
    sparse: dict[str, Any]
    payload_version: int = PAYLOAD_VERSION
    chunker_version: int = 1
    payload_indexes: dict[str, PayloadType] = Field(default_factory=dict)
    retrieval: RetrievalConfig = RetrievalConfig()
    server: ServerConfig = ServerConfig()
    promotion: Promotion = Promotion()
    indexing_threshold: int | None = None
    created_at: datetime
    updated_at: datetime
    lease: Lease | None = None

    @property
    def reflects(self) -> VersionName:
        """The version of the feature store that the collection reflects."""
        return VersionName(number=self.version, run_id=self.version_run_id)

    def chunking_config(self) -> ChunkingConfig:
        """Return how the documents are chunked.

        Raises:
            ConfigurationError: if that is a way that this release does not know.
        """
        try:
            return CHUNKING.validate_python(self.chunking)
        except ValidationError:
            raise ConfigurationError(
                f"The chunking of {physical_name(self.index, self.fingerprint)} is not one that this release knows.",
                "Use the release that made it; or run, which builds another collection beside it.",
            ) from None

    def sizes(self) -> list[int | None]:
        """Return the sizes of the chunks, each with vectors of its own; [None] where there is one size.

        Raises:
            ConfigurationError: if this release does not know the chunking.
        """
        return sizes_of(self.chunking_config())


def sizes_of(chunking: ChunkingConfig) -> list[int | None]:
    """Return the sizes of the chunks, each with vectors of its own; [None] where there is one size."""
    return list(chunking.windows()) if isinstance(chunking, MultiSizeConfig) else [None]


def vector_names(size: int | None) -> tuple[str, str]:
    """Return the names of the dense and of the BM25 vector of chunks of that size."""
    return (DENSE, SPARSE) if size is None else (f"{DENSE}_{size}", f"{SPARSE}_{size}")


def describe_encoder(encoder: Encoder) -> EncoderDescription:
    """Return the part of an encoder that is recorded with an index."""
    return EncoderDescription(
        model=encoder.name,
        fingerprint=encoder.fingerprint,
        dimension=encoder.dimension,
        token_limit=encoder.token_limit,
        document_prompt=encoder.document_prompt,
        query_prompt=encoder.query_prompt,
        normalised=encoder.normalised,
        similarity=encoder.similarity,
    )


def index_fingerprint(index: IndexConfig, encoder: Encoder, chunker_version: int, store_id: str) -> str:
    """Return 12 hexadecimal characters that change with anything that makes other points of the same documents."""
    return fingerprint(
        {
            "chunking": index.chunking.model_dump(mode="json"),
            "chunker_version": chunker_version,
            "categories": sorted(set(index.categories)),
            "encoder": encoder.fingerprint,
            "sparse": index.sparse.model_dump(mode="json"),
            "payload_version": PAYLOAD_VERSION,
            "store": store_id,
        }
    )


def physical_name(index: str, index_fingerprint_: str) -> str:
    """Return the name of the collection of an index with that fingerprint."""
    return f"{index}__{index_fingerprint_}"


def configured_collection(index: IndexConfig, encoder: Encoder, store_id: str) -> str:
    """Return the name of the collection that a configuration asks for, by this release."""
    return physical_name(index.name, index_fingerprint(index, encoder, CHUNKER_VERSION, store_id))


def is_local(client: QdrantClient) -> bool:
    """Return whether a client has a Qdrant of its own in this process, whose folder no other process can open."""
    return isinstance(client._client, QdrantLocal)  # noqa: SLF001 (there is no public way to ask)


@contextmanager
def open_qdrant(settings: Settings) -> Iterator[QdrantClient]:
    """Open the server at ``QDRANT_URL``, or else local mode under the data folder; close it at the end.

    Failures of Qdrant inside of the block leave it as errors of ours.

    Raises:
        LockedError: if another process has the local folder open.
        TransientError: if the server does not answer, after all retries.
        TerminalError: if it refuses a request.
    """
    client = _connected(settings)
    try:
        # Whoever waits at the terminal learns soon that nothing answers; later calls are more patient.
        retrying().copy(stop=stop_after_attempt(2))(client.get_collections)
        yield client
    except UnexpectedResponse as error:
        raise _refused(settings, error) from error
    except (ResponseHandlingException, httpx.HTTPError) as error:
        raise TransientError(
            f"{settings.describe_qdrant()} does not answer: {str(error)[:200]}.",
            "Start it, or correct QDRANT_URL; without QDRANT_URL an embedded Qdrant is used.",
        ) from error
    finally:
        client.close()


def retrying() -> Retrying:
    """Return the policy for calls to Qdrant: only transient failures are tried again, with growing pauses."""
    return Retrying(
        retry=retry_if_exception(is_transient),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential_jitter(multiplier=0.5, max=20),
        reraise=True,
    )


def is_transient(error: BaseException) -> bool:
    """Return whether the same request may succeed later."""
    if isinstance(error, UnexpectedResponse):
        return error.status_code in _RETRIED_STATUS
    return isinstance(error, ResponseHandlingException | httpx.TransportError)


def read_metadata(client: QdrantClient, collection: str) -> IndexMetadata | None:
    """Return what a collection says of itself, or None if it does not exist.

    What a newer release has added to it is left out, in its parts too: whoever searches may be older than who loads.

    Raises:
        TerminalError: if it exists but was not made by this pipeline.
    """
    if not retrying()(client.collection_exists, collection):
        return None
    metadata = retrying()(client.get_collection, collection).config.metadata
    try:
        return IndexMetadata.model_validate(metadata or {}, extra="ignore")
    except ValidationError:
        raise TerminalError(
            f"The Qdrant collection {collection} was not made by this pipeline.",
            "Give the index another name in the configuration, or remove that collection.",
        ) from None


def write_metadata(client: QdrantClient, collection: str, metadata: IndexMetadata) -> None:
    """Replace what a collection says of itself, but for its promotion: that may change while a load is at work."""
    said = metadata.model_dump(mode="json", exclude={"promotion"})  # Qdrant keeps the keys that are not named
    retrying()(client.update_collection, collection, metadata=said)


def serving_collection(client: QdrantClient, index: str) -> str | None:
    """Return the physical collection that the alias of an index points to, or None."""
    for alias in retrying()(client.get_aliases).aliases:
        if alias.alias_name == index:
            return alias.collection_name
    return None


def collection_names(client: QdrantClient) -> list[str]:
    """Return the names of all collections, whoever made them."""
    return sorted(item.name for item in retrying()(client.get_collections).collections)


def our_collections(client: QdrantClient) -> dict[str, IndexMetadata]:
    """Return what each collection says of itself that this pipeline made, whether it serves or not."""
    return _describe_ours(client, collection_names(client))


def index_collections(client: QdrantClient, index: str) -> dict[str, IndexMetadata]:
    """Return what the collections of an index say of themselves, serving or not; somebody else's are left out."""
    return _describe_ours(client, collections_of(client, index))


def _describe_ours(client: QdrantClient, names: Iterable[str]) -> dict[str, IndexMetadata]:
    found = {}
    for name in names:
        try:
            metadata = read_metadata(client, name)
        except TerminalError:
            continue  # somebody else's
        if metadata is not None:
            found[name] = metadata
    return found


def scroll(
    client: QdrantClient, collection: str, limit: int, *, with_payload: bool | list[str], with_vectors: bool = False
) -> Iterator[list[models.Record]]:
    """Yield all points of a collection, up to ``limit`` at a time."""
    offset: models.ExtendedPointId | None = None
    while True:
        records, offset = retrying()(
            client.scroll, collection, limit=limit, offset=offset, with_payload=with_payload, with_vectors=with_vectors
        )
        yield records
        if offset is None:
            return


def collections_of(client: QdrantClient, index: str) -> list[str]:
    """Return the names of all physical collections of an index, serving or not."""
    prefix = f"{index}__"
    return sorted(name for name in collection_names(client) if name.startswith(prefix))


def distance(similarity: str) -> models.Distance:
    """Return Qdrant's distance for the similarity that a model was trained for; cosine for an unknown one."""
    return _DISTANCES.get(similarity, models.Distance.COSINE)


def count_points(client: QdrantClient, collection: str) -> int:
    """Return the exact number of points."""
    return retrying()(client.count, collection, exact=True).count


def _connected(settings: Settings) -> QdrantClient:
    if settings.qdrant_url is None:
        return _local(settings)
    build_qdrant_models()
    key = settings.qdrant_api_key.get_secret_value() if settings.qdrant_api_key else None
    with warnings.catch_warnings():
        # A key over plain http is the operator's choice, as inside a compose network.
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        return QdrantClient(url=settings.qdrant_url, api_key=key, timeout=_TIMEOUT_SECONDS, check_compatibility=False)


def _local(settings: Settings) -> QdrantClient:
    try:
        settings.qdrant_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The folder {settings.qdrant_folder} cannot be made: {error.strerror}.",
            "Set DATA_DIR to a folder that this user may write.",
        ) from error
    try:
        with warnings.catch_warnings():
            # We say ourselves, with the remedy, when a collection outgrows local mode.
            warnings.filterwarnings("ignore", message=".*recommended|.*Local mode|.*not recommended")
            return open_local_qdrant(settings.qdrant_folder)
    except RuntimeError as error:
        if "already accessed" not in str(error):
            raise
        raise LockedError(
            f"The embedded Qdrant in {settings.qdrant_folder} is open in another process.",
            "Wait until that run is over, or use a Qdrant server (QDRANT_URL) for several readers.",
        ) from None


def _refused(settings: Settings, error: UnexpectedResponse) -> PipelineError:
    problem = f"{settings.describe_qdrant()} answered {error.status_code} {error.reason_phrase}."
    if is_transient(error):
        return TransientError(problem, "Run again later: what was finished is kept.")
    if error.status_code in {401, 403}:
        return TerminalError(problem, "Set QDRANT_API_KEY to a key that may write.")
    return TerminalError(problem, f"Check QDRANT_URL. It said: {error.content[:200].decode(errors='replace')}")
