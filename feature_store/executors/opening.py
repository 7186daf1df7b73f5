"""Opening the executor that the configuration names."""

from collections.abc import Iterator
from contextlib import contextmanager

from feature_store.config import ExecutorConfig
from feature_store.executors.here import HERE
from feature_store.executors.interface import Executor


@contextmanager
def open_executor(config: ExecutorConfig) -> Iterator[Executor]:
    """Open the executor of a configuration; its processes, or its connection to a cluster, end with the block."""
    del config
    yield HERE
