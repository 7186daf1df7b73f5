"""What is kept of the history: the Lance versions that a published version names, and no others.

Pruning a version removes its record first, in a way that survives a loss of power, and then what the tables keep for
it. Dying in between leaves Lance versions that nothing names, which the next commit or pruning removes.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import lance
from pydantic import BaseModel, ConfigDict

from feature_store import lock, tables, versions
from feature_store.settings import Settings
from feature_store.store import FeatureStore, open_feature_store
from feature_store.versions import Version

Reasons = Mapping[int, Sequence[str]]
"""Why a version is kept, by its number."""

Window = Callable[[Sequence[Version]], Reasons]
"""Says which of all published versions, the oldest first, are kept because they are new."""


class KeptVersion(BaseModel):
    """A version that stays, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    reasons: list[str]


class Pruning(BaseModel):
    """What pruning removed, or would remove, with the size of the store's tables before and after it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    removed: list[int]
    kept: list[KeptVersion]
    bytes_before: int
    bytes_after: int | None = None


def remove_unpublished(store: FeatureStore) -> None:
    """Remove whatever of the tables no published version names; the caller holds the lock.

    Lance keeps a version as long as a tag names it, so each published version has the tag ``v<number>`` in both tables.
    Only the records of versions without such a tag are read, and that of the newest.
    """
    newest = store.newest()
    if newest is None:
        return
    named = {lance_tag(number): number for number in versions.version_numbers(store.folder)}
    for path, column in ((store.documents_path, "documents_version"), (store.rejects_path, "rejects_version")):
        table = lance.dataset(str(path))
        present = tables.tagged_versions(table)
        wanted = {tag: version for tag, version in present.items() if tag in named}
        for tag in named.keys() - present.keys() | {lance_tag(newest.number)}:
            version = versions.read_version(store.folder, named[tag])
            if version.generation == newest.generation:
                wanted[tag] = getattr(version, column)
        tables.tag_versions(table, present, wanted)
        tables.forget_old_versions(table)


def lance_tag(number: int) -> str:
    """Return the tag that keeps a version in the tables."""
    return f"v{number}"


def newest_ones(published: Sequence[Version], count: int) -> dict[int, list[str]]:
    """Return the newest ``count`` versions, as kept for that reason."""
    word = "the newest version" if count == 1 else f"one of the newest {count:,}"
    return {version.number: [word] for version in published[-count:]}


def made_since(published: Sequence[Version], moment: datetime) -> dict[int, list[str]]:
    """Return the versions that were made at that time or later, as kept for that reason."""
    word = f"made after {moment:%Y-%m-%d %H:%M}"
    return {version.number: [word] for version in published if version.created_at >= moment}


def prune_store(settings: Settings, window: Window) -> Pruning:
    """Remove all versions outside of the ``window`` that nothing needs, and give their disk space back.

    Raises:
        LockedError: if a run is at work.
        TerminalError: if an erasure was interrupted.
        TransientError: if Qdrant does not answer: which versions its collections need is not known then.
    """
    with lock.held(settings, "prune"):
        return prune(open_feature_store(settings.feature_store_folder), plan_for(settings, window))


def plan_for(settings: Settings, window: Window) -> Pruning:
    """Return what `prune_store` would do; it raises the same errors, but for that a run may be at work elsewhere."""
    from feature_store.index import open_qdrant
    from feature_store.references import find_references

    store = open_feature_store(settings.feature_store_folder)
    with open_qdrant(settings) as client:
        references = find_references(store.folder, settings.indexes_folder, client)
    numbers = versions.version_numbers(store.folder)
    new = window([store.version(number) for number in numbers])
    needed = {number: [reference.why for reference in some] for number, some in references.items()}
    return plan_pruning(store, needed, new)


def plan_pruning(store: FeatureStore, *why: Reasons) -> Pruning:
    """Return which versions to remove: all those that nothing keeps; the newest always stays."""
    reasons: dict[int, list[str]] = defaultdict(list)
    for number, some in (item for each in why for item in each.items()):
        reasons[number] += [reason for reason in some if reason not in reasons[number]]
    numbers = versions.version_numbers(store.folder)
    for newest in numbers[-1:]:
        reasons[newest] = reasons[newest] or ["the newest version"]
    kept = [KeptVersion(number=number, reasons=reasons[number]) for number in numbers if reasons[number]]
    removed = [number for number in numbers if not reasons[number]]
    return Pruning(removed=removed, kept=kept, bytes_before=size_of_tables(store))


def prune(store: FeatureStore, plan: Pruning) -> Pruning:
    """Remove what the plan says, and whatever dead runs left; the caller holds the lock since the plan was made."""
    remove_versions(store.folder, plan.removed)
    remove_unpublished(store)
    return plan.model_copy(update={"bytes_after": size_of_tables(store)})


def remove_versions(folder: Path, numbers: Iterable[int]) -> None:
    """Remove records and profiles of versions; a loss of power does not bring them back once the tables change."""
    for number in numbers:
        versions.version_path(folder, number).unlink(missing_ok=True)
        (folder / "profiles" / f"{number}.json").unlink(missing_ok=True)
    log = folder / "versions"
    if log.exists():
        versions.flush_folder(log)


def size_of_tables(store: FeatureStore) -> int:
    """Return the bytes on disk of documents and rejects, with all their history."""
    folders = store.folder.glob("*.lance")
    return sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
