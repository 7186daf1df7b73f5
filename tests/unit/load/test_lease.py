"""The lease of a collection: one load at a time, and none that is dead holds up the next."""

import os
import socket
import subprocess
import sys
from contextlib import closing
from datetime import timedelta

import pytest
from qdrant_client import QdrantClient

from feature_store.config import EncoderConfig
from feature_store.errors import LockedError, TransientError
from feature_store.index import EncoderDescription, IndexMetadata, Lease, VersionName, read_metadata, write_metadata
from feature_store.versions import now
from steps.load import lease as lease_module
from steps.load.lease import DURATION, take_lease

COLLECTION = "notes_index__0123456789ab"
SINCE, TARGET = VersionName(number=2, run_id="two"), VersionName(number=3, run_id="three")


@pytest.fixture
def client():
    with closing(QdrantClient(":memory:")) as opened:
        opened.create_collection(COLLECTION, vectors_config={})
        encoder = EncoderDescription(
            model="m", fingerprint="f", dimension=1, token_limit=1, document_prompt="", query_prompt="",
            normalised=True, similarity="cosine",
        )  # fmt: skip
        metadata = IndexMetadata(
            index="notes_index", fingerprint="0123456789ab", store_id="s", version=2, version_run_id="two",
            categories=["notes"], encoder=encoder, encoder_config=EncoderConfig(model="m"), chunking={}, sparse={},
            created_at=now(), updated_at=now(),
        )  # fmt: skip
        write_metadata(opened, COLLECTION, metadata)
        yield opened


def read(client):
    return read_metadata(client, COLLECTION)


def take(client, since=SINCE, version=TARGET):
    return take_lease(client, COLLECTION, read(client), since, version)


def hold(client, holder, expires_in=timedelta(minutes=5)):
    other = Lease(holder=holder, token="theirs", expires_at=now() + expires_in, loading=TARGET)
    write_metadata(client, COLLECTION, read(client).model_copy(update={"lease": other}))


def pid_of_a_dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_lease_says_who_holds_it_until_when_and_for_what(client):
    take(client)
    lease = read(client).lease
    assert lease.holder == f"{socket.gethostname()}:{os.getpid()}"
    assert timedelta(minutes=9) < lease.expires_at - now() <= DURATION == timedelta(minutes=10)
    assert lease.loading == TARGET


def test_while_it_is_held_the_collection_claims_no_more_than_the_load_starts_from(client):
    take(client, since=VersionName(number=1, run_id="one"))
    assert read(client).reflects == VersionName(number=1, run_id="one")


@pytest.mark.parametrize("holder", ["elsewhere:1", f"{socket.gethostname()}:1", f"elsewhere:{os.getpid()}"])
def test_the_lease_of_another_load_is_respected(client, holder):
    hold(client, holder)
    before = read(client)
    with pytest.raises(LockedError) as caught:
        take(client)
    assert f"{holder} (host:process)" in caught.value.problem
    assert f"until {before.lease.expires_at:%Y-%m-%d %H:%M:%S} UTC" in caught.value.problem
    assert read(client) == before


@pytest.mark.parametrize(
    ("holder", "expires_in"),
    [
        pytest.param(f"{socket.gethostname()}:{pid_of_a_dead_process()}", timedelta(minutes=5), id="dead process"),
        pytest.param(f"{socket.gethostname()}:{os.getpid()}", timedelta(minutes=5), id="an earlier load of ours"),
        pytest.param("elsewhere:1", timedelta(0), id="expired"),
    ],
)
def test_a_lease_that_nobody_keeps_is_taken_over(client, holder, expires_in):
    hold(client, holder, expires_in)
    take(client)
    assert read(client).lease.token != "theirs"


def test_a_collection_that_moved_since_it_was_looked_at_is_left_alone(client):
    seen = read(client)
    write_metadata(client, COLLECTION, seen.model_copy(update={"version": 3, "version_run_id": "three"}))
    with pytest.raises(TransientError, match="was changed or removed"):
        take_lease(client, COLLECTION, seen, SINCE, TARGET)
    assert read(client).lease is None


def test_a_collection_that_vanished_is_an_error(client):
    seen = read(client)
    client.delete_collection(COLLECTION)
    with pytest.raises(TransientError, match="was changed or removed"):
        take_lease(client, COLLECTION, seen, SINCE, TARGET)


def test_a_lease_that_was_overwritten_in_the_same_moment_is_given_up(client, monkeypatch):
    def overwritten(*arguments):
        write_metadata(*arguments)
        hold(client, "elsewhere:1")

    monkeypatch.setattr(lease_module, "write_metadata", overwritten)
    with pytest.raises(LockedError, match="elsewhere:1"):
        take(client)
    assert read(client).lease.token == "theirs"


def test_a_lease_is_renewed_at_most_once_a_minute(client, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(lease_module.time, "monotonic", lambda: clock[0])
    writes = []
    held = take(client)
    monkeypatch.setattr(
        lease_module, "write_metadata", lambda *arguments: (writes.append(clock[0]), write_metadata(*arguments))
    )
    later = now() + timedelta(minutes=3)
    monkeypatch.setattr(lease_module, "now", lambda: later)
    for clock[0] in (1001.0, 1059.9, 1060.0, 1061.0, 1119.9, 1120.0):
        held.keep()
    assert writes == [1060.0, 1120.0]
    assert read(client).lease.expires_at == later + DURATION


def test_a_lease_that_was_taken_over_is_neither_renewed_nor_confirmed(client, monkeypatch):
    held = take(client)
    hold(client, "elsewhere:1")
    with pytest.raises(LockedError, match="elsewhere:1"):
        held.confirm()
    monkeypatch.setattr(lease_module, "SECONDS_BETWEEN_RENEWALS", 0)
    with pytest.raises(LockedError, match="elsewhere:1"):
        held.keep()
    assert read(client).lease.token == "theirs"


def test_a_lease_whose_load_another_one_has_overtaken_is_lost(client):
    held = take(client)
    write_metadata(client, COLLECTION, read(client).model_copy(update={"lease": None}))
    with pytest.raises(LockedError, match="has finished a load"):
        held.confirm()
