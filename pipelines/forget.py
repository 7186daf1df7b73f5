"""Erasing documents for good: from the history, the indexes, the caches, and whatever shows or names them.

The order makes it safe to be interrupted. First the documents go on the list of those that must not come back, and a
journal says what is under way; while it is there no run begins. Every step can be repeated, so that resuming means
doing all of them again. At the end everything is searched, a receipt is written, and the journal goes.
"""

import fcntl
import json
import os
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from loguru import logger
from pydantic import BaseModel, ConfigDict, Field
from pymongo.database import Database
from qdrant_client import QdrantClient

from feature_store import lock, tables
from feature_store.config import CategoryConfig, PipelineConfig
from feature_store.dataset import copies_folder, remove_copies
from feature_store.erasure import adopt, count_rows_of, remove_leftovers, rewrite_history
from feature_store.errors import ConfigurationError, TerminalError
from feature_store.exports import ExportRecord, list_exports, read_members, save_export
from feature_store.files import write_json_atomically
from feature_store.ids import document_id
from feature_store.index import open_qdrant, our_collections
from feature_store.journal import (
    ErasedDocument,
    Erasure,
    erasure_path,
    finish_erasure,
    read_erasure,
    save_erasure,
)
from feature_store.parts import folders_in, remove_folder
from feature_store.rewriting import only, rewrite_table
from feature_store.settings import Settings
from feature_store.store import open_feature_store
from feature_store.suppression import suppress, suppression_path
from feature_store.traces import Traces, gather, known_documents, search_files
from feature_store.versions import now
from pipelines.artifacts import clean_file, erase_from_artifacts, search_artifacts
from steps.export.place import MANIFEST
from steps.extract.ids import raw_ids, text_of_id
from steps.extract.keys import other_forms
from steps.extract.read import read_documents, read_ids
from steps.load.erase import count_points_of, erase_points, require_no_load, text_hashes
from steps.load.local_storage import release_space
from warehouse.connection import open_warehouse
from warehouse.erase import erase_documents
from warehouse.erase import release_space as release_warehouse_space

_TEXT_FILES = {".json", ".jsonl", ".log", ".txt", ".md", ".html", ".csv"}


