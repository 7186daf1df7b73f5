"""Reranking: a cross-encoder reads the query together with each text, slower and better than vectors compare them."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Self

import numpy as np
from loguru import logger

from feature_store.errors import ConfigurationError


@dataclass(frozen=True)
class Reranker:
    """A loaded cross-encoder, called with a query and texts; may be called by several threads.

    ``model`` is a sentence-transformers ``CrossEncoder`` with one output. It reads ``token_limit`` tokens of query and
    text together, special tokens included: what is longer is cut at the end of the longer of the two, and a warning
    says how many were.
    """

    model: Any
    token_limit: int
    batch_size: int = 32
    _alone: Lock = field(default_factory=Lock, repr=False, compare=False)

    @classmethod
    def load(cls, model: str, revision: str | None = None, max_length: int | None = None) -> Self:
        """Load a cross-encoder by its name on the hub or its folder, such as cross-encoder/ms-marco-MiniLM-L6-v2.

        ``max_length`` is a lower limit of tokens than the model's own, to be faster.

        Raises:
            ConfigurationError: if it cannot be loaded, or has several outputs.
        """
        from sentence_transformers import CrossEncoder
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            loaded = CrossEncoder(model, revision=revision)
        except (OSError, ValueError, ImportError, RuntimeError, KeyError) as error:
            raise ConfigurationError(
                f"The reranker {model!r} cannot be loaded: {str(error).strip().split(chr(10), 1)[0][:300]}",
                "Give the folder of a cross-encoder, or a name on a hub that this machine reaches.",
            ) from error
        if loaded.num_labels != 1:
            raise ConfigurationError(
                f"The model {model!r} has {loaded.num_labels} outputs.",
                "Give one that was trained to rank: it has a single output.",
            )
        limit = min(loaded.max_seq_length or sys.maxsize, max_length or sys.maxsize)
        loaded.max_seq_length = limit
        return cls(loaded, limit)

    def __call__(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return the relevance of each text to the query, from 0 to 1, in the order of the texts.

        It is the logistic function of the model's output, also for models that give that output as their score:
        the order is the same, and a threshold means the same for all of them.
        """
        if not texts:
            return []
        from torch.nn import Identity

        pairs = [(query, text) for text in texts]
        # Tokenizers cannot be shared by threads, and a call has all cores anyway.
        with self._alone:
            self._say_truncated(pairs)
            outputs = self.model.predict(
                pairs, batch_size=self.batch_size, activation_fn=Identity(), show_progress_bar=False
            )
        # In double precision, or good texts would be equal: 1 / (1 + exp(-17)) is 1 in single precision.
        relevance = 1 / (1 + np.exp(-np.asarray(outputs, np.float64)))
        return [float(value) for value in relevance]

    def _say_truncated(self, pairs: Sequence[tuple[str, str]]) -> None:
        encoded = self.model.tokenizer(pairs, truncation=False, padding=False, verbose=False)["input_ids"]
        longer = sum(len(tokens) > self.token_limit for tokens in encoded)
        if longer:
            logger.warning(
                "{} of {} texts are longer with the query than the {} tokens that the reranker reads; their ends "
                "were not read",
                longer,
                len(pairs),
                self.token_limit,
            )
