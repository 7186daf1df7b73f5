"""Dying at a chosen moment: a function is patched so that one of its calls ends the process, or raises."""

import importlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import pytest

Death = Callable[[], object]


@dataclass(frozen=True)
class Fault:
    """The moment before or after the ``call``-th call of ``target``, written ``module:attribute.of.it``."""

    target: str
    call: int = 1
    when: Literal["before", "after"] = "before"


def kill() -> None:
    """End this process as ``kill -9`` does: nothing is closed, flushed or released."""
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def armed(fault: Fault, die: Death) -> Iterator[None]:
    """Call ``die`` at the moment of ``fault``, if it comes within this block."""
    calls = 0
    owner, name = _resolved(fault.target)
    original = getattr(owner, name)

    def doomed(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        now = calls == fault.call
        if now and fault.when == "before":
            die()
        result = original(*arguments, **options)
        if now and fault.when == "after":
            die()
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, doomed)
        yield


# Everything that changes what a run leaves behind: a process killed before one of these calls has done all of them up
# to there, and none after.
DURABLE = (
    "pathlib:Path.replace",  # part files and JSON files
    "os:link",  # the version log
    "lance:write_dataset",
    "lance.dataset:MergeInsertBuilder.execute",
    "lance:LanceDataset.delete",
    "lance:LanceDataset.restore",
    "lance:LanceDataset.create_scalar_index",
    "lance:LanceDataset.cleanup_old_versions",
    "lance.dataset:DatasetOptimizer.compact_files",
    "lance.dataset:DatasetOptimizer.optimize_indices",
    "feature_store.local_rows:write_points",
    "feature_store.local_rows:remove_points",
    "qdrant_client.local.persistence:CollectionPersistence.persist",  # payloads
    "qdrant_client.local.qdrant_local:QdrantLocal._save",  # collections, their metadata, aliases
    "pymongo.collection:Collection.update_many",
)


@contextmanager
def before_every_durable_step(act: Callable[[int, str], object]) -> Iterator[None]:
    """Call ``act`` with the number, from 1, and the target of each durable step, just before it."""
    steps = 0

    def wrapped(target: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*arguments: Any, **options: Any) -> Any:
            nonlocal steps
            steps += 1
            act(steps, target)
            return original(*arguments, **options)

        return stepped

    with pytest.MonkeyPatch.context() as patch:
        for target in DURABLE:
            owner, name = _resolved(target)
            patch.setattr(owner, name, wrapped(target, getattr(owner, name)))
        yield


def _resolved(target: str) -> tuple[Any, str]:
    module, path = target.split(":")
    *parents, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for parent in parents:
        owner = getattr(owner, parent)
    return owner, name
