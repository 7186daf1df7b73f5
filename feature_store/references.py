"""Who needs a version of the feature store: tags, releases, exports and indexes; what is needed is never pruned."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict
from qdrant_client import QdrantClient

from feature_store.errors import TerminalError
from feature_store.exports import list_exports
from feature_store.index import NOTHING, VersionName, our_collections
from feature_store.index_record import IndexRecord
from feature_store.names import Tag, add_tag, read_tags, remove_tag
from feature_store.releases import list_releases, read_release
from feature_store.versions import Version, newest_version, read_version, version_numbers

ReferenceKind = Literal["newest", "tag", "release", "export", "index"]


class Reference(BaseModel):
    """One that needs a version: a tag, release, export or collection of that ``name``; ``why`` says it in words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ReferenceKind
    name: str
    why: str


References = dict[int, list[Reference]]
"""By the number of the version. Numbers of versions that are gone do not occur."""


def find_references(folder: Path, indexes_folder: Path, client: QdrantClient | None = None) -> References:
    """Return who needs each version of the store in ``folder``.

    An index is known by its record under ``indexes_folder``, and by what its collection says where ``client`` is given:
    a collection that another machine loaded has no record here.

    Raises:
        TransientError: if Qdrant does not answer.
    """
    newest = newest_version(folder)
    if newest is None:
        return {}
    published = set(version_numbers(folder))
    found: dict[int, dict[Reference, None]] = defaultdict(dict)  # a set that keeps the order
    indexes = [*_of_records(indexes_folder), *(_of_collections(client, newest.store_id) if client else ())]
    # Read last: a tag may be given at any time, and counts from then on.
    found[newest.number][Reference(kind="newest", name="latest", why="the newest version")] = None
    for number, reference in (*_of_names(folder), *_of_exports(folder)):
        found[number][reference] = None
    for version, reference in indexes:
        # A version of that number in another history is not the one that the index was made from.
        if version.number in published and read_version(folder, version.number).run_id == version.run_id:
            found[version.number][reference] = None
    return {number: list(found[number]) for number in sorted(found) if number in published}


def tag_version(folder: Path, version: Version, name: str) -> Tag:
    """Give a version a name, which keeps it from being pruned.

    Raises:
        ConfigurationError: if the name cannot be taken.
        TerminalError: if the version was pruned at this very moment.
    """
    tag = add_tag(folder, version, name)
    try:
        read_version(folder, version.number)
    except TerminalError:
        remove_tag(folder, name)
        raise
    return tag


def _of_names(folder: Path) -> Iterator[tuple[int, Reference]]:
    for tag in read_tags(folder).values():
        yield tag.version, Reference(kind="tag", name=tag.name, why=f"tag {tag.name}")
    for name in list_releases(folder):
        release = read_release(folder, name)
        yield release.version, Reference(kind="release", name=name, why=f"release {name}")
        for index in release.indexes:
            why = f"release {name}: its index {index.index}"
            if index.version != release.version:
                yield index.version, Reference(kind="release", name=name, why=why)


def _of_exports(folder: Path) -> Iterator[tuple[int, Reference]]:
    for record in list_exports(folder):
        name = record.export_id
        yield record.version, Reference(kind="export", name=name, why=f"export {name}")
        if record.since is not None:
            why = f"export {name}: changes since this version"
            yield record.since, Reference(kind="export", name=name, why=why)


def _of_records(indexes_folder: Path) -> Iterator[tuple[VersionName, Reference]]:
    for path in sorted(indexes_folder.glob("*.json")):
        note = IndexRecord(indexes_folder, path.stem).read_note()
        if note is not None:
            yield from _of_index(path.stem, note.version, note.loading)


def _of_collections(client: QdrantClient, store_id: str) -> Iterator[tuple[VersionName, Reference]]:
    for collection, metadata in our_collections(client).items():
        if metadata.store_id == store_id:
            yield from _of_index(collection, metadata.reflects, metadata.lease.loading if metadata.lease else None)


def _of_index(
    collection: str, reflects: VersionName, loading: VersionName | None
) -> Iterator[tuple[VersionName, Reference]]:
    if reflects != NOTHING:
        yield reflects, Reference(kind="index", name=collection, why=f"index {collection}")
    if loading is not None and loading != reflects:
        # Without this version the next load could not tell whose points these are, and would write all of them anew.
        yield loading, Reference(kind="index", name=collection, why=f"index {collection}: a load that did not end")
