"""Everything in this process, one item after the other; the encoder in a thread of its own."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from feature_store.encoders import Encoder
from feature_store.executors.interface import Encoded, EncoderPool, Item, LoadEncoder, Result, encode


class EncoderThread:
    """One encoder in one thread: the model uses all cores by itself."""

    width = 2  # one at work, one ready

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder")

    def submit(self, texts: Sequence[str]) -> Future[Encoded]:
        return self._thread.submit(encode, self._encoder, texts)

    def close(self) -> None:
        """Wait for the batch that is with the model; drop the one that waits."""
        self._thread.shutdown(cancel_futures=True)


class Here:
    """Runs everything in this process."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        return map(function, items)

    @contextmanager
    def encoders(self, encoder: Encoder, load: LoadEncoder) -> Iterator[EncoderPool]:  # noqa: ARG002
        thread = EncoderThread(encoder)
        try:
            yield thread
        finally:
            thread.close()


HERE = Here()
