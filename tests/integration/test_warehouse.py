"""The connection and the imports against the embedded server, through pymongo."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from threading import Barrier

import pytest
from bson import Decimal128
from pydantic import SecretStr
from pymongo.errors import AutoReconnect, OperationFailure

from feature_store.errors import ConfigurationError, PipelineError, TransientError
from feature_store.settings import Settings
from warehouse import embedded
from warehouse.connection import collection_names, open_warehouse
from warehouse.imports.distributions import read_distributions
from warehouse.imports.docstrings import read_docstrings
from warehouse.imports.extended_json import read_documents
from warehouse.imports.store import MAX_DOCUMENT_BYTES, FailedDocument, ImportCounts, store
from warehouse.keeping import kept_between_steps, let_go

PASSWORD = "S3cr3t/Pa:ss"
USER = "secret-user"


@pytest.fixture
def settings(tmp_path):
    return Settings(_env_file=None, data_dir=tmp_path, mongo_uri=None, mongo_database="warehouse")


@pytest.fixture(scope="module")
def shared_database(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with open_warehouse(Settings(_env_file=None, data_dir=folder, mongo_uri=None)) as database:
        yield database


@pytest.fixture
def collection(shared_database):
    return f"c{uuid.uuid4().hex}"


def port_of(database):
    return database.client.address[1]


def refuses_connections(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def eventually(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def opener(settings, body):
    """Start a process that opens the warehouse, prints its port and goes on with ``body``."""
    script = f"""
        import os, signal, sys, time
        from pathlib import Path
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
        from feature_store.settings import Settings
        from warehouse.connection import open_warehouse
        with open_warehouse(Settings(_env_file=None, data_dir=Path({str(settings.data_dir)!r}))) as database:
            print(database.client.address[1], flush=True)
{textwrap.indent(textwrap.dedent(body), " " * 12)}
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MONGO_URI": ""}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


# The embedded server


def test_data_is_kept_when_the_server_is_stopped_and_started(settings):
    with open_warehouse(settings) as database:
        database.articles.insert_one({"_id": 1, "title": "Kept"})
        port = port_of(database)
    assert refuses_connections(port)
    with open_warehouse(settings) as database:
        assert database.articles.find_one() == {"_id": 1, "title": "Kept"}
        assert collection_names(database) == ["articles"]


def test_an_empty_warehouse_has_no_collections(settings):
    with open_warehouse(settings) as database:
        assert database.name == "warehouse"
        assert collection_names(database) == []


def test_dates_come_back_in_utc_with_their_time_zone(shared_database, collection, tmp_path):
    path = tmp_path / "dates.json"
    path.write_text('{"_id": 1, "at": {"$date": "2024-07-29T12:00:00+02:00"}}')
    store(shared_database, collection, read_documents(path))
    assert shared_database[collection].find_one()["at"].isoformat() == "2024-07-29T10:00:00+00:00"


def test_an_error_in_the_body_stops_the_server_and_is_passed_on(settings):
    with pytest.raises(KeyError, match="of the caller"), open_warehouse(settings) as database:  # noqa: PT012
        port = port_of(database)
        raise KeyError("of the caller")
    assert refuses_connections(port)


def test_a_second_opener_uses_the_same_server_and_the_last_one_stops_it(settings):
    with ExitStack() as first, ExitStack() as second:
        database = first.enter_context(open_warehouse(settings))
        database.articles.insert_one({"_id": 1})
        port = port_of(database)
        other = second.enter_context(open_warehouse(settings))
        assert port_of(other) == port
        first.close()
        assert other.articles.find_one() == {"_id": 1}
        second.close()
        assert eventually(lambda: refuses_connections(port))


def test_within_a_run_the_next_opener_finds_the_same_server_until_it_is_let_go(settings):
    with kept_between_steps():
        with open_warehouse(settings) as database:
            port = port_of(database)
        assert not refuses_connections(port)
        with open_warehouse(settings) as database:
            assert port_of(database) == port
        let_go()
        assert refuses_connections(port)


