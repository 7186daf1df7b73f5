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

SECONDS_HERE = 4.0
"""Time spent on items in this process before others are started.

About what it costs to start two and to import the stage there: two seconds of processor time each. Nobody knows how
much is left; to go on alone for as long as starting costs loses at most as much again, whatever comes (the ski-rental
argument).
"""

_AHEAD = 2  # items under way for each process: one at work, one waiting
_IDLE_SECONDS = 20  # after which a process ends by itself: so none outlives a run that was killed
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Processes:
    """Runs part functions here first, then in processes: started by the first work that is worth it, then kept.

    More than one of ``encoders`` work in processes of their own too, which share the cores.
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
        spent: float | None = None
        for item in left:
            is_worth_it = spent is not None and spent >= self._seconds_here
            if is_worth_it and (following := list(islice(left, 1))):
                yield from self._map_there(function, chain([item], following, left))
                return
            started = time.monotonic()
            result = function(item)
            spent = (spent or 0.0) + time.monotonic() - started
            yield result

    def encoders(self, encoder: Encoder, load: LoadEncoder) -> AbstractContextManager[EncoderPool]:
        return HERE.encoders(encoder, load) if self._encoders == 1 else _encoder_processes(self._encoders, load)

    def close(self) -> None:
        """End all processes at once; nobody waits for what they are doing."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, kill_workers=True)
            self._pool = None

    def _map_there(self, function: Callable[[Item], Result], items: Iterator[Item]) -> Iterator[Result]:
        from cloudpickle import dumps
        from loky import cpu_count
        from loky.process_executor import BrokenProcessPool

        workers = self._workers or cpu_count()
        if workers == 1:
            yield from map(function, items)
            return
        pickled = dumps(function)  # once: a worker reads it once too
        under_way: deque[Future[Result]] = deque()
        try:
            while True:
                for item in islice(items, _AHEAD * workers - len(under_way)):
                    under_way.append(self._started(workers).submit(apply, pickled, item))
                if not under_way:
                    return
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
