"""Services that stop answering for a while, and a disk that is full: nothing is lost, nothing is invented."""

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo.errors import AutoReconnect
from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from tenacity import wait_none

from feature_store import index as index_module
from feature_store.errors import TransientError
from feature_store.settings import Settings
from steps.extract import read
from tests.application import MODES
from tests.comparison import differences, read_state
from tests.faults.faults import Fault, armed
from tests.faults.installation import SEED, Place, edit, fill, make_flow, opened
from tests.faults.worker import run_with_little_disk
from warehouse import connection
from warehouse.connection import open_warehouse
from warehouse.embedded import server_files

UNANSWERED = {
    "connection reset": ResponseHandlingException(OSError("connection reset")),
    "timeout": httpx.ReadTimeout("timed out"),
    "503": UnexpectedResponse(503, "Service Unavailable", b"", httpx.Headers()),
}
MOMENTS = sorted(random.Random(SEED).sample(range(1, 30), len(UNANSWERED)))  # of about 40 calls that a run makes


class Unreliable:
    """A client whose calls fail from the ``first`` on, ``times`` times."""

    def __init__(self, client: QdrantClient) -> None:
        self.client = client
        self.fail(first=0, times=0, error=AssertionError())

    def fail(self, first: int, times: int, error: Exception) -> None:
        self.calls = 0
        self.failing = range(first, first + times)
        self.error = error

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.client, name)
        if not callable(function):
            return function

        def called(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls in self.failing:
                raise self.error
            return function(*arguments, **options)

        return called


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "wait_exponential_jitter", lambda **_: wait_none())
    monkeypatch.setattr(read._fetch.retry, "wait", wait_none())


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("warehouse")
    with open_warehouse(Settings(data_dir=folder, _env_file=None)):
        yield folder


@pytest.fixture
def place(warehouse: Path, tmp_path: Path) -> Place:
    return Place(tmp_path / "data", warehouse, f"outage_{os.urandom(6).hex()}", "hash")


def prove_like_new(flow: Any, database: Any, place: Place, folder: Path) -> None:
    """Compare with a fresh installation on the same documents, and count what was embedded."""
    fresh = make_flow(place.moved(folder / "clean room"), QdrantClient(":memory:"))
    fresh.run(database)
    assert differences(read_state(flow), read_state(fresh)) == []
    assert set(place.embedded().values()) == {1}


@pytest.mark.parametrize(("moment", "error"), list(zip(MOMENTS, UNANSWERED, strict=True)))
def test_a_run_outlasts_a_short_outage_of_qdrant(no_waiting, place, tmp_path, moment, error):
    with opened(place) as (flow, database):
        fill(database)
        flow.run(database)
        edit(database)
        client = flow.client = Unreliable(flow.client)
        client.fail(moment, index_module.ATTEMPTS - 1, UNANSWERED[error])
        flow.run(database)
        assert client.calls >= moment + index_module.ATTEMPTS - 1, "the outage was never noticed"
        prove_like_new(flow, database, place, tmp_path)


@pytest.mark.parametrize("moment", MOMENTS[:2])
def test_a_run_after_a_long_outage_of_qdrant_makes_it_good(no_waiting, place, tmp_path, moment):
    with opened(place) as (flow, database):
        fill(database)
        flow.run(database)
        edit(database)
        client = flow.client = Unreliable(flow.client)
        client.fail(moment, 10_000, UNANSWERED["503"])
        with pytest.raises(UnexpectedResponse):
            flow.run(database)
        client.fail(0, 0, AssertionError())
        flow.run(database)
        prove_like_new(flow, database, place, tmp_path)


@pytest.mark.parametrize("mode", ["hash", "log"])
def test_a_warehouse_that_vanishes_while_it_is_read_deletes_nothing(no_waiting, monkeypatch, tmp_path, mode):
    monkeypatch.setattr(connection, "SERVER_SELECTION_MILLISECONDS", 200)
    place = Place(tmp_path / "data", tmp_path / "warehouse", "warehouse", mode)
    settings = Settings(data_dir=place.warehouse, _env_file=None)
    with opened(place) as (flow, database):
        fill(database)
        flow.run(database)
        edit(database)
        before, positions = flow.store.newest(), flow.store.positions()

        def end_the_server() -> None:
            os.kill(int(server_files(settings).pid.read_text()), signal.SIGKILL)

        # Every mode asks for documents by their ids at some point; before that, ids or events were read.
        with armed(Fault("steps.extract.read:_fetch", 1), end_the_server), pytest.raises(TransientError):
            flow.run(database)
        assert (flow.store.newest(), flow.store.positions()) == (before, positions)
    with opened(place) as (flow, database):
        flow.run(database)
        prove_like_new(flow, database, place, tmp_path)


@pytest.mark.parametrize("mode", MODES)
def test_a_cursor_that_breaks_off_is_not_the_end_of_the_collection(no_waiting, place, tmp_path, mode, monkeypatch):
    place = Place(place.folder, place.warehouse, place.database, mode)
    with opened(place) as (flow, database):
        fill(database)
        flow.run(database)
        edit(database)
        before, positions = flow.store.newest(), flow.store.positions()
        with monkeypatch.context() as patch:
            patch.setattr("pymongo.synchronous.cursor.Cursor.next", breaking_off_after(20))
            with pytest.raises(TransientError):
                flow.run(database)
        assert (flow.store.newest(), flow.store.positions()) == (before, positions)
        flow.run(database)
        prove_like_new(flow, database, place, tmp_path)


def breaking_off_after(documents: int) -> Callable[[Any], Any]:
    """Return a cursor's ``next`` that fails once it has given that many documents."""
    from pymongo.synchronous.cursor import Cursor

    original, given = Cursor.next, 0

    def next_or_fail(cursor: Any) -> Any:
        nonlocal given
        given += 1
        if given > documents:
            raise AutoReconnect("connection closed")
        return original(cursor)

    return next_or_fail


@pytest.mark.parametrize("limit", [2_000, 60_000])
def test_a_run_after_one_on_a_full_disk_makes_it_good(children, place, tmp_path, limit):
    with opened(place) as (flow, database):
        fill(database)
        flow.run(database)
        edit(database)
    process = children.Process(target=run_with_little_disk, args=(place, limit))
    process.start()
    process.join(60)
    assert process.exitcode not in {0, None}, "there was disk enough"
    with opened(place) as (flow, database):
        flow.run(database)
        prove_like_new(flow, database, place, tmp_path)
