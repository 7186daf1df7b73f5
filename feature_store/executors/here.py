"""Everything in this process, one item after the other; the encoder in a thread of its own."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from feature_store.encoders import Encoder
from feature_store.executors.interface import Encoded, EncoderPool, Item, LoadEncoder, Result


class EncoderThread:
    """One encoder in one thread: the model uses all cores by itself."""

    width = 2  # one at work, one ready

    def __init__(self, encoder: Encoder, thread: ThreadPoolExecutor) -> None:
        self._encoder = encoder
        self._thread = thread

    def submit(self, texts: Sequence[str]) -> Future[Encoded]:
        return self._thread.submit(self._encode, texts)

    def _encode(self, texts: Sequence[str]) -> Encoded:
        return Encoded(self._encoder.embed_documents(texts), self._encoder.precision)


class Here:
    """Runs everything in this process."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        return map(function, items)

    @contextmanager
    def encoders(self, encoder: Encoder, load: LoadEncoder) -> Iterator[EncoderPool]:  # noqa: ARG002
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder") as thread:
            yield EncoderThread(encoder, thread)


HERE = Here()
