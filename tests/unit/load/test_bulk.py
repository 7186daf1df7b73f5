"""Bulk loads: the graph is built once, after them, and whatever happens it is built at last."""

import threading
from contextlib import closing, suppress

import httpx
import pytest
from loguru import logger
from qdrant_client import QdrantClient
from tenacity import wait_none

from feature_store import index as index_module
from feature_store.index import count_points, read_metadata
from steps.load import bulk
from steps.load.bulk import in_streams, indexing_deferred
from tests.fake_qdrant import FakeServer
from tests.flow import Flow, note, notes_config
from tests.unit.load.test_settings import COLLECTION, ensure, index

THRESHOLD = 10_000


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(index_module, "wait_exponential_jitter", lambda **_: wait_none())
    monkeypatch.setattr(bulk, "SECONDS_BETWEEN_LOOKS", 0)


@pytest.fixture
def server():
    return FakeServer()


@pytest.fixture
def client(server):
    opened = server.client()
    ensure(opened, index(bulk_load_from=1000))
    return opened


@pytest.fixture
def warnings_logged():
    messages = []
    sink = logger.add(messages.append, format="{message}", level="WARNING")
    yield messages
    logger.remove(sink)


def threshold(server, collection=COLLECTION):
    return server.configs[collection]["optimizer_config"]["indexing_threshold"]


def noted(client):
    return read_metadata(client, COLLECTION).indexing_threshold


def kept():
    """Keep a lease that nobody wants."""


def thresholds_sent(server):
    return [body["optimizers_config"]["indexing_threshold"] for body in server.changes()]


def test_a_large_load_defers_the_graph_and_restores_the_servers_threshold(server, client):
    with indexing_deferred(client, COLLECTION, 1000, kept):
        assert (threshold(server), noted(client)) == (0, THRESHOLD)
    assert (threshold(server), noted(client)) == (THRESHOLD, None)


def test_a_load_with_one_point_less_is_no_bulk_load(server, client):
    with indexing_deferred(client, COLLECTION, 999, kept):
        assert threshold(server) == THRESHOLD
    assert server.changes() == []


def test_the_threshold_and_the_note_of_it_change_in_one_request(server, client):
    with indexing_deferred(client, COLLECTION, 1000, kept):
        pass
    assert server.changes() == [
        {"optimizers_config": {"indexing_threshold": 0}, "metadata": {"indexing_threshold": THRESHOLD}},
        {"optimizers_config": {"indexing_threshold": THRESHOLD}, "metadata": {"indexing_threshold": None}},
    ]


@pytest.mark.parametrize("error", [ValueError("defect"), KeyboardInterrupt()], ids=repr)
def test_after_a_failure_the_threshold_is_restored_at_once(server, client, error):
    with pytest.raises(type(error)), indexing_deferred(client, COLLECTION, 1000, kept):
        raise error
    assert (threshold(server), noted(client)) == (THRESHOLD, None)


def test_a_server_that_is_gone_does_not_hide_why_the_load_failed(server, client, warnings_logged):
    attempts = []

    def gone(asked):
        attempts.append(asked)
        raise httpx.ConnectError("no route")

    def fail():
        server.before = gone
        raise ValueError("defect")

    with pytest.raises(ValueError, match="defect"), indexing_deferred(client, COLLECTION, 1000, kept):
        fail()
    assert len(attempts) == 1  # the load has waited long enough
    (message,) = warnings_logged
    assert f"{COLLECTION}: the server still builds no graph" in message


@pytest.mark.parametrize("new_points", [0, 1, 5000], ids=["nothing new", "small", "large"])
def test_the_load_after_one_that_was_killed_restores_the_threshold(server, client, new_points):
    server.configs[COLLECTION]["optimizer_config"]["indexing_threshold"] = 0
    server.configs[COLLECTION]["metadata"]["indexing_threshold"] = 12_345
    with indexing_deferred(client, COLLECTION, new_points, kept):
        assert threshold(server) == 0
    assert (threshold(server), noted(client)) == (12_345, None)


def test_a_server_that_builds_no_graph_by_its_own_will_is_left_alone(server, client):
    server.configs[COLLECTION]["optimizer_config"]["indexing_threshold"] = 0
    with indexing_deferred(client, COLLECTION, 5000, kept):
        pass
    assert server.changes() == []


def test_a_load_is_over_when_the_graph_is_built_and_its_lease_is_kept_until_then(server, client):
    lease = []
    with indexing_deferred(client, COLLECTION, 1000, lambda: lease.append(len(server.statuses))):
        # The first green is from before the server has begun.
        server.statuses = ["green", "yellow", "grey", "yellow", "green", "green"]
    assert server.statuses == []
    assert lease == [5, 4, 3, 2, 1, 0]


