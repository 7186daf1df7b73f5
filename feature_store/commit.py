"""Committing a run: the changed documents become one new version, or nothing becomes visible at all."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import lance
import pyarrow as pa

from feature_store import schema, tables, versions
from feature_store.parts import Part, read_part
from feature_store.retention import remove_unpublished
from feature_store.store import DELETED, IS_LIVE, LIVE, FeatureStore, prepare_tables
from feature_store.versions import Position, Version

_CLOCK_SLACK_SECONDS = 5.0
_BYTES_PER_MERGE = 16_000_000
_ROWS_PER_MERGE = 4_000
_DUPLICATE_COLUMNS = ["document_id", "text_hash", "added_in", "duplicate_of"]


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """The part files of one run: rows for documents and rejects, ids of documents that left the source."""

    documents: Sequence[Part] = ()
    rejects: Sequence[Part] = ()
    removed: Sequence[Part] = ()

    def is_empty(self) -> bool:
        """Return whether there is nothing to write."""
        return not (self.documents or self.rejects or self.removed)


@dataclass(frozen=True, slots=True)
class RunDescription:
    """What a version remembers of the run that made it; ``positions`` move with it or not at all."""

    run_id: str
    config_fingerprint: str
    counts: dict[str, int] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    message: str = ""


CategoryShares = dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a commit is about to publish.

    ``documents`` is the table with the changes, ``shares`` are the numbers of live and of rejected documents for each
    category. The rows that the run wrote have its ``number`` in ``changed_in``.
    """

    number: int
    run_id: str
    newest: Version | None
    documents: lance.LanceDataset
    shares: CategoryShares

    @property
    def generation(self) -> int:
        """The folder of the tables: that of the newest version."""
        return self.newest.generation if self.newest else 0


def commit(
    store: FeatureStore,
    changes: ChangeSet,
    run: RunDescription,
    check: Callable[[Proposal], None] = lambda _: None,
) -> Version:
    """Write the changes and publish them as one version; without changes, move the positions only.

    ``check`` sees what is about to be published, and raises to refuse. A crash at any point leaves the newest version
    as it was.
    """
    newest = store.newest()
    positions = {**store.positions(), **run.positions}
    if newest is not None and changes.is_empty():
        versions.save_positions(store.folder, newest, positions)
        return newest
    started = time.time() - _CLOCK_SLACK_SECONDS
    store_id, number = prepare_tables(store)
    for rows in _merged(changes.documents):
        tables.upsert(lance.dataset(str(store.documents_path)), "document_id", rows)
    for part in (*changes.removed, *changes.rejects):
        _bury(store, _ids_in(part), number)
    _write_rejects(store, changes)
    tables.maintain(lance.dataset(str(store.documents_path)))  # by its indexes the next looks every text up
    _mark_duplicates(store, _touched_texts(store, changes, newest), number)
    proposal = Proposal(number, run.run_id, newest, lance.dataset(str(store.documents_path)), _category_shares(store))
    check(proposal)
    for path in (store.documents_path, store.rejects_path):
        tables.maintain(lance.dataset(str(path)))
        tables.flush(path, since=started)
    version = Version(
        number=number,
        created_at=versions.now(),
        run_id=run.run_id,
        store_id=store_id,
        documents_version=lance.dataset(str(store.documents_path)).version,
        rejects_version=lance.dataset(str(store.rejects_path)).version,
        config_fingerprint=run.config_fingerprint,
        counts=run.counts,
        positions=positions,
        message=run.message,
        generation=proposal.generation,
    )
    versions.publish_version(store.folder, version)
    remove_unpublished(store)
    return version


def _merged(parts: Iterable[Part]) -> Iterator[pa.Table]:
    """Yield the rows of several parts at a time: a merge reads the ids of the whole table, whatever it brings."""
    waiting: list[pa.Table] = []
    ids: set[str] = set()
    for part in parts:
        rows = read_part(part)
        new = set(rows.column("document_id").to_pylist())
        is_full = sum(table.nbytes for table in waiting) + rows.nbytes > _BYTES_PER_MERGE
        if waiting and (is_full or len(ids) >= _ROWS_PER_MERGE or not ids.isdisjoint(new)):
            yield pa.concat_tables(waiting)
            waiting, ids = [], set()
        waiting.append(rows)
        ids |= new
    if waiting:
        yield pa.concat_tables(waiting)


