"""What a stage asks of an executor. Work is handed over in items, results come back in the order of the items."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from feature_store.encoders import Encoder

Item = TypeVar("Item")
Result = TypeVar("Result")
LoadEncoder = Callable[[], Encoder]


class Encoded(NamedTuple):
    """The vectors of some texts, a row each, and the precision at which they were made.

    ``tokens`` counts what the model saw, ``operations`` the floating-point operations that took; 0 is unknown.
    """

    matrix: npt.NDArray[np.float32]
    precision: str
    tokens: int = 0
    operations: int = 0


def encode(encoder: Encoder, texts: Sequence[str]) -> Encoded:
    """Embed texts as documents, and note what that took; nobody else may use this encoder meanwhile."""
    before = _work(encoder)
    matrix = encoder.embed_documents(texts)
    tokens, operations = (after - begun for after, begun in zip(_work(encoder), before, strict=True))
    return Encoded(matrix, encoder.precision, tokens, operations)


def _work(encoder: Encoder) -> tuple[int, int]:
    # A stand-in for a model has none.
    return getattr(encoder, "tokens_embedded", 0), getattr(encoder, "operations_embedded", 0)


class EncoderPool(Protocol):
    """Encoders at work; ``width`` batches under way at once keep all of them busy."""

    @property
    def width(self) -> int: ...

    def submit(self, texts: Sequence[str]) -> Future[Encoded]:
        """Embed texts as documents, some time soon."""
        ...


class Executor(Protocol):
    """Runs functions that depend on their arguments alone; all of them can be pickled."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield the result for each item, in their order.

        Items are taken only as far ahead as keeps all workers busy, so memory does not grow with their number. What a
        function raises is raised here.
        """
        ...

    def encoders(self, encoder: Encoder, load: LoadEncoder) -> AbstractContextManager[EncoderPool]:
        """Open a pool of encoders: ``encoder`` itself in this process, others by ``load`` where they are needed."""
        ...
