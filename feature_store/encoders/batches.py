"""Texts in batches of about as many tokens, and the threads that work on them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Barrier
from typing import TypeVar

BATCH_TOKENS = 2048
BATCH_TOKENS_ON_GPU = 65_536
_MOST_LANES = 8
_WORTH_LANES = 1024  # tokens; fewer are quicker with all cores at one batch

Done = TypeVar("Done")


def batches_by_tokens(
    lengths: Sequence[int], tokens: int, texts: int | None = None, *, padded: bool = False
) -> Iterator[list[int]]:
    """Yield the places of texts, the longest first, in batches of at most ``tokens`` tokens and ``texts`` texts.

    A text that is longer by itself makes a batch. With ``padded`` every text counts as the longest of its batch does.
    """
    batch: list[int] = []
    total = 0
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        counted = lengths[batch[0]] if padded and batch else lengths[place]
        if batch and (total + counted > tokens or len(batch) == texts):
            yield batch
            batch, total, counted = [], 0, lengths[place]
        batch.append(place)
        total += counted
    if batch:
        yield batch


class Lanes:
    """Threads that each work on a batch of their own, with an equal share of the cores.

    Two batches on one core each are done sooner than two, one after the other, on two cores: nothing waits for the
    slower half of each single operation. Cores are those that torch takes, so ``OMP_NUM_THREADS`` holds.
    """

    def __init__(self, cores: int) -> None:
        self.count = min(cores, _MOST_LANES)
        self._threads: ThreadPoolExecutor | None = None
        if self.count > 1:
            self._threads = _start(self.count, cores)

    def share(self, tokens: int, most: int) -> int:
        """Return how many tokens a batch is to have, so that all lanes end at about the same time."""
        rounds = -(-tokens // (most * self.count))
        return max(1, -(-tokens // (rounds * self.count)) if tokens >= _WORTH_LANES else most)

    def work(self, function: Callable[[list[int]], Done], batches: Sequence[list[int]]) -> list[Done]:
        """Return what the function gives for each batch."""
        if self._threads is None or len(batches) == 1:
            return [function(batch) for batch in batches]
        return list(self._threads.map(function, batches))


@lru_cache(maxsize=1)
def open_lanes() -> Lanes:
    """Return the lanes of this process: all its models share the same cores."""
    import torch

    return Lanes(torch.get_num_threads())


def _start(count: int, cores: int) -> ThreadPoolExecutor:
    import torch

    everyone = Barrier(count + 1)

    def take_share() -> None:
        torch.get_num_threads()  # else the thread takes the number of all threads with its first operation
        torch.set_num_threads(max(1, cores // count))
        everyone.wait()

    threads = ThreadPoolExecutor(count, thread_name_prefix="embedding")
    for _ in range(count):
        threads.submit(take_share)
    everyone.wait()
    torch.set_num_threads(cores)  # of threads yet to come: for them, the last one set counts
    return threads
