"""The status line of a watch: one line on a terminal, a line at each change of what it says elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from feature_store.versions import now
from pipelines.follow import WatchStatus


@contextmanager
def shown_status() -> Iterator[Callable[[WatchStatus, float], None]]:
    """Give the function that shows a status and the seconds until the next attempt."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not sys.stderr.isatty():
        yield _told_once(console)
        return
    with console.status("watching") as line:
        yield lambda status, seconds: line.update(escape(describe(status, seconds)))


def describe(status: WatchStatus, seconds: float) -> str:
    """Return the status in one line."""
    parts = [
        f"version {status.version or '-'}",
        f"{status.batches:,} batches",
        f"{status.changes:,} changed documents",
    ]
    if status.changed_at is not None:
        parts.append(f"last change {status.changed_at:%H:%M:%S} UTC")
    if status.held_back:
        parts.append(f"{status.held_back:,} deletions held back: see `feature-pipeline run --approve-deletions`")
    if status.problem:
        parts.append(f"{status.problem} Next attempt in {seconds:.0f} s")
    return "watching: " + ", ".join(parts)


def _told_once(console: Console) -> Callable[[WatchStatus, float], None]:
    last = ""

    def tell(status: WatchStatus, seconds: float) -> None:
        nonlocal last
        line = describe(status, seconds)
        if line != last:
            console.print(f"{now():%Y-%m-%d %H:%M:%S} {escape(line)}")
            last = line

    return tell
