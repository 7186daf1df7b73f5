"""The embedded Qdrant: what it would say by itself is said by us, with the remedy."""

from contextlib import closing

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.common import client_warnings
from qdrant_client.local.local_collection import LocalCollection

from steps.load.local_storage import flushed_once


@pytest.fixture
def client(tmp_path, monkeypatch):
    """An embedded Qdrant to which a single point is too many, and which has not said so yet."""
    monkeypatch.setattr(LocalCollection, "LARGE_DATA_THRESHOLD", 0)
    monkeypatch.setattr(client_warnings, "SEEN_MESSAGES", set())
    with closing(QdrantClient(path=str(tmp_path))) as opened:
        opened.create_collection("c", vectors_config={})
        yield opened


def put(client):
    client.upsert("c", points=[models.PointStruct(id=1, vector={}, payload={})])


def test_a_large_load_does_not_let_the_library_warn(client):
    with flushed_once(client, "c"):
        put(client)
    assert client.count("c").count == 1


def test_outside_of_a_load_the_library_warns(client):
    with pytest.warns(UserWarning, match="Local mode is not recommended"):
        put(client)
