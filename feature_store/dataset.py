"""Reading cleaned documents for a training job: lazily, at one version."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import lance
import pyarrow as pa

from feature_store import tables
from feature_store.errors import ConfigurationError
from feature_store.store import IS_LIVE, FeatureStore
from feature_store.versions import Version

BATCH_SIZE = 512


class LazyDocuments:
    """Live documents that are read when they are asked for; a subclass says which."""

    @abstractmethod
    def scanner(self, columns: Sequence[str] | None = None, batch_size: int = BATCH_SIZE) -> lance.LanceScanner:
        """Return a scanner over the live documents; ``columns`` None means all of ``schema.DOCUMENTS``."""

    def batches(self, columns: Sequence[str] | None = None, batch_size: int = BATCH_SIZE) -> Iterator[pa.RecordBatch]:
        """Yield the documents, up to ``batch_size`` at a time."""
        yield from self.scanner(columns, batch_size).to_batches()

    def count(self) -> int:
        """Return the number of documents."""
        return int(self.scanner(["document_id"]).count_rows())

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the documents as one table, all in memory."""
        return self.scanner(columns).to_table()


@dataclass(frozen=True)
class DocumentDataset(LazyDocuments):
    """The live documents of some categories at one version, as far as the SQL condition ``where`` holds."""

    store: FeatureStore
    version: Version
    categories: tuple[str, ...] | None = None
    where: str | None = None

    def scanner(self, columns: Sequence[str] | None = None, batch_size: int = BATCH_SIZE) -> lance.LanceScanner:
        """Return a scanner over these documents.

        Raises:
            ConfigurationError: if ``where`` or a column cannot be understood.
        """
        conditions = [IS_LIVE]
        if self.categories is not None:
            conditions.append(tables.in_list("category", self.categories))
        if self.where:
            conditions.append(f"({self.where})")
        table = self.store.documents(self.version)
        try:
            return table.scanner(
                columns=list(columns) if columns is not None else None,
                filter=" AND ".join(conditions),
                batch_size=batch_size,
            )
        except (ValueError, OSError) as error:
            raise ConfigurationError(
                f"The documents cannot be read by the condition {self.where!r}: {error}.",
                "Give an SQL condition over the columns of the table, as in: language = 'en' AND characters > 500",
            ) from None
