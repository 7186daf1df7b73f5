"""How much memory a process and all that it started hold together, at most."""

import threading
from contextlib import suppress
from typing import Self

import psutil

from feature_store.profile import held_memory

SECONDS_BETWEEN_LOOKS = 0.2
BYTES_PER_MB = 1_000_000


class MemoryWatch:
    """Looks at a process and its descendants in a thread of its own, as long as the block lasts.

    Pages that several of them share count once (PSS), where the system can tell.
    """

    def __init__(self, pid: int) -> None:
        self.peak_mb = 0.0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        with suppress(psutil.NoSuchProcess):  # it has ended
            process = psutil.Process(self._pid)
            while not self._ended.wait(SECONDS_BETWEEN_LOOKS):
                held = sum(map(held_memory, [process, *process.children(recursive=True)])) / BYTES_PER_MB
                self.peak_mb = max(self.peak_mb, round(held, 1))
