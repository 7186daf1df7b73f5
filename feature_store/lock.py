"""One run at a time for each data folder.

The operating system holds the lock, so it is gone with the process that took it, however that process ended; the note
beside it only tells others who has it.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from feature_store.errors import ConfigurationError, LockedError
from feature_store.files import write_json_atomically
from feature_store.journal import require_no_erasure
from feature_store.settings import Settings
from feature_store.versions import now

_held: dict[Path, FileLock] = {}


def acquire(data_dir: Path, purpose: str) -> None:
    """Take the lock of a data folder for this process; taking it again is fine.

    Raises:
        LockedError: if another process has it, naming that process and since when.
        ConfigurationError: if the folder cannot be written.
    """
    if data_dir in _held:
        return
    lock = FileLock(data_dir / "run.lock", thread_local=False)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except OSError as error:
        if isinstance(error, Timeout):
            raise _locked(data_dir) from None
        raise ConfigurationError(
            f"The data folder {data_dir} cannot be used: {error.strerror}.",
            "Set DATA_DIR to a folder that this user may write.",
        ) from error
    _held[data_dir] = lock
    write_json_atomically(_note(data_dir), {"pid": os.getpid(), "since": now().isoformat(), "purpose": purpose})


def release(data_dir: Path) -> None:
    """Give the lock back; one that is not held is fine."""
    lock = _held.pop(data_dir, None)
    if lock is not None:
        _note(data_dir).unlink(missing_ok=True)
        lock.release()


@contextmanager
def held(settings: Settings, purpose: str) -> Iterator[None]:
    """Hold the lock of the data folder.

    Raises:
        LockedError: if another process has it.
        TerminalError: if an erasure was interrupted: what is there is neither with nor without the documents.
    """
    acquire(settings.data_dir, purpose)
    try:
        require_no_erasure(settings.feature_store_folder)
        yield
    finally:
        release(settings.data_dir)


def _locked(data_dir: Path) -> LockedError:
    return LockedError(
        f"Another run is working on {data_dir}{_holder(data_dir)}.", "Wait until it is over, then run again."
    )


def _holder(data_dir: Path) -> str:
    try:
        note = json.loads(_note(data_dir).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""  # written a moment after the lock is taken
    return f": process {note['pid']}, {note['purpose']}, since {note['since']}"


def _note(data_dir: Path) -> Path:
    return data_dir / "run.json"
