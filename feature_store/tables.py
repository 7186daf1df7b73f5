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
FRAGMENTS_BEFORE_COMPACTION = 16
_FRAGMENTS = 256
_LEAST_ROWS_PER_FRAGMENT = 512
_FRAGMENTS_REWRITTEN_AT_ONCE = 4  # Lance never merges more than three times the wanted size in one go
_DEAD_SHARE = 1.0
_REWRITTEN_DEAD_SHARE = 0.3
_NEW_SHARE = 0.2
_UNINDEXED_SHARE = 0.02
_LEAST_UNINDEXED_ROWS = 1000
_INDEX_PARTS = 16


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
    """Merge small fragments, leave deleted rows behind, and bring indexes up to date: each once it is worth its cost.

    What is rewritten stays on disk twice, as long as an older version is kept. So a run rewrites little: of small
    fragments those that came first, up to a few hundredths of the table; of the indexes only what is new, as a part of
    its own. Many rows at once, as in a first load, are merged at once. Rows that an index lacks are scanned.
    """
    fragments, rows = table.get_fragments(), table.count_rows()
    size = max(_LEAST_ROWS_PER_FRAGMENT, rows // _FRAGMENTS)
    small = [fragment for fragment in fragments if fragment.physical_rows < size]
    dead = sum(fragment.num_deletions for fragment in fragments)
    if dead > rows * _DEAD_SHARE:
        table.optimize.compact_files(
            target_rows_per_fragment=size, materialize_deletions_threshold=_REWRITTEN_DEAD_SHARE
        )
    elif len(small) >= FRAGMENTS_BEFORE_COMPACTION:
        many = _unindexed_rows(table) > rows * _NEW_SHARE
        limit = None if many else _FRAGMENTS_REWRITTEN_AT_ONCE * size
        table.optimize.compact_files(target_rows_per_fragment=size, materialize_deletions=False, max_source_rows=limit)
    if _unindexed_rows(table) > max(_LEAST_UNINDEXED_ROWS, rows * _UNINDEXED_SHARE):
        parts = max(table.stats.index_stats(index.name)["num_indices"] for index in table.describe_indices())
        table.optimize.optimize_indices(num_indices_to_merge=_INDEX_PARTS // 2 if parts >= _INDEX_PARTS else 0)


def _unindexed_rows(table: lance.LanceDataset) -> int:
    """Return the number of rows that the index which lacks most of them lacks."""
    names = [index.name for index in table.describe_indices()]
    return max((int(table.stats.index_stats(name)["num_unindexed_rows"]) for name in names), default=0)


def flush(path: Path, since: float) -> None:
    """Make the files of a table that were written after ``since`` (seconds since the epoch) survive a loss of power."""
    for file in path.rglob("*"):
        if file.is_file() and file.stat().st_mtime >= since:
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


def forget_old_versions(table: lance.LanceDataset) -> None:
    """Remove all versions but the newest and those that have a tag, and all files that none of these consists of.

    The caller is the only writer: a file that no version names is what a dead one left, not what another is writing.
    """
    table.cleanup_old_versions(older_than=timedelta(0), delete_unverified=True, error_if_tagged_old_versions=False)


def tagged_versions(table: lance.LanceDataset) -> dict[str, int]:
    """Return the tags of a table: tag to Lance version."""
    return {tag: described["version"] for tag, described in table.tags.list().items()}


def tag_versions(table: lance.LanceDataset, present: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    """Make the tags of a table, those that are ``present``, exactly those ``wanted``: tag to Lance version."""
    for tag in present.keys() - wanted.keys():
        table.tags.delete(tag)
    for tag, version in wanted.items():
        if tag not in present:
            table.tags.create(tag, version)
        elif present[tag] != version:
            table.tags.update(tag, version)
