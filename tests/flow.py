"""The stages as plain calls, without ZenML: what the steps do, on one data folder and one Qdrant."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from pymongo.database import Database
from qdrant_client import QdrantClient

from feature_store.commit import CategoryShares, RunDescription
from feature_store.config import PipelineConfig, validate_parameters
from feature_store.encoders import Encoder, load_encoder, load_sparse_encoder
from feature_store.executors.here import HERE
from feature_store.executors.interface import Executor
from feature_store.handles import Chunks, CleanedDocuments, Embeddings, IndexReport, RawDocuments, ServingReport
from feature_store.index import configured_collection
from feature_store.index_config import EncoderConfig, IndexConfig
from feature_store.settings import Settings
from feature_store.store import open_feature_store
from feature_store.vectors import VectorTable
from pipelines.serving import Workplace, serve_index
from steps.chunk.apply import chunk_index
from steps.clean.apply import clean_changes
from steps.clean.rules import CLEANING_VERSION
from steps.embed.apply import embed_chunks
from steps.extract.apply import CapturePolicy, capture_category, capture_pages
from steps.load.apply import bring_to_version

Document = dict[str, Any]
Source = Iterable[Document] | Mapping[str, Iterable[list[Document]]] | Database[Document]
CATEGORY = {"name": "notes", "collection": "notes", "text": "body", "title": "title", "metadata": {"topic": "topic"}}


def notes_config(model: Path | str = "unused", **changes: Any) -> PipelineConfig:
    """Return a configuration with one category `notes` and one index `notes_index` of small chunks."""
    index = {
        "name": "notes_index",
        "categories": ["notes"],
        "chunking": {"window": 32, "overlap": 8},
        "encoder": {"model": str(model), "precision": "float32", "batch_size": 64},
    }
    return validate_parameters({"categories": [CATEGORY], "indexes": [index], **changes}, "a test")


def note(identifier: Any, body: Any, **fields: Any) -> Document:
    """Return a document of the category `notes`."""
    return {"_id": identifier, "body": body, **fields}


def ignore(units: int) -> None:
    """Report progress to nobody."""


@dataclass
class IndexRun:
    """What the three stages of one index handed on."""

    chunks: Chunks
    embeddings: Embeddings
    report: IndexReport


@dataclass
class Run:
    """What the stages of a run handed on."""

    raw: RawDocuments
    cleaned: CleanedDocuments
    indexes: list[IndexRun]
    serving: ServingReport

    @property
    def index(self) -> IndexRun:
        (only,) = self.indexes
        return only


class Flow:
    """An installation whose stages are called one by one or all together."""

    def __init__(self, folder: Path, config: PipelineConfig, client: QdrantClient | None = None) -> None:
        self.settings = Settings(data_dir=folder, _env_file=None)
        self.config = config
        self.client = client or QdrantClient(":memory:")
        self.store = open_feature_store(self.settings.feature_store_folder)
        self.wrap_encoder: Callable[[Encoder], Any] = lambda encoder: encoder
        self.load_encoder: Callable[[EncoderConfig], Any] = load_encoder
        self.executor: Executor = HERE
        self._runs = count()

    def run(self, source: Source) -> Run:
        """Bring store and indexes to the state of ``source``.

        That is a warehouse, whose categories are captured as configured; or the documents of the first category; or the
        pages of each category. The latter two are compared whole.
        """
        raw, cleaned = self.commit(source)
        indexes = [self.bring(cleaned, index) for index in self.config.indexes]
        return Run(raw, cleaned, indexes, self.serve(cleaned, [index.report for index in indexes]))

    def commit(
        self, source: Source, check: Callable[[CategoryShares], None] | None = None
    ) -> tuple[RawDocuments, CleanedDocuments]:
        """Capture, clean and commit."""
        raw = self.extract(source)
        return raw, self.clean(raw, check)

    def extract(self, source: Source) -> RawDocuments:
        """Write what differs from the store as parts of a new run folder."""
        by_name = {category.name: category for category in self.config.categories}
        folder = self.settings.runs_folder / str(next(self._runs)) / "raw"
        rules = self.config.cleaning.fingerprint(CLEANING_VERSION)
        policy = CapturePolicy(rules, self.config.deletions, self.config.options)
        if isinstance(source, Database):
            captured = {
                name: capture_category(source, self.store, category, policy, folder, ignore)
                for name, category in by_name.items()
            }
        else:
            pages = source if isinstance(source, Mapping) else {self.config.categories[0].name: _paged(source)}
            captured = {
                name: capture_pages(self.store, by_name[name], some, policy, folder, ignore)
                for name, some in pages.items()
            }
        return RawDocuments(
            folder=folder,
            categories={name: counts for name, (counts, _) in captured.items()},
            captures={name: capture for name, (_, capture) in captured.items()},
        )

    def clean(self, raw: RawDocuments, check: Callable[[CategoryShares], None] | None = None) -> CleanedDocuments:
        """Clean the raw parts and commit the result; ``check`` takes the place of the limit of rejects."""
        folder = raw.folder.with_name("clean")
        config, options = self.config, self.config.options
        run = RunDescription(folder.parent.name, config.fingerprint(), message=options.message)
        accepted = options.accepted_quality
        with_rules = (config.categories, config.cleaning)
        if check is None:
            return clean_changes(self.store, raw, *with_rules, folder, run, accepted, self.executor)
        import pytest  # not at the top: benchmarks do without it

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("steps.clean.apply.refuse_too_many_rejects", lambda shares, cleaning: check(shares))
            return clean_changes(self.store, raw, *with_rules, folder, run, accepted, self.executor)

    def bring(self, cleaned: CleanedDocuments, index: IndexConfig) -> IndexRun:
        """Chunk, embed and load what one index has not seen."""
        chunks = self.chunk(cleaned, index)
        embeddings = self.embed(chunks, index)
        return IndexRun(chunks, embeddings, self.load(embeddings, cleaned, index))

    def collection(self, cleaned: CleanedDocuments, index: IndexConfig) -> str:
        """Return the name of the physical collection of an index."""
        encoder = self.load_encoder(index.encoder)
        return configured_collection(index, encoder, cleaned.at().store_id)

    def chunk(self, cleaned: CleanedDocuments, index: IndexConfig) -> Chunks:
        """Cut what changed since the version of the index into chunks."""
        encoder, collection = self.load_encoder(index.encoder), self.collection(cleaned, index)
        folder = self.settings.runs_folder / str(next(self._runs)) / index.name
        place = self.settings.indexes_folder
        return chunk_index(self.client, place, cleaned, index, encoder, collection, folder, self.executor)

    def embed(self, chunks: Chunks, index: IndexConfig) -> Embeddings:
        """Give the chunks their vectors."""
        encoder = self.wrap_encoder(self.load_encoder(index.encoder))
        sparse, _ = load_sparse_encoder(index.sparse)
        vectors = VectorTable(self.settings.vectors_folder, encoder.fingerprint, encoder.dimension)
        load = partial(self.load_encoder, index.encoder)
        return embed_chunks(chunks, encoder, sparse, vectors, self.executor, load)

    def load(self, embeddings: Embeddings, cleaned: CleanedDocuments, index: IndexConfig) -> IndexReport:
        """Bring the collection to the version of the embeddings."""
        folder, encoder = self.settings.indexes_folder, self.load_encoder(index.encoder)
        return bring_to_version(self.client, folder, embeddings, cleaned, index, self.config.categories, encoder)

    def serve(self, cleaned: CleanedDocuments, reports: Sequence[IndexReport]) -> ServingReport:
        """Decide which collection of each index serves."""
        place = self.workplace(cleaned)
        served = [serve_index(place, index, each) for index, each in zip(self.config.indexes, reports, strict=True)]
        return ServingReport(indexes=served)

    def workplace(self, cleaned: CleanedDocuments) -> Workplace:
        """Return with what the collections of all indexes are looked after."""
        folder = self.settings.runs_folder / str(next(self._runs)) / "serve"
        config = self.config
        load: Any = lambda encoder: self.wrap_encoder(self.load_encoder(encoder))  # noqa: E731
        categories, executor = config.categories, self.executor
        return Workplace(self.client, self.settings, cleaned, config.indexes, categories, folder, load, executor)

    def rows(self, condition: str = "true", version: int | None = None) -> dict[str, Document]:
        """Return the rows of the documents table by source id, at a version (the newest)."""
        at = self.store.version(version) if version else self.store.newest()
        assert at is not None
        found = self.store.documents(at).scanner(filter=condition).to_table().to_pylist()
        return {row["source_id"]: row for row in found}

    def live(self, version: int | None = None) -> dict[str, Document]:
        """Return the rows of the live documents by source id."""
        return self.rows("state = 'live'", version)

    def texts(self, version: int | None = None) -> dict[str, str]:
        """Return the texts of the live documents by source id."""
        return {name: row["text"] for name, row in self.live(version).items()}

    def rejects(self) -> dict[str, Document]:
        """Return the rows of the rejects table by source id."""
        newest = self.store.newest()
        assert newest is not None
        return {row["source_id"]: row for row in self.store.rejects(newest).to_table().to_pylist()}

    def points(self, collection: str) -> dict[str, tuple[Document, Any]]:
        """Return payload and vectors of every point of a collection by its id."""
        records, following = self.client.scroll(collection, limit=100_000, with_payload=True, with_vectors=True)
        assert following is None
        return {str(record.id): (dict(record.payload or {}), record.vector) for record in records}


class ModelCrashedError(Exception):
    """Stands for the death of the process."""


class WatchedEncoder:
    """An encoder that notes what it embeds, and dies once it has embedded ``dies_after`` texts."""

    def __init__(self, encoder: Encoder, dies_after: int = 1_000_000) -> None:
        self.encoder = encoder
        self.dies_after = dies_after
        self.texts: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def embed_documents(self, texts: Sequence[str]) -> Any:
        if len(self.texts) + len(texts) > self.dies_after:
            raise ModelCrashedError
        self.texts += texts
        return self.encoder.embed_documents(texts)


def _paged(documents: Iterable[Document]) -> list[list[Document]]:
    everything = list(documents)
    return [everything[start : start + 50] for start in range(0, len(everything), 50)]
