"""Opening the executor that the configuration names."""

from collections.abc import Iterator
from contextlib import contextmanager

from feature_store.config import ExecutorConfig
from feature_store.errors import ConfigurationError
from feature_store.executors.here import HERE
from feature_store.executors.interface import Executor
from feature_store.executors.processes import Processes

_kept: list[dict[ExecutorConfig, Processes]] = []


@contextmanager
def open_executor(config: ExecutorConfig) -> Iterator[Executor]:
    """Open the executor of a configuration; its processes, or its connection to a cluster, end with the block.

    Raises:
        ConfigurationError: if a cluster is configured and Ray is not installed.
    """
    if config.kind == "ray":
        with _open_cluster(config) as cluster:
            yield cluster
    elif config.workers == 1 and config.encoders in {None, 1}:
        yield HERE
    elif _kept:
        yield _kept[-1].setdefault(config, Processes(config.workers, config.encoders))
    else:
        processes = Processes(config.workers, config.encoders)
        try:
            yield processes
        finally:
            processes.close()


@contextmanager
def kept_between_steps() -> Iterator[None]:
    """Let the processes of executors that are opened inside of the block work for one step after the other.

    They end by ``end_processes``, at the latest at the end of the block.
    """
    _kept.append({})
    try:
        yield
    finally:
        end_processes()
        _kept.pop()


def end_processes() -> None:
    """End the processes that are kept; a step that has need of them starts them again."""
    for opened in _kept:
        for processes in opened.values():
            processes.close()


@contextmanager
def _open_cluster(config: ExecutorConfig) -> Iterator[Executor]:
    try:
        from feature_store.executors.cluster import open_cluster
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "ray":
            raise
        raise ConfigurationError(
            "The configuration says `executor: ray`, and Ray is not installed.", "Run: pip install '.[ray]'"
        ) from error
    with open_cluster(config) as cluster:
        yield cluster
