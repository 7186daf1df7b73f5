"""What is known of each document while a training set is made: in a file, so that memory stays flat.

The file is temporary and holds no text: ids, hashes, signatures, decisions, and the figures for the card.
"""

import heapq
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

_PAGES_IN_MEMORY = "PRAGMA cache_size = -16000"  # kB
_TABLES = """
CREATE TABLE documents (
    number INTEGER PRIMARY KEY, document_id TEXT, added_in INTEGER, text_hash TEXT, reason TEXT, signature BLOB
);
CREATE TABLE bands (key INTEGER, number INTEGER);
CREATE TABLE shared (number INTEGER, key INTEGER, PRIMARY KEY (number, key)) WITHOUT ROWID;
CREATE TABLE taken (place INTEGER PRIMARY KEY, number INTEGER, leader TEXT, text_hash TEXT);
CREATE INDEX taken_by_text ON taken (text_hash);
CREATE TABLE buckets (key INTEGER, split TEXT, place INTEGER, PRIMARY KEY (key, split, place)) WITHOUT ROWID;
CREATE TABLE decisions (
    document_id TEXT PRIMARY KEY, split TEXT, reason TEXT, leader TEXT, similar_to TEXT, similarity REAL
) WITHOUT ROWID;
CREATE TABLE changed (document_id TEXT PRIMARY KEY, held INTEGER, differs INTEGER) WITHOUT ROWID;
CREATE TABLE exported (
    document_id TEXT, category TEXT, language TEXT, license TEXT, author TEXT, tokens INTEGER, characters INTEGER,
    split TEXT
);
"""
EXPORTED_COLUMNS = ["document_id", "category", "language", "license", "author", "tokens", "characters"]
_KEEP_SHARED_BANDS = """
INSERT OR IGNORE INTO shared SELECT number, key FROM (
    SELECT number, key, COUNT(*) OVER (PARTITION BY key) AS documents FROM bands
) WHERE documents > 1
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document that may be in the training set; ``reason`` is there if it may not by itself."""

    document_id: str
    added_in: int
    text_hash: str
    reason: str | None
    signature: bytes | None = None
    bands: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A candidate whose turn it is; ``number`` names it in the ledger, ``place`` says when it came."""

    place: int
    number: int
    document_id: str
    text_hash: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A document that was taken, and whose signature may be near; ``leader`` is the first of its group."""

    place: int
    document_id: str
    leader: str
    text_hash: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a document: it has a ``split``, or a ``reason`` that keeps it out."""

    document_id: str
    split: str | None
    reason: str | None
    leader: str
    similar_to: str | None = None
    similarity: float | None = None


class Ledger:
    """The tables of one export."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database
        database.executescript(_TABLES)
        database.execute("BEGIN")

    def rows(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Return the rows of a query."""
        # A generator would close its cursor after the database, if it was left half read.
        return self.database.execute(query, values)

    def number_of(self, query: str, *values: Any) -> int:
        """Return the one figure that a query asks for."""
        (figure,) = self.database.execute(query, values).fetchone()
        return int(figure or 0)

    def add(self, candidates: Iterable[Candidate]) -> None:
        """Note documents, in any order."""
        for one in candidates:
            number = self.database.execute(
                "INSERT INTO documents VALUES (NULL, ?, ?, ?, ?, ?)",
                (one.document_id, one.added_in, one.text_hash, one.reason, one.signature),
            ).lastrowid
            self.database.executemany("INSERT INTO bands VALUES (?, ?)", ((key, number) for key in one.bands))

    def keep_shared_bands(self) -> None:
        """Forget the bands that only one document has: nothing is near by them."""
        self.database.execute(_KEEP_SHARED_BANDS)
        self.database.execute("DROP TABLE bands")

    def waiting(self) -> Iterator[Waiting]:
        """Yield the documents that nothing by itself keeps out, in the order in which the store got them."""
        query = (
            "SELECT number, document_id, text_hash FROM documents WHERE reason IS NULL ORDER BY added_in, document_id"
        )
        for place, (number, document_id, text_hash) in enumerate(self.rows(query)):
            yield Waiting(place, number, document_id, text_hash)

    def signature(self, number: int) -> bytes:
        """Return the signature of a document."""
        (signature,) = self.database.execute("SELECT signature FROM documents WHERE number = ?", (number,)).fetchone()
        return bytes(signature)

    def shared_bands(self, number: int) -> list[int]:
        """Return the bands of a document that another one has too."""
        return [key for (key,) in self.rows("SELECT key FROM shared WHERE number = ?", number)]

    def with_equal_band(self, keys: Sequence[int], split: str) -> Iterator[Taken]:
        """Yield the documents taken into a split that have one of these bands, in the order in which they came."""
        query = "SELECT place FROM buckets WHERE key = ? AND split = ? ORDER BY place"
        # Read as far as they are asked for: a band of boilerplate is that of very many documents.
        merged = heapq.merge(*(self.rows(query, key, split) for key in keys))
        for (place,), _ in groupby(merged):
            yield self._taken(place)

    def taken_with_text(self, text_hash: str) -> Taken | None:
        """Return the first document with exactly this text that was taken."""
        query = "SELECT place FROM taken WHERE text_hash = ? ORDER BY place LIMIT 1"
        first = self.database.execute(query, (text_hash,)).fetchone()
        return self._taken(first[0]) if first else None

    def take(self, document: Waiting, keys: Sequence[int], split: str, leader: str) -> None:
        """Note that a document was taken, for those that come later."""
        row = (document.place, document.number, leader, document.text_hash)
        self.database.execute("INSERT INTO taken VALUES (?, ?, ?, ?)", row)
        rows = ((key, split, document.place) for key in keys)
        self.database.executemany("INSERT INTO buckets VALUES (?, ?, ?)", rows)

    def decide(self, decision: Decision) -> None:
        """Note what becomes of a document."""
        row = (
            decision.document_id,
            decision.split,
            decision.reason,
            decision.leader,
            decision.similar_to,
            decision.similarity,
        )
        self.database.execute("INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?)", row)

    def decide_excluded(self) -> None:
        """Note the decision on all documents that something by itself keeps out."""
        self.database.execute(
            "INSERT INTO decisions SELECT document_id, NULL, reason, document_id, NULL, NULL FROM documents"
            " WHERE reason IS NOT NULL"
        )

    def note_changes(self, rows: Iterable[tuple[str, bool, bool]]) -> None:
        """Note ids of documents, whether an earlier version held them, and whether they differ from that."""
        self.database.executemany("INSERT INTO changed VALUES (?, ?, ?)", rows)

    def held_and_changed(self) -> Iterator[tuple[str, str | None]]:
        """Return the changed documents that the earlier version held: id, and split if they are still in the set."""
        query = (
            "SELECT document_id, split FROM changed LEFT JOIN decisions USING (document_id)"
            " WHERE held AND (differs OR split IS NULL) ORDER BY document_id"
        )
        return self.database.execute(query)

    def select_all(self) -> None:
        """Let every decision count."""
        self.database.execute("CREATE TEMP VIEW selected AS SELECT * FROM decisions")

    def select_changed(self) -> None:
        """Let only the decisions on documents count that differ from the earlier version."""
        self.database.execute(
            "CREATE TEMP VIEW selected AS"
            " SELECT decisions.* FROM decisions JOIN changed USING (document_id) WHERE differs"
        )

    def splits(self, first: str, last: str) -> dict[str, str]:
        """Return the splits of the selected documents between two ids."""
        query = "SELECT document_id, split FROM selected WHERE split IS NOT NULL AND document_id BETWEEN ? AND ?"
        return dict(self.database.execute(query, (first, last)))

    def note_exported(self, split: str, documents: Iterable[dict[str, Any]]) -> None:
        """Note documents that are written, by their ``EXPORTED_COLUMNS``."""
        rows = ((*(document[column] for column in EXPORTED_COLUMNS), split) for document in documents)
        self.database.executemany("INSERT INTO exported VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def members(self) -> Iterator[tuple[str, str]]:
        """Return id and split of what was written, in the order of the ids."""
        return self.database.execute("SELECT document_id, split FROM exported ORDER BY document_id")

    def most_similar(self, limit: int) -> list[tuple[str, str, float]]:
        """Return the most similar pairs that were not dropped as equal: two ids, estimated Jaccard similarity."""
        query = (
            "SELECT similar_to, document_id, ROUND(similarity, 4) FROM selected WHERE similar_to IS NOT NULL"
            " AND reason IS NOT 'duplicate' ORDER BY similarity DESC, document_id LIMIT ?"
        )
        return self.database.execute(query, (limit,)).fetchall()

    def _taken(self, place: int) -> Taken:
        query = (
            "SELECT place, document_id, leader, taken.text_hash, signature FROM taken JOIN documents USING (number)"
            " WHERE place = ?"
        )
        return Taken(*self.database.execute(query, (place,)).fetchone())


@contextmanager
def opened_ledger(path: Path) -> Iterator[Ledger]:
    """Open a new ledger at ``path``; it is removed in the end."""
    database = sqlite3.connect(path, isolation_level=None)
    folder = str(path.parent).replace("'", "''")
    try:
        # What it sorts goes beside it: the usual folder may be memory, as in a container. The setting is the process's;
        # once the folder is gone, SQLite takes the usual one again.
        database.execute(f"PRAGMA temp_store_directory = '{folder}'")
        # It need not outlive the process: no journal, no flushing.
        for statement in (_PAGES_IN_MEMORY, "PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF"):
            database.execute(statement)
        yield Ledger(database)
    finally:
        database.close()
        path.unlink(missing_ok=True)
