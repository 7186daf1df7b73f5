"""The embedded Qdrant: its points reach the disk many at a time, and what it would say is said by us."""

import sqlite3
import uuid
from contextlib import closing

import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.common import client_warnings
from qdrant_client.local.local_collection import LocalCollection

from feature_store.local_collection import LazyCollection
from feature_store.local_qdrant import open_local_qdrant
from steps.load import local_storage
from steps.load.local_storage import flushed_once
from tests.flow import Flow, note, notes_config
from tests.stand_in import HashEncoder


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


@pytest.fixture
def on_disk(tmp_path):
    """Count the points that another process sees in the file."""

    def count():
        with closing(sqlite3.connect(tmp_path / "collection" / "c" / "storage.sqlite")) as storage:
            return storage.execute("SELECT count(*) FROM points").fetchone()[0]

    return count


def put_some(client, count):
    client.upsert("c", points=[models.PointStruct(id=number, vector={}, payload={}) for number in range(1, count + 1)])


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(local_storage, "WRITES_PER_COMMIT", 3)


@pytest.mark.filterwarnings("ignore:Local mode is not recommended")
def test_in_a_load_points_reach_the_disk_a_few_at_a_time_and_at_its_end_the_rest(client, on_disk, few):
    with flushed_once(client, "c"):
        put_some(client, 8)
        assert (client.count("c").count, on_disk()) == (8, 6)
        client.delete("c", points_selector=[1, 2, 3, 4])
        assert (client.count("c").count, on_disk()) == (4, 4)
    assert on_disk() == 4
    put_some(client, 5)
    assert on_disk() == 8


def test_a_load_that_fails_keeps_what_it_has_written(client, on_disk, few):
    def fail():
        put_some(client, 4)
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"), flushed_once(client, "c"):
        fail()
    assert on_disk() == 4


def test_points_whose_collection_is_not_loaded_reach_the_disk_with_the_request_that_makes_them_enough(
    tmp_path, on_disk, few
):
    ids = [str(uuid.UUID(int=number)) for number in range(8)]
    with closing(open_local_qdrant(tmp_path)) as lazy:
        lazy.create_collection("c", vectors_config={})

        def put_those(some):
            lazy.upsert("c", points=[models.PointStruct(id=one, vector={}, payload={}) for one in some])

        with flushed_once(lazy, "c"):
            for some, there in ((ids[:2], 0), (ids[2:6], 6), (ids[:2], 6), (ids[6:], 8)):
                put_those(some)
                assert on_disk() == there
            lazy.delete("c", points_selector=ids[:2])
            assert (lazy.count("c").count, on_disk()) == (6, 8)
            assert type(lazy._client.collections["c"]) is LazyCollection
        assert on_disk() == 6
        with flushed_once(lazy, "c"):
            put_those(ids[:2])
            assert on_disk() == 6  # what an earlier load wrote does not count
        put_those(ids)
        assert on_disk() == 8


@pytest.mark.filterwarnings("ignore:Local mode is not recommended")
def test_a_write_that_fails_takes_none_with_it_that_did_not(client, on_disk, few):
    storage = client._client.collections["c"].storage
    with flushed_once(client, "c"):
        put_some(client, 2)
        with pytest.raises(sqlite3.OperationalError), storage.storage:
            storage.storage.execute("INSERT INTO nowhere VALUES (1)")
        assert on_disk() == 2


def test_vectors_given_as_arrays_are_the_same_after_it_is_opened_again(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    points = [
        models.PointStruct.model_construct(id=number, vector={"dense": vector}, payload={"number": number})
        for number, vector in enumerate(vectors)
    ]
    for opened in (QdrantClient, open_local_qdrant):
        folder = tmp_path / opened.__name__
        with closing(QdrantClient(path=str(folder))) as client:
            client.create_collection("c", vectors_config={"dense": models.VectorParams(size=3, distance="Dot")})
            client.upsert("c", points=points)
            before = client.scroll("c", with_vectors=True)
        with closing(QdrantClient(path=str(folder)) if opened is QdrantClient else opened(folder)) as client:
            assert client.scroll("c", with_vectors=True) == before
            assert client._client.collections["c"].vectors["dense"].dtype == np.float32
            found = client.query_points("c", query=vectors[2].tolist(), using="dense", limit=1).points
    assert found[0].id == int(np.argmax(vectors @ vectors[2]))


def test_runs_with_and_without_changes_read_no_points_but_the_sample(tmp_path):
    documents = [note(str(number), f"A note about the number {number}.") for number in range(5)]
    with closing(QdrantClient(path=str(tmp_path / "qdrant"))) as client:
        flow = Flow(tmp_path / "data", notes_config(), client)
        flow.load_encoder = lambda _: HashEncoder()
        first = flow.run(documents)
    with closing(open_local_qdrant(tmp_path / "qdrant")) as flow.client:
        again = flow.run(documents)
        (collection,) = flow.client._client.collections.values()
        assert type(collection) is LazyCollection
        assert again.index.report.points == first.index.report.points == 5
        assert again.serving.indexes[0].sampled == 5
        changed = flow.run([*documents[1:], note("0", "Another text.")])
        assert type(collection) is LazyCollection
    assert changed.index.report.written == changed.index.report.removed == 1