def test_a_server_that_died_between_two_steps_is_started_again(settings):
    with kept_between_steps():
        with open_warehouse(settings):
            running = json.loads(embedded.server_files(settings).state.read_text())
        os.kill(running["pid"], signal.SIGKILL)
        assert eventually(lambda: refuses_connections(running["port"]))
        with open_warehouse(settings) as database:
            database.articles.insert_one({"_id": 1})
            port = port_of(database)
    assert refuses_connections(port)


def test_openers_at_the_same_moment_share_one_server(settings):
    barrier = Barrier(4)

    def open_together(_):
        with open_warehouse(settings) as database:
            barrier.wait(timeout=20)
            return port_of(database)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(open_together, range(4)))) == 1


def test_another_process_uses_the_same_server_and_keeps_it_when_the_first_is_killed(settings):
    with opener(settings, "time.sleep(60)") as process:
        port = int(process.stdout.readline())
        with open_warehouse(settings) as database:
            assert port_of(database) == port
            process.kill()
            process.wait()
            time.sleep(1)  # longer than the server takes to notice
            assert collection_names(database) == []
        assert refuses_connections(port)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("time.sleep(60)", id="alone"),
        pytest.param("if os.fork() == 0: time.sleep(60)\ntime.sleep(60)", id="with a forked worker that lives on"),
    ],
)
def test_the_server_dies_with_an_opener_that_is_killed(settings, body):
    with opener(settings, body) as process:
        port = int(process.stdout.readline())
        assert not refuses_connections(port)
        process.kill()
        process.wait()
        try:
            assert eventually(lambda: refuses_connections(port), seconds=5)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_the_server_outlives_an_interrupt_until_the_last_read(settings):
    body = """
        try:
            print("waiting", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            print(database.articles.count_documents({}), flush=True)
    """
    with opener(settings, body) as process:
        port = int(process.stdout.readline())
        assert process.stdout.readline() == "waiting\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.readline() == "0\n"
        assert process.wait(timeout=10) == 0
    assert refuses_connections(port)


def test_a_record_of_a_dead_server_is_not_believed(settings):
    files = embedded.server_files(settings)
    files.folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        # This process lives and something listens on that port, but neither is our server.
        record = {"pid": os.getpid(), "port": stranger.getsockname()[1]}
        files.state.write_text(json.dumps(record))
        files.pid.write_text(str(os.getpid()))
        with open_warehouse(settings) as database:
            assert port_of(database) != record["port"]
            assert json.loads(files.state.read_text())["port"] == port_of(database)
    assert not files.state.exists()


def test_a_server_that_was_killed_is_replaced(settings, monkeypatch):
    monkeypatch.setattr("warehouse.connection.SERVER_SELECTION_MILLISECONDS", 300)
    with open_warehouse(settings) as database:
        first = port_of(database)
        os.kill(json.loads(embedded.server_files(settings).state.read_text())["pid"], signal.SIGKILL)
        assert eventually(lambda: refuses_connections(first))
        with open_warehouse(settings) as again:
            assert collection_names(again) == []
            second = port_of(again)
        with pytest.raises(AutoReconnect):
            database.client.admin.command("ping")
    assert refuses_connections(second)


def test_a_server_that_holds_the_folder_without_answering_is_named(settings, monkeypatch):
    monkeypatch.setattr(embedded, "START_SECONDS", 0.2)
    files = embedded.server_files(settings)
    files.folder.mkdir(parents=True)
    with files.server_lock.open("w") as lock:
        embedded.fcntl.flock(lock, embedded.fcntl.LOCK_EX)
        with pytest.raises(TransientError, match="does not answer"), open_warehouse(settings):
            pass


def test_a_server_that_cannot_start_is_reported_with_its_log(settings, monkeypatch):
    monkeypatch.setattr(embedded, "HOST", "no-such-host.invalid")
    with pytest.raises(ConfigurationError, match=r"ended at its start(?s:.*)gaierror"), open_warehouse(settings):
        pass
    monkeypatch.undo()
    with open_warehouse(settings) as database:
        assert collection_names(database) == []


