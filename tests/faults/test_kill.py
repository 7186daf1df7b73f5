"""kill -9 at every commit point, in every mode: one more run, and everything is as in a clean room.

A child process runs the stages and kills itself at the moment of the fault.
"""

import os
import random
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from feature_store.settings import Settings
from tests.application import MODES, OUTBOX
from tests.comparison import State, differences, misplaced_duplicates, read_state
from tests.faults.faults import Fault
from tests.faults.installation import IN_FLIGHT, SEED, Place, edit, fill, make_flow, opened, restore, turn_back
from tests.faults.worker import run_and_die, run_and_die_before_step, run_and_list_steps
from tests.flow import Document
from warehouse.connection import open_warehouse

CHILD_SECONDS = 60
_CHANCE = random.Random(SEED)
# Where in a run it is killed. `FAULTS=100` tries so many places: all of them, in a few minutes.
SHARES = sorted(_CHANCE.random() for _ in range(int(os.environ.get("FAULTS", "4"))))

FAULTS = {
    "after the raw read": Fault("tests.flow:Flow.clean"),
    "during clean, documents but no rejects": Fault("steps.clean.part:write_part", 2),
    "between the rows of documents and of rejects": Fault("feature_store.commit:_write_rejects"),
    "between rows and position": Fault("feature_store.versions:publish_version"),
    "after the commit, before its side effects": Fault("feature_store.versions:publish_version", when="after"),
    "mid-embed, vectors made but not stored": Fault("feature_store.vectors:VectorTable.append", 2),
    "mid-embed, vectors stored": Fault("feature_store.vectors:VectorTable.append", 2, "after"),
    "mid-upsert": Fault("feature_store.local_rows:_row", 9),
    "between upsert and delete": Fault("feature_store.local_rows:remove_points"),
    "before the record": Fault("feature_store.index_record:IndexRecord.write"),
    "between the record and its note": Fault("feature_store.index_record:IndexRecord.publish"),
    "before the pointer": Fault("steps.load.apply:publish"),
}
MID_EMBED = {"mid-embed, vectors made but not stored", "mid-embed, vectors stored"}
FIRST_RUN = {
    "between rows and position": FAULTS["between rows and position"],
    "mid-embed, vectors made but not stored": FAULTS["mid-embed, vectors made but not stored"],
    "mid-upsert": FAULTS["mid-upsert"],
    "before the pointer": FAULTS["before the pointer"],
    "between pointer and alias": Fault("qdrant_client.local.qdrant_local:QdrantLocal.update_collection_aliases"),
}


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep one embedded server alive for all: its log of changes ends with it."""
    folder = tmp_path_factory.mktemp("warehouse")
    with open_warehouse(Settings(data_dir=folder, _env_file=None)):
        yield folder


@dataclass(frozen=True)
class Scenario:
    """An installation before a run, the documents before and after their change, the outbox, and the state to reach.

    That state is another one if some changes are taken back before the recovery.
    """

    place: Place
    before: list[Document]
    documents: list[Document]
    outbox: list[Document]
    clean_room: State
    clean_room_turned_back: State


class Scenarios:
    """Makes each scenario once: a first run has ended, or none was yet; then the documents changed."""

    def __init__(self, folder: Path, warehouse: Path) -> None:
        self.folder = folder
        self.warehouse = warehouse
        self.made: dict[tuple[str, bool], Scenario] = {}

    def __call__(self, mode: str, first: bool) -> Scenario:
        if (mode, first) not in self.made:
            self.made[mode, first] = self._make(mode, first)
        return self.made[mode, first]

    def _make(self, mode: str, first: bool) -> Scenario:
        name = f"{mode}_{'first' if first else 'later'}"
        place = Place(self.folder / name, self.warehouse, name, mode)
        with opened(place) as (flow, database):
            fill(database)
            if not first:
                flow.run(database)
            before = list(database["notes"].find())
            edit(database)
            documents, outbox = (list(database[collection].find()) for collection in ("notes", OUTBOX))
            expected = clean_room(place, database)
            turn_back(database, before)
            return Scenario(place, before, documents, outbox, expected, clean_room(place, database))


def clean_room(place: Place, database: Any) -> State:
    """Return the state of a fresh installation on the same documents."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = make_flow(replace(place, folder=Path(folder), mode="hash"), QdrantClient(":memory:"))
        fresh.run(database)
        return read_state(fresh)


