"""Reading documents in the order of their ids, a range at a time: the same order however the table is written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from feature_store.dataset import DocumentDataset
from feature_store.store import FeatureStore
from feature_store.training import TrainingConfig
from feature_store.versions import Version

_CHARACTERS_IN_RANGE = 2_000_000
_DOCUMENTS_IN_RANGE = 5_000
_ROWS_AT_ONCE = 10_000
_PREFIXES = 2**32  # ids are UUIDs, spread evenly: their first 8 hexadecimal characters


@dataclass(frozen=True)
class Size:
    """How much there is to be read."""

    documents: int
    characters: int


def dataset_of(store: FeatureStore, version: Version, training: TrainingConfig) -> DocumentDataset:
    """Return the documents of a version that a configuration asks for."""
    categories = tuple(training.categories) if training.categories is not None else None
    return DocumentDataset(store, version, categories, training.where or None)


def narrowed(dataset: DocumentDataset, condition: str) -> DocumentDataset:
    """Return the documents of a dataset for which a ``condition`` holds too."""
    own = f"({dataset.where}\n) AND " if dataset.where else ""  # it may end in a comment
    return replace(dataset, where=f"{own}({condition})")


def size_of(dataset: DocumentDataset) -> Size:
    """Return how much a dataset holds."""
    documents = characters = 0
    for batch in dataset.batches(["characters"], _ROWS_AT_ONCE):
        documents += len(batch)
        characters += pc.sum(batch.column("characters")).as_py() or 0
    return Size(documents, characters)


def in_order(dataset: DocumentDataset, columns: Sequence[str], size: Size) -> Iterator[pa.Table]:
    """Yield documents in the order of their ids, about two million characters at a time."""
    for condition in ranges(size):
        yield narrowed(dataset, condition).to_arrow(columns).sort_by("document_id")


def ranges(size: Size) -> list[str]:
    """Return conditions on the id; each holds for about as many documents, together they hold for all."""
    number = 1 + max(size.characters // _CHARACTERS_IN_RANGE, size.documents // _DOCUMENTS_IN_RANGE)
    borders = [f"{_PREFIXES * place // number:08x}" for place in range(1, number)]
    lowest = [f"document_id >= '{border}'" for border in borders]
    highest = [f"document_id < '{border}'" for border in borders]
    if not borders:
        return ["document_id IS NOT NULL"]
    return [highest[0], *(f"{low} AND {high}" for low, high in zip(lowest, highest[1:], strict=False)), lowest[-1]]
