"""Where an export goes: nothing is to be seen of it before it is complete, and nothing is left of one that failed."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_store.digests import file_digest
from feature_store.errors import ConfigurationError, LockedError
from feature_store.exports import ExportedFile

MANIFEST = "export.json"


def require_usable(folder: Path, *, overwrite: bool) -> None:
    """Check that an export may be written to ``folder``: it is empty, or holds an export that may be replaced.

    Raises:
        ConfigurationError: if not.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"{folder} is a file.", "Give a folder that is empty or not there yet.")
    if folder.is_mount():
        raise ConfigurationError(f"{folder} is a volume of its own.", "Give a folder inside of it.")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not _is_export(folder):
        raise ConfigurationError(
            f"{folder} has something in it that is no export.", "Give a folder that is empty or not there yet."
        )
    if not overwrite:
        raise ConfigurationError(f"{folder} holds an export already.", "Give another folder, or --overwrite.")


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """Make a folder beside ``folder`` to work in; it is removed in the end, whatever happens.

    Raises:
        LockedError: if another export is being written to the same folder.
        ConfigurationError: if nothing can be written there.
    """
    place = folder.with_name(f".{folder.name}.unfinished")
    try:
        place.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_RDONLY)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be written: {error.strerror}.", "Give a folder in one that this user may write."
        ) from error
    try:
        _lock(descriptor, folder)
        _empty(place)  # of an export that was killed
        try:
            yield place
        finally:
            shutil.rmtree(place)
    finally:
        os.close(descriptor)


def publish(files: Path, folder: Path, aside: Path) -> None:
    """Move finished ``files`` to ``folder``; what is there is moved ``aside``."""
    if folder.exists():
        folder.rename(aside)
    files.rename(folder)


def list_files(folder: Path) -> list[ExportedFile]:
    """Return all files of an export, sorted by name."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        ExportedFile(name=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=file_digest(path))
        for path in paths
    ]


def _is_export(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and "export_id" in manifest


def _lock(descriptor: int, folder: Path) -> None:
    # The operating system gives it back when the process ends, however it ends.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockedError(f"Another export is being written to {folder}.", "Wait, or give another folder.") from None


def _empty(place: Path) -> None:
    for path in place.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
