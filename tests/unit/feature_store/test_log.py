"""Logging: no secret leaves, and every message is said once."""

import logging

import pytest
from loguru import logger
from pydantic import SecretStr

from feature_store.log import configure_command_logging, configure_step_logging

URI = "mongodb://user:Geheimnis@db/?tls=true"
KEY = "qdrant-key-4711"


@pytest.fixture
def secretive(settings):
    yield settings.model_copy(update={"mongo_uri": SecretStr(URI), "qdrant_api_key": SecretStr(KEY)})
    logger.remove()
    logger.configure(patcher=lambda record: None)


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
