"""The lock: one run at a time, however the one before ended."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from feature_store import lock
from feature_store.errors import LockedError
from tests.support import REPOSITORY

HOLDER = """
    import sys, time
    from pathlib import Path
    from feature_store import lock
    from feature_store.errors import LockedError
    try:
        lock.acquire(Path(sys.argv[1]), "a test")
    except LockedError as error:
        print(error, flush=True)
        sys.exit(error.exit_code)
    print("held", flush=True)
    if sys.argv[2] == "stay":
        time.sleep(60)
"""


def start(folder, then):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(folder), then],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def folder(tmp_path):
    yield tmp_path / "data"
    lock.release(tmp_path / "data")


def test_a_second_process_is_refused_and_told_who_holds_the_lock(folder):
    lock.acquire(folder, "feature_pipeline")
    process = start(folder, "end")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == LockedError.exit_code == 4
    assert f"process {os.getpid()}, feature_pipeline, since 20" in output
    assert "Wait until it is over" in output


def test_a_killed_holder_leaves_no_lock(folder):
    with start(folder, "stay") as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=f"process {process.pid}, a test, since"):
            lock.acquire(folder, "feature_pipeline")
        process.kill()
    lock.acquire(folder, "feature_pipeline")
    assert json.loads((folder / "run.json").read_text())["pid"] == os.getpid()


def test_a_lock_without_a_note_is_still_a_lock(folder):
    with start(folder, "stay") as process:
        assert process.stdout.readline() == "held\n"
        (folder / "run.json").write_text('{"pid":')
        with pytest.raises(LockedError, match=f"Another run is working on {folder}\\. Wait"):
            lock.acquire(folder, "feature_pipeline")
        process.kill()


def test_a_released_lock_is_free_for_others_and_leaves_no_note(folder):
    lock.acquire(folder, "feature_pipeline")
    lock.acquire(folder, "feature_pipeline")  # again in the same process
    lock.release(folder)
    assert not (folder / "run.json").exists()
    process = start(folder, "end")
    assert process.communicate(timeout=30)[0] == "held\n"
    assert process.returncode == 0


def test_releasing_a_lock_that_is_not_held_leaves_that_of_another_process(folder):
    with start(folder, "stay") as process:
        assert process.stdout.readline() == "held\n"
        lock.release(folder)
        assert (folder / "run.json").exists()
        with pytest.raises(LockedError):
            lock.acquire(folder, "feature_pipeline")
        process.kill()


def test_two_data_folders_have_two_locks(folder, tmp_path):
    lock.acquire(folder, "one")
    process = start(tmp_path / "other", "end")
    assert process.communicate(timeout=30)[0] == "held\n"


ONE_STEP = """
    import sys
    from pathlib import Path
    from feature_store import lock
    from feature_store.errors import LockedError
    folder, run, first = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "first"
    try:
        lock.acquire(folder, "feature_pipeline", run) if first else lock.rejoin(folder, "feature_pipeline", run)
    except LockedError as error:
        print(error)
        sys.exit(error.exit_code)
"""


def step(folder, run, position):
    """Run a step of a run in a process of its own, as a pod does; return its exit code and what it said."""
    command = [sys.executable, "-c", textwrap.dedent(ONE_STEP), str(folder), run, position]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout


def test_the_steps_of_a_run_may_be_processes_of_their_own(folder):
    assert step(folder, "run-1", "first") == (0, "")
    assert step(folder, "run-1", "later") == (0, "")
    assert step(folder, "run-1", "later") == (0, "")


def test_a_run_whose_folder_another_run_took_between_two_steps_goes_no_further(folder):
    step(folder, "run-1", "first")
    assert step(folder, "run-2", "first") == (0, ""), "between two steps nobody holds the lock"
    code, said = step(folder, "run-1", "later")
    assert code == LockedError.exit_code
    assert "Between two steps of run run-1 another run took the data folder" in said
    assert step(folder, "run-2", "later") == (0, ""), "the one that was refused leaves the lock as it was"


def test_a_step_does_not_begin_while_another_process_has_the_lock(folder):
    step(folder, "run-1", "first")
    lock.acquire(folder, "audit --repair")
    assert step(folder, "run-1", "later")[0] == LockedError.exit_code


def test_a_step_of_a_run_that_gave_the_lock_back_does_not_take_it_again(folder):
    lock.acquire(folder, "feature_pipeline", "run-1")
    lock.release(folder)
    assert step(folder, "run-1", "later")[0] == LockedError.exit_code


def test_a_later_step_in_the_same_process_goes_on_with_the_lock_it_has(folder):
    lock.acquire(folder, "feature_pipeline", "run-1")
    lock.rejoin(folder, "feature_pipeline", "run-1")
    lock.rejoin(folder, "feature_pipeline", "run-1")
    process = start(folder, "end")
    process.communicate(timeout=30)
    assert process.returncode == LockedError.exit_code
