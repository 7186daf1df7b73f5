"""Progress of long work: a bar with rate and time left on a terminal, a line now and then elsewhere.

Whoever is in ``observers`` hears the same figures from time to time: a ZenML step keeps them in its metadata.
"""

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from loguru import logger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_SECONDS_BETWEEN_LINES = 15.0
_SECONDS_BETWEEN_OBSERVATIONS = 10.0
_GROWTH = 0.02  # of the time so far: work of many hours is observed less often
_SECONDS_WORTH_TELLING = 1.0  # that work must have taken for its end to be observed
_WINDOW = 30.0  # seconds of which a rate is
_ENOUGH = 0.005  # of the total, before which the time left would be a guess


class Advance(Protocol):
    """Says that so many more units are done."""

    def __call__(self, units: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Standing:
    """How far some work is: ``done`` of ``total`` units (None: unknown), units a second of late.

    ``unit`` is a noun in the singular, or empty. ``seconds_left`` is None where nobody can know; ``seconds`` is there
    once the work has ended: how long it took.
    """

    description: str
    unit: str
    done: int
    total: int | None
    rate: float
    seconds_left: float | None
    seconds: float | None = None

    def __str__(self) -> str:
        units = f" {self.unit}s" if self.unit else ""
        amount = f"{self.done:,}{units}" if not self.total else f"{self.done:,} of {self.total:,}{units}"
        if self.seconds is not None:
            return f"{amount} in {self.seconds:,.0f} s, {said_rate(self.rate)}"
        left = "" if self.seconds_left is None else f", about {said_duration(self.seconds_left)} left"
        return f"{amount}, {said_rate(self.rate)}{left}"


Observer = Callable[[Standing], None]
observers: list[Observer] = []
"""Called in the thread that works: at most every ten seconds, and at the end. They must return at once."""


@contextmanager
def progress(description: str, total: int | None, unit: str = "") -> Iterator[Advance]:
    """Show the progress of ``total`` units (None: unknown); the value of the block is called with each advance.

    ``unit`` names what is counted, in the singular: ``document``.
    """
    pace = _Pace(description, total, unit)
    if sys.stderr.isatty():
        with _bar(pace) as advance:
            yield _observed(pace, advance)
    else:
        yield _observed(pace, _lines(pace))
    _tell_the_end(pace)


def said_rate(rate: float) -> str:
    """Return a rate as a person reads it: slow ones with a digit, or by the minute."""
    if 0 < rate < 1:
        return f"{rate * 60:,.1f}/min"
    return f"{rate:,.1f}/s" if 0 < rate < 10 and rate != round(rate) else f"{rate:,.0f}/s"  # noqa: PLR2004


def said_duration(seconds: float) -> str:
    """Return a time as a person reads it."""
    if seconds < 180:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"  # noqa: PLR2004


class _Pace:
    """Counts units, and knows how many there were a second of late: a slow start is forgotten."""

    def __init__(self, description: str, total: int | None, unit: str) -> None:
        self.description = description
        self.total = total
        self.unit = unit
        self.done = 0
        self.started = self.now = self.observed = time.monotonic()
        self._past = deque([(self.started, 0)])

    def advance(self, units: int) -> None:
        self.done += units
        self.now = time.monotonic()
        # One of them is at least a window ago, or the start; so a rate is never of the last instant alone.
        while len(self._past) > 1 and self._past[1][0] <= self.now - _WINDOW:
            self._past.popleft()
        if self.now - self._past[-1][0] >= 1:
            self._past.append((self.now, self.done))

    def standing(self) -> Standing:
        since, before = self._past[0]
        now = time.monotonic()
        rate = (self.done - before) / (now - since) if now > since else 0.0
        is_known = self.total and rate and self.done >= _ENOUGH * self.total
        left = max(0, self.total - self.done) / rate if self.total and is_known else None
        return Standing(self.description, self.unit, self.done, self.total, rate, left)

    def ended(self) -> Standing:
        seconds = time.monotonic() - self.started
        rate = self.done / seconds if seconds else 0.0
        return Standing(self.description, self.unit, self.done, self.total, rate, 0.0, seconds)


def _observed(pace: _Pace, show: Advance) -> Advance:
    def advance(units: int) -> None:
        pace.advance(units)
        show(units)
        wait = max(_SECONDS_BETWEEN_OBSERVATIONS, _GROWTH * (pace.now - pace.started))
        if pace.now - pace.observed >= wait:
            pace.observed = pace.now
            _tell(pace.standing())

    return advance


def _tell_the_end(pace: _Pace) -> None:
    standing = pace.ended()
    if standing.seconds is not None and standing.seconds >= _SECONDS_WORTH_TELLING and standing.done:
        _tell(standing)


def _tell(standing: Standing) -> None:
    for observer in observers:
        observer(standing)


class _Rate(ProgressColumn):
    def __init__(self, pace: _Pace) -> None:
        super().__init__()
        self._pace = pace

    def render(self, task: Task) -> Text:  # noqa: ARG002
        rate = self._pace.standing().rate
        unit = f" {self._pace.unit}s" if self._pace.unit else ""
        return Text(f"{unit.strip()} {said_rate(rate)}".strip() if rate else unit.strip(), style="dim")


@contextmanager
def _bar(pace: _Pace) -> Iterator[Advance]:
    # A second descriptor for the terminal: ZenML records sys.stderr, and a bar is no log line.
    with os.fdopen(os.dup(sys.stderr.fileno()), "w") as terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            _Rate(pace),
            TimeRemainingColumn(),
        )
        console = Console(file=terminal, force_terminal=True)
        with Progress(
            *columns,
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            speed_estimate_period=_WINDOW,
        ) as bars:
            task = bars.add_task(pace.description, total=pace.total)
            yield lambda units: bars.advance(task, units)


def _lines(pace: _Pace) -> Advance:
    last = pace.started

    def advance(units: int) -> None:  # noqa: ARG001 - the pace has counted them
        nonlocal last
        if pace.now - last >= _SECONDS_BETWEEN_LINES:
            last = pace.now
            logger.info("{}: {}", pace.description, pace.standing())

    return advance
