"""Sparse vectors: Qdrant's own BM25."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from feature_store.errors import ConfigurationError, first_line
from feature_store.index_config import SparseConfig


@dataclass(frozen=True, slots=True)
class SparseVector:
    """A BM25 vector: token ids, unique, and their weights."""

    indices: list[int]
    values: list[float]


@lru_cache(maxsize=4)
def load_sparse_encoder(config: SparseConfig) -> tuple[Callable[[str], SparseVector], Callable[[str], SparseVector]]:
    """Return Qdrant's BM25 as two functions: one for documents, one for queries.

    Raises:
        ConfigurationError: if the language is not one that it knows.
    """
    from qdrant_edge import Bm25, Bm25Config

    try:
        bm25 = Bm25(Bm25Config(language=config.language, avg_len=config.average_length))
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConfigurationError(
            f"sparse.language {config.language!r} is not known to BM25: {first_line(error)}",
            "Give a language in English, in lower case, such as `english` or `german`.",
        ) from error

    def embed(function: Callable[[str], Any]) -> Callable[[str], SparseVector]:
        def embedded(text: str) -> SparseVector:
            vector = function(text)
            return SparseVector(list(vector.indices), list(vector.values))

        return embedded

    return embed(bm25.embed_document), embed(bm25.embed_query)
