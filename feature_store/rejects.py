"""Rejected documents as a dataset: read lazily at a version, counted, listed, and compared between two versions."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import lance
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from feature_store import tables
from feature_store.errors import ConfigurationError
from feature_store.store import IS_LIVE, FeatureStore
from feature_store.versions import Version, read_version, version_numbers

Change = Literal["newly rejected", "cleaned", "gone", "rejected for another reason"]
Row = dict[str, Any]


@dataclass(frozen=True)
class RejectDataset:
    """The rejects at one version, of some reasons and categories; without any of them, of all.

    ``columns`` are names of ``schema.REJECTS``, None for all of them.
    """

    store: FeatureStore
    version: Version
    reasons: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    def scanner(self, columns: Sequence[str] | None = None) -> lance.LanceScanner:
        """Return a Lance scanner over the rejects."""
        wanted = (("reason", self.reasons), ("category", self.categories))
        condition = " AND ".join(tables.in_list(column, values) for column, values in wanted if values)
        names = None if columns is None else list(columns)
        return self.store.rejects(self.version).scanner(columns=names, filter=condition or None)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Return an iterator over the rejects."""
        return iter(self.scanner(columns).to_batches())

    def count(self) -> int:
        """Return the number of rejects."""
        return int(self.scanner(["document_id"]).count_rows())

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rejects as one table, all in memory."""
        return self.scanner(columns).to_table()


class RejectedDocument(BaseModel):
    """A document that could not be used, and the version and run that rejected it (None: the version was pruned)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    document_id: str
    category: str
    source_id: str
    reason: str
    detail: str
    excerpt: str
    rejected_in: int
    rejected_by: str | None
    rejected_at: datetime | None


class RejectChange(RejectedDocument):
    """What became of a rejected document between two versions; the rest is that of its last reject.

    ``reason_before`` is None for one that is newly rejected.
    """

    change: Change
    reason_before: str | None


def rejects(
    store: FeatureStore, version: Version, reasons: Sequence[str] = (), categories: Sequence[str] = ()
) -> RejectDataset:
    """Return the rejects at a version, to be read when they are asked for."""
    return RejectDataset(store, version, tuple(reasons), tuple(categories))


def count_rejects(selection: RejectDataset) -> Counter[tuple[str, str]]:
    """Return how many rejects there are of each reason and category."""
    counts: Counter[tuple[str, str]] = Counter()
    for batch in selection.batches(["reason", "category"]):
        counts.update(zip(*(batch.column(name).to_pylist() for name in ("reason", "category")), strict=True))
    return counts


def list_rejects(selection: RejectDataset, limit: int) -> list[RejectedDocument]:
    """Return up to ``limit`` rejects, those of the newest version first."""
    rows = (row for batch in selection.batches() for row in batch.to_pylist())
    chosen = heapq.nsmallest(limit, rows, key=_newest_first)
    return [RejectedDocument(**origin) for origin in _with_origin(selection.store, chosen)]


def compare_rejects(before: RejectDataset, after: RejectDataset) -> list[RejectChange]:
    """Return what is different in ``after``, newest first; both have the same reasons and categories.

    A document counts where its reason at either version is one of them.

    Raises:
        ConfigurationError: if ``before`` is not the older of the two.
    """
    if before.version.number >= after.version.number:
        raise ConfigurationError(
            f"Version {before.version.number} is not older than version {after.version.number}.",
            "Give an older version to compare with.",
        )
    earlier, later = _by_id(before), _by_id(after)
    appeared = {name: row for name, row in later.items() if name not in earlier}
    vanished = {name: row for name, row in earlier.items() if name not in later}
    live = _live_ids(after, vanished)
    changes: list[tuple[Row, Change, str | None]] = [(row, "newly rejected", None) for row in appeared.values()]
    changes += [(row, "cleaned" if name in live else "gone", row["reason"]) for name, row in vanished.items()]
    changes += [
        (row, "rejected for another reason", earlier[name]["reason"])
        for name, row in later.items()
        if name in earlier and earlier[name]["reason"] != row["reason"]
    ]
    wanted = [item for item in changes if not after.reasons or {item[0]["reason"], item[2]} & {*after.reasons}]
    wanted.sort(key=lambda item: _newest_first(item[0]))
    origins = _with_origin(after.store, [row for row, _, _ in wanted])
    return [
        RejectChange(**origin, change=change, reason_before=reason_before)
        for origin, (_, change, reason_before) in zip(origins, wanted, strict=True)
    ]


def _by_id(selection: RejectDataset) -> dict[str, Row]:
    # Of all reasons: a document that was rejected for another one is neither new nor resolved.
    everything = RejectDataset(selection.store, selection.version, (), selection.categories)
    return {row["document_id"]: row for batch in everything.batches() for row in batch.to_pylist()}


def _live_ids(after: RejectDataset, document_ids: Iterable[str]) -> set[str]:
    documents = after.store.documents(after.version)
    live: set[str] = set()
    for some in tables.batches_of(document_ids, tables.LOOKUP_BATCH):
        condition = f"{tables.in_list('document_id', some)} AND {IS_LIVE}"
        live.update(documents.scanner(columns=["document_id"], filter=condition).to_table()["document_id"].to_pylist())
    return live


def _newest_first(row: Row) -> tuple[int, str, str]:
    return -row["rejected_in"], row["category"], row["source_id"]


def _with_origin(store: FeatureStore, rows: Sequence[Row]) -> Iterator[Row]:
    """Yield the fields of a ``RejectedDocument`` for each row."""
    numbers = {row["rejected_in"] for row in rows} & set(version_numbers(store.folder))
    made = {number: read_version(store.folder, number) for number in numbers}
    fields = ("document_id", "category", "source_id", "reason", "detail", "excerpt", "rejected_in")
    for row in rows:
        version = made.get(row["rejected_in"])
        yield {
            **{name: row[name] for name in fields},
            "rejected_by": version.run_id if version else None,
            "rejected_at": version.created_at if version else None,
        }
