"""Progress of long work: a bar with rate and time left on a terminal, a line now and then elsewhere."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from loguru import logger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_SECONDS_BETWEEN_LINES = 15.0


class Advance(Protocol):
    """Says that so many more units are done."""

    def __call__(self, units: int) -> None: ...


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="dim")


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Advance]:
    """Show the progress of ``total`` units (None: unknown); the value of the block is called with each advance."""
    if sys.stderr.isatty():
        with _bar(description, total) as advance:
            yield advance
    else:
        yield _lines(description, total)


@contextmanager
def _bar(description: str, total: int | None) -> Iterator[Advance]:
    # A second descriptor for the terminal: ZenML records sys.stderr, and a bar is no log line.
    with os.fdopen(os.dup(sys.stderr.fileno()), "w") as terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
        )
        console = Console(file=terminal, force_terminal=True)
        with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bars:
            task = bars.add_task(description, total=total)
            yield lambda units: bars.advance(task, units)


def _lines(description: str, total: int | None) -> Advance:
    started = last = time.monotonic()
    done = 0

    def advance(units: int) -> None:
        nonlocal done, last
        done += units
        now = time.monotonic()
        if now - last < _SECONDS_BETWEEN_LINES:
            return
        last = now
        rate = done / (now - started)
        if total:
            left = (total - done) / rate if rate else 0
            logger.info("{}: {:,} of {:,}, {:,.0f}/s, about {:.0f} s left", description, done, total, rate, left)
        else:
            logger.info("{}: {:,}, {:,.0f}/s", description, done, rate)

    return advance
