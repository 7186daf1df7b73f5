"""Names for versions: tags that a person gives, and what a name stands for."""

import re
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from feature_store.defaults import LATEST
from feature_store.errors import ConfigurationError, TerminalError
from feature_store.files import write_json_atomically
from feature_store.releases import list_releases, read_release
from feature_store.versions import Version, newest_version, now, read_version

_NUMBER = re.compile(r"v?([0-9]+)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Tag(BaseModel):
    """A name for one version; it keeps the version from being pruned."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    version: int
    created_at: datetime


def find_version(folder: Path, name: str) -> Version:
    """Return the version that a name stands for: ``v12``, ``12``, ``latest``, a tag or a release.

    Raises:
        TerminalError: if there is none.
    """
    if name == LATEST:
        newest = newest_version(folder)
        if newest is None:
            raise TerminalError("The feature store has no version yet.", "Run the feature pipeline.")
        return newest
    if number := _NUMBER.fullmatch(name):
        return read_version(folder, int(number[1]))
    tags = read_tags(folder)
    if name in tags:
        return read_version(folder, tags[name].version)
    if name in list_releases(folder):
        return read_version(folder, read_release(folder, name).version)
    known = ", ".join(sorted({*tags, *list_releases(folder)})) or "none yet"
    raise TerminalError(
        f"No version of the feature store is called {name!r}.",
        f"Give a number (v12), latest, a tag or a release; tags and releases are: {known}.",
    )


def require_new_name(folder: Path, name: str) -> None:
    """Check that a tag or release can be called so.

    Raises:
        ConfigurationError: if it is no name, or one that is taken.
    """
    if name == LATEST or _NUMBER.fullmatch(name) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot name a version.",
            "Take up to 64 letters, digits, dots, dashes and underscores, a letter or digit first, but no mere number.",
        )
    if name in read_tags(folder) or name in list_releases(folder):
        raise ConfigurationError(f"{name!r} names a version already.", "Take another name, or remove that tag.")


def read_tags(folder: Path) -> dict[str, Tag]:
    """Return all tags by name."""
    tags = (Tag.model_validate_json(path.read_bytes()) for path in sorted((folder / "tags").glob("*.json")))
    return {tag.name: tag for tag in tags}


def add_tag(folder: Path, version: Version, name: str) -> Tag:
    """Give a version a name.

    Raises:
        ConfigurationError: if the name cannot be taken.
    """
    require_new_name(folder, name)
    tag = Tag(name=name, version=version.number, created_at=now())
    write_json_atomically(_path(folder, name), tag.model_dump(mode="json"))
    return tag


def remove_tag(folder: Path, name: str) -> None:
    """Remove a tag; the version stays until it is pruned.

    Raises:
        TerminalError: if there is no such tag.
    """
    if name not in read_tags(folder):
        raise TerminalError(f"There is no tag {name!r}.", "`feature-pipeline versions` shows them.")
    _path(folder, name).unlink()


def _path(folder: Path, name: str) -> Path:
    return folder / "tags" / f"{name}.json"
