"""What every ZenML step needs at its start: settings, logging, and the folder of its run."""

import shutil
from pathlib import Path

from zenml import get_step_context

from feature_store.log import configure_step_logging
from feature_store.settings import Settings, load_settings


def start_step() -> tuple[Settings, Path]:
    """Return the settings and the folder for this run's part files, with logging configured."""
    settings = load_settings()
    configure_step_logging(settings)
    return settings, settings.runs_folder / run_id()


def run_id() -> str:
    """Return the id of the ZenML run that this step belongs to."""
    return str(get_step_context().pipeline_run.id)


def remove_other_runs(settings: Settings, current: Path) -> None:
    """Remove part files of runs that died; the caller holds the lock, so nobody works on them."""
    if settings.runs_folder.is_dir():
        for folder in settings.runs_folder.iterdir():
            if folder != current:
                shutil.rmtree(folder)
