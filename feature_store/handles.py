"""What one stage hands to the next: small values that say where the part files are, and what was counted.

They are also the ZenML artifacts, so their names and module are part of the stored data: when one moves, leave an alias
behind. Data is never copied into an artifact.
"""

from pathlib import Path

import lance
from pydantic import BaseModel, ConfigDict, Field

from feature_store.store import FeatureStore, open_feature_store
from feature_store.versions import Version


class Handle(BaseModel):
    """A value that is stored as JSON; what another release added to it is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class CaptureCounts(Handle):
    """Documents of one category, as compared with the feature store.

    ``rejected`` counts those that an earlier run rejected and that are still the same; ``deleted`` those that the
    source no longer has.
    """

    read: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    deleted: int = 0


class RawDocuments(Handle):
    """The raw documents that are new or changed, and the ids of those that are gone.

    ``folder`` holds parts ``raw`` and ``removed``.
    """

    folder: Path
    categories: dict[str, CaptureCounts] = Field(default_factory=dict)
    seconds: float = 0.0


class CleanCounts(Handle):
    """What became of the raw documents of one category.

    ``read`` = ``added`` + ``changed`` + ``metadata_changed`` + ``unchanged`` + ``rejected``. ``rejected`` counts those
    of this run and those of earlier runs that are still in the source, unchanged.
    """

    read: int = 0
    added: int = 0
    changed: int = 0
    metadata_changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0
    newly_rejected: int = 0


class CleanedDocuments(Handle):
    """The cleaned documents at one version of the feature store."""

    folder: Path
    version: int
    previous_version: int | None = None
    categories: dict[str, CleanCounts] = Field(default_factory=dict)
    seconds: float = 0.0

    def store(self) -> FeatureStore:
        """Return the feature store that this version belongs to."""
        return open_feature_store(self.folder)

    def at(self) -> Version:
        """Return the version's own record; a TerminalError if it was pruned."""
        return self.store().version(self.version)

    def dataset(self) -> lance.LanceDataset:
        """Return the documents at this version as a Lance dataset; live ones have ``state = 'live'``."""
        return self.store().documents(self.at())


class Chunks(Handle):
    """The chunks of the documents that one index has not seen yet.

    ``folder`` holds parts ``chunks`` and ``documents`` (ids with their number of chunks; 0 where the document is gone).
    ``since`` and ``version`` are versions of the feature store; ``token_counts`` counts chunks by tenths of the window.
    """

    folder: Path
    index: str
    collection: str
    since: int
    version: int
    documents: int = 0
    deleted_documents: int = 0
    chunks: int = 0
    characters: int = 0
    dropped_characters: int = 0
    window: int = 0
    token_counts: list[int] = Field(default_factory=list)
    longest: int = 0
    token_limit: int = 0
    samples: list[dict[str, str]] = Field(default_factory=list)
    seconds: float = 0.0


class Embeddings(Handle):
    """The chunks with their vectors; ``folder`` holds parts ``embedded``.

    ``embedded`` counts the texts that the model saw in this run, ``reused`` those that had a vector; ``precisions`` are
    those at which the vectors of all of them were made.
    """

    folder: Path
    index: str
    collection: str
    since: int
    version: int
    model: str
    encoder_fingerprint: str
    dimension: int
    precisions: list[str] = Field(default_factory=list)
    chunks: int = 0
    embedded: int = 0
    reused: int = 0
    seconds: float = 0.0


class IndexReport(Handle):
    """What was done to one Qdrant collection, and what it holds now."""

    index: str
    collection: str
    previous_collection: str | None = None
    version_before: int
    version: int
    written: int = 0
    removed: int = 0
    points: int = 0
    expected_points: int = 0
    seconds: float = 0.0
