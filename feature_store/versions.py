"""The version log: what the feature store holds is what its newest version says.

A version names the exact Lance versions of the documents and of the rejects. Whatever a run that died wrote into these
tables stays invisible, because no version names it. Publishing a version is one atomic step on the file system, so
documents and rejects move together or not at all.
"""

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from feature_store.errors import TerminalError
from feature_store.files import write_json_atomically


class Position(BaseModel):
    """Up to where the changes of a category's source are in the feature store.

    It says nothing to a run with another ``mode``, other ``rules`` (a fingerprint of the category's mapping and of the
    cleaning rules) or another ``source`` (database and collection): such a run compares everything. ``value`` is the
    mode's own, as MongoDB Extended JSON: a resume token, a watermark.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    mode: str
    rules: str
    source: str
    value: str | None = None


class Version(BaseModel):
    """One published state of the feature store.

    ``counts`` are those of the run that made it: documents added, changed, deleted, rejected, …; ``positions`` those of
    each category's source that its documents reflect. ``message`` says in words why it was made. ``generation`` names
    the folder of its tables: erasing documents writes the history into new tables.
    """

    # Stored for long: what a later release adds must not make it unreadable to this one.
    model_config = ConfigDict(extra="ignore", frozen=True)

    number: int = Field(ge=1)
    created_at: datetime
    run_id: str
    store_id: str
    documents_version: int
    rejects_version: int
    config_fingerprint: str
    counts: dict[str, int]
    positions: dict[str, Position] = Field(default_factory=dict)
    message: str = ""
    generation: int = Field(default=0, ge=0)


class _Reached(BaseModel):
    """Positions that were reached after a version was published, without any change of a document."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: int
    run_id: str
    positions: dict[str, Position]


def newest_version(folder: Path) -> Version | None:
    """Return the newest version of the store in ``folder``, or None before the first."""
    numbers = version_numbers(folder)
    return read_version(folder, numbers[-1]) if numbers else None


def version_numbers(folder: Path) -> list[int]:
    """Return the numbers of all published versions, ascending."""
    return sorted(int(path.stem) for path in (folder / "versions").glob("*.json"))


def read_version(folder: Path, number: int) -> Version:
    """Return one version.

    Raises:
        TerminalError: if there is none of that number.
    """
    path = version_path(folder, number)
    if not path.exists():
        known = version_numbers(folder)
        span = "There is none yet."
        if known:
            span = f"There are {len(known):,} versions, from {known[0]} to {known[-1]}: `feature-pipeline versions`."
        raise TerminalError(f"There is no version {number} of the feature store.", span)
    return Version.model_validate_json(path.read_bytes())


def publish_version(folder: Path, version: Version) -> None:
    """Make ``version`` the newest, in one atomic step.

    Raises:
        TerminalError: if a version of that number exists: somebody else published meanwhile.
    """
    path = version_path(folder, version.number)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(version.model_dump_json(indent=2))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(unfinished, path)  # unlike a rename, a link never replaces
    except FileExistsError:
        raise TerminalError(
            f"Version {version.number} of the feature store was published by another run.", "Run again."
        ) from None
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EOPNOTSUPP}:
            raise
        raise TerminalError(
            f"The file system of {folder} has no hard links, by which a version is published.",
            "Set DATA_DIR to a folder on another file system.",
        ) from error
    finally:
        unfinished.unlink()
    flush_folder(path.parent)


def read_positions(folder: Path) -> dict[str, Position]:
    """Return the positions that the newest version reflects, by category; none before the first."""
    newest = newest_version(folder)
    if newest is None:
        return {}
    path = folder / "positions.json"
    if not path.exists():
        return newest.positions
    reached = _Reached.model_validate_json(path.read_bytes())
    # A data folder that was restored may have the file of another time: it counts for its own version only.
    is_of_newest = (reached.version, reached.run_id) == (newest.number, newest.run_id)
    return reached.positions if is_of_newest else newest.positions


def save_positions(folder: Path, newest: Version, positions: dict[str, Position]) -> None:
    """Record positions that were reached without a change since the ``newest`` version; equal ones write nothing."""
    if positions != read_positions(folder):
        reached = _Reached(version=newest.number, run_id=newest.run_id, positions=positions)
        write_json_atomically(folder / "positions.json", reached.model_dump(mode="json"))


def now() -> datetime:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def version_path(folder: Path, number: int) -> Path:
    """Return where the record of a version is."""
    return folder / "versions" / f"{number:08d}.json"


def flush_folder(folder: Path) -> None:
    """Make what was added to a folder or removed from it survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
