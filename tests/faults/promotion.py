"""An installation whose index was changed: what a child process does to it, and dies."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_store.index import open_qdrant
from feature_store.settings import Settings
from pipelines.promotion import roll_back
from tests.faults.faults import Fault, armed, kill
from tests.flow import Flow, note, notes_config
from tests.stand_in import HashEncoder

DOCUMENTS = [note(f"note-{number}", f"Note {number} is about a river. " * 12) for number in range(6)]
INDEX = "notes_index"


@contextmanager
def opened(folder: Path, window: int) -> Iterator[Flow]:
    """Open an installation whose index has chunks of that many tokens."""
    index = notes_config("stand-in").indexes[0].model_dump() | {"chunking": {"window": window, "overlap": 8}}
    with open_qdrant(Settings(data_dir=folder, _env_file=None)) as client:
        flow = Flow(folder, notes_config(indexes=[index]), client)
        flow.load_encoder = lambda config: HashEncoder()
        flow._runs = itertools.count(time.time_ns())  # folders of its own, whichever process ran here before
        yield flow


def run_and_die(folder: Path, window: int, fault: Fault) -> None:
    """Run with a changed index, and be killed at the moment of ``fault``."""
    with opened(folder, window) as flow, armed(fault, kill):
        flow.run(DOCUMENTS)


def roll_back_and_die(folder: Path, fault: Fault) -> None:
    """Go back, and be killed at the moment of ``fault``."""
    with armed(fault, kill):
        roll_back(Settings(data_dir=folder, _env_file=None), INDEX)
