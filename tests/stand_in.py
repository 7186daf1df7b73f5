"""A stand-in for the embedding model: the interface of a real encoder, vectors that are a hash of the text.

Not a model. Similar texts get unrelated vectors, so nothing here says anything about retrieval; it is for tests and
benchmarks that count what is embedded and compare what is stored. No torch, no weights: it loads in no time and embeds
about 30,000 texts a second.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

# Pieces of words, about as long as those of WordPiece, and single signs. Four times as fast as the packaged tokenizer,
# and chunks are within 10 % as many as with that.
_TOKEN = re.compile(r"\w{1,8}|[^\w\s]")
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_DIGEST_BYTES = 8


@dataclass
class HashEncoder:
    """Stands for `feature_store.encoders.Encoder`; it notes every text that it embeds.

    With a ``journal`` a hash of each text is also appended to that file, a line each, before the vectors are given:
    what a process embedded before it was killed can be read there.
    """

    name: str = "stand-in"
    fingerprint: str = "0000stand1n0"
    dimension: int = 384
    token_limit: int = 254
    document_prompt: str = ""
    query_prompt: str = ""
    normalised: bool = True
    similarity: str = "cosine"
    precision: str = "float32"
    separates_words: bool = True
    journal: Path | None = None
    texts: list[str] = field(default_factory=list)

    def load(self) -> None:
        """There is nothing to load."""

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return the character span of every token of ``text``."""
        return [match.span() for match in _TOKEN.finditer(text)]

    def embed_documents(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one unit vector a text: float32, shape (len(texts), dimension)."""
        self.texts += texts
        if self.journal is not None:
            with self.journal.open("a", encoding="utf-8") as file:
                file.writelines(f"{_digest(text).hex()}\n" for text in texts)
        return hashed_vectors(texts, self.dimension)

    def embed_query(self, text: str) -> npt.NDArray[np.float32]:
        """Return the vector that the same text has as a document: float32, shape (dimension,)."""
        return self.embed_queries([text])[0]

    def embed_queries(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the vectors that the same texts have as documents: float32, shape (len(texts), dimension)."""
        return hashed_vectors(texts, self.dimension)


def hashed_vectors(texts: Sequence[str], dimension: int) -> npt.NDArray[np.float32]:
    """Return unit vectors that follow from the texts alone.

    Each number is splitmix64 (https://prng.di.unimi.it/splitmix64.c) of the text's hash and the number's place.
    """
    seeds = np.frombuffer(b"".join(_digest(text) for text in texts), np.uint64)
    state = seeds[:, None] + np.arange(1, dimension + 1, dtype=np.uint64) * _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    signed = (state ^ (state >> np.uint64(31))).view(np.int64).astype(np.float64)
    unit: npt.NDArray[np.float32] = (signed / np.linalg.norm(signed, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
