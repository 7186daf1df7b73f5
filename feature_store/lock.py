"""One run at a time for each data folder.

The operating system holds the lock, so it is gone with the process that took it, however that process ended; the note
beside it tells others who has it. Where each step of a run is a process of its own, as on Kubernetes, each takes the
lock anew, and the note tells whether the folder still belongs to its run.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from feature_store.errors import ConfigurationError, LockedError
from feature_store.files import write_json_atomically
from feature_store.journal import require_no_erasure
from feature_store.settings import Settings
from feature_store.versions import now

_held: dict[Path, FileLock] = {}


def acquire(data_dir: Path, purpose: str, run_id: str | None = None) -> None:
    """Take the lock of a data folder for this process; taking it again is fine. ``run_id`` is noted for `rejoin`.

    Raises:
        LockedError: if another process has it, naming that process and since when.
        ConfigurationError: if the folder cannot be written.
    """
    if data_dir not in _held:
        _held[data_dir] = _taken(data_dir)
        _write_note(data_dir, purpose, run_id)


def rejoin(data_dir: Path, purpose: str, run_id: str) -> None:
    """Take the lock for a later step of a run whose first step took it, in this process or in one that has ended.

    Raises:
        LockedError: if another process has it, or another run has had it since.
        ConfigurationError: if the folder cannot be written.
    """
    if data_dir in _held:
        return
    lock = _taken(data_dir)
    before = _read_note(data_dir)
    if before is None or before.get("run") != run_id:
        lock.release()
        raise LockedError(
            f"Between two steps of run {run_id} another run took the data folder {data_dir}{_holder(data_dir)}.",
            "Nothing is half done. Let the other run end, then start again; one schedule for a data folder is enough.",
        )
    _held[data_dir] = lock
    _write_note(data_dir, purpose, run_id)


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


def _taken(data_dir: Path) -> FileLock:
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
    return lock


def _locked(data_dir: Path) -> LockedError:
    return LockedError(
        f"Another run is working on {data_dir}{_holder(data_dir)}.", "Wait until it is over, then run again."
    )


def _holder(data_dir: Path) -> str:
    note = _read_note(data_dir)
    return f": process {note['pid']}, {note['purpose']}, since {note['since']}" if note else ""


def _write_note(data_dir: Path, purpose: str, run_id: str | None) -> None:
    note = {"pid": os.getpid(), "since": now().isoformat(), "purpose": purpose, "run": run_id}
    write_json_atomically(_note(data_dir), note)


def _read_note(data_dir: Path) -> dict[str, Any] | None:
    try:
        note: dict[str, Any] = json.loads(_note(data_dir).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # written a moment after the lock is taken
    return note


def _note(data_dir: Path) -> Path:
    return data_dir / "run.json"
