"""Progress: a bar on a terminal, lines elsewhere, and the same figures for whoever observes."""

import os
import sys

import pytest
from loguru import logger

from feature_store import progress as progress_module
from feature_store.progress import Standing, observers, progress, said_duration, said_rate


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(progress_module, "time", made)
    return made


@pytest.fixture
def messages():
    collected = []
    handler = logger.add(lambda message: collected.append(message.record["message"]), format="{message}", level="INFO")
    yield collected
    logger.remove(handler)


@pytest.fixture
def observed():
    heard = []
    observers.append(heard.append)
    yield heard
    observers.remove(heard.append)


def test_a_line_tells_done_total_rate_and_time_left(clock, messages):
    with progress("reading notes", 4000, "document") as advance:
        clock.now += 20
        advance(1000)
    assert messages == ["reading notes: 1,000 of 4,000 documents, 50/s, about 60 s left"]


def test_without_a_total_a_line_tells_done_and_rate(clock, messages):
    with progress("reading notes", None) as advance:
        clock.now += 20
        advance(1000)
    assert messages == ["reading notes: 1,000, 50/s"]


def test_lines_are_seconds_apart_and_count_everything(clock, messages):
    with progress("embedding", 100) as advance:
        for _ in range(100):
            clock.now += 1
            advance(1)
    assert [message.split(",")[0] for message in messages] == [
        f"embedding: {done} of 100" for done in range(15, 100, 15)
    ]


def test_work_that_did_nothing_for_long_does_not_guess_the_time_left(clock, messages):
    with progress("embedding", 100) as advance:
        clock.now += 60
        advance(0)
    assert messages == ["embedding: 0 of 100, 0/s"]


def test_a_rate_is_of_the_last_seconds_so_a_slow_start_is_forgotten(clock, messages):
    with progress("embedding", 10_000) as advance:
        clock.now += 300  # a model is loaded
        advance(10)
        for _ in range(60):
            clock.now += 1
            advance(100)
    assert messages[-1] == "embedding: 6,010 of 10,000, 100/s, about 40 s left"


def test_from_a_first_unit_nobody_guesses_the_time_left(clock, messages):
    with progress("embedding", 2629, "chunk") as advance:
        clock.now += 100
        advance(1)
        clock.now += 20
        advance(13)
    assert messages == [
        "embedding: 1 of 2,629 chunks, 0.6/min",
        "embedding: 14 of 2,629 chunks, 7.0/min, about 6.2 h left",
    ]


def test_a_rate_of_work_that_is_told_seldom_is_not_of_one_instant(clock, messages):
    with progress("embedding", 1000) as advance:
        for _ in range(3):
            clock.now += 100
            advance(50)
            advance(50)
    assert messages[-1].startswith("embedding: 250 of 1,000, 1/s")


def test_more_than_was_expected_leaves_no_time(clock, messages):
    with progress("reading notes", 10) as advance:
        clock.now += 20
        advance(40)
    assert messages == ["reading notes: 40 of 10, 2/s, about 0 s left"]


def test_observers_hear_the_figures_of_the_lines_every_ten_seconds_and_at_the_end(clock, messages, observed):
    with progress("embedding", 60, "chunk") as advance:
        for _ in range(35):
            clock.now += 1
            advance(1)
    assert [standing.done for standing in observed] == [10, 20, 30, 35]
    assert [standing.seconds for standing in observed] == [None, None, None, 35.0]
    assert str(observed[0]) == "10 of 60 chunks, 1/s, about 50 s left"
    assert str(observed[-1]) == "35 of 60 chunks in 35 s, 1/s"
    assert messages[-1] == f"embedding: {observed[2]}"


def test_long_work_is_observed_less_often(clock, observed):
    with progress("embedding", None) as advance:
        for _ in range(24 * 3600):
            clock.now += 1
            advance(1)
    assert 100 < len(observed) < 400


@pytest.mark.parametrize(("seconds", "units"), [(0.5, 7), (60, 0)], ids=["short", "nothing to do"])
def test_work_that_cost_nothing_is_not_observed(clock, observed, seconds, units):
    with progress("embedding", units) as advance:
        clock.now += seconds / 100
        if units:
            advance(units)
        clock.now += seconds
    assert observed == []


def test_the_end_of_work_that_failed_is_not_told_as_done(clock, observed):
    def fail():
        with progress("embedding", 10) as advance:
            clock.now += 12
            advance(4)
            raise ValueError("lost")

    with pytest.raises(ValueError, match="lost"):
        fail()
    assert [str(standing) for standing in observed] == ["4 of 10, 20.0/min, about 18 s left"]


@pytest.mark.parametrize(
    ("rate", "said"), [(0.0, "0/s"), (0.05, "3.0/min"), (2.0, "2/s"), (2.54, "2.5/s"), (3456.7, "3,457/s")]
)
def test_rates_are_said_with_the_digits_that_matter(rate, said):
    assert said_rate(rate) == said


@pytest.mark.parametrize(("seconds", "said"), [(179.4, "179 s"), (600, "10 min"), (9000, "2.5 h")])
def test_times_are_said_in_the_unit_that_fits(seconds, said):
    assert said_duration(seconds) == said


def test_an_unknown_total_is_never_told():
    assert str(Standing("reading", "document", 5, None, 0.0, None)) == "5 documents, 0/s"


def test_on_a_terminal_there_is_a_bar_with_the_rate_and_no_line(monkeypatch, messages, observed):
    main, terminal = os.openpty()
    with os.fdopen(terminal, "w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        monkeypatch.setattr(progress_module, "_SECONDS_BETWEEN_OBSERVATIONS", 0.0)
        monkeypatch.setattr(progress_module, "_GROWTH", 0.0)
        with progress("reading notes", 10, "document") as advance:
            advance(4)
            advance(6)
        monkeypatch.undo()
    shown = _read_all(main)
    os.close(main)
    assert "reading notes" in shown
    assert "10/10" in shown
    assert "documents" in shown
    assert "/s" in shown
    assert [standing.done for standing in observed] == [4, 10]
    assert messages == []


def _read_all(descriptor):
    read = b""
    while True:
        try:
            read += os.read(descriptor, 100_000)
        except OSError:  # the other end is closed and everything is read
            return read.decode()
