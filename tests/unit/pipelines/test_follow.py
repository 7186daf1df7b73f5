"""A watch goes on through outages, stops when it is told to, and gives up only on what waiting does not mend."""

from threading import Event

import pytest

from feature_store.errors import (
    ConfigurationError,
    LockedError,
    PreflightError,
    ReconciliationError,
    TooManyRejectsError,
    TransientError,
)
from feature_store.handles import CleanCounts
from feature_store.versions import now
from pipelines.follow import LONGEST_PAUSE_SECONDS, WatchStatus, follow, passes_by_waiting, pause
from steps.report.summary import CaptureSummary, RunSummary


def summary(version=2, more=False, **counts) -> RunSummary:
    return RunSummary(
        run_id="a run",
        finished_at=now(),
        version_before=1 if any(counts.get(name) for name in ("added", "changed", "deleted")) else version,
        version=version,
        categories={"notes": CleanCounts(**counts)},
        captures={"notes": CaptureSummary(mode="log", whole=False, reason="a test", compared_ids=0, more=more)},
        duplicates=0,
        indexes=[],
        invariants=[],
        seconds={},
    )


def watch(*outcomes, every=5.0):
    """Follow these outcomes, then stop; return the last status, and the pauses between the attempts."""
    stop, waiting, pauses = Event(), list(outcomes), []

    def run_batch():
        outcome = waiting.pop(0)
        if not waiting:
            stop.set()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    stop.wait = pauses.append
    told = []
    status = follow(run_batch, stop, every, lambda *what: told.append(what))
    assert [seconds for _, seconds in told] == pauses
    return status, pauses


def test_where_nothing_waits_the_next_look_is_a_pause_later():
    status, pauses = watch(None, None)
    assert pauses == [5.0, 5.0]
    assert (status.batches, status.changes) == (0, 0)


def test_changes_are_added_up_over_the_batches():
    status, _ = watch(summary(added=3), None, summary(version=3, changed=2, deleted=1, metadata_changed=4))
    assert (status.version, status.batches, status.changes) == (3, 2, 10)
    assert status.changed_at is not None


def test_a_batch_that_left_changes_behind_is_followed_by_the_next_at_once():
    _, pauses = watch(summary(added=3, more=True), summary(added=1))
    assert pauses == [0.0, 5.0]


def test_an_outage_while_more_changes_wait_is_waited_for_all_the_same():
    away = TransientError("The warehouse stopped answering.")
    _, pauses = watch(summary(added=3, more=True), away, away, summary(added=1))
    assert pauses[0] == 0.0
    assert pauses[2] > pauses[1] >= 5.0
    assert pauses[3] == 5.0


def test_pauses_grow_while_a_service_is_away_and_are_short_again_after_it_came_back():
    away = TransientError("The warehouse stopped answering.")
    status, pauses = watch(*[away] * 12, None)
    assert all(seconds <= LONGEST_PAUSE_SECONDS for seconds in pauses)
    assert pauses[0] >= 5.0
    assert pauses[5] > pauses[0]
    assert pauses[11] >= LONGEST_PAUSE_SECONDS / 2
    assert pauses[12] == 5.0
    assert (status.problem, status.waits) == ("", 0)


def test_deletions_that_wait_for_approval_are_not_asked_for_at_full_speed():
    status, pauses = watch(summary(held_back=500), summary(held_back=500), summary(added=1, held_back=500))
    assert pauses[1] > pauses[0] > 5.0
    assert pauses[2] == 5.0
    assert status.held_back == 500


def test_a_signal_in_the_middle_of_a_batch_ends_the_watch_with_what_was_done():
    status, pauses = watch(summary(added=3), KeyboardInterrupt(), summary(added=1))
    assert (status.changes, pauses) == (3, [5.0])


def test_what_waiting_does_not_mend_ends_the_watch():
    with pytest.raises(ReconciliationError):
        watch(None, ReconciliationError("points are missing"), None)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (TransientError("away"), True),
        (LockedError("another run"), True),
        (PreflightError([TransientError("away"), LockedError("open")]), True),
        (PreflightError([TransientError("away"), ConfigurationError("no collection")]), False),
        (ConfigurationError("wrong"), False),
        (TooManyRejectsError("bad documents"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_only_outages_and_other_runs_pass_by_waiting(error, passes):
    assert passes_by_waiting(error) is passes


def test_pauses_are_spread_so_that_watchers_do_not_come_back_together():
    assert len({pause(WatchStatus(waits=3), 5.0) for _ in range(20)}) > 10
