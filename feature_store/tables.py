"""Helpers for Lance tables that every table of the product shares."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import lance
import pyarrow as pa

Value = TypeVar("Value")

LOOKUP_BATCH = 1000
FRAGMENTS_BEFORE_COMPACTION = 32
ROWS_PER_FRAGMENT = 16_384
_DELETED_SHARE_BEFORE_REWRITE = 0.3
_UNINDEXED_SHARE = 0.1


def exists(path: Path) -> bool:
    """Return whether a Lance table is at ``path``; a folder without a version is a creation that died."""
    return (path / "_versions").is_dir() and any((path / "_versions").iterdir())


def create(path: Path, schema: pa.Schema, indexed: Sequence[str]) -> None:
    """Create an empty table with a BTREE index on each of the ``indexed`` columns; it replaces one that is there."""
    lance.write_dataset(schema.empty_table(), str(path), mode="overwrite" if exists(path) else "create")
    ensure_indexed(path, indexed)


def ensure_indexed(path: Path, columns: Sequence[str]) -> None:
    """Make the BTREE indexes that a table lacks: its creation may have died before them."""
    table = lance.dataset(str(path))
    present = {field for index in table.describe_indices() for field in index.field_names}
    for column in columns:
        if column not in present:
            table.create_scalar_index(column, "BTREE")


def batches_of(values: Iterable[Value], size: int) -> Iterator[list[Value]]:
    """Yield lists of up to ``size`` values (``itertools.batched`` of Python 3.12)."""
    iterator = iter(values)
    while some := list(islice(iterator, size)):
        yield some


def in_list(column: str, values: Iterable[str]) -> str:
    """Return the filter ``column IN (…)``, quoted."""
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({quoted})"


def look_up(
    table: lance.LanceDataset, column: str, values: Iterable[str], columns: list[str]
) -> Iterator[dict[str, Any]]:
    """Yield the rows whose ``column`` is one of ``values``, by index, a thousand values at a time."""
    for some in batches_of(values, LOOKUP_BATCH):
        yield from table.scanner(columns=columns, filter=in_list(column, some)).to_table().to_pylist()


def count_values(table: lance.LanceDataset, column: str, condition: str | None = None) -> Counter[str]:
    """Return how often each value of a column occurs in the rows that fulfil an SQL ``condition``."""
    counts: Counter[str] = Counter()
    for batch in table.scanner(columns=[column], filter=condition).to_batches():
        counts.update(batch.column(column).to_pylist())
    return counts


def upsert(table: lance.LanceDataset, key: str, rows: pa.Table | pa.RecordBatchReader) -> None:
    """Insert rows, replacing those with the same ``key``."""
    table.merge_insert(key).when_matched_update_all().when_not_matched_insert_all().execute(rows)


def maintain(table: lance.LanceDataset) -> None:
    """Merge small fragments once there are many, and bring indexes up to date once they lack a tenth of the rows.

    Both write much more than a small change does, so they wait: rows that an index lacks are scanned.
    """
    small = sum(fragment.physical_rows < ROWS_PER_FRAGMENT for fragment in table.get_fragments())
    if small >= FRAGMENTS_BEFORE_COMPACTION:
        table.optimize.compact_files(
            target_rows_per_fragment=ROWS_PER_FRAGMENT, materialize_deletions_threshold=_DELETED_SHARE_BEFORE_REWRITE
        )
    rows = table.count_rows()
    if any(_unindexed_rows(table, index.name) > rows * _UNINDEXED_SHARE for index in table.describe_indices()):
        table.optimize.optimize_indices()


def _unindexed_rows(table: lance.LanceDataset, index: str) -> int:
    return int(table.stats.index_stats(index)["num_unindexed_rows"])


def flush(path: Path, since: float) -> None:
    """Make the files of a table that were written after ``since`` (seconds since the epoch) survive a loss of power."""
    for file in path.rglob("*"):
        if file.is_file() and file.stat().st_mtime >= since:
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


def forget_old_versions(table: lance.LanceDataset) -> None:
    """Remove all versions but the newest and those that have a tag."""
    table.cleanup_old_versions(older_than=timedelta(0), error_if_tagged_old_versions=False)


def tag_versions(table: lance.LanceDataset, wanted: Mapping[str, int]) -> None:
    """Make the tags of a table exactly those: tag to Lance version."""
    present = {tag: described["version"] for tag, described in table.tags.list().items()}
    for tag in present.keys() - wanted.keys():
        table.tags.delete(tag)
    for tag, version in wanted.items():
        if tag not in present:
            table.tags.create(tag, version)
        elif present[tag] != version:
            table.tags.update(tag, version)
