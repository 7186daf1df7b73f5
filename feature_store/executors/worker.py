"""What a process that was started for part functions runs. It imports next to nothing: each of them pays for it."""

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from pickle import loads
from typing import TYPE_CHECKING, Any

from loguru import logger

from feature_store.start_up import spare_pandas

if TYPE_CHECKING:
    from feature_store.encoders import Encoder
    from feature_store.executors.interface import Encoded

_FUNCTIONS = 4


def become_worker() -> None:
    """Prepare this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the one that waits for us decides
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    logging.disable(logging.INFO)


def apply(pickled: bytes, item: Any) -> Any:
    """Apply a pickled function to an item."""
    spare_pandas()
    return _function(pickled)(item)


def embed(load: bytes, texts: Sequence[str]) -> "Encoded":
    """Embed texts by the encoder that a pickled function gives; it is called once."""
    from feature_store.executors.interface import encode

    return encode(_encoder(load), texts)


@lru_cache(maxsize=1)
def _encoder(load: bytes) -> "Encoder":
    encoder: Encoder = _function(load)()
    return encoder


@lru_cache(maxsize=_FUNCTIONS)
def _function(pickled: bytes) -> Callable[..., Any]:
    function: Callable[..., Any] = loads(pickled)  # noqa: S301 - from the process that started this one
    return function
