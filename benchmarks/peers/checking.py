"""Whether an index holds what the documents say: the whole text of each, once, and nothing else."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from qdrant_client import QdrantClient

from benchmarks.peers.common import Document, model_folder
from benchmarks.peers.corpus import squeezed
from benchmarks.peers.systems import System
from tests.stand_in import hashed_vectors

MODEL_LIMIT = 256  # tokens, two of them special
ALIKE = 0.999


@dataclass(frozen=True)
class Contents:
    """What was found in an index.

    ``incomplete`` documents lack text or are not there at all; ``surplus`` points repeat text of a document, or hold
    some that it no longer has; ``foreign`` ones are of documents that are no longer there; ``misplaced`` ones have
    the vector of another text. ``tokens`` are those that the model saw, ``cut_tokens`` those beyond its limit.
    ``chunks`` are counted by document.
    """

    points: int
    incomplete: int
    surplus: int
    foreign: int
    misplaced: int
    tokens: int
    cut_tokens: int
    chunks: Mapping[str, int]

    def problem(self) -> str:
        """Return what is wrong in words; empty if nothing is."""
        counts = {
            "documents incomplete": self.incomplete,
            "points stale or double": self.surplus,
            "points of deleted documents": self.foreign,
            "vectors of another text": self.misplaced,
        }
        return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)


def examine(state: Path, system: System, documents: Sequence[Document], *, stand_in: bool) -> Contents:
    """Open the local Qdrant of a system and compare it with the documents."""
    found, vectors = _read(state / "qdrant", system)
    texts = {document.id: squeezed(document.text) for document in documents}
    chunks: dict[str, Counter[str]] = defaultdict(Counter)
    for name, text in found:
        chunks[name][squeezed(text)] += 1
    incomplete = surplus = 0
    for name, text in texts.items():
        lacking, too_many = _compare(text, chunks.get(name, Counter()))
        incomplete += lacking
        surplus += too_many
    seen, cut = _tokens([text for _, text in found])
    return Contents(
        points=len(found),
        incomplete=incomplete,
        surplus=surplus,
        foreign=sum(counts.total() for name, counts in chunks.items() if name not in texts),
        misplaced=_misplaced([text for _, text in found], vectors) if stand_in else 0,
        tokens=seen,
        cut_tokens=cut,
        chunks={name: counts.total() for name, counts in chunks.items()},
    )


def _compare(text: str, chunks: Counter[str]) -> tuple[bool, int]:
    """Return whether text is lacking, and how many chunks are too many.

    Chunks do not overlap, so those that are right make up the text without white space; but a splitter may leave out
    a sign at each border (CocoIndex's a full stop).
    """
    stale = sum(count for chunk, count in chunks.items() if chunk not in text)
    right = {chunk: count for chunk, count in chunks.items() if chunk in text}
    lacking = len(text) - sum(len(chunk) * count for chunk, count in right.items())
    double = 0
    if lacking < 0:
        double = sum(count - 1 for count in right.values()) or 1
        lacking = len(text) - sum(map(len, right))
    return lacking > len(right), stale + double


def _read(folder: Path, system: System) -> tuple[list[tuple[str, str]], np.ndarray]:
    client = QdrantClient(path=str(folder))
    aliases = [alias.collection_name for alias in client.get_aliases().aliases]
    collections = aliases or [collection.name for collection in client.get_collections().collections]
    if not collections:
        client.close()
        return [], np.empty((0, 0))
    records, _ = client.scroll(collections[0], limit=10_000_000, with_payload=True, with_vectors=True)
    client.close()
    found = [system.place(record.payload) for record in records]
    return found, np.array([_dense(record.vector) for record in records], np.float32)


def _dense(vector: object) -> object:
    if isinstance(vector, dict):
        return next(value for value in vector.values() if isinstance(value, list))
    return vector


def _misplaced(texts: list[str], vectors: np.ndarray) -> int:
    if not texts:
        return 0
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return int((np.einsum("ij,ij->i", unit, hashed_vectors(texts, vectors.shape[1])) < ALIKE).sum())


def _tokens(texts: list[str]) -> tuple[int, int]:
    tokenizer = _tokenizer()
    lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]
    total, seen = sum(lengths), sum(min(length, MODEL_LIMIT) for length in lengths)
    return seen, total - seen


@cache
def _tokenizer():  # noqa: ANN202
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(model_folder()) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
