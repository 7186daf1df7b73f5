"""A category's source as a capture mode sees it, and what the mode has to tell in the end."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database

from feature_store.config import CaptureMode, CategoryConfig
from feature_store.extended_json import from_extended_json, to_extended_json
from feature_store.parts import Part
from feature_store.versions import Position
from steps.extract.compare import Comparison, is_marked_deleted
from steps.extract.read import read_everything, read_ids, read_in_pages

Document = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Where the documents of a category are read.

    ``uuid`` names the present life of the collection. ``reached`` is the position of the last run, ``rules`` the
    fingerprint of all that decides what its documents become, ``store_id`` that of the feature store (None before its
    first version), ``max_changes`` the number of documents to take from a log or an outbox.
    """

    database: Database[Document]
    collection: Collection[Document]
    category: CategoryConfig
    rules: str
    exists: bool = True
    uuid: str | None = None
    reached: Position | None = None
    store_id: str | None = None
    max_changes: int | None = None

    @property
    def name(self) -> str:
        """The database and the collection."""
        return f"{self.database.name}.{self.category.collection}"

    @cached_property
    def deletion_paths(self) -> list[str]:
        """What has to be read of a document to know whether it is there."""
        return [self.category.deleted_field] if self.category.deleted_field else []

    @cached_property
    def paths(self) -> list[str]:
        """What has to be read of a document to compare it."""
        return [*self.category.paths(), *self.deletion_paths]

    def position(self, mode: CaptureMode) -> tuple[Document | None, str]:
        """Return the value of the position, or None with the reason why there is none that counts."""
        reached = self.reached
        if reached is None:
            return None, "no run has reached a position yet"
        if reached.mode != mode:
            return None, f"the last position is one of mode {reached.mode}"
        if reached.source != self.name:
            return None, f"the last position is one of {reached.source}, not of {self.name}"
        if reached.rules != self.rules:
            return None, "the mapping of the category or the rules of cleaning have changed"
        return from_extended_json(reached.value or "{}"), ""

    def position_at(self, mode: CaptureMode, value: Document) -> Position:
        """Return the position to be kept once the table has what was captured."""
        return Position(mode=mode, rules=self.rules, source=self.name, value=to_extended_json(value))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a mode found the changes; the fields are those of ``feature_store.handles.Capture``.

    ``value`` is that of the position to keep once the table has them; None leaves the last one where it is. ``entries``
    are the parts that name the entries of an outbox to mark as done then.
    """

    whole: bool
    reason: str
    value: Document | None = None
    compared_ids: int = 0
    more: bool = False
    entries: Sequence[Part] = ()


def compare_everything(
    source: Source,
    comparison: Comparison,
    reason: str,
    more_paths: Sequence[str] = (),
    watch: Callable[[list[Document]], object] = len,
) -> Outcome:
    """Compare every document; whatever else the store holds is a candidate for deletion.

    ``watch`` sees each page, in which the documents also have ``more_paths``.
    """
    for page in read_everything(source.collection, [*source.paths, *more_paths]):
        comparison.look_at(page)
        watch(page)
    comparison.candidates.update(comparison.held() - comparison.seen)
    return Outcome(whole=True, reason=f"everything was compared: {reason}")


def compare_some(
    source: Source, comparison: Comparison, ids: Iterable[Any], more_paths: Sequence[str] = ()
) -> Iterator[list[Document]]:
    """Compare the documents of these ids, page by page; those that are not there are candidates for deletion."""
    for documents, missing in read_in_pages(source.collection, ids, [*source.paths, *more_paths]):
        comparison.look_at(documents)
        comparison.report_absent(missing)
        yield documents


def present_ids(source: Source) -> Iterator[list[Any]]:
    """Yield the ids of all documents that are there, many at once, without the documents."""
    for page in read_ids(source.collection, source.deletion_paths):
        yield [document["_id"] for document in page if not is_marked_deleted(document, source.category)]
