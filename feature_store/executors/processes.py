"""Part functions in processes of this machine, one for each core, once there is enough to do."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING

from feature_store.encoders import Encoder
from feature_store.errors import TransientError, first_line
from feature_store.executors.here import HERE
from feature_store.executors.interface import Encoded, EncoderPool, Item, LoadEncoder, Result
from feature_store.executors.worker import apply, become_worker, embed
from feature_store.memory import FOR_PROCESSES

if TYPE_CHECKING:
    from loky import ProcessPoolExecutor

SECONDS_HERE = 0.25
"""Time spent on items in this process before others are started; the first item does not count, it imports the stage.

Others need up to two seconds to start and to import the same, on cores that would be idle. So only memory (200 MB
each) and processor time are at stake, and these not for work that is done in a moment.
"""

_AHEAD = 2  # items under way for each of the others: one at work, one waiting
_RESULTS_AHEAD = 64  # results kept while an earlier one is waited for, as while processes start
_IDLE_SECONDS = 20  # after which a process ends by itself: so none outlives a run that was killed
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Processes:
    """Runs part functions in this process first, then in others too: started by work that is worth it, then kept.

    ``workers`` counts this process. More than one of ``encoders`` work in processes of their own that share the cores.
    """

    def __init__(
        self, workers: int | None = None, encoders: int | None = None, seconds_here: float = SECONDS_HERE
    ) -> None:
        self._workers = workers
        self._encoders = encoders or 1
        self._seconds_here = seconds_here
        self._pool: ProcessPoolExecutor | None = None

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        left = iter(items)
        if self._pool is None:
            yield from map(function, islice(left, 1))
        spent = 0.0
        for item in left:
            is_worth_it = self._pool is not None or spent >= self._seconds_here
            if is_worth_it and (following := list(islice(left, 1))):
                yield from self._map_shared(function, chain([item], following, left))
                return
            started = time.monotonic()
            result = function(item)
            spent += time.monotonic() - started
            yield result

    def encoders(self, encoder: Encoder, load: LoadEncoder) -> AbstractContextManager[EncoderPool]:
        return HERE.encoders(encoder, load) if self._encoders == 1 else _encoder_processes(self._encoders, load)

    def close(self) -> None:
        """End all processes at once; nobody waits for what they are doing."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, kill_workers=True)
            self._pool = None

    def _map_shared(self, function: Callable[[Item], Result], items: Iterator[Item]) -> Iterator[Result]:
        """Keep the other processes busy, and do an item here whenever the result that is due is not there yet."""
        from cloudpickle import dumps
        from loky import cpu_count
        from loky.process_executor import BrokenProcessPool

        others = (self._workers or cpu_count()) - 1
        if others == 0:
            yield from map(function, items)
            return
        pickled = dumps(function)  # once: a worker reads it once too
        under_way: deque[Future[Result]] = deque()
        most = _AHEAD * others + _RESULTS_AHEAD
        try:
            while True:
                unfinished = sum(not future.done() for future in under_way)
                for item in islice(items, max(0, min(_AHEAD * others - unfinished, most - len(under_way)))):
                    under_way.append(self._started(others).submit(apply, pickled, item))
                if not under_way:
                    return
                is_due = under_way[0].done() or len(under_way) >= most
                done_here = [] if is_due else [_done(function, item) for item in islice(items, 1)]
                under_way.extend(done_here)
                if not done_here:
                    yield under_way.popleft().result()
        except BrokenProcessPool as error:
            self.close()
            raise _was_killed(error, "executor.workers") from error
        finally:
            for future in under_way:
                future.cancel()

    def _started(self, workers: int) -> "ProcessPoolExecutor":
        if self._pool is None:
            self._pool = _start(workers, threads=1)
        return self._pool


class _EncoderProcesses:
    def __init__(self, pool: "ProcessPoolExecutor", size: int, load: LoadEncoder) -> None:
        from cloudpickle import dumps

        self.width = 2 * size  # one at work, one ready
        self._pool = pool
        self._load = dumps(load)

    def submit(self, texts: Sequence[str]) -> Future[Encoded]:
        future: Future[Encoded] = self._pool.submit(embed, self._load, list(texts))
        return future


@contextmanager
def _encoder_processes(size: int, load: LoadEncoder) -> Iterator[EncoderPool]:
    from loky import cpu_count
    from loky.process_executor import BrokenProcessPool

    pool = _start(size, threads=max(1, cpu_count() // size))
    try:
        yield _EncoderProcesses(pool, size, load)
    except BrokenProcessPool as error:
        raise _was_killed(error, "executor.encoders") from error
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def _done(function: Callable[[Item], Result], item: Item) -> "Future[Result]":
    future: Future[Result] = Future()
    try:
        future.set_result(function(item))
    except Exception as error:  # noqa: BLE001 - raised when its turn comes
        future.set_exception(error)
    return future


def _start(workers: int, threads: int) -> "ProcessPoolExecutor":
    from loky import ProcessPoolExecutor

    environment = {**dict.fromkeys(_THREADS, str(threads)), "TOKENIZERS_PARALLELISM": "false", **FOR_PROCESSES}
    return ProcessPoolExecutor(workers, timeout=_IDLE_SECONDS, initializer=become_worker, env=environment)


def _was_killed(error: Exception, setting: str) -> TransientError:
    return TransientError(
        f"A process of this machine that worked on a part was ended from outside, most likely for want of memory: "
        f"{first_line(error)[:200]}",
        f"Run again; if it happens again, set {setting} to fewer, or to 1.",
    )
