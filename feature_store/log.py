"""Logging: loguru everywhere in our code, handed to the standard library's loggers so that ZenML records it.

ZenML keeps what the standard loggers say as the step's log, at its level; what is written to stderr it would record as
an error. Secrets are cut out of every message.
"""

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

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
    logger.add(_to_standard_logger, format="{message}", level="INFO", diagnose=False)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_without_expected_traceback)


def configure_command_logging(settings: Settings) -> None:
    """Send loguru's messages to stderr, one quiet line each, from a command."""
    without_secrets = _configure(settings)
    stderr = sys.stderr

    def write(message: "Message") -> None:
        # Not the stream itself: a traceback is added after the patcher.
        stderr.write(without_secrets(message))

    logger.add(
        write,
        format="{time:HH:mm:ss} {level: <7} {message}",
        level="INFO",
        diagnose=False,  # it prints the values of variables
    )


def _configure(settings: Settings) -> Callable[[str], str]:
    secrets = _secrets(settings)

    def without_secrets(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "***")
        return text

    def patch(record: "Record") -> None:
        record["message"] = without_secrets(record["message"])

    logger.remove()
    logger.configure(patcher=patch)
    for name, level in _NOISY.items():
        logging.getLogger(name).setLevel(level)
    return without_secrets


def _secrets(settings: Settings) -> list[str]:
    """Return the secrets, the longest first: keys, addresses, and the passwords in them, also decoded."""
    secrets = {
        secret.get_secret_value() for secret in (settings.mongo_uri, settings.qdrant_api_key) if secret is not None
    }
    for address in (settings.mongo_uri.get_secret_value() if settings.mongo_uri else "", settings.qdrant_url or ""):
        password = address.partition("://")[2].rpartition("@")[0].partition(":")[2]
        secrets |= {password, unquote_plus(password)}
    return sorted(secrets - {""}, key=len, reverse=True)


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
