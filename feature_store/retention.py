"""What is kept of the history: the Lance versions that a published version names, and no others."""

import lance

from feature_store import tables, versions
from feature_store.store import FeatureStore


def remove_unpublished(store: FeatureStore) -> None:
    """Remove whatever of the tables no published version names; the caller holds the lock.

    Lance keeps a version as long as a tag names it, so each published version has the tag ``v<number>`` in both tables.
    """
    newest = store.newest()
    if newest is None:
        return
    published = [versions.read_version(store.folder, number) for number in versions.version_numbers(store.folder)]
    current = [version for version in published if version.generation == newest.generation]
    documents = {lance_tag(version.number): version.documents_version for version in current}
    rejects = {lance_tag(version.number): version.rejects_version for version in current}
    for path, wanted in ((store.documents_path, documents), (store.rejects_path, rejects)):
        table = lance.dataset(str(path))
        tables.tag_versions(table, wanted)
        tables.forget_old_versions(table)


def lance_tag(number: int) -> str:
    """Return the tag that keeps a version in the tables."""
    return f"v{number}"
