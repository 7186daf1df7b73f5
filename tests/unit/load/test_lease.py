"""The lease of a collection: one load at a time, and none that is dead holds up the next."""

import os
import re
import socket
import subprocess
import sys
from contextlib import closing
from datetime import timedelta

import pytest
from loguru import logger
from qdrant_client import QdrantClient

from feature_store.errors import LockedError, TransientError
from feature_store.index import (
    EncoderDescription,
    IndexMetadata,
    Lease,
    VersionName,
    is_local,
    read_metadata,
    write_metadata,
)
from feature_store.index_config import EncoderConfig
from feature_store.versions import now
from steps.load import lease as lease_module
from steps.load.lease import DURATION, take_lease

HOST = lease_module._host()
COLLECTION = "notes_index__0123456789ab"
SINCE, TARGET = VersionName(number=2, run_id="two"), VersionName(number=3, run_id="three")


@pytest.fixture(autouse=True)
def server(monkeypatch):
    """Take the client for one of a server, to which others may write."""
    monkeypatch.setattr(lease_module, "is_local", lambda client: False)


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


def take(client, since=SINCE, version=TARGET, own_token=None):
    return take_lease(client, COLLECTION, read(client), since, version, own_token)


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
    assert re.fullmatch(rf"{re.escape(socket.gethostname())}-[0-9a-f]{{8}}:{os.getpid()}", lease.holder)
    assert timedelta(minutes=9) < lease.expires_at - now() <= DURATION == timedelta(minutes=10)
    assert lease.loading == TARGET


def test_while_it_is_held_the_collection_claims_no_more_than_the_load_starts_from(client):
    take(client, since=VersionName(number=1, run_id="one"))
    assert read(client).reflects == VersionName(number=1, run_id="one")


@pytest.mark.parametrize(
    "holder",
    ["elsewhere:1", f"{HOST}:1", f"elsewhere:{os.getpid()}", f"{socket.gethostname()}:{os.getpid()}"],
    ids=["elsewhere", "here", "elsewhere, our process", "of this name, our process"],
)
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
        pytest.param(f"{HOST}:{pid_of_a_dead_process()}", timedelta(minutes=5), id="dead process"),
        pytest.param(f"{HOST}:{os.getpid()}", timedelta(minutes=5), id="an earlier load of ours"),
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
        take_lease(client, COLLECTION, seen, SINCE, TARGET, None)
    assert read(client).lease is None


def test_a_collection_that_vanished_is_an_error(client):
    seen = read(client)
    client.delete_collection(COLLECTION)
    with pytest.raises(TransientError, match="was changed or removed"):
        take_lease(client, COLLECTION, seen, SINCE, TARGET, None)


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
    later = now() + timedelta(seconds=50)
    monkeypatch.setattr(lease_module, "now", lambda: later)
    for clock[0] in (1001.0, 1059.9, 1060.0, 1061.0, 1119.9, 1120.0):
        held.keep()
    assert writes == [1060.0, 1120.0]
    assert read(client).lease.expires_at == later + DURATION


@pytest.mark.parametrize(("seconds", "renewed"), [(50, False), (70, True)])
def test_a_machine_that_slept_renews_the_lease_though_its_monotonic_clock_stood_still(
    client, monkeypatch, seconds, renewed
):
    held = take(client)
    before = read(client).lease
    monkeypatch.setattr(lease_module.time, "monotonic", lambda: held.renewed_at)
    later = now() + timedelta(seconds=seconds)
    monkeypatch.setattr(lease_module, "now", lambda: later)
    held.keep()
    assert (read(client).lease.expires_at == later + DURATION) == renewed
    assert (read(client).lease == before) != renewed


def test_a_machine_that_slept_while_another_took_over_stops(client, monkeypatch):
    held = take(client)
    hold(client, "elsewhere:1")
    monkeypatch.setattr(lease_module.time, "monotonic", lambda: held.renewed_at)
    later = now() + timedelta(minutes=30)
    monkeypatch.setattr(lease_module, "now", lambda: later)
    with pytest.raises(LockedError, match="elsewhere:1"):
        held.keep()


def test_a_load_that_fails_ends_its_lease_and_leaves_it_for_what_it_says(client):
    with pytest.raises(KeyboardInterrupt), take(client) as held:
        raise KeyboardInterrupt
    lease = read(client).lease
    assert (lease.token, lease.loading) == (held.lease.token, TARGET)
    assert lease.expires_at <= now()


def test_a_load_that_succeeds_touches_its_lease_no_more(client):
    with take(client):
        before = read(client)
    assert read(client) == before


def test_a_load_that_fails_leaves_the_lease_of_another_alone(client):
    held = take(client)
    hold(client, "elsewhere:1")
    before = read(client)
    with pytest.raises(ValueError, match="defect"), held:
        raise ValueError("defect")
    assert read(client) == before


def test_a_lease_that_cannot_be_given_back_does_not_hide_why_the_load_failed(client, monkeypatch, warnings_logged):
    def fail(*arguments, **options):
        raise OSError("no route")

    held = take(client)
    monkeypatch.setattr(client, "update_collection", fail)
    with pytest.raises(ValueError, match="defect"), held:
        raise ValueError("defect")
    (message,) = warnings_logged
    assert "could not be given back: OSError('no route')" in message


@pytest.fixture
def warnings_logged():
    messages = []
    sink = logger.add(messages.append, format="{message}", level="WARNING")
    yield messages
    logger.remove(sink)


def test_a_lease_whose_taking_fails_half_way_is_given_back(client, monkeypatch):
    def interrupt(held):
        raise KeyboardInterrupt

    monkeypatch.setattr(lease_module.HeldLease, "confirm", interrupt)
    with pytest.raises(KeyboardInterrupt):
        take(client)
    assert read(client).lease.expires_at <= now()


def test_the_lease_of_an_earlier_load_of_this_data_folder_is_over_wherever_that_ran(client):
    hold(client, "elsewhere:1")
    with pytest.raises(LockedError):
        take(client, own_token="another")
    take(client, own_token="theirs")
    assert read(client).lease.token != "theirs"


def test_nobody_else_loads_into_an_embedded_qdrant(client, monkeypatch):
    monkeypatch.setattr(lease_module, "is_local", is_local)
    hold(client, "elsewhere:1")
    take(client)
    assert read(client).lease.token != "theirs"


def test_a_server_is_not_embedded():
    with closing(QdrantClient(url="http://127.0.0.1:1", check_compatibility=False)) as remote:
        assert not is_local(remote)


@pytest.mark.parametrize("place", ["_BOOT_ID", "_PROCESS_NAMESPACE"])
def test_machines_of_one_name_that_cannot_be_told_apart_are_taken_for_different_ones(monkeypatch, tmp_path, place):
    lease_module._machine.cache_clear()
    monkeypatch.setattr(lease_module, place, tmp_path / "missing")
    try:
        here = lease_module._host()
        assert lease_module._host() == here
        lease_module._machine.cache_clear()  # as another process
        assert lease_module._host() != here
    finally:
        lease_module._machine.cache_clear()


def test_another_boot_is_another_machine(monkeypatch, tmp_path):
    lease_module._machine.cache_clear()
    (tmp_path / "boot_id").write_text("another")
    monkeypatch.setattr(lease_module, "_BOOT_ID", tmp_path / "boot_id")
    try:
        assert lease_module._host() != HOST
    finally:
        lease_module._machine.cache_clear()


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
