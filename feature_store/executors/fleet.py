"""Encoders elsewhere as one pool: each batch goes to the one with the least to do, that of a lost one to another."""

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial
from threading import Condition
from typing import Protocol

from loguru import logger

from feature_store.errors import PipelineError, TerminalError
from feature_store.executors.interface import Encoded

BATCHES_EACH = 2  # one at work, one on its way
ATTEMPTS = 4  # of a batch, and of starting one encoder
_SECONDS_UNTIL_TOLD = 30


class LostError(Exception):
    """An encoder is gone; what it was asked for may be asked of another."""


class RemoteEncoder(Protocol):
    """An encoder in another process. Each of its methods but ``stop`` raises `LostError` once that is gone."""

    def load(self) -> None:
        """Get the model ready."""
        ...

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Embed texts as documents."""
        ...

    def stop(self) -> None:
        """End the process, if it is still there; calls that wait raise `LostError`."""
        ...


class Fleet:
    """A pool of ``size`` encoders that ``start`` begins to start; it is given the place (from 0) to be filled.

    All that waits does so in threads, so nothing is needed of what the encoders run on but calls that block.
    """

    def __init__(self, start: Callable[[int], RemoteEncoder], size: int) -> None:
        self.width = size * BATCHES_EACH
        self._start = start
        self._changed = Condition()
        self._started: set[RemoteEncoder] = set()
        self._batches: dict[RemoteEncoder, int] = {}  # of those that are ready
        self._places: dict[RemoteEncoder, int] = {}
        self._open_places = size
        self._failure: BaseException | None = None
        self._closed = False
        self._starters = ThreadPoolExecutor(size, thread_name_prefix="encoder-start")
        self._threads = ThreadPoolExecutor(self.width, thread_name_prefix="encoder")
        for place in range(size):
            self._fill(place)

    def submit(self, texts: Sequence[str]) -> Future[Encoded]:
        """Embed texts as documents, some time soon."""
        return self._threads.submit(self._encode, texts)

    def close(self) -> None:
        """Stop all encoders, whatever they are doing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            started = list(self._started)
        for encoder in started:
            encoder.stop()
        self._threads.shutdown(cancel_futures=True)
        self._starters.shutdown(cancel_futures=True)

    def _encode(self, texts: Sequence[str]) -> Encoded:
        for _ in range(ATTEMPTS):
            encoder = self._take()
            try:
                return encoder.encode(texts)
            except LostError as error:
                lost = error
                self._replace(encoder, error)
            finally:
                self._give_back(encoder)
        raise TerminalError(
            f"{ATTEMPTS} encoders were lost over the same {len(texts)} texts; the last one: {lost}",
            "Look at its log for the cause, such as memory: fewer encoders on a node or more memory for each.",
        ) from lost

    def _take(self) -> RemoteEncoder:
        """Wait for an encoder that can take one more batch: the one with the fewest."""
        with self._changed:
            while True:
                if self._closed:
                    raise CancelledError
                if self._failure is not None:
                    raise self._failure
                free = [encoder for encoder, batches in self._batches.items() if batches < BATCHES_EACH]
                if free:
                    least = min(free, key=self._batches.__getitem__)
                    self._batches[least] += 1
                    return least
                if not self._changed.wait(_SECONDS_UNTIL_TOLD) and not self._batches:
                    logger.warning("No encoder is ready: the cluster has no room for one yet, or the model is loading")

    def _give_back(self, encoder: RemoteEncoder) -> None:
        with self._changed:
            if encoder in self._batches:
                self._batches[encoder] -= 1
            self._changed.notify_all()

    def _replace(self, encoder: RemoteEncoder, lost: LostError) -> None:
        with self._changed:
            if self._closed or self._batches.pop(encoder, None) is None:
                return  # by the thread of its other batch
            place = self._places.pop(encoder)
        logger.warning("An encoder was lost, another takes its place: {}", lost)
        encoder.stop()
        self._fill(place)

    def _fill(self, place: int) -> None:
        with self._changed:
            if not self._closed:
                self._starters.submit(self._bring_up, place).add_done_callback(partial(self._note, place))

    def _bring_up(self, place: int) -> None:
        """Start an encoder, again if it is lost on the way, until it is ready."""
        for attempt in range(1, ATTEMPTS + 1):
            encoder = self._start(place)
            with self._changed:
                self._started.add(encoder)
                closed = self._closed
            if closed:
                encoder.stop()
                return
            try:
                encoder.load()
            except LostError:
                if attempt == ATTEMPTS:
                    raise
            else:
                break
        with self._changed:
            self._batches[encoder], self._places[encoder] = 0, place
            self._changed.notify_all()

    def _note(self, place: int, started: Future[None]) -> None:
        """Go on without a place that cannot be filled; what a model's loading raises ends the work."""
        failure = None if started.cancelled() else started.exception()
        if failure is None:
            return
        with self._changed:
            self._open_places -= 1
            if not isinstance(failure, LostError):
                self._failure = failure
            elif self._open_places == 0:
                self._failure = _none_left(failure)
            self._changed.notify_all()
        if not self._closed:
            logger.warning("Encoder {} does not start: {}", place, failure)


def _none_left(lost: LostError) -> PipelineError:
    return TerminalError(
        f"No encoder could be started; the last one was lost while it loaded the model: {lost}",
        "Look at its log for the cause, such as memory: fewer encoders on a node or more memory for each.",
    )