def _bury(store: FeatureStore, document_ids: list[str], number: int) -> None:
    """Turn the live ones among these documents into tombstones."""
    table = lance.dataset(str(store.documents_path))
    columns = ["document_id", "category", "source_id", "source_hash", "state", "added_in"]
    rows = [row for row in tables.look_up(table, "document_id", document_ids, columns) if row["state"] == LIVE]
    tombstones = [{**row, "state": DELETED, "characters": 0, "changed_in": number} for row in rows]
    if tombstones:
        tables.upsert(table, "document_id", pa.Table.from_pylist(tombstones, schema=schema.DOCUMENTS))


def _write_rejects(store: FeatureStore, changes: ChangeSet) -> None:
    table = lance.dataset(str(store.rejects_path))
    resolved = (*changes.documents, *changes.removed) if table.count_rows() else ()
    for part in resolved:
        known = [row["document_id"] for row in tables.look_up(table, "document_id", _ids_in(part), ["document_id"])]
        for some in tables.batches_of(known, tables.LOOKUP_BATCH):
            table.delete(tables.in_list("document_id", some))
    for part in changes.rejects:
        tables.upsert(lance.dataset(str(store.rejects_path)), "document_id", read_part(part))


def _touched_texts(store: FeatureStore, changes: ChangeSet, newest: Version | None) -> Iterator[str]:
    """Yield the hashes of texts that documents of the change have, or had before it; some more than once."""
    for part in changes.documents:
        yield from read_part(part, ["text_hash"]).column("text_hash").to_pylist()
    if newest is None:
        return
    before = store.documents(newest)
    for part in (*changes.documents, *changes.removed, *changes.rejects):
        for row in tables.look_up(before, "document_id", _ids_in(part), ["text_hash"]):
            if row["text_hash"] is not None:  # a tombstone has no text
                yield row["text_hash"]


def _ids_in(part: Part) -> list[str]:
    ids: list[str] = read_part(part, ["document_id"]).column("document_id").to_pylist()
    return ids


def _mark_duplicates(store: FeatureStore, touched_texts: Iterable[str], number: int) -> None:
    """Point every live document to the first one with the same text, in each group that this run touched."""
    table = lance.dataset(str(store.documents_path))  # it sees its own corrections
    for some in tables.batches_of(touched_texts, tables.LOOKUP_BATCH):
        members = defaultdict(list)
        condition = f"{tables.in_list('text_hash', some)} AND {IS_LIVE}"
        for row in table.scanner(columns=_DUPLICATE_COLUMNS, filter=condition).to_table().to_pylist():
            members[row["text_hash"]].append(row)
        corrections = dict(pair for group in members.values() for pair in _corrections(group))
        for ids in tables.batches_of(corrections, tables.LOOKUP_BATCH):
            rows = table.scanner(filter=tables.in_list("document_id", ids)).to_table().to_pylist()
            corrected = [{**row, "duplicate_of": corrections[row["document_id"]], "changed_in": number} for row in rows]
            tables.upsert(table, "document_id", pa.Table.from_pylist(corrected, schema=schema.DOCUMENTS))


def _corrections(group: list[dict[str, object]]) -> Iterable[tuple[str, str | None]]:
    first = min(group, key=lambda row: (row["added_in"], row["document_id"]))
    for row in group:
        expected = None if row is first else str(first["document_id"])
        if row["duplicate_of"] != expected:
            yield str(row["document_id"]), expected


def _category_shares(store: FeatureStore) -> CategoryShares:
    live = tables.count_values(lance.dataset(str(store.documents_path)), "category", IS_LIVE)
    rejected = tables.count_values(lance.dataset(str(store.rejects_path)), "category")
    return {category: (live[category], rejected[category]) for category in sorted({*live, *rejected})}
