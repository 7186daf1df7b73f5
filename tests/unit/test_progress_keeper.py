"""The progress of a step is kept beside the work: never in its way, and never the reason that it fails."""

import threading

import pytest
from loguru import logger

from feature_store.progress import Standing
from steps.progress_keeper import ProgressKeeper


@pytest.fixture
def warnings():
    collected = []
    handler = logger.add(lambda message: collected.append(message.record["message"]), level="WARNING")
    yield collected
    logger.remove(handler)


def standing(done, seconds=None, description="reading"):
    return Standing(description, "document", done, 10, 1.0, 10 - done, seconds)


def test_every_piece_of_work_has_its_line():
    written = []
    keeper = ProgressKeeper(written.append)
    keeper(standing(10, seconds=5.0))
    keeper(standing(3, description="cleaning", seconds=6.0))
    keeper.wait()
    assert written[-1] == {"reading": "10 of 10 documents in 5 s, 1/s", "cleaning": "3 of 10 documents in 6 s, 1/s"}


def test_the_work_goes_on_while_a_line_is_written_and_the_end_is_never_left_out():
    written, may_go_on = [], threading.Event()

    def write(lines):
        may_go_on.wait(10)
        written.append(lines["reading"])

    keeper = ProgressKeeper(write)
    for done in range(1, 6):
        keeper(standing(done))  # returns, though nothing can be written
    keeper(standing(10, seconds=9.0))
    assert written == []
    may_go_on.set()
    keeper.wait()
    assert written == ["1 of 10 documents, 1/s, about 9 s left", "10 of 10 documents in 9 s, 1/s"]


def test_what_cannot_be_written_is_told_once_and_not_tried_again(warnings):
    tried = []

    def write(lines):
        tried.append(lines)
        raise ConnectionError("the server is away")

    keeper = ProgressKeeper(write)
    for done in range(3):
        keeper(standing(done))
        keeper.wait()
    assert len(tried) == 1
    assert warnings == ["The progress of this step cannot be shown in ZenML: the server is away"]