def test_a_server_that_is_too_slow_is_killed(settings, monkeypatch):
    monkeypatch.setattr(embedded, "START_SECONDS", 0.1)
    monkeypatch.setattr(embedded, "_command", lambda files: [sys.executable, "-c", "import time; time.sleep(60)"])
    started = []
    start = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *args, **kwargs: started.append(start(*args, **kwargs)) or started[0]
    )
    with pytest.raises(TransientError, match=r"did not answer within 0\.1 s"), open_warehouse(settings):
        pass
    assert started[0].returncode == -signal.SIGKILL


def test_a_folder_that_cannot_be_written_is_named(settings):
    settings.warehouse_folder.write_text("a file where the folder should be")
    with pytest.raises(ConfigurationError, match=r"cannot write to .*warehouse.*DATA_DIR"), open_warehouse(settings):
        pass


# A server elsewhere


def uri_settings(tmp_path, address):
    return Settings(_env_file=None, data_dir=tmp_path, mongo_uri=SecretStr(address), mongo_database="warehouse")


def assert_no_secret(error):
    frames = []
    at = error.__traceback__
    while at is not None:
        # The first frame is this file's, which holds the address itself.
        if at.tb_frame.f_code.co_filename != __file__:
            frames.append(repr(at.tb_frame.f_locals))
        at = at.tb_next
    printed = "".join(traceback.format_exception(error))
    for text in (str(error), repr(error), repr(error.args), printed, *frames):
        for secret in (PASSWORD, "S3cr3t", "Pa:ss", "Pa%3Ass", USER):
            assert secret not in text


ENCODED = f"{USER}:S3cr3t%2FPa%3Ass"


@pytest.mark.parametrize(
    ("address", "error_type", "problem"),
    [
        pytest.param(
            f"mongodb://{ENCODED}@127.0.0.1:1/?retryReads=false",
            TransientError,
            "MongoDB at mongodb://127.0.0.1:1 does not answer: 127.0.0.1:1: .*refused",
            id="nobody there",
        ),
        pytest.param(
            f"mongodb://{USER}:{PASSWORD}@127.0.0.1:1", ConfigurationError, "percent-encode", id="password not encoded"
        ),
        pytest.param(f"mongodb://{ENCODED}@127.0.0.1:99999", ConfigurationError, "not accept", id="no such port"),
        pytest.param(
            f"mongodb://{ENCODED}@127.0.0.1:1/?tls=S3cr3t",
            ConfigurationError,
            "names and values of the options",
            id="bad value of an option",
        ),
        pytest.param(f"mongodb://{ENCODED}@127.0.0.1:1/?S3cr3t=1", ConfigurationError, "options", id="unknown option"),
        pytest.param(f"http://{ENCODED}@127.0.0.1:1", ConfigurationError, "mongodb://user", id="not MongoDB"),
    ],
)
def test_an_address_that_does_not_work_is_reported_without_credentials(
    tmp_path, monkeypatch, address, error_type, problem
):
    monkeypatch.setattr("warehouse.connection.SERVER_SELECTION_MILLISECONDS", 300)
    with pytest.raises(error_type, match=problem) as caught, open_warehouse(uri_settings(tmp_path, address)):
        pass
    assert caught.value.remedy
    assert_no_secret(caught.value)


def test_refused_credentials_are_reported_without_them(tmp_path, monkeypatch):
    # The embedded server knows no users, so that a refusal has to be played.
    def refuse(*_):
        raise OperationFailure(f"Authentication failed for {USER}:{PASSWORD}", code=18)

    monkeypatch.setattr("pymongo.database.Database.command", refuse)
    settings = uri_settings(tmp_path, f"mongodb://{ENCODED}@127.0.0.1:1/?connect=false")
    with pytest.raises(ConfigurationError, match=r"refuses the user name or the password \(code 18\)") as caught:  # noqa: SIM117
        with open_warehouse(settings):
            pass
    assert_no_secret(caught.value)


