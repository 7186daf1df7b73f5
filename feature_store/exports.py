"""The register of training exports: what was written where, from which version, and which documents are in it.

An export itself is the user's: it may be moved or removed. The register says enough to make it again, byte for byte.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from feature_store.errors import TerminalError
from feature_store.files import write_json_atomically

ExportFormat = Literal["parquet", "jsonl", "huggingface"]

MEMBERS = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
    ]
)


class ExportedFile(BaseModel):
    """One file of an export; ``name`` is relative to its folder."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    bytes: int
    sha256: str


class ExportRecord(BaseModel):
    """One training export. ``export_id`` names version, options and format: the same ones make the same bytes.

    ``since`` is there for a delta export. ``options`` are the training configuration as it was; ``libraries`` the
    versions of those that decide the bytes. ``forgotten`` counts documents that were erased after it was made: they
    may still be in its files, and making it again gives other bytes. ``near_duplicate_pairs`` are the most similar
    ones: two ids and their estimated Jaccard similarity.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    export_id: str
    created_at: datetime
    version: int
    version_run_id: str
    store_id: str
    since: int | None = None
    format: ExportFormat
    folder: Path
    options: dict[str, Any]
    counts: dict[str, int] = Field(default_factory=dict)
    files: list[ExportedFile] = Field(default_factory=list)
    libraries: dict[str, str] = Field(default_factory=dict)
    forgotten: int = 0
    near_duplicate_pairs: list[tuple[str, str, float]] = Field(default_factory=list)


def save_export(folder: Path, record: ExportRecord, members: Iterable[pa.RecordBatch] | None = None) -> None:
    """Register an export, with the documents in it: batches of ``MEMBERS``; the same export again replaces its entry.

    Without ``members`` those that are registered stay.
    """
    if members is not None:
        path = members_path(folder, record.export_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        with pq.ParquetWriter(unfinished, MEMBERS, compression="zstd") as writer:
            for batch in members:
                writer.write_batch(batch)
        unfinished.replace(path)
    write_json_atomically(_path(folder, record.export_id), record.model_dump(mode="json"))


def list_exports(folder: Path) -> list[ExportRecord]:
    """Return all registered exports, oldest first."""
    records = [ExportRecord.model_validate_json(path.read_bytes()) for path in (folder / "exports").glob("*.json")]
    return sorted(records, key=lambda record: (record.created_at, record.export_id))


def read_export(folder: Path, export_id: str) -> ExportRecord:
    """Return one registered export.

    Raises:
        TerminalError: if there is none.
    """
    path = _path(folder, export_id)
    if not path.exists():
        raise TerminalError(f"No export {export_id} is registered.", "`feature-pipeline export` makes one.")
    return ExportRecord.model_validate_json(path.read_bytes())


def read_members(folder: Path, export_id: str) -> Iterator[pa.RecordBatch]:
    """Yield the documents of an export, with their split."""
    path = members_path(folder, export_id)
    if path.exists():
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches()


def members_path(folder: Path, export_id: str) -> Path:
    """Return where the documents of an export are listed."""
    return folder / "exports" / f"{export_id}.parquet"


def _path(folder: Path, export_id: str) -> Path:
    return folder / "exports" / f"{export_id}.json"
