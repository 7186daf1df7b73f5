"""Erasing documents from the history of the feature store, as if they had never been.

Lance keeps the rows of old versions, and no edit reaches into them. So both tables are made anew in the folder of the
next generation, version by version, without these documents; then each version's record is moved there, and the old
tables go. No version is added or lost: each keeps its number, run and time.

What is under way is written down in ``erasure.json`` before anything is touched, so that an erasure that was
interrupted is known to be, and can be resumed: every step can be repeated.
"""

import hashlib
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import lance
import pyarrow as pa

from feature_store import tables, versions
from feature_store.files import write_json_atomically
from feature_store.journal import RewrittenTables
from feature_store.parts import remove_folder
from feature_store.retention import lance_tag, remove_unpublished
from feature_store.store import FeatureStore, prepare_tables, table_path
from feature_store.versions import Version

_CLOCK_SLACK_SECONDS = 5.0
_INDEXED = {"documents": ["document_id", "changed_in", "text_hash"], "rejects": ["document_id"]}
# What tells two rows of a document apart; of a reject all columns do.
_KEYS = {"documents": ["document_id", "source_hash", "content_hash", "state", "changed_in", "duplicate_of"]}

States = dict[str, bytes]
"""What a row is like, by document id: a hash that changes with every column."""
Heirs = dict[str, str | None]
"""``duplicate_of`` of documents that pointed to one that is erased."""


def remove_leftovers(store: FeatureStore) -> None:
    """Remove whatever of the tables no version names: what runs that died wrote, and tables of other generations."""
    named = {
        table_path(store.folder, name, version.generation) for name in _INDEXED for version in published_versions(store)
    }
    for name in _INDEXED:
        for path in store.folder.glob(f"{name}*.lance"):
            if path not in named:
                shutil.rmtree(path)
    if store.newest() is not None:
        prepare_tables(store)  # takes back what a dead run wrote beyond the newest version
        remove_unpublished(store)


def published_versions(store: FeatureStore) -> list[Version]:
    """Return all versions, oldest first."""
    return [store.version(number) for number in versions.version_numbers(store.folder)]


def count_rows_of(store: FeatureStore, document_ids: Iterable[str]) -> dict[str, int]:
    """Return how many rows of ``documents`` and of ``rejects`` are of these documents, all versions together."""
    wanted, counts = list(document_ids), dict.fromkeys(_INDEXED, 0)
    for version in published_versions(store):
        for name, table in (("documents", store.documents(version)), ("rejects", store.rejects(version))):
            for some in tables.batches_of(wanted, tables.LOOKUP_BATCH):
                counts[name] += int(table.count_rows(filter=tables.in_list("document_id", some)))
    return counts


def rewrite_history(store: FeatureStore, document_ids: frozenset[str]) -> RewrittenTables:
    """Write every version without these documents into the tables of the next generation; no version names them yet."""
    started = time.time() - _CLOCK_SLACK_SECONDS
    published = published_versions(store)
    generation = max(version.generation for version in published) + 1
    documents = _replay(store.documents, store, "documents", published, generation, document_ids)
    rejects = _replay(store.rejects, store, "rejects", published, generation, document_ids)
    for name in _INDEXED:
        tables.flush(table_path(store.folder, name, generation), since=started)
    return RewrittenTables(generation=generation, documents=documents, rejects=rejects)


def adopt(store: FeatureStore, rewritten: RewrittenTables) -> None:
    """Let every version name the rewritten tables, one after the other, then remove the old ones."""
    for path in sorted((store.folder / "versions").glob("*.json")):
        number = int(path.stem)
        moved = {
            "generation": rewritten.generation,
            "documents_version": rewritten.documents[number],
            "rejects_version": rewritten.rejects[number],
        }
        # Not through the model: it would drop what a later release has added.
        write_json_atomically(path, {**json.loads(path.read_bytes()), **moved})
    remove_leftovers(store)