def test_a_server_elsewhere_is_used_and_no_other_one_started(shared_database, tmp_path):
    with open_warehouse(uri_settings(tmp_path, f"mongodb://127.0.0.1:{port_of(shared_database)}")) as database:
        assert port_of(database) == port_of(shared_database)
    assert list(tmp_path.iterdir()) == []
    assert not refuses_connections(port_of(shared_database))


def test_a_name_that_no_database_can_have_is_reported(shared_database, tmp_path):
    address = SecretStr(f"mongodb://127.0.0.1:{port_of(shared_database)}")
    settings = Settings(_env_file=None, data_dir=tmp_path, mongo_uri=address, mongo_database="a b")
    with pytest.raises(ConfigurationError, match=r"'a b' is not a database name\. Correct MONGO_DATABASE"):  # noqa: SIM117
        with open_warehouse(settings):
            pass


# Imports


def test_a_second_import_finds_everything_unchanged(shared_database, collection):
    def documents():
        yield from read_distributions()
        yield from read_docstrings("tenacity", pytest.fail)

    total = len(list(documents()))
    assert store(shared_database, collection, documents()) == ImportCounts(inserted=total)
    assert store(shared_database, collection, documents()) == ImportCounts(unchanged=total)
    assert shared_database[collection].count_documents({}) == total


def test_only_the_changed_document_is_updated(shared_database, collection):
    documents = [{"_id": number, "text": f"text {number}", "tags": ["a", {"b": None}]} for number in range(5)]
    store(shared_database, collection, documents)
    documents[3] = {"text": "another text", "_id": 3}
    documents.append({"_id": 5, "text": "new"})
    assert store(shared_database, collection, documents) == ImportCounts(inserted=1, updated=1, unchanged=4)
    assert shared_database[collection].find_one({"_id": 3}) == {"_id": 3, "text": "another text"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({"n": 1}, {"n": True}, id="number to boolean"),
        pytest.param({"n": 1}, {"n": 1.0}, id="int to float"),
        pytest.param({"a": None}, {}, id="null to missing"),
        pytest.param({"a": 1, "b": 2}, {"b": 2, "a": 1}, id="order of the fields"),
    ],
)
def test_a_change_that_python_calls_equal_or_nearly_is_an_update(shared_database, collection, before, after):
    store(shared_database, collection, [{"_id": 1, **before}])
    assert store(shared_database, collection, [{"_id": 1, **after}]).updated == 1


def test_a_document_that_is_too_large_is_reported_and_the_others_are_stored(shared_database, collection):
    overhead = len(b"\5\0\0\0\0") + len(b"\x10_id\0" + b"\0" * 4) + len(b"\2t\0" + b"\0" * 4 + b"\0")
    largest = {"_id": 2, "t": "x" * (MAX_DOCUMENT_BYTES - overhead)}
    too_large = {"_id": 3, "t": largest["t"] + "x"}
    counts = store(shared_database, collection, [{"_id": 1}, too_large, {"_id": 4}, largest])
    assert (counts.inserted, counts.updated, counts.unchanged) == (3, 0, 0)
    assert counts.failed == [
        FailedDocument(2, "3", "It has 16,777,217 bytes; MongoDB stores at most 16,777,216 in one document.")
    ]
    assert {document["_id"] for document in shared_database[collection].find({}, {"_id": 1})} == {1, 2, 4}


