"""What every ZenML step needs at its start: settings, logging, and the folder of its run."""

from collections.abc import Callable
from datetime import UTC, datetime

from zenml import get_step_context, log_metadata

from feature_store import lock
from feature_store.log import configure_step_logging
from feature_store.memory import hold_memory_low
from feature_store.parts import Folder, folders_in, remove_folder
from feature_store.progress import observers
from feature_store.settings import Settings, load_settings
from steps.progress_keeper import ProgressKeeper

FEATURE_PIPELINE = "feature_pipeline"


def start_step() -> tuple[Settings, Folder]:
    """Return the settings and the folder for this run's part files, with logging configured."""
    hold_memory_low()
    settings = load_settings()
    configure_step_logging(settings)
    observers[:] = [ProgressKeeper(_into_metadata())]
    return settings, settings.runs_folder / run_id()


def start_stage() -> tuple[Settings, Folder]:
    """Do the same for a step of the feature pipeline after the first, which holds the lock of the data folder.

    Raises:
        LockedError: if that lock is another run's by now; a step may be a process of its own.
    """
    settings, folder = start_step()
    lock.rejoin(settings.data_dir, FEATURE_PIPELINE, run_id())
    return settings, folder


def run_seconds() -> float:
    """Return the seconds since the run began, 0 where ZenML does not know when that was."""
    began = get_step_context().pipeline_run.start_time
    if began is None:
        return 0.0
    if began.tzinfo is None:  # ZenML means UTC
        began = began.replace(tzinfo=UTC)
    return max(0.0, (datetime.now(UTC) - began).total_seconds())


def _into_metadata() -> Callable[[dict[str, str]], None]:
    step_id = get_step_context().step_run.id  # another thread has no context
    return lambda lines: log_metadata(metadata={"progress": {**lines}}, step_id=step_id)


def run_id() -> str:
    """Return the id of the ZenML run that this step belongs to."""
    return str(get_step_context().pipeline_run.id)


def remove_other_runs(settings: Settings, current: Folder) -> None:
    """Remove part files of runs that died; the caller holds the lock, so nobody works on them."""
    # What is in the data folder too: from before PARTS_URI was set, or of a repair or rebuild that died.
    for folder in {*folders_in(settings.runs_folder), *folders_in(settings.work_folder)} - {current}:
        remove_folder(folder)
