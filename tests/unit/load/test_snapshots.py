"""Snapshots: asked for once, and named when they are whole."""

from contextlib import closing

import httpx
import pytest
from qdrant_client import QdrantClient
from tenacity import wait_none

from feature_store import index as index_module
from feature_store.errors import TransientError
from steps.load import snapshots
from steps.load.snapshots import take_snapshot
from tests.fake_qdrant import FakeServer


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(snapshots, "SECONDS_BETWEEN_LOOKS", 0)


@pytest.mark.parametrize("looks", [0, 3], ids=["at once", "after a while"])
def test_a_snapshot_is_asked_for_once_and_named_when_it_is_listed(looks):
    server = FakeServer(snapshots={"notes__1": ["notes__1-0.snapshot"]})

    def asked_for(asked):
        if asked.method == "POST":
            server.looks_for_a_snapshot = looks

    server.before = asked_for
    assert take_snapshot(server.client(), "notes__1") == "notes__1-1.snapshot"
    assert len(server.bodies("POST", "/snapshots")) == 1
    assert len(server.bodies("GET", "/snapshots")) == 1 + looks + 1


def test_a_snapshot_that_never_comes_is_an_error(monkeypatch):
    monkeypatch.setattr(snapshots, "SECONDS_FOR_A_SNAPSHOT", 0.05)
    server = FakeServer(looks_for_a_snapshot=1_000_000)
    with pytest.raises(TransientError, match="no snapshot of notes__1"):
        take_snapshot(server.client(), "notes__1")


@pytest.mark.parametrize("at", ["GET", "POST"])
def test_a_server_that_fails_is_asked_for_no_second_snapshot(monkeypatch, at):
    monkeypatch.setattr(index_module, "wait_exponential_jitter", lambda **_: wait_none())
    server, asked = FakeServer(), []

    def fail(request):
        asked.append(request.method)
        if request.method == at:
            raise httpx.ConnectError("no route")

    server.before = fail
    with pytest.raises(TransientError, match=r"no snapshot of notes__1: .*no route"):
        take_snapshot(server.client(), "notes__1")
    assert asked.count("POST") == (at == "POST")


def test_an_embedded_qdrant_makes_none():
    with closing(QdrantClient(":memory:")) as embedded:
        assert take_snapshot(embedded, "notes__1") is None
