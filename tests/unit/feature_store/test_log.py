"""Logging and progress: no secret leaves, and work without a terminal still says how far it is."""

import logging
import os
import sys

import pytest
from loguru import logger
from pydantic import SecretStr

from feature_store import progress as progress_module
from feature_store.log import configure_command_logging, configure_step_logging
from feature_store.progress import progress

URI = "mongodb://user:Geheimnis@db/?tls=true"
KEY = "qdrant-key-4711"


@pytest.fixture
def secretive(settings):
    yield settings.model_copy(update={"mongo_uri": SecretStr(URI), "qdrant_api_key": SecretStr(KEY)})
    logger.remove()
    logger.configure(patcher=lambda record: None)


@pytest.fixture
def messages():
    collected = []
    handler = logger.add(lambda message: collected.append(message.record["message"]), format="{message}", level="INFO")
    yield collected
    logger.remove(handler)


def test_secrets_are_cut_out_of_what_a_command_prints(secretive, capsys):
    configure_command_logging(secretive)
    logger.error("cannot reach {} with {}", URI, KEY)
    printed = capsys.readouterr().err
    assert "cannot reach *** with ***" in printed
    assert "ERROR" in printed


def test_secrets_are_cut_out_of_what_a_step_logs(secretive, caplog):
    configure_step_logging(secretive)
    logger.warning("{} 100 % of {}", URI, KEY)
    (record,) = caplog.records
    assert (record.getMessage(), record.levelno, record.name) == ("*** 100 % of ***", logging.WARNING, __name__)


def test_a_password_is_cut_out_of_messages_that_quote_it_alone(secretive, capsys):
    configure_command_logging(secretive)
    logger.error("authentication of user with Geheimnis failed")
    assert "Geheimnis" not in capsys.readouterr().err


def test_secrets_are_cut_out_of_tracebacks(secretive, capsys):
    configure_command_logging(secretive)
    try:
        raise ValueError(f"bad key {KEY}")
    except ValueError:
        logger.exception("failed")
    assert KEY not in capsys.readouterr().err


def test_debug_messages_and_chatter_of_libraries_are_left_out(secretive, capsys):
    configure_command_logging(secretive)
    logger.debug("detail")
    logging.getLogger("httpx").info("HTTP Request: GET")
    assert capsys.readouterr().err == ""


def test_configuring_twice_prints_every_message_once(secretive, capsys):
    configure_command_logging(secretive)
    configure_command_logging(secretive)
    logger.info("once")
    assert capsys.readouterr().err.count("once") == 1


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(progress_module, "time", made)
    return made


def test_a_line_of_progress_tells_done_total_rate_and_time_left(clock, messages):
    with progress("reading notes", 4000) as advance:
        clock.now += 20
        advance(1000)
    assert messages == ["reading notes: 1,000 of 4,000, 50/s, about 60 s left"]


def test_without_a_total_a_line_tells_done_and_rate(clock, messages):
    with progress("reading notes", None) as advance:
        clock.now += 20
        advance(1000)
    assert messages == ["reading notes: 1,000, 50/s"]


def test_lines_of_progress_are_seconds_apart_and_count_everything(clock, messages):
    with progress("embedding", 100) as advance:
        for _ in range(100):
            clock.now += 1
            advance(1)
    assert [message.split(",")[0] for message in messages] == [
        f"embedding: {done} of 100" for done in range(15, 100, 15)
    ]


def test_work_that_did_nothing_for_long_has_no_time_left_to_tell(clock, messages):
    with progress("embedding", 100) as advance:
        clock.now += 60
        advance(0)
    assert messages == ["embedding: 0 of 100, 0/s, about 0 s left"]


def test_on_a_terminal_there_is_a_bar_and_no_line(monkeypatch, messages):
    main, terminal = os.openpty()
    with os.fdopen(terminal, "w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        with progress("reading notes", 10) as advance:
            advance(4)
            advance(6)
        monkeypatch.undo()
    shown = _read_all(main)
    os.close(main)
    assert "reading notes" in shown
    assert "10/10" in shown
    assert messages == []


def _read_all(descriptor):
    read = b""
    while True:
        try:
            read += os.read(descriptor, 100_000)
        except OSError:  # the other end is closed and everything is read
            return read.decode()
