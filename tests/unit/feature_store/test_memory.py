"""The allocators' settings: what a process takes from its environment, and what it sets by itself."""

import os
import subprocess
import sys

import pytest

from feature_store.executors.processes import Processes
from feature_store.memory import FOR_PROCESSES
from tests.support import REPOSITORY

LATE = "import pyarrow as pa; from feature_store.memory import hold_memory_low; hold_memory_low(); print({told})"
EARLY = "from feature_store.memory import hold_memory_low; hold_memory_low(); import pyarrow as pa; print({told})"


def run(program, **environment):
    command = [sys.executable, "-c", program.format(told="pa.default_memory_pool().backend_name")]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("program", [LATE, EARLY], ids=["after Arrow was imported", "before"])
def test_arrow_takes_its_memory_from_the_system(program):
    assert run(program) == "system"


@pytest.mark.parametrize("program", [LATE, EARLY], ids=["after Arrow was imported", "before"])
def test_who_chose_another_pool_keeps_it(program):
    chosen = run("import pyarrow as pa; print({told})")
    assert chosen != "system", "else this test shows nothing"
    assert run(program, ARROW_DEFAULT_MEMORY_POOL=chosen) == chosen


def test_no_process_is_started_for_it():
    watched = "import sys; sys.addaudithook(lambda event, _: print(event) if event == 'subprocess.Popen' else None); "
    assert run(watched + LATE) == "system"


def environment_of_worker(name):
    import os
    import time

    time.sleep(0.05)
    return os.getpid(), os.environ.get(name)


def test_processes_are_started_with_the_same_settings():
    pool = Processes(workers=2, seconds_here=0.0)
    try:
        told = list(pool.map(environment_of_worker, [*FOR_PROCESSES] * 20))
    finally:
        pool.close()
    assert {setting for process, setting in told if process != os.getpid()} == {*FOR_PROCESSES.values()}
