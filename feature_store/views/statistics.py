"""What the documents of a version are like: counted in one pass over small columns."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from feature_store import tables
from feature_store.store import IS_LIVE, FeatureStore
from feature_store.versions import Version

LENGTH_STEPS = (0, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000)
LENGTH_LABELS = (*(f"{low:,} to {high:,}" for low, high in pairwise(LENGTH_STEPS)), f"{LENGTH_STEPS[-1]:,} and more")
NO_LANGUAGE = "not told"


@dataclass(frozen=True)
class DocumentStatistics:
    """Counts of the live documents of a version, and of the rejects beside them.

    ``lengths`` counts documents by characters, in steps that double. ``duplicates`` have the text of an earlier one.
    """

    documents: int
    characters: int
    duplicates: int
    categories: dict[str, int]
    languages: dict[str, int]
    lengths: dict[str, int]
    reasons: dict[str, int]

    @property
    def rejects(self) -> int:
        """Number of rejected documents."""
        return sum(self.reasons.values())

    @property
    def mean_length(self) -> int:
        """Characters of a document, on average."""
        return round(self.characters / self.documents) if self.documents else 0


def describe_documents(store: FeatureStore, version: Version) -> DocumentStatistics:
    """Count the documents and rejects of a version."""
    categories: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    lengths: Counter[str] = Counter()
    characters = duplicates = 0
    columns = ["category", "language", "characters", "duplicate_of"]
    for batch in store.documents(version).scanner(columns=columns, filter=IS_LIVE).to_batches():
        rows = batch.to_pydict()
        characters += sum(rows["characters"])
        duplicates += batch.num_rows - batch.column("duplicate_of").null_count
        categories.update(rows["category"])
        languages.update(language or NO_LANGUAGE for language in rows["language"])
        lengths.update(length_histogram(rows["characters"]))
    return DocumentStatistics(
        documents=categories.total(),
        characters=characters,
        duplicates=duplicates,
        categories=dict(sorted(categories.items())),
        languages=dict(languages.most_common()),
        lengths={label: lengths[label] for label in LENGTH_LABELS},
        reasons=dict(tables.count_values(store.rejects(version), "reason").most_common()),
    )


def length_histogram(lengths: Iterable[int]) -> dict[str, int]:
    """Return counts of lengths, in characters, in steps that double."""
    counts = dict.fromkeys(LENGTH_LABELS, 0)
    for length in lengths:
        counts[LENGTH_LABELS[sum(length >= low for low in LENGTH_STEPS) - 1]] += 1
    return counts
