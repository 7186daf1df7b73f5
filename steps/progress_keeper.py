"""Keeps the progress of a step where a person can look it up, in a thread of its own: the work never waits for it."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from loguru import logger

from feature_store.progress import Standing

Write = Callable[[dict[str, str]], None]

# One for all steps of this process. It is joined when the process ends, so the last word is written too.
_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="progress")


class ProgressKeeper:
    """Hears how far the work of one step is, and writes all that it has heard: a line for each piece of work.

    While one is being written others are left out, but for the end of a piece of work. What cannot be written is told
    once, and no step fails for it.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._lines: dict[str, str] = {}
        self._under_way: Future[None] | None = None
        self._failed = False

    def __call__(self, standing: Standing) -> None:
        self._lines[standing.description] = str(standing)
        has_ended = standing.seconds is not None
        if self._failed or (self._under_way and not self._under_way.done() and not has_ended):
            return
        self._under_way = _THREAD.submit(self._keep, dict(self._lines))

    def wait(self) -> None:
        """Wait until everything that was heard is written."""
        if self._under_way:
            self._under_way.result()

    def _keep(self, lines: dict[str, str]) -> None:
        try:
            self._write(lines)
        except Exception as error:  # noqa: BLE001 - a step's work counts, whatever a remote ZenML server says
            self._failed = True
            logger.warning("The progress of this step cannot be shown in ZenML: {}", error)
