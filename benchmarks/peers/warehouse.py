"""The warehouse from which this project reads the documents: filled, then changed as an application would."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.peers.common import Document
from benchmarks.peers.corpus import Corpus
from feature_store.settings import Settings
from feature_store.tables import batches_of
from warehouse.connection import open_warehouse

BATCH = 200
NAME = "documents"


def fill(folder: Path, documents: Sequence[Document]) -> Path:
    """Put documents into a new warehouse."""
    with open_warehouse(Settings(data_dir=folder, _env_file=None)) as database:
        for some in batches_of(documents, BATCH):
            database[NAME].insert_many([_stored(document) for document in some])
    return folder


def apply_changes(folder: Path, corpus: Corpus) -> Path:
    """Bring a warehouse from the documents before to those after."""
    with open_warehouse(Settings(data_dir=folder, _env_file=None)) as database:
        for document in corpus.edited:
            database[NAME].replace_one({"_id": document.id}, _stored(document))
        database[NAME].insert_many([_stored(document) for document in corpus.added])
        for identifier in corpus.deleted:
            database[NAME].delete_one({"_id": identifier})
    return folder


def _stored(document: Document) -> dict[str, object]:
    return {"_id": document.id, "text": document.text, "at": datetime.now(UTC)}
