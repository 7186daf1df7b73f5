"""Documents that must not come back: the list of those that were forgotten, by id.

A document's id is a hash of its category and its `_id`, so the list tells nobody what it keeps away. What the source
still has of such a document is neither stored nor hashed: it becomes a reject that says nothing of it.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from feature_store.files import write_json_atomically
from feature_store.versions import now

if TYPE_CHECKING:
    from lance import LanceDataset  # which costs a worker that only compares 100 MB

FORGOTTEN = "forgotten"
"""The reason of such a reject. It also takes the place of the hash of its fields: no edit makes it another one."""
HIDDEN = "(forgotten)"
"""Stands where an `_id` or a text was."""


def read_suppressed(folder: Path) -> frozenset[str]:
    """Return the ids of all documents that the feature store in ``folder`` must not take in."""
    return frozenset(_read(folder))


def suppress(folder: Path, document_ids: Iterable[str]) -> None:
    """Put documents on the list; those that are on it stay with the time at which they came."""
    time = now().isoformat()
    write_json_atomically(suppression_path(folder), dict.fromkeys(document_ids, time) | _read(folder))


def suppression_path(folder: Path) -> Path:
    """Return where the list is: ids, each with the time since when it is there."""
    return folder / "suppressed.json"


def count_forgotten(rejects: "LanceDataset", category: str) -> int:
    """Return how many rejects of a category are there only because the document is on the list."""
    return int(rejects.count_rows(filter=f"category = '{category}' AND reason = '{FORGOTTEN}'"))


def _read(folder: Path) -> dict[str, str]:
    path = suppression_path(folder)
    listed: dict[str, str] = json.loads(path.read_bytes()) if path.exists() else {}
    return listed
