"""A fleet of encoders: batches are shared out evenly, and what a lost encoder had is done by another."""

import threading
from collections import Counter
from concurrent.futures import CancelledError
from time import monotonic, sleep

import numpy as np
import pytest

from feature_store.errors import TerminalError
from feature_store.executors.fleet import ATTEMPTS, BATCHES_EACH, Fleet, LostError
from feature_store.executors.interface import Encoded


class Stand:
    """An encoder that does what its place says: ``at`` maps a text to what happens when it comes."""

    def __init__(self, place, at=None, loads=lambda: None):
        self.place, self.at, self.loads = place, at or {}, loads
        self.texts, self.stopped, self.at_work, self.most = [], threading.Event(), 0, 0
        self._lock = threading.Lock()

    def load(self):
        self.loads()

    def encode(self, texts):
        with self._lock:
            self.at_work += 1
            self.most = max(self.most, self.at_work)
        try:
            self.at.get(texts[0], lambda stand: None)(self)
            if self.stopped.is_set():
                raise LostError("stopped")
            self.texts += texts
            return Encoded(np.full((len(texts), 1), float(len(texts[0])), np.float32), "float32")
        finally:
            with self._lock:
                self.at_work -= 1

    def stop(self):
        self.stopped.set()


class Yard:
    """Starts encoders and keeps them."""

    def __init__(self, make):
        self.make, self.started = make, []

    def __call__(self, place):
        self.started.append(self.make(place, len(self.started)))
        return self.started[-1]


@pytest.fixture
def fleet_of():
    opened = []

    def make(size, start):
        opened.append(Fleet(start, size))
        return opened[-1]

    yield make
    for fleet in opened:
        fleet.close()


def die(stand):
    raise LostError("died")


def until(holds):
    deadline = monotonic() + 30
    while not holds():
        assert monotonic() < deadline
        sleep(0.001)


def test_every_text_is_embedded_once_and_the_work_is_shared(fleet_of):
    both = threading.Barrier(2, timeout=30)
    yard = Yard(lambda place, number: Stand(place, {"a": lambda stand: both.wait(), "b": lambda stand: both.wait()}))
    fleet = fleet_of(2, yard)
    first = [fleet.submit(["a"]), fleet.submit(["b"])]  # neither can end before the other began
    others = [fleet.submit([f"text {number}", "x"]) for number in range(20)]
    assert [future.result(30).matrix.shape for future in first + others] == [(1, 1)] * 2 + [(2, 1)] * 20
    texts = Counter(text for stand in yard.started for text in stand.texts)
    assert texts == {"a": 1, "b": 1, "x": 20, **{f"text {number}": 1 for number in range(20)}}
    assert fleet.width == 2 * BATCHES_EACH


def test_an_encoder_has_no_more_batches_than_keep_it_busy(fleet_of):
    go_on = threading.Event()
    yard = Yard(lambda place, number: Stand(place, {"slow": lambda stand: go_on.wait(30)}))
    fleet = fleet_of(3, yard)
    futures = [fleet.submit(["slow"]) for _ in range(30)]
    until(lambda: sum(stand.at_work for stand in yard.started) == fleet.width)
    assert [stand.at_work for stand in yard.started] == [BATCHES_EACH] * 3
    go_on.set()
    assert len([future.result(30) for future in futures]) == 30
    assert max(stand.most for stand in yard.started) == BATCHES_EACH


def test_the_batches_of_a_lost_encoder_are_done_by_others_and_its_place_is_filled_again(fleet_of):
    at = [die]

    def once(stand):
        if at:
            at.pop()(stand)

    yard = Yard(lambda place, number: Stand(place, {"poor": once}))
    fleet = fleet_of(2, yard)
    futures = [fleet.submit(["poor"]), *(fleet.submit([f"{number}"]) for number in range(10))]
    assert all(future.result(30).matrix.shape == (1, 1) for future in futures)
    assert Counter(text for stand in yard.started for text in stand.texts)["poor"] == 1
    until(lambda: len(yard.started) == 3)
    lost = [stand for stand in yard.started if stand.stopped.is_set()]
    assert len(lost) == 1
    assert yard.started[2].place == lost[0].place


def test_texts_over_which_every_encoder_dies_are_given_up(fleet_of):
    fleet = fleet_of(2, Yard(lambda place, number: Stand(place, {"poison": die})))
    with pytest.raises(TerminalError, match=f"{ATTEMPTS} encoders were lost over the same 2 texts; the last one: died"):
        fleet.submit(["poison", "other"]).result(30)
    assert fleet.submit(["fine"]).result(30).precision == "float32"


def test_what_the_model_raises_is_raised_and_not_tried_again(fleet_of):
    def refuse(stand):
        raise ZeroDivisionError("of the model")

    yard = Yard(lambda place, number: Stand(place, {"bad": refuse}))
    fleet = fleet_of(1, yard)
    with pytest.raises(ZeroDivisionError, match="of the model"):
        fleet.submit(["bad"]).result(30)
    assert fleet.submit(["good"]).result(30).matrix.shape == (1, 1)
    assert len(yard.started) == 1


def test_a_model_that_cannot_be_loaded_ends_the_work_with_its_own_error(fleet_of):
    def missing():
        raise FileNotFoundError("no such model")

    fleet = fleet_of(3, Yard(lambda place, number: Stand(place, loads=missing)))
    with pytest.raises(FileNotFoundError, match="no such model"):
        fleet.submit(["a"]).result(30)


def test_an_encoder_that_is_lost_while_it_loads_is_started_again(fleet_of):
    yard = Yard(lambda place, number: Stand(place, loads=(lambda: die(None)) if number < 2 else lambda: None))
    fleet = fleet_of(1, yard)
    assert fleet.submit(["a"]).result(30).matrix.shape == (1, 1)
    assert len(yard.started) == 3


def test_the_others_go_on_without_a_place_that_cannot_be_filled(fleet_of):
    yard = Yard(lambda place, number: Stand(place, loads=(lambda: die(None)) if place == 0 else lambda: None))
    fleet = fleet_of(2, yard)
    assert [fleet.submit([f"{number}"]).result(30).precision for number in range(5)] == ["float32"] * 5
    until(lambda: len(yard.started) == ATTEMPTS + 1)
    assert fleet.submit(["still"]).result(30).precision == "float32"


def test_no_encoder_at_all_is_an_error_that_says_why(fleet_of):
    yard = Yard(lambda place, number: Stand(place, loads=lambda: die(None)))
    fleet = fleet_of(2, yard)
    with pytest.raises(
        TerminalError, match="No encoder could be started; the last one was lost while it loaded the model: died"
    ):
        fleet.submit(["a"]).result(30)
    assert len(yard.started) == 2 * ATTEMPTS


def test_closing_stops_the_encoders_and_gives_up_what_is_under_way():
    began = threading.Event()

    def hang(stand):
        began.set()
        stand.stopped.wait(30)

    yard = Yard(lambda place, number: Stand(place, {"long": hang}))
    fleet = Fleet(yard, 1)
    futures = [fleet.submit(["long"]) for _ in range(5)]
    assert began.wait(30)
    fleet.close()
    assert all(stand.stopped.is_set() for stand in yard.started)
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(30)
    assert len(yard.started) == 1
