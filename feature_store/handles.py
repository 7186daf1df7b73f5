"""What one stage hands to the next: small values that say where the part files are, and what was counted.

They are also the ZenML artifacts, so their names and module are part of the stored data: when one moves, leave an alias
behind. Data is never copied into an artifact.
"""

from pathlib import Path

import lance
from pydantic import BaseModel, ConfigDict, Field

from feature_store.store import FeatureStore, open_feature_store
from feature_store.versions import Position, Version


class Handle(BaseModel):
    """A value that is stored as JSON; what another release added to it is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class CaptureCounts(Handle):
    """Documents of one category, as compared with the feature store.

    ``read`` counts the documents that were read whole. ``added`` are those that the store held neither as documents nor
    as rejects; ``rejected`` those that an earlier run rejected and that are still the same; ``deleted`` those that the
    source no longer has, ``held_back`` those of them that the guard did not let through.
    """

    read: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    deleted: int = 0
    held_back: int = 0


class Capture(Handle):
    """How the changes of one category were found.

    ``reason`` says why by this mode, and why everything was compared where it was (``whole``). ``held_before`` counts
    the documents and rejects that the store held of the category; ``compared_ids`` the ids that were read alone, to
    find deletions. ``more`` says that further changes wait in the source. ``digest`` names what differs, whatever the
    order in which it was read. ``position`` is None where it must stay where it was.
    """

    mode: str
    whole: bool
    reason: str
    held_before: int = 0
    compared_ids: int = 0
    more: bool = False
    digest: str = ""
    position: Position | None = None


class RawDocuments(Handle):
    """The raw documents that are new or changed, and the ids of those that are gone.

    ``folder`` holds parts ``raw`` and ``removed``, and ``outbox``: the entries to mark as done once the table has what
    they announced.
    """

    folder: Path
    categories: dict[str, CaptureCounts] = Field(default_factory=dict)
    captures: dict[str, Capture] = Field(default_factory=dict)
    seconds: float = 0.0


class CleanCounts(Handle):
    """What became of the raw documents of one category.

    ``read`` = ``added`` + ``changed`` + ``metadata_changed`` + ``unchanged`` + ``rejected``: a capture that reads only
    what may have changed counts only that. ``rejected`` counts those of this run and those of earlier runs that were
    read and are still the same. ``deleted`` ones that the guard did not let through are ``held_back``.
    """

    read: int = 0
    added: int = 0
    changed: int = 0
    metadata_changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    held_back: int = 0
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
    """The chunks of the documents that changed since the version of one index, compared with what its collection holds.

    ``folder`` holds parts ``chunks`` (to be embedded and written whole), ``payloads`` (of points that are there, whose
    payload is another now), ``stale`` (ids of points to be removed) and ``documents`` (rows for the record of the
    index). ``since`` and ``version`` are versions of the feature store. ``record`` is the Lance version of the record
    that was compared with; None where none could be trusted: then all chunks are ``new``, and what is stale is unknown.

    ``chunks`` = ``new`` + ``moved`` + ``unchanged``: all chunks of the documents. ``token_counts`` counts them by
    tenths of the window.
    """

    folder: Path
    index: str
    collection: str
    since: int
    version: int
    record: int | None = None
    documents: int = 0
    deleted_documents: int = 0
    chunks: int = 0
    new: int = 0
    moved: int = 0
    unchanged: int = 0
    stale: int = 0
    characters: int = 0
    dropped_characters: int = 0
    window: int = 0
    token_counts: list[int] = Field(default_factory=list)
    longest: int = 0
    token_limit: int = 0
    samples: list[dict[str, str]] = Field(default_factory=list)
    seconds: float = 0.0


class Embeddings(Handle):
    """The new chunks with their vectors; ``folder`` is that of the chunks, and holds parts ``embedded`` too.

    ``chunks`` counts them. ``embedded`` counts the texts that the model saw in this run, ``reused`` those that had a
    vector; ``precisions`` are those at which the vectors of all of them were made.
    """

    folder: Path
    index: str
    collection: str
    since: int
    version: int
    record: int | None = None
    model: str
    encoder_fingerprint: str
    dimension: int
    precisions: list[str] = Field(default_factory=list)
    chunks: int = 0
    embedded: int = 0
    reused: int = 0
    seconds: float = 0.0


class IndexReport(Handle):
    """What was done to one Qdrant collection, and what it holds now.

    ``written`` counts points that were written whole, ``updated`` those that only got another payload.
    """

    index: str
    collection: str
    previous_collection: str | None = None
    version_before: int
    version: int
    written: int = 0
    updated: int = 0
    removed: int = 0
    points: int = 0
    expected_points: int = 0
    seconds: float = 0.0
