"""What the child processes of the fault suite do: a run that ends in the middle."""

import resource
import signal
import warnings
from pathlib import Path

from feature_store.encoders import load_sparse_encoder
from feature_store.index_config import SparseConfig
from steps.clean.language import detect_language
from tests.faults.faults import Fault, armed, before_every_durable_step, kill
from tests.faults.installation import Place, opened

# The fork server imports this module, so that its children find loaded what takes most of a second to load. It says of
# itself that it must not be forked; that holds from its first use on, and the fork server only imports it.
warnings.filterwarnings("ignore", message="lance is not fork-safe")
detect_language("The language model is read from its file when it is asked for the first time.")
load_sparse_encoder(SparseConfig())


def run_and_die(place: Place, fault: Fault) -> None:
    """Run, and be killed at the moment of ``fault``."""
    with opened(place) as (flow, database), armed(fault, kill):
        flow.run(database)


def run_and_die_before_step(place: Place, number: int) -> None:
    """Run, and be killed before the durable step of that number."""

    def act(step: int, target: str) -> None:
        if step == number:
            kill()

    with opened(place) as (flow, database), before_every_durable_step(act):
        flow.run(database)


def run_and_list_steps(place: Place, listing: Path) -> None:
    """Run, and write the target of every durable step to ``listing``, a line each."""
    steps: list[str] = []
    with opened(place) as (flow, database), before_every_durable_step(lambda step, target: steps.append(target)):
        flow.run(database)
    listing.write_text("\n".join(steps), encoding="utf-8")


def run_with_little_disk(place: Place, limit: int) -> None:
    """Run where no file can grow beyond ``limit`` bytes: writing more fails as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with opened(place) as (flow, database):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        flow.run(database)
