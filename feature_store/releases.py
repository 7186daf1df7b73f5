"""Releases: one record that pins documents, indexes and training exports that belong together."""

from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from feature_store.errors import TerminalError
from feature_store.files import write_json_atomically
from feature_store.versions import Position


class ReleasedIndex(BaseModel):
    """What a release pins of one index. ``digest`` names the ids and payloads of all its points, whatever their order.

    ``config`` is the index's own configuration, ``metadata`` what the collection says of itself.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    index: str
    collection: str
    fingerprint: str
    version: int
    points: int
    digest: str
    config: dict[str, Any]
    metadata: dict[str, Any]


class Release(BaseModel):
    """A release: the warehouse's positions, the documents' version, the indexes and the exports made from it.

    ``documents_digest`` names the ids and contents of all live documents. ``exports`` are ids in the register of
    exports, with the files that they had: name to SHA-256. ``code`` holds the versions of what decides the outcome.
    ``generation`` is that of the version's tables: once it is another, documents have been erased since.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    message: str = ""
    created_at: datetime
    store_id: str
    version: int
    version_run_id: str
    generation: int = Field(default=0, ge=0)
    config_fingerprint: str
    positions: dict[str, Position] = Field(default_factory=dict)
    documents: int
    documents_digest: str
    indexes: list[ReleasedIndex] = Field(default_factory=list)
    exports: dict[str, dict[str, str]] = Field(default_factory=dict)
    code: dict[str, str] = Field(default_factory=dict)


def list_releases(folder: Path) -> list[str]:
    """Return the names of all releases, sorted."""
    return sorted(path.stem for path in (folder / "releases").glob("*.json"))


def read_release(folder: Path, name: str) -> Release:
    """Return one release.

    Raises:
        TerminalError: if there is none of that name.
    """
    path = _path(folder, name)
    if not path.exists():
        known = ", ".join(list_releases(folder)) or "none yet"
        raise TerminalError(f"There is no release {name!r}.", f"Releases are: {known}.")
    return Release.model_validate_json(path.read_bytes())


def save_release(folder: Path, release: Release) -> None:
    """Write a release."""
    write_json_atomically(_path(folder, release.name), release.model_dump(mode="json"))


def delete_release(folder: Path, name: str) -> None:
    """Remove the record of a release; what it pinned stays until it is pruned.

    Raises:
        TerminalError: if there is none of that name.
    """
    read_release(folder, name)
    _path(folder, name).unlink()


def _path(folder: Path, name: str) -> Path:
    return folder / "releases" / f"{name}.json"
