"""Loading much into a Qdrant server: the graph is built once, after the load, and several requests are under way.

So does Qdrant advise it: https://qdrant.tech/documentation/manage-data/bulk-upload/
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from loguru import logger
from qdrant_client import QdrantClient, models

from feature_store.index import is_local, read_metadata, retrying
from feature_store.index_record import Keep

STREAMS = 4  # what Qdrant advises is 2 to 4: while the server stores one request, the next is on its way
SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_FOR_THE_GRAPH = 1800.0
_NEVER = 0  # as an indexing threshold
_LOOKS = 2  # one green alone may be from before the server began
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@contextmanager
def indexing_deferred(client: QdrantClient, collection: str, new_points: int, keep: Keep) -> Iterator[None]:
    """Let a server build its graph after this block, if the block brings as many new points as a bulk load has.

    The collection notes the threshold that it had. So what a load that was killed has left behind is put right by the
    next one, large or small. ``keep`` is called while the graph is built.
    """
    metadata = None if is_local(client) else read_metadata(client, collection)
    if metadata is None:
        yield
        return
    threshold = metadata.indexing_threshold
    if threshold is None and new_points >= metadata.server.bulk_load_from:
        threshold = _defer(client, collection)
    if threshold is None:
        yield
        return
    try:
        yield
    except BaseException:
        _try_to_resume(client, collection, threshold)
        raise
    retrying()(_set_threshold, client, collection, threshold, noted=None)
    _wait_for_graph(client, collection, keep)


def in_streams(client: QdrantClient, write: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Call ``write`` for every item and yield what it returns, in their order: four at a time on a server.

    After a failure no further one is begun, and none is under way any more when the error arrives.
    """
    if is_local(client):
        yield from map(write, items)
        return
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(STREAMS) as pool:
        for item in items:
            waiting.append(pool.submit(write, item))
            if len(waiting) == STREAMS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _defer(client: QdrantClient, collection: str) -> int | None:
    """Keep the server from building its graph; return the threshold to go back to, None if it builds none anyway."""
    threshold = retrying()(client.get_collection, collection).config.optimizer_config.indexing_threshold
    if not threshold:
        return None
    logger.info("{}: a bulk load; the graph is built after it", collection)
    retrying()(_set_threshold, client, collection, _NEVER, noted=threshold)
    return threshold


def _set_threshold(client: QdrantClient, collection: str, threshold: int, noted: int | None) -> None:
    client.update_collection(
        collection,
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=threshold),
        metadata={"indexing_threshold": noted},  # None takes the note away
    )


def _try_to_resume(client: QdrantClient, collection: str, threshold: int) -> None:
    try:
        _set_threshold(client, collection, threshold, noted=None)
    except Exception as error:  # noqa: BLE001 (whatever it is, it must not hide why the load failed)
        logger.warning("{}: the server still builds no graph: {!r}. The next load sees to it.", collection, error)


def _wait_for_graph(client: QdrantClient, collection: str, keep: Keep) -> None:
    """Wait until the server has nothing left to optimise, so that whoever searches next does not read every vector."""
    started, greens = time.monotonic(), 0
    while greens < _LOOKS:
        seconds = time.monotonic() - started
        info = retrying()(client.get_collection, collection)
        if info.status == models.CollectionStatus.RED or seconds > SECONDS_FOR_THE_GRAPH:
            logger.warning(
                "{}: after {:.0f} s the server has status {} ({}); until its graph is built, searches are slow",
                collection, seconds, info.status.value, info.optimizer_status,
            )  # fmt: skip
            return
        greens = greens + 1 if info.status == models.CollectionStatus.GREEN else 0
        keep()
        time.sleep(SECONDS_BETWEEN_LOOKS)
    logger.info("{}: the graph is built ({:.0f} s)", collection, time.monotonic() - started)