@pytest.fixture(scope="module")
def scenario_of(tmp_path_factory: pytest.TempPathFactory, warehouse: Path) -> Scenarios:
    return Scenarios(tmp_path_factory.mktemp("scenarios"), warehouse)


class Trial:
    """A copy of a scenario's data folder, the outbox as it was, and a way to run in a child process."""

    def __init__(self, scenario: Scenario, folder: Path, children: ForkServerContext) -> None:
        self.scenario = scenario
        self.children = children
        self.place = scenario.place.moved(folder / "data")
        if scenario.place.folder.exists():
            shutil.copytree(scenario.place.folder, self.place.folder)
        with open_warehouse(self._warehouse_settings()) as database:
            restore(database, scenario.documents)
            database[OUTBOX].delete_many({})
            database[OUTBOX].insert_many(scenario.outbox)

    def in_child(self, function: Callable[..., None], *arguments: Any) -> int:
        """Call ``function`` in a process of its own; return its exit code."""
        process = self.children.Process(target=function, args=(self.place, *arguments))
        process.start()
        process.join(CHILD_SECONDS)
        assert process.exitcode is not None, "the child hangs"
        return process.exitcode

    def prove_recovery(self, turned_back: bool = False) -> None:
        """Run once more, and compare with the clean room; some changes may be taken back before."""
        with opened(self.place) as (flow, database):
            expected = self.scenario.clean_room
            if turned_back:
                turn_back(database, self.scenario.before)
                expected = self.scenario.clean_room_turned_back
            flow.run(database)
            assert differences(read_state(flow), expected) == []
            assert misplaced_duplicates(flow) == []
            again = flow.run(database)
            assert again.index.report.written == again.index.embeddings.embedded == 0
            assert again.cleaned.version == again.cleaned.previous_version

    def embedded_twice(self) -> int:
        """Return how many texts were embedded again."""
        return sum(times - 1 for times in self.place.embedded().values())

    def _warehouse_settings(self) -> Settings:
        place = self.scenario.place
        return Settings(data_dir=place.warehouse, mongo_database=place.database, _env_file=None)


@pytest.fixture
def trial_of(scenario_of, children, tmp_path) -> Callable[[str, bool], Trial]:
    return lambda mode, first: Trial(scenario_of(mode, first), tmp_path, children)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_after_a_kill_makes_it_good(trial_of, mode, fault):
    trial = trial_of(mode, False)
    assert trial.in_child(run_and_die, FAULTS[fault]) == -signal.SIGKILL, f"{fault} was never reached"
    # Every other time the source takes back meanwhile what the dead run has seen.
    trial.prove_recovery(turned_back=(list(FAULTS).index(fault) + list(MODES).index(mode)) % 2 == 1)
    assert trial.embedded_twice() <= (IN_FLIGHT if fault in MID_EMBED else 0)


@pytest.mark.parametrize("mode", ["hash", "log"])
@pytest.mark.parametrize("fault", FIRST_RUN)
def test_a_run_after_a_killed_first_run_makes_it_good(trial_of, mode, fault):
    trial = trial_of(mode, True)
    assert trial.in_child(run_and_die, FIRST_RUN[fault]) == -signal.SIGKILL, f"{fault} was never reached"
    trial.prove_recovery()
    assert trial.embedded_twice() <= (IN_FLIGHT if fault in MID_EMBED else 0)


@pytest.fixture(scope="module")
def durable_steps(scenario_of, children, tmp_path_factory) -> list[str]:
    """The durable steps of a run by outbox, the mode that writes at most places."""
    folder = tmp_path_factory.mktemp("steps")
    listing = folder / "steps.txt"
    assert Trial(scenario_of("outbox", False), folder, children).in_child(run_and_list_steps, listing) == 0
    return listing.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("share", SHARES, ids=lambda share: f"at {share:.0%} of the run")
def test_a_run_after_a_kill_before_any_durable_step_makes_it_good(trial_of, durable_steps, share):
    step = 1 + int(share * len(durable_steps))
    trial = trial_of("outbox", False)
    assert trial.in_child(run_and_die_before_step, step) == -signal.SIGKILL
    trial.prove_recovery()
    stores_vectors = durable_steps[step - 1] == "lance:write_dataset"
    assert trial.embedded_twice() <= (IN_FLIGHT if stores_vectors else 0), f"before step {step} of {durable_steps}"