@pytest.mark.parametrize(
    ("bad", "shown_id", "reason"),
    [
        pytest.param({"text": "no id"}, "", "no _id", id="without id"),
        pytest.param(
            {"_id": "surrogate", "text": "\ud800"}, "surrogate", "surrogates not allowed", id="half a character"
        ),
        pytest.param({"_id": "large", "n": 2**64}, "large", "8-byte ints", id="number of more than 64 bits"),
        pytest.param({"_id": "null\0", "a\0b": 1}, "null\0", "NULL byte", id="null byte in a key"),
        pytest.param({"_id": "object", "o": object()}, "object", "cannot encode object", id="value of no BSON type"),
        pytest.param({"_id": "d", "n": Decimal128("1")}, "d", "The server refuses it: ", id="refused by this server"),
    ],
)
def test_a_document_that_cannot_be_stored_is_reported_with_its_reason(
    shared_database, collection, bad, shown_id, reason
):
    counts = store(shared_database, collection, [{"_id": 1}, bad, {"_id": 2}])
    assert (counts.inserted, counts.updated, counts.unchanged) == (2, 0, 0)
    [failed] = counts.failed
    assert (failed.position, failed.document_id) == (2, shown_id)
    assert reason in failed.reason
    assert shared_database[collection].count_documents({}) == 2


def test_the_last_of_several_documents_with_one_id_stays(shared_database, collection):
    documents = [{"_id": 1, "v": "first"}, {"_id": 2}, {"_id": 1, "v": "second"}]
    assert store(shared_database, collection, documents) == ImportCounts(inserted=2, updated=1)
    assert shared_database[collection].find_one({"_id": 1})["v"] == "second"


def test_more_documents_than_a_batch_are_all_stored(shared_database, collection, monkeypatch):
    monkeypatch.setattr("warehouse.imports.store.BATCH_DOCUMENTS", 3)
    monkeypatch.setattr("warehouse.imports.store.BATCH_BYTES", 200)
    documents = [{"_id": f"{number:02}", "t": "x" * (50 * (number % 6))} for number in range(20)]
    assert store(shared_database, collection, documents) == ImportCounts(inserted=20)
    assert list(shared_database[collection].find(sort=[("_id", 1)])) == documents


def test_large_documents_are_stored_before_more_of_them_are_read(shared_database, collection, monkeypatch):
    monkeypatch.setattr("warehouse.imports.store.BATCH_BYTES", 200)

    def documents():
        for number in range(4):
            assert shared_database[collection].count_documents({}) >= number - 1
            yield {"_id": number, "t": "x" * 150}

    assert store(shared_database, collection, documents()).inserted == 4


def test_failures_come_in_the_order_of_the_documents(shared_database, collection):
    refused_by_this_server = {"_id": "d", "n": Decimal128("1")}
    counts = store(shared_database, collection, [{}, refused_by_this_server, {"_id": 1}])
    assert [failed.position for failed in counts.failed] == [1, 2]


def test_documents_without_id_are_not_doubled_by_a_second_import(shared_database, collection, tmp_path):
    path = tmp_path / "articles.json"
    path.write_text('[{"title": "A"}, {"title": "B"}]')
    assert store(shared_database, collection, read_documents(path)).inserted == 2
    assert store(shared_database, collection, read_documents(path)) == ImportCounts(unchanged=2)


def test_a_name_that_no_collection_can_have_is_reported(shared_database):
    with pytest.raises(ConfigurationError, match=r"'a\$b' is not a name of a collection"):
        store(shared_database, "a$b", [{"_id": 1}])


def test_a_server_that_goes_away_is_reported_with_what_was_stored(settings, monkeypatch):
    monkeypatch.setattr("warehouse.imports.store.BATCH_DOCUMENTS", 2)
    monkeypatch.setattr("warehouse.connection.SERVER_SELECTION_MILLISECONDS", 300)

    def documents():
        yield from ({"_id": number} for number in range(3))
        os.kill(json.loads(embedded.server_files(settings).state.read_text())["pid"], signal.SIGKILL)
        yield from ({"_id": number} for number in range(3, 9))

    with open_warehouse(settings) as database:
        with pytest.raises(TransientError, match=r"after 2 inserted and 0 updated.*Import again") as caught:
            store(database, "articles", documents())
        assert isinstance(caught.value, PipelineError)
    with open_warehouse(settings) as database:
        assert store(database, "articles", [{"_id": number} for number in range(9)]).unchanged == 2
