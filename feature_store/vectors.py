"""The vectors table: each distinct text is embedded once, ever, by an encoder.

One Lance table for each encoder fingerprint, keyed by the hash of the embedded text. An edit, a second index, a re-run
after a crash or a move to another Qdrant reads vectors instead of making them.
"""

from collections.abc import Sequence
from pathlib import Path

import lance
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_store import schema, tables

Vectors = npt.NDArray[np.float32]


def vectors_path(folder: Path, encoder_fingerprint: str) -> Path:
    """Return where the vectors of an encoder are kept."""
    return folder / f"{encoder_fingerprint}.lance"


class VectorTable:
    """Vectors of ``dimension`` floats by text hash."""

    def __init__(self, folder: Path, encoder_fingerprint: str, dimension: int) -> None:
        self.path = vectors_path(folder, encoder_fingerprint)
        self.dimension = dimension
        if not tables.exists(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            tables.create(self.path, schema.vectors(dimension), ["text_hash"])
        else:
            tables.ensure_indexed(self.path, ["text_hash"])

    def known(self, text_hashes: Sequence[str]) -> dict[str, str]:
        """Return those of the hashes that have a vector, with the precision at which it was made."""
        rows = tables.look_up(self._table(), "text_hash", text_hashes, ["text_hash", "precision"])
        return {row["text_hash"]: row["precision"] for row in rows}

    def read(self, text_hashes: Sequence[str]) -> Vectors:
        """Return one row for each hash, in their order: float32, shape (len(text_hashes), dimension).

        Raises:
            KeyError: if a hash has no vector.
        """
        position: dict[str, int] = {}
        matrices: list[Vectors] = []
        rows = 0
        for some in tables.batches_of(dict.fromkeys(text_hashes), tables.LOOKUP_BATCH):
            found = (
                self._table()
                .scanner(columns=["text_hash", "vector"], filter=tables.in_list("text_hash", some))
                .to_table()
                .combine_chunks()
            )
            position.update((text, rows + row) for row, text in enumerate(found.column("text_hash").to_pylist()))
            matrices.append(_matrix(found.column("vector"), self.dimension))
            rows += found.num_rows
        order = [position[text] for text in text_hashes]
        return np.concatenate(matrices)[order] if order else np.empty((0, self.dimension), np.float32)

    def append(self, text_hashes: Sequence[str], matrix: Vectors, precision: str) -> None:
        """Store new vectors in one atomic step; the caller has looked up that they are new."""
        flat = pa.array(np.ascontiguousarray(matrix, dtype=np.float32).reshape(-1))
        columns = [
            pa.array(text_hashes),
            pa.FixedSizeListArray.from_arrays(flat, self.dimension),
            pa.array([precision] * len(text_hashes)),
        ]
        rows = pa.Table.from_arrays(columns, schema=schema.vectors(self.dimension))
        lance.write_dataset(rows, str(self.path), mode="append")

    def maintain(self) -> None:
        """Bring the index up to date and merge small fragments; older versions are of no use and go."""
        tables.maintain(self._table())
        tables.forget_old_versions(self._table())

    def merge_small_fragments(self) -> None:
        """Keep look-ups quick while very many vectors are stored; older versions stay, somebody may be reading them."""
        tables.maintain(self._table())

    def _table(self) -> lance.LanceDataset:
        return lance.dataset(str(self.path))


def _matrix(column: pa.ChunkedArray, dimension: int) -> Vectors:
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate(flat or [np.empty(0, np.float32)]).reshape(-1, dimension)
