"""What tests run on the workers of a cluster: like part functions they see their item and shared files, and no more."""

import os
import signal
import time
from pathlib import Path
from uuid import uuid4

from feature_store.errors import DataQualityError
from tests.stand_in import HashEncoder


def die_once(marker):
    """Kill this process, unless some process did so before."""
    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def after_a_death(item, function, marker):
    die_once(marker)
    return function(item)


def slow_square(item, seconds):
    time.sleep(seconds)
    return item * item


def noted(item, folder):
    """Write when this began and ended."""
    began = time.monotonic_ns()
    time.sleep(0.05)
    (folder / uuid4().hex).write_text(f"{item} {began} {time.monotonic_ns()}", encoding="utf-8")
    return item


def refusing(item, folder):
    (folder / uuid4().hex).touch()
    if item == "quality":
        raise DataQualityError("Too few documents.", "Look at them.")
    if item == "arithmetic":
        raise ZeroDivisionError("of a worker")
    if item == "death":
        os.kill(os.getpid(), signal.SIGKILL)
    return item


class MortalEncoder(HashEncoder):
    """An encoder whose process is killed at its first texts, once."""

    marker = ""

    def embed_documents(self, texts):
        die_once(self.marker)
        time.sleep(0.02)
        return super().embed_documents(texts)


def mortal_encoder(marker):
    encoder = MortalEncoder()
    encoder.marker = str(marker)
    return encoder


def missing_model():
    raise FileNotFoundError("no such model")