class Receipt(BaseModel):
    """What was erased, place by place; no text and no id of the source is in it.

    ``found`` is what a search over everything still found, and must be empty. ``left`` says in sentences what is beyond
    the reach of this command.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    started_at: datetime
    finished_at: datetime
    document_ids: list[str]
    unknown: list[str]
    from_warehouse: bool
    erased: dict[str, int]
    found: dict[str, int] = Field(default_factory=dict)
    left: list[str] = Field(default_factory=list)


def identify(
    settings: Settings, config: PipelineConfig, names: Sequence[str], *, from_warehouse: bool
) -> dict[str, ErasedDocument]:
    """Return the documents that some names stand for: ids, or ``category:_id`` with the id as text.

    One that nobody knows is one too: it must not come in some day. Of a name ``category:_id`` whose type cannot be told
    all forms are meant then. The warehouse is only asked if documents are to be removed from it.

    Raises:
        ConfigurationError: if a name is neither, or its category is none.
        PipelineError: if the warehouse is to be asked and does not answer.
    """
    store = open_feature_store(settings.feature_store_folder)
    categories = [category.name for category in config.categories]
    documents: dict[str, ErasedDocument] = {}
    for name in names:
        meant = _meant(name, categories)
        held = {key: known for key, known in meant.items() if any(count_rows_of(store, [key]).values())}
        documents |= held or meant
    found = known_documents(store, documents)
    if from_warehouse and any(document.source_id is None for document in found.values()):
        with open_warehouse(settings) as database:
            found = {**found, **_found_in_warehouse(database, config.categories, found)}
    return found


def forget(
    settings: Settings, config: PipelineConfig, documents: Mapping[str, ErasedDocument], *, from_warehouse: bool
) -> Receipt:
    """Erase documents, search for them, and return the receipt, which is kept too.

    Raises:
        LockedError: if a run is at work, here or on one of the collections.
        TerminalError: if another erasure was interrupted, or the warehouse refuses.
        TransientError: if a service does not answer: what was begun is resumed by ``resume``.
    """
    folder = settings.feature_store_folder
    with lock.held(settings, "forget"):
        with open_qdrant(settings) as client:
            require_no_load(client, settings.indexes_folder)
        suppress(folder, documents)
        save_erasure(folder, Erasure(started_at=now(), documents=dict(documents), from_warehouse=from_warehouse))
        return _Forgetting(settings, config).finish()


def resume(settings: Settings, config: PipelineConfig) -> Receipt:
    """Complete an erasure that was interrupted, and return its receipt.

    Raises:
        TerminalError: if there is none.
        PipelineError: as `forget` does.
    """
    folder = settings.feature_store_folder
    lock.acquire(settings.data_dir, "forget")
    try:
        if not erasure_path(folder).exists():
            raise TerminalError("No erasure was interrupted: there is nothing to resume.")
        return _Forgetting(settings, config).finish()
    finally:
        lock.release(settings.data_dir)


class _Forgetting:
    """The erasure that the journal tells of, step by step."""

    def __init__(self, settings: Settings, config: PipelineConfig) -> None:
        self.settings = settings
        self.config = config
        self.store = open_feature_store(settings.feature_store_folder)
        journal = read_erasure(self.store.folder)
        assert journal is not None  # noqa: S101 (the caller has written it or seen it)
        self.journal = journal
        self.counts = Counter(journal.counts)
        self.left: list[str] = []

    @cached_property
    def traces(self) -> Traces:
        """What the documents are recognised by: as far as the tables still tell."""
        return gather(self.store, self.journal.documents)

    @property
    def ids(self) -> list[str]:
        return sorted(self.journal.documents)

    def finish(self) -> Receipt:
        """Do every step, search, write the receipt, and remove the journal."""
        if self.journal.rewritten is None:
            remove_leftovers(self.store)
        suppress(self.store.folder, self.ids)
        _ = self.traces
        for step in (
            self._erase_from_warehouse,
            self._erase_from_qdrant,
            self._erase_from_files,
            self._erase_from_artifacts,
            self._erase_from_tables,  # so late: after an interruption they still tell by what files are recognised
            self._erase_from_exports,  # after them: what is read of the old tables is registered by now, or never
            self._erase_copies,
        ):
            step()
            self.journal = self.journal.model_copy(update={"counts": dict(self.counts)})
            save_erasure(self.store.folder, self.journal)
        receipt = Receipt(
            started_at=self.journal.started_at,
            finished_at=now(),
            document_ids=self.ids,
            unknown=sorted(name for name, known in self.journal.documents.items() if known.source_id is None),
            from_warehouse=self.journal.from_warehouse,
            erased={place: count for place, count in sorted(self.counts.items()) if count},
            found=self._search(),
            left=self.left,
        )
        path = self.settings.data_dir / "receipts" / f"{receipt.finished_at:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}.json"
        write_json_atomically(path, receipt.model_dump(mode="json"))
        finish_erasure(self.store.folder)
        return receipt

    def _erase_from_warehouse(self) -> None:
        if not self.journal.from_warehouse:
            return
        by_name = {category.name: category for category in self.config.categories}
        outboxes = sorted({category.capture.outbox for category in self.config.categories})
        with open_warehouse(self.settings) as database:
            for known in self.journal.documents.values():
                category = by_name.get(known.category or "")
                if known.source_id is None:
                    continue
                if category is None:
                    self.left.append(f"The configuration has no category {known.category}: its document may be there.")
                    continue
                ids = raw_ids(known.source_id)
                self.counts["warehouse"] += erase_documents(database, category.collection, ids, outboxes)
        if not release_warehouse_space(self.settings):
            self.left.append(
                "The warehouse is a server: its log and its backups keep what was removed for a while."
                if self.settings.mongo_uri
                else "The embedded warehouse is in use elsewhere: its file keeps the bytes of what was removed. Forget "
                "again once it is closed."
            )

    def _erase_from_qdrant(self) -> None:
        newest = self.store.newest()
        with open_qdrant(self.settings) as client:
            erased = erase_points(client, self.settings.indexes_folder, self.ids, newest.store_id if newest else None)
            self.counts["points"] += sum(erased.points.values())
            self.counts["points in records"] += erased.recorded
            self._erase_vectors(client)
            if not release_space(client):
                self.left.append(
                    "Qdrant is a server: its optimizer frees the space of removed points some time later, and its "
                    "snapshots keep them."
                )
        self.left += [
            f"The collection {name} was made from another feature store, which may bring the documents back: forget "
            "them there too."
            for name in erased.foreign
        ]

    def _erase_vectors(self, client: QdrantClient) -> None:
        """Keep the vectors of texts that points still have; of others nobody can tell whose they were."""
        used: dict[str, set[str]] = {}
        for name, metadata in our_collections(client).items():
            used.setdefault(metadata.encoder.fingerprint, set()).update(text_hashes(client, name))
        for path in self.settings.vectors_folder.glob("*.lance"):
            hashes = pa.array(sorted(used.get(path.stem, ())), pa.string())
            if not tables.exists(path) or not len(hashes):
                self.counts["vectors"] += _count(path)
                remove_folder(path)
                continue
            before = _count(path)
            rewrite_table(path, only("text_hash", hashes), ["text_hash"])
            tables.forget_old_versions(lance.dataset(str(path)))
            self.counts["vectors"] += before - _count(path)

    def _erase_from_tables(self) -> None:
        if self.journal.rewritten is None:
            held = count_rows_of(self.store, self.ids)
            if not any(held.values()):
                return
            for name, rows in held.items():
                self.counts[name] += rows
            rewritten = rewrite_history(self.store, frozenset(self.ids))
            update = {"rewritten": rewritten, "counts": dict(self.counts)}
            self.journal = self.journal.model_copy(update=update)
            save_erasure(self.store.folder, self.journal)
        assert self.journal.rewritten is not None  # noqa: S101
        adopt(self.store, self.journal.rewritten)

    def _erase_from_exports(self) -> None:
        for unfinished in list(self.settings.data_dir.rglob("*.unfinished")):
            if unfinished.is_dir():
                _remove_if_dead(unfinished)
            else:
                unfinished.unlink()
        places = _places_of_exports(self.settings.data_dir)
        for record in list_exports(self.store.folder):
            batches = list(read_members(self.store.folder, record.export_id))
            erased = pa.array(self.ids, pa.string())
            kept = [
                batch.filter(pc.invert(pc.is_in(batch.column("document_id"), value_set=erased))) for batch in batches
            ]
            is_ours = record.folder.resolve().is_relative_to(self.settings.data_dir)
            folders = places.get(record.export_id, [])
            if is_ours and not (record.folder / MANIFEST).exists():
                folders = [*folders, record.folder]
            members = {name for batch in batches for name in batch.column("document_id").to_pylist()}
            listed = {name for folder in {record.folder, *folders} for name in _listed_as_gone(record, folder)}
            lost = len((members | listed) & self.journal.documents.keys())
            forgotten = record.forgotten + lost
            if lost:
                self.counts["export members"] += lost
                self.counts["export files"] += sum(_remove_files(record, folder) for folder in folders)
                changed = {"forgotten": forgotten, **({"files": []} if is_ours else {})}
                save_export(self.store.folder, record.model_copy(update=changed), kept)
            if forgotten and not is_ours:
                self.left.append(
                    f"The export {record.export_id} in {record.folder} holds {forgotten:,} documents that were erased: "
                    "remove it, and whatever was copied from it or trained on it."
                )
            elif lost:
                self.left.append(f"The files of the export {record.export_id} were removed: export again.")

    def _erase_from_files(self) -> None:
        for unfinished in list(self.settings.data_dir.rglob(".*.json.[0-9]*")):
            unfinished.unlink(missing_ok=True)  # of a process that died while it wrote
        for folder in {*folders_in(self.settings.runs_folder), *folders_in(self.settings.work_folder)}:
            self.counts["folders of part files"] += 1
            remove_folder(folder)
        for path in self._text_files():
            content = path.read_bytes().decode("utf-8", "surrogateescape")
            cleaned = clean_file(path.name, content, self.traces)
            if cleaned != content:
                self.counts["files"] += 1
                unfinished = path.with_name(f".{path.name}.unfinished")
                unfinished.write_bytes(cleaned.encode("utf-8", "surrogateescape"))
                unfinished.replace(path)

    def _erase_copies(self) -> None:
        self.counts["copies for reading"] += len(_children(copies_folder(self.store.folder)))
        remove_copies(self.store.folder)

    def _erase_from_artifacts(self) -> None:
        changes = erase_from_artifacts(self.traces)
        for kind, count in changes.files.items():
            self.counts[f"artifacts: {kind}"] += count
        if changes.elsewhere:
            self.left.append(
                f"{changes.elsewhere:,} artifacts lie in another artifact store than the active one: activate its "
                "stack and forget again."
            )

    def _search(self) -> dict[str, int]:
        found: Counter[str] = Counter(count_rows_of(self.store, self.ids))
        with open_qdrant(self.settings) as client:
            for name in our_collections(client):
                found["points"] += count_points_of(client, name, self.ids)
        for path in self.settings.indexes_folder.glob("*.lance"):
            found["points in records"] += _count(path, tables.in_list("document_id", self.ids))
        for record in list_exports(self.store.folder):
            for batch in read_members(self.store.folder, record.export_id):
                found["export members"] += (
                    pc.sum(pc.is_in(batch.column("document_id"), value_set=pa.array(self.ids, pa.string()))).as_py()
                    or 0
                )
        artifacts = search_artifacts(self.traces)
        found["artifacts"] = artifacts.files.total()
        found["figures of artifacts"] = len(artifacts.metadata)
        if self.journal.from_warehouse:
            found["warehouse"] = self._count_in_warehouse()
        for path in search_files(self._all_files(), self.traces.in_bytes()):
            is_of_warehouse = path.is_relative_to(self.settings.warehouse_folder)
            found["files of the warehouse" if is_of_warehouse else "files"] += 1
            logger.warning("{} still holds what belongs to an erased document", path)
        return {place: count for place, count in sorted(found.items()) if count}

    def _count_in_warehouse(self) -> int:
        by_name = {category.name: category for category in self.config.categories}
        count = 0
        with open_warehouse(self.settings) as database:
            for known in self.journal.documents.values():
                if known.source_id is not None and known.category in by_name:
                    collection = database[by_name[known.category].collection]
                    count += len(read_documents(collection, raw_ids(known.source_id), [])[0])
        return count

    def _text_files(self) -> Iterator[Path]:
        registered = {record.export_id for record in list_exports(self.store.folder)}
        places = _places_of_exports(self.settings.data_dir)
        exports = [folder for name in places.keys() & registered for folder in places[name]]
        skipped = (
            self.settings.warehouse_folder,
            self.settings.qdrant_folder,
            self.settings.data_dir / "training",
            *exports,
        )
        for path in self._all_files():
            in_table = any(parent.suffix == ".lance" for parent in path.parents)
            if path.suffix in _TEXT_FILES and not in_table and not any(path.is_relative_to(one) for one in skipped):
                yield path

    def _all_files(self) -> Iterator[Path]:
        """Yield the files that must not hold anything of the documents."""
        own = {suppression_path(self.store.folder), erasure_path(self.store.folder)}
        skipped = [self.settings.data_dir / "receipts"]
        if not self.journal.from_warehouse:
            skipped.append(self.settings.warehouse_folder)
        for path in sorted(self.settings.data_dir.rglob("*")):
            if path.is_file() and path not in own and not any(path.is_relative_to(folder) for folder in skipped):
                yield path


def _meant(name: str, categories: Sequence[str]) -> dict[str, ErasedDocument]:
    try:
        return {str(uuid.UUID(name)): ErasedDocument()}
    except ValueError:
        pass
    category, separator, text = name.partition(":")
    if not separator or not text:
        raise ConfigurationError(
            f"{name!r} names no document.", "Give a document's id, or its category and its _id: articles:652f8a…"
        )
    if category not in categories:
        raise ConfigurationError(
            f"{name!r}: there is no category {category!r}.", f"Categories are: {', '.join(categories)}."
        )
    sources = [text, *(text_of_id(form)[0] for form in other_forms(text))]
    return {
        document_id(category, source): ErasedDocument(category=category, source_id=source)
        for source in dict.fromkeys(sources)
    }


def _found_in_warehouse(
    database: Database[dict[str, Any]], categories: Iterable[CategoryConfig], documents: Mapping[str, ErasedDocument]
) -> dict[str, ErasedDocument]:
    """Return those of the documents that only the warehouse can name: an id is a hash, so all of its ids are read."""
    wanted = {key for key, known in documents.items() if known.source_id is None}
    found = {}
    for category in categories:
        for page in read_ids(database[category.collection], []):
            for document in page:
                source, _ = text_of_id(document["_id"])
                identifier = document_id(category.name, source)
                if identifier in wanted:
                    found[identifier] = ErasedDocument(category=category.name, source_id=source)
    return found


def _places_of_exports(data_dir: Path) -> dict[str, list[Path]]:
    """Return the folders that hold each export, by its id: the same one may have been made in several."""
    places: dict[str, list[Path]] = defaultdict(list)
    for path in data_dir.rglob(MANIFEST):
        try:
            manifest = json.loads(path.read_bytes())
        except ValueError:
            continue  # somebody else's
        if isinstance(manifest, dict) and "export_id" in manifest:
            places[manifest["export_id"]].append(path.parent)
    return places


def _remove_if_dead(place: Path) -> None:
    """Remove the folder in which an export worked that was killed; one that is at work has a lock on it."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_folder(place)
    except BlockingIOError:
        logger.warning("An export is at work in {}: it fails in the end, for its version was written anew", place)
    finally:
        os.close(descriptor)


def _listed_as_gone(record: ExportRecord, folder: Path) -> set[str]:
    """Return the documents that a delta export only lists, as deleted or replaced."""
    listed: set[str] = set()
    for path in (folder / file.name for file in record.files if file.name.startswith("deleted.")):
        if path.suffix == ".parquet" and path.is_file():
            listed.update(pq.read_table(path, columns=["document_id"])["document_id"].to_pylist())
        elif path.is_file():
            listed.update(json.loads(line)["document_id"] for line in path.read_text(encoding="utf-8").splitlines())
    return listed


def _remove_files(record: ExportRecord, place: Path) -> int:
    """Remove the files of an export and the folders that are empty then; return how many there were."""
    removed = 0
    for file in record.files:
        path = place / file.name
        if path.is_file():
            path.unlink()
            removed += 1
    folders = [path for path in place.rglob("*") if path.is_dir()] if place.is_dir() else []
    for folder in [*sorted(folders, reverse=True), place]:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return removed


def _children(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _count(path: Path, condition: str | None = None) -> int:
    return int(lance.dataset(str(path)).count_rows(filter=condition)) if tables.exists(path) else 0
