"""Capture by an outbox: entries that the application or a trigger writes name the documents that changed.

An entry only says where to look; the document is then read as it is. The ids of the entries that were read travel as
parts ``outbox`` to the end of the commit, where they are marked as done. A crash before that leaves them pending, and
reading them again is harmless.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from feature_store.parts import Folder, Part, list_parts, write_part
from steps.extract.compare import Comparison
from steps.extract.keys import resolve_ids
from steps.extract.read import IDS_IN_MEMORY, id_key
from steps.extract.source import Document, Outcome, Source, compare_everything, compare_some
from warehouse.failures import reading
from warehouse.outbox import entries_table, pending_entries, reader_name, require_outbox

ENTRIES_PER_PART = 10_000


@dataclass(slots=True)
class Drained:
    """What the outbox gave: the documents it names, and those that an entry says were deleted.

    ``trouble`` says why everything has to be compared instead.
    """

    trouble: str
    ids: dict[tuple[str, str], Any] = field(default_factory=dict)
    deleted: set[tuple[str, str]] = field(default_factory=set)
    entries: int = 0
    more: bool = False
    parts: list[Part] = field(default_factory=list)


def capture_by_outbox(source: Source, comparison: Comparison) -> Outcome:
    """Compare the documents that pending entries name, or everything where they do not tell.

    Raises:
        ConfigurationError: if the outbox does not exist.
        TransientError: if the warehouse stops answering.
    """
    outbox = source.category.capture.outbox
    value = {"outbox": outbox}
    with reading(outbox):
        require_outbox(source.database, source.category.name, outbox)
        drained = _drain(source, comparison.folder, _trouble_before(source, outbox))
    if not drained.trouble:
        ids, unexplained = resolve_ids(source, comparison, drained.ids.values())
        unclear = [raw_id for raw_id in unexplained if id_key(raw_id) not in drained.deleted]
        if not unclear:
            for _ in compare_some(source, comparison, ids):
                pass
            reason = f"{drained.entries:,} entries were pending"
            return Outcome(whole=False, reason=reason, value=value, more=drained.more, entries=drained.parts)
        drained.trouble = "an entry names a document that is nowhere to be found"
    outcome = compare_everything(source, comparison, drained.trouble)
    return replace(outcome, value=value, more=drained.more, entries=drained.parts)


def outbox_waits(source: Source, _comparison: Comparison) -> bool:
    """Return whether an entry is pending, or everything has to be compared."""
    outbox = source.category.capture.outbox
    with reading(outbox):
        require_outbox(source.database, source.category.name, outbox)
        if _trouble_before(source, outbox):
            return True
        pending = pending_entries(source.database, outbox, source.category.collection, _reader(source))
        return next(pending, None) is not None


def _trouble_before(source: Source, outbox: str) -> str:
    value, reason = source.position("outbox")
    if value is not None and value.get("outbox") != outbox:
        return f"the last position is one of the outbox {value.get('outbox')!r}"
    return reason


def _drain(source: Source, folder: Folder, trouble: str) -> Drained:
    """Read the pending entries, in order: of ``max_changes`` documents, or all if everything is compared."""
    drained = Drained(trouble)
    write = _part_writer(source, folder, drained)
    batch: list[Any] = []
    outbox, collection = source.category.capture.outbox, source.category.collection
    for entry in pending_entries(source.database, outbox, collection, _reader(source)):
        _take(drained, entry, source.max_changes)
        if drained.more:
            break
        drained.entries += 1
        batch.append(entry["_id"])
        if len(batch) >= ENTRIES_PER_PART:
            write(batch)
            batch = []
    write(batch)
    return drained


def _take(drained: Drained, entry: Document, max_changes: int | None) -> None:
    if drained.trouble:
        return
    raw_id = entry.get("document_id")
    if raw_id is None:
        drained.trouble = "an entry names no document"
        return
    name = id_key(raw_id)
    if name not in drained.ids and len(drained.ids) >= (max_changes or IDS_IN_MEMORY):
        if max_changes is None:
            drained.trouble = f"entries for more than {IDS_IN_MEMORY:,} documents wait"
        else:
            drained.more = True
        return
    drained.ids[name] = raw_id
    if entry.get("operation") == "delete":
        drained.deleted.add(name)


def _part_writer(source: Source, folder: Folder, drained: Drained) -> Callable[[list[Any]], None]:
    first = len(list_parts(folder, "outbox"))

    def write(entry_ids: list[Any]) -> None:
        if entry_ids:
            table = entries_table(source.category.capture.outbox, source.category.name, entry_ids)
            drained.parts.append(write_part(folder, "outbox", first + len(drained.parts), table))

    return write


def _reader(source: Source) -> str | None:
    return None if source.store_id is None else reader_name(source.store_id, source.category.name)
