"""Which collection serves: the alias is the truth, and what the collections say of themselves follows it."""

from contextlib import closing
from datetime import timedelta
from itertools import count

import pytest
from qdrant_client import QdrantClient

from feature_store import serving
from feature_store.errors import ConfigurationError
from feature_store.index import read_metadata, serving_collection, write_metadata
from feature_store.serving import hold, note_promotion, promote, settle
from feature_store.versions import now
from tests.unit.serve.test_gate import metadata_with

A, B, C = (f"notes_index__{letter * 12}" for letter in "abc")


@pytest.fixture
def client(monkeypatch):
    moments = count()
    monkeypatch.setattr(serving, "now", lambda: START + timedelta(minutes=next(moments)))
    with closing(QdrantClient(":memory:")) as opened:
        for name in (A, B, C):
            opened.create_collection(name, vectors_config={})
            write_metadata(opened, name, metadata_with(fingerprint=name[-12:]))
        yield opened


START = now()


def said(client, collection):
    return read_metadata(client, collection).promotion


def test_the_first_one_serves_and_came_after_none(client):
    assert promote(client, "notes_index", A) is None
    assert serving_collection(client, "notes_index") == A
    assert said(client, A).promoted_at is not None
    assert (said(client, A).previous, said(client, A).retired_at, said(client, B).promoted_at) == (None, None, None)


def test_a_promotion_retires_the_one_before(client):
    promote(client, "notes_index", A)
    assert promote(client, "notes_index", B) == A
    assert promote(client, "notes_index", B) is None
    assert said(client, B).previous == A
    assert said(client, B).promoted_at <= said(client, A).retired_at
    promote(client, "notes_index", C)
    assert [said(client, name).previous for name in (A, B, C)] == [None, A, B]
    assert said(client, C).retired_at is None


def test_one_that_serves_again_is_retired_no_more_nor_refused_nor_held(client):
    for name in (A, B):
        promote(client, "notes_index", name)
    note_promotion(client, A, read_metadata(client, A), refused="worse", held="by hand")
    promote(client, "notes_index", A)
    again = said(client, A)
    assert (again.retired_at, again.refused, again.held, again.previous) == (None, None, None, B)
    assert again.promoted_at > said(client, B).promoted_at


def test_going_back_leaves_what_was_before_as_it_was(client):
    for name in (A, B, C):
        promote(client, "notes_index", name)
    hold(client, C, "rolled back")
    promote(client, "notes_index", B)
    assert said(client, B).previous == A
    assert said(client, C).held == "rolled back"
    hold(client, B, "rolled back")
    promote(client, "notes_index", A)
    assert said(client, A).previous is None


def test_settling_again_changes_nothing(client, monkeypatch):
    for name in (A, B):
        promote(client, "notes_index", name)
    before = [read_metadata(client, name) for name in (A, B, C)]
    monkeypatch.setattr(client, "update_collection", None)
    settle(client, "notes_index")
    assert [read_metadata(client, name) for name in (A, B, C)] == before


def test_a_hold_whose_rollback_never_came_is_taken_away(client):
    for name in (A, B):
        promote(client, "notes_index", name)
    began = said(client, B).promoted_at
    hold(client, B, "rolled back to A")
    settle(client, "notes_index")
    assert (said(client, B).held, said(client, B).promoted_at, said(client, B).previous) == (None, began, A)


def test_where_nothing_serves_whatever_says_so_is_retired(client):
    promote(client, "notes_index", A)
    note_promotion(client, B, read_metadata(client, B), promoted_at=START)
    client.delete_collection(A)
    settle(client, "notes_index")
    assert serving_collection(client, "notes_index") is None
    assert said(client, B).retired_at is not None


def test_a_note_leaves_alone_what_a_load_says_meanwhile(client):
    metadata = read_metadata(client, A)
    write_metadata(client, A, metadata.model_copy(update={"version": 8}))
    note_promotion(client, A, metadata, refused="worse")
    assert (read_metadata(client, A).version, said(client, A).refused) == (8, "worse")


def test_a_load_leaves_alone_what_is_said_of_the_promotion_meanwhile(client):
    metadata = read_metadata(client, A)
    hold(client, A, "rolled back")
    write_metadata(client, A, metadata.model_copy(update={"version": 8}))
    assert (read_metadata(client, A).version, said(client, A).held) == (8, "rolled back")


def test_what_a_newer_release_says_besides_is_left_out_wherever_it_stands(client):
    before = read_metadata(client, A)
    metadata = before.model_dump(mode="json")
    metadata["server"]["hnsw"]["payload_edges"] = 4
    newer = {
        "future": 1,
        "server": {**metadata["server"], "shard_key": "tenant", "vectors_on_disk": True},
        "retrieval": {**metadata["retrieval"], "boost": 2.0},
        "encoder_config": {**metadata["encoder_config"], "pooling": "mean"},
    }
    client.update_collection(A, metadata=newer)
    server = before.server.model_copy(update={"vectors_on_disk": True})
    assert read_metadata(client, A) == before.model_copy(update={"server": server})


def test_a_chunking_that_is_not_known_is_an_error_that_names_the_collection(client):
    client.update_collection(A, metadata={"chunking": {"strategy": "of the future"}})
    with pytest.raises(ConfigurationError, match=f"The chunking of {A} is not one that this release knows"):
        read_metadata(client, A).sizes()


def test_a_collection_of_somebody_else_is_left_alone(client):
    client.create_collection("notes_index__foreign", vectors_config={})
    promote(client, "notes_index", A)
    assert client.get_collection("notes_index__foreign").config.metadata is None
