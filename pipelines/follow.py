"""Following the warehouse: the same pipeline again and again, in micro-batches, as long as something changes.

The server's own log, the outbox or the watermark is the buffer while nobody watches: a watch that was stopped, or
killed, goes on where the feature store is.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Event

from feature_store.errors import LockedError, PipelineError, PreflightError, TransientError
from feature_store.versions import now
from steps.report.summary import RunSummary

LONGEST_PAUSE_SECONDS = 300.0
_CHANGES = ("added", "changed", "metadata_changed", "deleted")


@dataclass(frozen=True, slots=True)
class WatchStatus:
    """What a watch has done so far. ``waits`` counts the pauses in a row that were for an outage or an approval."""

    version: int | None = None
    batches: int = 0
    changes: int = 0
    changed_at: datetime | None = None
    held_back: int = 0
    more: bool = False
    waits: int = 0
    problem: str = ""


def follow(
    run_batch: Callable[[], RunSummary | None],
    stop: Event,
    every: float,
    tell: Callable[[WatchStatus, float], None],
) -> WatchStatus:
    """Call ``run_batch`` until ``stop`` is set, ``every`` seconds after it left nothing to do.

    ``run_batch`` returns None where nothing waits. Outages, and deletions that somebody has to approve, are waited for
    with growing pauses of up to five minutes. ``tell`` gets the status and the seconds until the next attempt.

    Raises:
        PipelineError: one that does not pass by waiting.
    """
    status = WatchStatus()
    while not stop.is_set():
        try:
            status = after_batch(status, run_batch())
        except KeyboardInterrupt:  # a signal in the middle of a batch; what was finished is kept
            break
        except PipelineError as error:
            if not passes_by_waiting(error):
                raise
            status = replace(status, waits=status.waits + 1, problem=str(error))
        seconds = pause(status, every)
        tell(status, seconds)
        stop.wait(seconds)
    return status


def after_batch(status: WatchStatus, summary: RunSummary | None) -> WatchStatus:
    """Return the status after an attempt that did not fail."""
    if summary is None:
        return replace(status, more=False, waits=0, problem="")
    changes = sum(getattr(counts, name) for counts in summary.categories.values() for name in _CHANGES)
    held_back = sum(summary.held_back().values())
    moved = bool(changes) or not summary.changed_nothing()
    return WatchStatus(
        version=summary.version,
        batches=status.batches + 1,
        changes=status.changes + changes,
        changed_at=now() if moved else status.changed_at,
        held_back=held_back,
        more=any(capture.more for capture in summary.captures.values()),
        # Held back deletions are found again by every attempt.
        waits=status.waits + 1 if held_back and not moved else 0,
    )


def passes_by_waiting(error: PipelineError) -> bool:
    """Return whether the same attempt may succeed later: a service is away, or another run is at work."""
    if isinstance(error, PreflightError):
        return all(passes_by_waiting(problem) for problem in error.problems)
    return isinstance(error, TransientError | LockedError)


def pause(status: WatchStatus, every: float) -> float:
    """Return the seconds until the next attempt: exponential back-off with jitter where there is something to wait for.

    See "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    if not status.waits:
        return 0.0 if status.more else every
    longest = min(LONGEST_PAUSE_SECONDS, max(every, 1.0) * 2**status.waits)
    return random.uniform(longest / 2, longest)  # noqa: S311 - spreads attempts, keeps no secret
