"""Rebuilding a release: the same documents, training sets and indexes, each compared with what was released.

A rebuilt index is one of its own, called ``<index>@<release>``: the alias, the collection and the record of the index
that serves are left alone, and runs do not see it.
"""

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from qdrant_client import QdrantClient

from feature_store import lock
from feature_store.config import CategoryConfig, PipelineConfig
from feature_store.digests import SetDigest, documents_digest, points_digest
from feature_store.encoders import Encoder, load_encoder
from feature_store.errors import ConfigurationError, TerminalError
from feature_store.exports import ExportRecord, list_exports, save_export
from feature_store.handles import CleanedDocuments
from feature_store.index import CHUNKER_VERSION, PAYLOAD_VERSION, index_fingerprint, open_qdrant, physical_name, scroll
from feature_store.index_config import IndexConfig
from feature_store.index_record import IndexRecord
from feature_store.parts import remove_folder
from feature_store.points import payload_hash
from feature_store.releases import Release, ReleasedIndex, read_release
from feature_store.settings import Settings
from feature_store.store import FeatureStore, open_feature_store
from feature_store.training import TrainingConfig
from feature_store.versions import Version, read_version
from pipelines.release import compare_files, copy_name, describe_changed_documents, installed, same_history
from pipelines.serving import Workplace, bring_collection

_POINTS_PER_SCROLL = 1000
_SHOWN = 12  # characters of a digest; the release has all


class Comparison(BaseModel):
    """One part of a release beside what was rebuilt. ``reason`` says why they differ, as far as that is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    part: str
    equal: bool
    expected: str
    found: str
    reason: str = ""


class Rebuilt(BaseModel):
    """What `rebuild` gave back.

    ``indexes`` are the rebuilt ones by the name that a retriever opens, with their collections; ``exports`` the folders
    of the training sets by export id.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    release: str
    version: int
    comparisons: list[Comparison]
    indexes: dict[str, str]
    exports: dict[str, Path]

    @property
    def differing(self) -> list[Comparison]:
        """The parts that are not what was released."""
        return [comparison for comparison in self.comparisons if not comparison.equal]


def rebuild_release(
    settings: Settings,
    config: PipelineConfig,
    name: str,
    output: Path | None = None,
    indexes: Sequence[str] | None = None,
) -> Rebuilt:
    """Give back the documents, training sets and indexes of a release, and compare each with it.

    Training sets go to folders in ``output``; one that is there and equal stays. Without ``output`` they are made,
    compared and thrown away. ``indexes`` names those to rebuild; None means all. Of the ``config`` only the categories'
    metadata fields count: they get payload indexes. Again, also after a kill, gives the same.

    Raises:
        TerminalError: if there is no such release, or its version is gone.
        ConfigurationError: if the model or the code here would make another index.
        LockedError: if a run is at work.
    """
    store = open_feature_store(settings.feature_store_folder)
    release = read_release(store.folder, name)
    wanted = [released for released in release.indexes if indexes is None or released.index in indexes]
    with lock.held(settings, f"rebuild --as-of {name}"):
        version = same_history(store, release)
        encoders = [_encoder_as_released(released, release) for released in wanted]
        comparisons = [_compare_documents(store, release, version)]
        exports, compared = _rebuild_exports(settings, store, release, version, output)
        comparisons += compared
        if wanted:
            with open_qdrant(settings) as client:
                for released, encoder in zip(wanted, encoders, strict=True):
                    _rebuild_index(client, settings, config.categories, version, name, released, encoder)
                    comparisons.append(_compare_index(client, settings, release, version, released))
    return Rebuilt(
        release=name,
        version=version.number,
        comparisons=comparisons,
        indexes={copy_name(item.index, name): _collection(item, name) for item in wanted},
        exports=exports,
    )


