"""Reading cleaned documents for a training job: lazily, at one version, by the libraries that training jobs use."""

import os
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lance
import pyarrow as pa

from feature_store import ids, tables
from feature_store.errors import ConfigurationError, TerminalError
from feature_store.parts import remove_folder
from feature_store.store import IS_LIVE, FeatureStore
from feature_store.versions import Version

if TYPE_CHECKING:
    import datasets
    import pandas as pd

BATCH_SIZE = 512
_SHARDS = 64
_IMPORTED_BY = os.getpid()
# What may hold a parenthesis that means nothing: strings, quoted names, comments.
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`|--[^\n]*|/\*.*?\*/", re.DOTALL)
_PLACE_IN_LANCE = re.compile(r",? /\S+\.rs:\d+(:\d+)?")
_EXAMPLE = "Give an SQL condition over the columns of the table, as in: language = 'en' AND characters > 500"


class LazyDocuments:
    """Live documents that are read when they are asked for.

    ``columns`` are names of ``schema.DOCUMENTS``, None for all of them; one that does not exist is a
    ``ConfigurationError``. The order is that of the table: the same by every way of reading.
    """

    @abstractmethod
    def selection(self) -> "DocumentDataset":
        """Return which documents these are."""

    def scanner(self, columns: Sequence[str] | None = None, batch_size: int = BATCH_SIZE) -> lance.LanceScanner:
        """Return a Lance scanner over the documents."""
        return self.selection().scan(columns, batch_size)

    def batches(self, columns: Sequence[str] | None = None, batch_size: int = BATCH_SIZE) -> Iterator[pa.RecordBatch]:
        """Return an iterator over the documents, up to ``batch_size`` at a time."""
        return _read(self.scanner(columns, batch_size))

    def count(self) -> int:
        """Return the number of documents."""
        with _reading():
            return int(self.scanner(["document_id"]).count_rows())

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the documents as one table, all in memory."""
        with _reading():
            return self.scanner(columns).to_table()

    def to_pandas(self, columns: Sequence[str] | None = None) -> "pd.DataFrame":
        """Return the documents as one data frame, all in memory."""
        frame: pd.DataFrame = self.to_arrow(columns).to_pandas()
        return frame

    def to_huggingface(self, columns: Sequence[str] | None = None, copies: Path | None = None) -> "datasets.Dataset":
        """Return the documents as a Hugging Face dataset over an Arrow file on disk, so that memory stays flat.

        The first call writes the file to ``copies`` (default: a folder of the feature store); it is used again for the
        same documents at the same version only. Workers of a data loader may read it, however they are started.
        """
        import datasets
        from datasets.table import MemoryMappedTable

        selection = self.selection()
        name = selection.fingerprint(columns)
        path = (copies or copies_folder(selection.store.folder)) / name / "documents.arrow"
        if not path.exists():
            scanner = selection.scan(columns)
            # Its own form of the schema, or it would copy everything into memory to get it.
            schema = datasets.Features.from_arrow_schema(scanner.to_reader().schema).arrow_schema
            _write_copy(path, schema, _read(scanner))
        return datasets.Dataset(MemoryMappedTable.from_file(str(path)), fingerprint=name)

    def stream_huggingface(self, columns: Sequence[str] | None = None) -> "datasets.IterableDataset":
        """Return the documents as a Hugging Face dataset that reads the table as it goes, without a copy.

        The workers of a data loader share the parts of the table. They must not be forked:
        ``DataLoader(…, num_workers=2, multiprocessing_context="spawn")``.
        """
        import datasets

        selection = self.selection()
        schema = selection.scan(columns).to_reader().schema
        arguments = {"parts": selection.parts(), "selection": selection, "columns": tuple(schema.names)}
        return datasets.IterableDataset.from_generator(
            _rows, datasets.Features.from_arrow_schema(schema), gen_kwargs=arguments
        )

    def to_torch(
        self, columns: Sequence[str] | None = None, rank: int = 0, world_size: int = 1, copies: Path | None = None
    ) -> "datasets.IterableDataset":
        """Return a PyTorch ``IterableDataset`` of one dict a document, for ``torch.utils.data.DataLoader``.

        Every document comes once: the workers of a loader share them, and so do the ``world_size`` processes of a
        distributed job, each of which gives its own ``rank``. (Leave both out for a ``Trainer``, which does it itself.)
        It reads the file that ``to_huggingface`` makes, and can shuffle and resume: see ``datasets.IterableDataset``.
        """
        from datasets.distributed import split_dataset_by_node

        whole = self.to_huggingface(columns, copies)
        shards = min(len(whole), _SHARDS)
        shards = shards // world_size * world_size or shards  # as many for each process, where there are enough
        return split_dataset_by_node(whole.to_iterable_dataset(num_shards=shards), rank=rank, world_size=world_size)


@dataclass(frozen=True)
class DocumentDataset(LazyDocuments):
    """The live documents of some categories at one version, as far as the SQL condition ``where`` holds.

    Raises:
        ConfigurationError: if ``where`` cannot be understood, or a category is not known.
        TerminalError: if the version cannot be read.
    """

    store: FeatureStore
    version: Version
    categories: tuple[str, ...] | None = None
    where: str | None = None

    def __post_init__(self) -> None:
        if self.categories is not None:
            _require_known(self.categories, self.store, self.version)
        if self.where is not None:
            _require_closed(self.where)
        self.scan()

    def selection(self) -> "DocumentDataset":
        """Return these documents."""
        return self

    def fingerprint(self, columns: Sequence[str] | None = None) -> str:
        """Return 12 hexadecimal characters that name these columns of these documents at their version."""
        version = [self.version.store_id, self.version.run_id, self.version.number, self.version.generation]
        categories = None if self.categories is None else sorted(set(self.categories))
        return ids.fingerprint([version, categories, self.where, None if columns is None else list(columns)])

    def parts(self) -> list[int]:
        """Return the numbers of the parts that the table consists of at the version."""
        return [fragment.fragment_id for fragment in self.store.documents(self.version).get_fragments()]

    def scan(
        self, columns: Sequence[str] | None = None, batch_size: int = BATCH_SIZE, parts: Sequence[int] | None = None
    ) -> lance.LanceScanner:
        """Return a scanner over these documents, or those of them in some ``parts`` of the table.

        Raises:
            ConfigurationError: if ``where`` or a column cannot be understood.
            TerminalError: in a process that was forked, where Lance could hang.
        """
        _require_no_fork()
        table = self.store.documents(self.version)
        chosen = (
            None if parts is None else [fragment for fragment in table.get_fragments() if fragment.fragment_id in parts]
        )
        scanner = table.scanner(
            columns=list(columns) if columns is not None else None,
            filter=self._condition(),
            batch_size=batch_size,
            strict_batch_size=True,
            fragments=chosen,
        )
        try:
            scanner.explain_plan()
        except ValueError as error:
            asked = f"the condition {self.where!r}" if columns is None else f"{self.where!r} and columns {columns!r}"
            raise ConfigurationError(f"Documents cannot be read by {asked}: {_reason(error)}.", _EXAMPLE) from None
        return scanner

    def _condition(self) -> str:
        conditions = [IS_LIVE]
        if self.categories is not None:
            conditions.append(tables.in_list("category", self.categories))
        if self.where is not None:
            conditions.append(f"({self.where}\n)")  # it may end in a comment
        return " AND ".join(conditions)


def copies_folder(store_folder: Path) -> Path:
    """Return where copies of documents are kept for libraries that read files of their own."""
    return store_folder / "copies"


def remove_copies(store_folder: Path) -> None:
    """Remove all copies that were made for reading; the next reader makes its own again."""
    remove_folder(copies_folder(store_folder))


def _read(scanner: lance.LanceScanner) -> Iterator[pa.RecordBatch]:
    with _reading():
        yield from scanner.to_batches()


def _rows(parts: list[int], selection: DocumentDataset, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for batch in _read(selection.scan(columns, parts=parts)):
        yield from batch.to_pylist()


def _write_copy(path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The documents cannot be copied to {path.parent}: {error.strerror}.",
            "Give a folder that this user may write, as `copies`.",
        ) from error
    try:
        with pa.OSFile(str(unfinished), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            for batch in batches:
                writer.write_batch(batch.cast(schema))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _require_known(categories: Sequence[str], store: FeatureStore, version: Version) -> None:
    if not categories:
        raise ConfigurationError("No category is asked for.", "Leave `categories` out for the documents of all.")
    known = set(version.positions)
    if not known.issuperset(categories):
        known |= set(tables.count_values(store.documents(version), "category"))
    if unknown := sorted(set(categories) - known):
        raise ConfigurationError(
            f"Version {version.number} of the feature store has no category {', '.join(unknown)}.",
            f"Its categories are: {', '.join(sorted(known)) or 'none'}.",
        )


def _require_closed(where: str) -> None:
    """Refuse a condition that ends the parentheses put around it: it would reach past the live documents."""
    depth = 0
    for sign in re.findall(r"[()]", _QUOTED.sub(" ", where)):
        depth += 1 if sign == "(" else -1
        if depth < 0:
            raise ConfigurationError(
                f"Documents cannot be read by the condition {where!r}: a `)` is without its `(`.", _EXAMPLE
            )


def _require_no_fork() -> None:
    if os.getpid() != _IMPORTED_BY:
        raise TerminalError(
            "The table cannot be read in a process that was forked: it lacks Lance's threads, and may hang.",
            'Start processes by "spawn" (`multiprocessing_context` of a DataLoader), or let them read what '
            "`to_huggingface()` or `to_torch()` returned.",
        )


@contextmanager
def _reading() -> Iterator[None]:
    """Explain what only a value shows, as a cast of a word to a number does."""
    try:
        yield
    except ValueError as error:  # ArrowInvalid is one
        if "filter expression" not in str(error):
            raise
        raise ConfigurationError(f"Documents cannot be read by their condition: {_reason(error)}.", _EXAMPLE) from None


def _reason(error: Exception) -> str:
    return _PLACE_IN_LANCE.sub("", str(error)).removeprefix("Invalid user input: ").rstrip(". ")
