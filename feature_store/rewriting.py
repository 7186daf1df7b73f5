"""Writing a Lance table anew, so that nothing of what it held before is left in its files."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.compute as pc

from feature_store import tables

Select = Callable[[pa.RecordBatch], pa.RecordBatch]


def rewrite_table(path: Path, select: Select, indexed: Sequence[str], version: int | None = None) -> int:
    """Replace the rows of a table by those that ``select`` leaves of each batch; return the new Lance version.

    ``version`` is the Lance version that is read, the newest if not given. Those before stay until they are cleaned up.
    """
    table = lance.dataset(str(path), version=version)
    batches: Iterator[pa.RecordBatch] = (select(batch) for batch in table.scanner().to_batches())
    lance.write_dataset(pa.RecordBatchReader.from_batches(table.schema, batches), str(path), mode="overwrite")
    tables.ensure_indexed(path, indexed)
    return int(lance.dataset(str(path)).version)


def without(column: str, values: pa.Array) -> Select:
    """Return the selection of all rows whose ``column`` is none of ``values``."""
    return lambda batch: batch.filter(pc.invert(pc.is_in(batch.column(column), value_set=values)))


def only(column: str, values: pa.Array) -> Select:
    """Return the selection of the rows whose ``column`` is one of ``values``."""
    return lambda batch: batch.filter(pc.is_in(batch.column(column), value_set=values))