def _compare_documents(store: FeatureStore, release: Release, version: Version) -> Comparison:
    digest = documents_digest(store, version)
    equal = digest.hexdigest() == release.documents_digest
    return Comparison(
        part=f"documents of version {version.number}",
        equal=equal,
        expected=f"{release.documents:,} documents, digest {release.documents_digest[:_SHOWN]}",
        found=f"{digest.count:,} documents, digest {digest.hexdigest()[:_SHOWN]}",
        reason="" if equal else describe_changed_documents(store, release, digest.count),
    )


def _rebuild_exports(
    settings: Settings, store: FeatureStore, release: Release, version: Version, output: Path | None
) -> tuple[dict[str, Path], list[Comparison]]:
    # Nothing is left in the data folder: an erasure would not know of it.
    passing = settings.work_folder / f"rebuild-{release.name}"
    folders = {export_id: (output or passing / "exports") / export_id for export_id in release.exports}
    places: dict[str, Path] = {}
    comparisons = []
    try:
        for export_id, folder in folders.items():
            comparison, places[export_id] = _rebuild_export(store, release, version, export_id, folder)
            comparisons.append(comparison)
            if output and comparison.equal:
                _take_over(store, export_id, folder)
    finally:
        shutil.rmtree(passing, ignore_errors=True)
    return {export_id: place for export_id, place in places.items() if place.is_dir()}, comparisons


def _take_over(store: FeatureStore, export_id: str, folder: Path) -> None:
    """Let the register name the rebuilt folder if the one that it names is gone: an erasure looks there."""
    for record in list_exports(store.folder):
        if record.export_id == export_id and not record.folder.is_dir():
            save_export(store.folder, record.model_copy(update={"folder": folder.resolve()}))


def _rebuild_export(
    store: FeatureStore, release: Release, version: Version, export_id: str, folder: Path
) -> tuple[Comparison, Path]:
    part, hashes = f"export {export_id}", release.exports[export_id]
    expected = f"{len(hashes):,} files"
    if folder.is_dir() and all(compare_files(folder, hashes).values()):
        return Comparison(part=part, equal=True, expected=expected, found=f"{expected}, there already"), folder
    record = next((record for record in list_exports(store.folder) if record.export_id == export_id), None)
    if record is None:
        reason = "the export is not registered any more: its options are not known"
        return Comparison(part=part, equal=False, expected=expected, found="nothing", reason=reason), folder
    unfinished = folder.with_name(f".{export_id}.unfinished")
    remove_folder(unfinished)
    try:
        _export_again(store, version, record, unfinished)
    except TerminalError as error:
        return Comparison(part=part, equal=False, expected=expected, found="nothing", reason=error.problem), folder
    compared = compare_files(unfinished, hashes)
    differing = [name for name, same in compared.items() if not same]
    # What differs is for looking into; it must not pass for the training set.
    place = folder.with_name(f"{export_id}.differs") if differing else folder
    remove_folder(place)
    unfinished.rename(place)
    found = f"{len(compared) - len(differing):,} equal files of {len(compared):,}"
    reason = _why_export_differs(store, release, record, differing) if differing else ""
    return Comparison(part=part, equal=not differing, expected=expected, found=found, reason=reason), place


def _export_again(store: FeatureStore, version: Version, record: ExportRecord, folder: Path) -> None:
    from steps.export.apply import export_training_set

    folder.parent.mkdir(parents=True, exist_ok=True)
    since = read_version(store.folder, record.since) if record.since is not None else None
    training = TrainingConfig.model_validate(record.options)
    # The register goes on naming the export that was released, also if this process is killed: an erasure looks there.
    export_training_set(store, version, training, record.format, folder, since, register=_register_nothing)


def _register_nothing(*_: object) -> None:
    pass


def _why_export_differs(store: FeatureStore, release: Release, record: ExportRecord, differing: list[str]) -> str:
    files = f"differing: {', '.join(differing[:3])}"
    if record.forgotten or read_version(store.folder, release.version).generation != release.generation:
        return f"{files}; documents were erased since (`feature-pipeline forget`)"
    others = [f"{name} {then}" for name, then in record.libraries.items() if installed(name) != then]
    return f"{files}; it was made with {', '.join(others)}" if others else f"{files}; the libraries are the same"