def _replay(
    opened: Callable[[Version], lance.LanceDataset],
    store: FeatureStore,
    name: str,
    published: Sequence[Version],
    generation: int,
    erased: frozenset[str],
) -> dict[int, int]:
    """Make the history of one table anew; return the Lance version of each version."""
    target = table_path(store.folder, name, generation)
    remove_folder(target)
    tables.create(target, opened(published[-1]).schema, _INDEXED[name])
    before: States = {}
    made: dict[int, int] = {}
    for version in published:
        source = opened(version)
        heirs = _heirs(source, erased) if name == "documents" else {}
        after = _states(source, _KEYS.get(name, source.schema.names), erased, heirs)
        _apply(source, target, before, after, heirs)
        tables.maintain(lance.dataset(str(target)))
        made[version.number] = lance.dataset(str(target)).version
        before = after
    table = lance.dataset(str(target))
    tables.tag_versions(table, {}, {lance_tag(number): lance_version for number, lance_version in made.items()})
    tables.forget_old_versions(table)
    return made


def _states(table: lance.LanceDataset, columns: Sequence[str], erased: frozenset[str], heirs: Heirs) -> States:
    """Return the state of every other row, as it has to be, by the ``columns`` that tell rows apart."""
    states: States = {}
    for batch in table.scanner(columns=list(columns)).to_batches():
        for row in batch.to_pylist():
            identifier = row["document_id"]
            if identifier in erased:
                continue
            if identifier in heirs:
                row["duplicate_of"] = heirs[identifier]
            states[identifier] = hashlib.blake2b(repr(tuple(row.values())).encode(), digest_size=16).digest()
    return states


def _heirs(table: lance.LanceDataset, erased: frozenset[str]) -> Heirs:
    """Return to whom the duplicates of erased documents point instead: to the first that is left of each group."""
    groups = defaultdict(list)
    columns = ["document_id", "text_hash", "added_in"]
    for row in tables.look_up(table, "duplicate_of", erased, columns):
        if row["document_id"] not in erased:
            groups[row["text_hash"]].append((row["added_in"], row["document_id"]))
    heirs: Heirs = {}
    for members in groups.values():
        _, first = min(members)
        heirs |= {identifier: None if identifier == first else first for _, identifier in members}
    return heirs


def _apply(source: lance.LanceDataset, target: Path, before: States, after: States, heirs: Heirs) -> None:
    """Bring the rows of ``target`` from one version's states to the next one's."""
    gone = sorted(before.keys() - after.keys())
    new = sorted(after.keys() - before.keys())
    changed = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    for some in tables.batches_of(gone, tables.LOOKUP_BATCH):
        lance.dataset(str(target)).delete(tables.in_list("document_id", some))
    if new:
        lance.write_dataset(_rows(source, new, heirs), str(target), mode="append")
    if changed:
        tables.upsert(lance.dataset(str(target)), "document_id", _rows(source, changed, heirs))


def _rows(source: lance.LanceDataset, document_ids: Sequence[str], heirs: Heirs) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(source.schema, _batches(source, document_ids, heirs))


def _batches(source: lance.LanceDataset, document_ids: Sequence[str], heirs: Heirs) -> Iterator[pa.RecordBatch]:
    for some in tables.batches_of(document_ids, tables.LOOKUP_BATCH):
        for batch in source.scanner(filter=tables.in_list("document_id", some)).to_batches():
            yield _pointed_anew(batch, heirs)


def _pointed_anew(batch: pa.RecordBatch, heirs: Mapping[str, str | None]) -> pa.RecordBatch:
    if not heirs:
        return batch
    pairs = zip(batch.column("document_id").to_pylist(), batch.column("duplicate_of").to_pylist(), strict=True)
    pointers = pa.array([heirs.get(identifier, pointer) for identifier, pointer in pairs], pa.string())
    return batch.set_column(batch.schema.get_field_index("duplicate_of"), "duplicate_of", pointers)
