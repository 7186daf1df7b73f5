"""Logging: loguru everywhere in our code, handed to the standard library's loggers so that ZenML records it.

ZenML keeps what the standard loggers say as the step's log, at its level; what is written to stderr it would record as
an error. Secrets are cut out of every message.
"""

import logging
import sys
from typing import TYPE_CHECKING

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message, Record

from feature_store.errors import PipelineError
from feature_store.settings import Settings

_INTERRUPTED = "RunInterruptedException"  # ZenML's own, which this package does not import
_NOISY = {
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "sentence_transformers": logging.WARNING,
    "trafilatura": logging.CRITICAL,
    "pymongo": logging.WARNING,
    "filelock": logging.WARNING,
    "huggingface_hub": logging.ERROR,
}


def configure_step_logging(settings: Settings) -> None:
    """Send loguru's messages to the standard loggers, from inside a ZenML step."""
    _configure(settings)
    logger.add(_to_standard_logger, format="{message}", level="INFO")
    for handler in logging.getLogger().handlers:
        handler.addFilter(_without_expected_traceback)


def configure_command_logging(settings: Settings) -> None:
    """Send loguru's messages to stderr, one quiet line each, from a command."""
    _configure(settings)
    logger.add(sys.stderr, format="{time:HH:mm:ss} {level: <7} {message}", level="INFO")


def _configure(settings: Settings) -> None:
    secrets = [
        secret.get_secret_value() for secret in (settings.mongo_uri, settings.qdrant_api_key) if secret is not None
    ]

    def without_secrets(record: "Record") -> None:
        for secret in secrets:
            record["message"] = record["message"].replace(secret, "***")

    logger.remove()
    logger.configure(patcher=without_secrets)
    for name, level in _NOISY.items():
        logging.getLogger(name).setLevel(level)


def _without_expected_traceback(record: logging.LogRecord) -> bool:
    # The message of an expected error says what to do; the frames that led to it are of no use to its reader.
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, PipelineError | KeyboardInterrupt) or type(error).__name__ == _INTERRUPTED:
        record.exc_info = None
    return True


def _to_standard_logger(message: "Message") -> None:
    record = message.record
    # The arguments apart from the format: a message may hold per cent signs.
    logging.getLogger(record["name"] or "feature_pipeline").log(record["level"].no, "%s", record["message"])