def _encoder_as_released(released: ReleasedIndex, release: Release) -> Encoder:
    index = IndexConfig.model_validate(released.config)
    encoder = load_encoder(index.encoder)
    pinned = released.metadata["encoder"]["fingerprint"]
    if encoder.fingerprint != pinned:
        raise ConfigurationError(
            f"{encoder.name} on this machine is not the model that made index {index.name} of the release "
            f"(fingerprint {encoder.fingerprint}, released {pinned}).",
            "Put the same weights there, or rebuild without indexes (--no-index).",
        )
    if index_fingerprint(index, encoder, CHUNKER_VERSION, release.store_id) != released.fingerprint:
        raise ConfigurationError(
            f"This code would not make the same points of index {index.name}: it has chunker {CHUNKER_VERSION} and "
            f"payload {PAYLOAD_VERSION}, the release chunker {release.code.get('chunker')} and payload "
            f"{release.code.get('payload')}.",
            f"Use feature pipeline {release.code.get('rag-feature-pipeline', 'of that time')}, or rebuild without "
            "indexes (--no-index).",
        )
    return encoder


def _collection(released: ReleasedIndex, release: str) -> str:
    return physical_name(copy_name(released.index, release), released.fingerprint)


def _rebuild_index(
    client: QdrantClient,
    settings: Settings,
    categories: Sequence[CategoryConfig],
    version: Version,
    release: str,
    released: ReleasedIndex,
    encoder: Encoder,
) -> None:
    """Chunk, embed and load the documents of the version, as a run does, into the collection of the copy."""
    index = IndexConfig.model_validate(released.config).model_copy(
        update={"name": copy_name(released.index, release)}  # no name that a configuration could have
    )
    folder = settings.work_folder / f"rebuild-{release}"
    remove_folder(folder)
    documents = CleanedDocuments(folder=settings.feature_store_folder, version=version.number)
    place = Workplace(client, settings, documents, [index], categories, folder, load_encoder)
    try:
        bring_collection(place, index, encoder, _collection(released, release))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _compare_index(
    client: QdrantClient, settings: Settings, release: Release, version: Version, released: ReleasedIndex
) -> Comparison:
    collection = _collection(released, release.name)
    record = IndexRecord(settings.indexes_folder, collection)
    note = record.read_note()
    if note is None:
        raise TerminalError(f"The collection {collection} was loaded without a record.", "Rebuild again.")
    made, stored = points_digest(record, note.table), stored_digest(client, collection)
    equal = made.hexdigest() == stored.hexdigest() == released.digest
    reason = ""
    if made.hexdigest() != stored.hexdigest():
        record.forget()
        reason = f"{collection} does not hold what was written; rebuild again: it is written anew"
    elif not equal and version.generation != release.generation:
        reason = "documents were erased since (`feature-pipeline forget`)"
    elif not equal:
        reason = "the documents give other chunks or payloads than at the release"
    return Comparison(
        part=f"index {released.index}",
        equal=equal,
        expected=f"{released.points:,} points, digest {released.digest[:_SHOWN]}",
        found=f"{stored.count:,} points, digest {stored.hexdigest()[:_SHOWN]}",
        reason=reason,
    )


def stored_digest(client: QdrantClient, collection: str) -> SetDigest:
    """Return the digest of the ids and payloads that a collection holds, as ``digests.points_digest`` makes it."""
    digest = SetDigest()
    for records in scroll(client, collection, _POINTS_PER_SCROLL, with_payload=True):
        for record in records:
            # A number is the id of somebody else's point.
            is_number = isinstance(record.id, int)
            identifier = str(record.id).encode() if is_number else uuid.UUID(str(record.id)).bytes
            digest.add(identifier, payload_hash(record.payload or {}))
    return digest
