"""Part files: the unit of work. A stage reads one Parquet part and writes one, so memory stays flat."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def write_part(folder: Path, name: str, number: int, table: pa.Table) -> Path:
    """Write ``<name>-<number>.parquet`` so that it is there whole or not at all, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{number:06d}.parquet"
    unfinished = path.with_suffix(".unfinished")
    pq.write_table(table, unfinished, compression="zstd")
    unfinished.replace(path)
    return path


def list_parts(folder: Path, name: str) -> list[Path]:
    """Return the finished parts of that name, in order."""
    return sorted(folder.glob(f"{name}-*.parquet"))


def read_part(path: Path) -> pa.Table:
    """Read one part whole."""
    return pq.read_table(path, memory_map=True)


def count_rows(parts: Iterable[Path]) -> int:
    """Return the number of rows in all the parts, from their footers."""
    return sum(pq.read_metadata(part).num_rows for part in parts)


def remove_folder(folder: Path) -> None:
    """Remove a folder of parts; one that is not there is fine."""
    if folder.exists():
        shutil.rmtree(folder)