def test_a_server_that_cannot_build_its_graph_is_not_waited_for(server, client, warnings_logged):
    with indexing_deferred(client, COLLECTION, 1000, kept):
        server.statuses = ["yellow", "red", "yellow"]
    assert server.statuses == ["yellow"]
    assert "has status red" in warnings_logged[0]


def test_a_graph_that_takes_too_long_is_not_waited_for(server, client, warnings_logged, monkeypatch):
    monkeypatch.setattr(bulk, "SECONDS_FOR_THE_GRAPH", -1)
    with indexing_deferred(client, COLLECTION, 1000, kept):
        server.statuses = ["yellow", "yellow"]
    assert server.statuses == ["yellow"]
    assert "has status yellow" in warnings_logged[0]


def test_an_embedded_qdrant_is_left_alone(monkeypatch):
    with closing(QdrantClient(":memory:")) as embedded:
        ensure(embedded, index(bulk_load_from=1))
        with monkeypatch.context() as patch:
            patch.delattr(embedded._client.__class__, "update_collection")
            with indexing_deferred(embedded, COLLECTION, 1000, kept):
                pass


def test_what_streams_write_arrives_in_order_and_four_at_a_time(client):
    together, lock, at_work, most = threading.Barrier(4, timeout=10), threading.Lock(), set(), []

    def write(item):
        with lock:
            at_work.add(item)
            most.append(len(at_work))
        together.wait()
        with lock:
            at_work.remove(item)
        return item * item

    assert list(in_streams(client, write, range(8))) == [number * number for number in range(8)]
    assert max(most) == 4


def test_after_a_failure_no_stream_is_begun_and_none_is_at_work(client):
    begun, done = [], []

    def write(item):
        begun.append(item)
        if item == 2:
            raise ValueError("refused")
        done.append(item)
        return item

    with pytest.raises(ValueError, match="refused"):
        list(in_streams(client, write, range(100)))
    assert max(begun) <= 5
    assert sorted(begun) == sorted([*done, 2])


def test_an_embedded_qdrant_is_written_to_by_this_thread_alone():
    with closing(QdrantClient(":memory:")) as embedded:
        threads = list(in_streams(embedded, lambda item: threading.get_ident(), range(3)))
    assert set(threads) == {threading.get_ident()}


@pytest.fixture
def flow(tmp_path, tiny_model, server):
    config = notes_config(tiny_model)
    small = config.indexes[0].model_copy(update={"upsert_batch": 2, "server": index(bulk_load_from=5).server})
    return Flow(tmp_path / "data", config.model_copy(update={"indexes": [small]}), server.client())


DOCUMENTS = [note(str(number), " ".join(f"word{number}x{place}" for place in range(60))) for number in range(8)]


def load(flow, documents):
    _, cleaned = flow.commit(documents)
    return flow.bring(cleaned, flow.config.indexes[0]).report


def test_a_first_load_is_a_bulk_load_and_the_small_one_after_it_is_none(flow, server):
    report = load(flow, DOCUMENTS)
    assert thresholds_sent(server) == [0, THRESHOLD]
    first_points = next(place for place, asked in enumerate(server.requests) if asked.path.endswith("/points"))
    deferred = next(place for place, asked in enumerate(server.requests) if asked.body == server.changes()[0])
    assert deferred < first_points
    assert report.points == report.expected_points == count_points(flow.client, report.collection) > 5
    load(flow, [*DOCUMENTS, note("new", "a word")])
    assert thresholds_sent(server) == [0, THRESHOLD]


@pytest.mark.parametrize("dies_at", ["/points", "/points/count"], ids=["while it writes", "when it counts"])
def test_a_bulk_load_that_is_killed_is_finished_by_the_next_run_and_the_graph_is_built(flow, server, dies_at):
    def killed(asked):
        if not server.changes():
            return
        if asked.path.endswith(dies_at) or dead:
            dead.append(asked)
            raise SystemExit  # whatever the process still tries, nothing arrives any more

    dead = []
    server.before = killed
    with pytest.raises(SystemExit), suppress(httpx.HTTPError):
        load(flow, DOCUMENTS)
    server.before = lambda asked: None
    (collection,) = server.configs
    assert dead
    assert threshold(server, collection) == 0
    report = load(flow, DOCUMENTS)
    assert threshold(server, collection) == THRESHOLD
    said = read_metadata(flow.client, collection)
    assert (said.version, said.indexing_threshold, said.lease) == (report.version, None, None)
