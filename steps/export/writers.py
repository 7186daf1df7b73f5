"""The files of a training set, by format.

Nothing in a file says when or where it was written: the same documents give the same bytes.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.errors import ConfigurationError
from feature_store.exports import ExportFormat
from feature_store.ids import fingerprint

DOCUMENTS = pa.schema(
    [
        pa.field("document_id", pa.string()),
        pa.field("category", pa.string()),
        pa.field("text", pa.string()),
        pa.field("title", pa.string()),
        pa.field("url", pa.string()),
        pa.field("author", pa.string()),
        pa.field("published_at", pa.string()),
        pa.field("language", pa.string()),
        pa.field("license", pa.string()),  # that of the metadata
        pa.field("metadata", pa.string()),  # JSON object
        pa.field("tokens", pa.int64()),
        pa.field("characters", pa.int64()),
        pa.field("changed_in", pa.int64()),  # number of a version
    ]
)
GONE = pa.schema([pa.field("document_id", pa.string()), pa.field("change", pa.string())])

_ROWS_AT_ONCE = 1000
_BYTES_AT_ONCE = 8_000_000


class TableWriter(Protocol):
    """Writes tables to one file."""

    def write_table(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


class _JsonLines:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")

    def write_table(self, table: pa.Table) -> None:
        for row in table.to_pylist():
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class OutputFormat:
    """How a format lays out its files. ``split_file`` takes split and number, ``gone_file`` is that of a delta.

    `datasets.load_dataset` refuses a split without rows, so there is no file for it; `load_from_disk` wants one.
    """

    name: ExportFormat
    split_file: Callable[[str, int], str]
    gone_file: str
    open_file: Callable[[Path, pa.Schema], TableWriter]
    open_gone: Callable[[Path, pa.Schema], TableWriter]
    finish: Callable[[Path, Mapping[str, list[str]], str], None]
    writes_empty_files: bool


def find_format(name: str) -> OutputFormat:
    """Return a format by name.

    Raises:
        ConfigurationError: if there is none.
    """
    if name not in FORMATS:
        raise ConfigurationError(f"There is no export format {name!r}.", f"Formats are: {', '.join(FORMATS)}.")
    return FORMATS[name]


@dataclass
class _OpenFile:
    writer: TableWriter
    rows: int = 0


@dataclass
class SplitFiles:
    """Writes documents to the files of their splits, some rows at a time; ``names`` are those of the files."""

    folder: Path
    output: OutputFormat
    rows_per_file: int
    names: dict[str, list[str]]
    _waiting: dict[str, list[pa.Table]] = field(default_factory=dict)
    _open: dict[str, _OpenFile] = field(default_factory=dict)

    def write(self, split: str, table: pa.Table) -> None:
        """Take documents of a split."""
        waiting = self._waiting.setdefault(split, [])
        waiting.append(table)
        if sum(map(len, waiting)) >= _ROWS_AT_ONCE or sum(one.nbytes for one in waiting) >= _BYTES_AT_ONCE:
            self._flush(split)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            for opened in self._open.values():
                opened.writer.close()
            self._open.clear()

    def _finish(self) -> None:
        for split, names in self.names.items():
            self._flush(split)
            if not names and self.output.writes_empty_files:
                self._next_file(split)

    def _flush(self, split: str) -> None:
        tables = self._waiting.pop(split, [])
        rest = pa.concat_tables(tables).combine_chunks() if tables else DOCUMENTS.empty_table()
        while len(rest):
            opened = self._open.get(split) or self._next_file(split)
            piece = rest.slice(0, self.rows_per_file - opened.rows)
            opened.writer.write_table(piece)
            opened.rows += len(piece)
            rest = rest.slice(len(piece))
            if opened.rows == self.rows_per_file:
                self._open.pop(split).writer.close()

    def _next_file(self, split: str) -> _OpenFile:
        name = self.output.split_file(split, len(self.names[split]))
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open[split] = _OpenFile(self.output.open_file(path, DOCUMENTS))
        self.names[split].append(name)
        return self._open[split]


def write_gone(folder: Path, output: OutputFormat, rows: Iterable[list[dict[str, str]]]) -> None:
    """Write the documents that are gone, in batches."""
    writer = output.open_gone(folder / output.gone_file, GONE)
    try:
        for some in rows:
            writer.write_table(pa.Table.from_pylist(some, schema=GONE))
    finally:
        writer.close()


def _open_parquet(path: Path, schema: pa.Schema) -> TableWriter:
    writer: TableWriter = pq.ParquetWriter(path, schema, compression="zstd")
    return writer


def _open_json_lines(path: Path, _: pa.Schema) -> TableWriter:
    return _JsonLines(path)


def _open_arrow(path: Path, schema: pa.Schema) -> TableWriter:
    about = {"huggingface": json.dumps({"info": {"features": features_of(schema)}})}
    writer: TableWriter = pa.ipc.new_stream(path, schema.with_metadata(about))
    return _WithMetadata(writer, about)


@dataclass(frozen=True)
class _WithMetadata:
    writer: TableWriter
    about: dict[str, str]

    def write_table(self, table: pa.Table) -> None:
        self.writer.write_table(table.replace_schema_metadata(self.about))

    def close(self) -> None:
        self.writer.close()


def features_of(schema: pa.Schema) -> dict[str, dict[str, str]]:
    """Return the columns as the library ``datasets`` describes them."""
    return {column.name: {"dtype": str(column.type), "_type": "Value"} for column in schema}


def _leave(folder: Path, names: Mapping[str, list[str]], export_id: str) -> None:
    """Nothing is to be added."""


def _describe_dataset_dict(folder: Path, names: Mapping[str, list[str]], export_id: str) -> None:
    """Add what `datasets.load_from_disk` reads beside the tables, as `DatasetDict.save_to_disk` (5.2) writes it."""
    _write_json(folder / "dataset_dict.json", {"splits": list(names)})
    info = {"citation": "", "description": "", "features": features_of(DOCUMENTS), "homepage": "", "license": ""}
    for split, files in names.items():
        state: dict[str, Any] = {
            "_data_files": [{"filename": Path(name).name} for name in files],
            "_fingerprint": fingerprint([export_id, split]),
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": split,
        }
        _write_json(folder / split / "state.json", state)
        _write_json(folder / split / "dataset_info.json", info)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


FORMATS: dict[str, OutputFormat] = {
    "parquet": OutputFormat(
        "parquet",
        lambda split, number: f"data/{split}-{number:05d}.parquet",
        "deleted.parquet",
        _open_parquet,
        _open_parquet,
        _leave,
        writes_empty_files=False,
    ),
    "jsonl": OutputFormat(
        "jsonl",
        lambda split, number: f"data/{split}-{number:05d}.jsonl",
        "deleted.jsonl",
        _open_json_lines,
        _open_json_lines,
        _leave,
        writes_empty_files=False,
    ),
    "huggingface": OutputFormat(
        "huggingface",
        lambda split, number: f"{split}/data-{number:05d}.arrow",
        "deleted.jsonl",
        _open_arrow,
        _open_json_lines,
        _describe_dataset_dict,
        writes_empty_files=True,
    ),
}
