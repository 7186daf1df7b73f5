"""Releases: pinning documents, indexes and training sets that belong together, and looking what became of them."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict
from qdrant_client import QdrantClient, models

from feature_store import lock
from feature_store.config import PipelineConfig
from feature_store.defaults import LATEST
from feature_store.digests import documents_digest, file_digest, points_digest
from feature_store.encoders import load_encoder
from feature_store.errors import ReconciliationError, TerminalError
from feature_store.exports import ExportRecord, list_exports
from feature_store.index import (
    CHUNKER_VERSION,
    PAYLOAD_VERSION,
    IndexMetadata,
    VersionName,
    count_points,
    index_fingerprint,
    open_qdrant,
    physical_name,
    read_metadata,
    retrying,
    serving_collection,
)
from feature_store.index_config import IndexConfig
from feature_store.index_record import IndexRecord
from feature_store.names import find_version, require_new_name
from feature_store.parts import remove_folder
from feature_store.releases import Release, ReleasedIndex, delete_release, read_release, save_release
from feature_store.settings import Settings
from feature_store.store import FeatureStore, open_feature_store
from feature_store.versions import Version, now, read_version
from steps.clean.rules import CLEANING_VERSION

State = Literal["unchanged", "moved on", "changed", "gone"]
_PACKAGES = ("rag-feature-pipeline", "pylance", "pyarrow", "qdrant-edge-py", "sentence-transformers", "torch")
_RUN = "Run `feature-pipeline run`, then release."


class PartStatus(BaseModel):
    """What became of one part of a release: of its documents, an index or an export."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    part: str
    state: State
    detail: str


class ReleaseStatus(BaseModel):
    """A release, and what became of each of its parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    release: Release
    parts: list[PartStatus]


class _NotAtVersionError(TerminalError):
    """An index is not what the documents' version and the configuration make of it."""


def copy_name(index: str, release: str) -> str:
    """Return the name of the index that `rebuild` makes for a release: its alias, and the start of its collection."""
    return f"{index}@{release}"


def make_release(
    settings: Settings, config: PipelineConfig, name: str, message: str = "", version_name: str = LATEST
) -> tuple[Release, list[str]]:
    """Pin a version of the documents with the indexes and exports made from it; return notes on what is left out.

    At the newest version every configured index must be there. A release of an older version pins the documents and
    the exports, and those indexes that are still at that version.

    Raises:
        ConfigurationError: if the name cannot be taken.
        TerminalError: if there is no such version, or an index is not at the newest one.
        ReconciliationError: if a collection does not hold what its record says.
        LockedError: if a run is at work.
    """
    store = open_feature_store(settings.feature_store_folder)
    require_new_name(store.folder, name)
    with lock.held(settings, f"release {name}"):
        version = find_version(store.folder, version_name)
        indexes, notes = _pin_indexes(settings, store, config.indexes, version)
        exports = [record for record in list_exports(store.folder) if _is_of(record, version)]
        notes += [_describe_forgotten(record) for record in exports if record.forgotten]
        digest = documents_digest(store, version)
        release = Release(
            name=name,
            message=message,
            created_at=now(),
            store_id=version.store_id,
            version=version.number,
            version_run_id=version.run_id,
            generation=version.generation,
            config_fingerprint=version.config_fingerprint,
            positions=version.positions,
            documents=digest.count,
            documents_digest=digest.hexdigest(),
            indexes=indexes,
            exports={record.export_id: _hashes(record) for record in exports if not record.forgotten},
            code=_code_versions(),
        )
        save_release(store.folder, release)
    return release, notes


def describe_release(settings: Settings, name: str) -> ReleaseStatus:
    """Return what a release pins, and whether each part is still there as it was. Nothing is written.

    Raises:
        TerminalError: if there is no such release.
        PipelineError: if Qdrant does not answer, or a run has the embedded one open.
    """
    store = open_feature_store(settings.feature_store_folder)
    release = read_release(store.folder, name)
    parts = [_documents_status(store, release)]
    if release.indexes:
        with open_qdrant(settings) as client:
            parts += [_index_status(settings, client, release, released) for released in release.indexes]
    registered = {record.export_id: record for record in list_exports(store.folder)}
    parts += [_export_status(export, registered.get(export), release) for export in release.exports]
    return ReleaseStatus(release=release, parts=parts)


def remove_release(settings: Settings, name: str) -> list[str]:
    """Remove a release and the collections that `rebuild` made for it; return their names.

    The documents, indexes and exports that it pinned stay; its version may be pruned from now on.

    Raises:
        TerminalError: if there is no such release.
        LockedError: if a run is at work.
    """
    store = open_feature_store(settings.feature_store_folder)
    release = read_release(store.folder, name)
    with lock.held(settings, f"release {name}"):
        removed = _remove_copies(settings, release) if release.indexes else []
        delete_release(store.folder, name)
    return removed


def same_history(store: FeatureStore, release: Release) -> Version:
    """Return the version that a release pins.

    Raises:
        TerminalError: if it is gone, or another one of that number is in its place.
    """
    version = read_version(store.folder, release.version)
    if (version.store_id, version.run_id) != (release.store_id, release.version_run_id):
        raise TerminalError(
            f"Version {version.number} of the feature store is not the one that the release {release.name!r} pins.",
            "The data folder was restored or made anew: take the backup that has the release's own version.",
        )
    return version


def _pin_indexes(
    settings: Settings, store: FeatureStore, indexes: Sequence[IndexConfig], version: Version
) -> tuple[list[ReleasedIndex], list[str]]:
    if not indexes:
        return [], []
    pinned: list[ReleasedIndex] = []
    notes: list[str] = []
    with open_qdrant(settings) as client:
        for index in indexes:
            try:
                pinned.append(_pin_index(settings, client, index, version))
            except _NotAtVersionError as error:
                if version == store.newest():
                    raise
                notes.append(f"{error.problem} It is not part of the release.")
    return pinned, notes


def _pin_index(settings: Settings, client: QdrantClient, index: IndexConfig, version: Version) -> ReleasedIndex:
    serving = serving_collection(client, index.name)
    metadata = read_metadata(client, serving) if serving else None
    if serving is None or metadata is None:
        raise _NotAtVersionError(f"Index {index.name} is not built.", _RUN)
    _require_at(metadata, index, version)
    # The model is loaded here so that a release never pins what this code would not make again.
    fingerprint = index_fingerprint(index, load_encoder(index.encoder), CHUNKER_VERSION, version.store_id)
    if serving != physical_name(index.name, fingerprint):
        raise _NotAtVersionError(f"Index {index.name} is served by {serving}, which is not as configured now.", _RUN)
    record = IndexRecord(settings.indexes_folder, serving)
    note = record.read_note()
    if note is None or note.version != metadata.reflects or note.loading is not None:
        raise _NotAtVersionError(f"Index {index.name} has no complete record of its points in this data folder.", _RUN)
    digest, points = points_digest(record, note.table), count_points(client, serving)
    if points != digest.count:
        raise ReconciliationError(
            f"The collection {serving} holds {points:,} points, and its record {digest.count:,}.",
            "Run `feature-pipeline run` until it adds up, then release.",
        )
    return ReleasedIndex(
        index=index.name,
        collection=serving,
        fingerprint=fingerprint,
        version=metadata.version,
        points=points,
        digest=digest.hexdigest(),
        config=index.model_dump(mode="json"),
        metadata=metadata.model_dump(mode="json", exclude={"lease"}),
    )


def _require_at(metadata: IndexMetadata, index: IndexConfig, version: Version) -> None:
    if metadata.store_id != version.store_id:
        raise _NotAtVersionError(f"Index {index.name} was made from another feature store.", _RUN)
    if metadata.lease is not None:
        raise _NotAtVersionError(f"A load of index {index.name} has not ended.", _RUN)
    if metadata.reflects != VersionName.of(version):
        raise _NotAtVersionError(
            f"Index {index.name} is at version {metadata.version}, not at version {version.number} of the documents.",
            _RUN,
        )


def _is_of(record: ExportRecord, version: Version) -> bool:
    pinned = (version.store_id, version.number, version.run_id)
    return (record.store_id, record.version, record.version_run_id) == pinned


def _hashes(record: ExportRecord) -> dict[str, str]:
    return {file.name: file.sha256 for file in record.files}


def _describe_forgotten(record: ExportRecord) -> str:
    return (
        f"Export {record.export_id} in {record.folder} may still hold {record.forgotten:,} documents that were erased. "
        "It is not part of the release; export again."
    )


def _code_versions() -> dict[str, str]:
    versions = {"chunker": str(CHUNKER_VERSION), "cleaning": str(CLEANING_VERSION), "payload": str(PAYLOAD_VERSION)}
    return versions | {package: found for package in _PACKAGES if (found := installed(package))}


def installed(package: str) -> str | None:
    """Return the version of a package that is installed; None for one that is not, or is run from a checkout."""
    try:
        return package_version(package)
    except PackageNotFoundError:
        return None


def _documents_status(store: FeatureStore, release: Release) -> PartStatus:
    part = f"documents of version {release.version}"
    try:
        digest = documents_digest(store, same_history(store, release))
    except TerminalError as error:
        return PartStatus(part=part, state="gone", detail=error.problem)
    if digest.hexdigest() == release.documents_digest:
        return PartStatus(part=part, state="unchanged", detail=f"{digest.count:,} documents")
    return PartStatus(part=part, state="changed", detail=describe_changed_documents(store, release, digest.count))


def describe_changed_documents(store: FeatureStore, release: Release, found: int) -> str:
    """Return in words how the documents of a release differ from those that are found at its version."""
    counts = f"{found:,} documents, {release.documents:,} were released"
    if read_version(store.folder, release.version).generation == release.generation:
        return f"{counts}; the table is not what it was"
    return f"{counts}; {release.documents - found:,} erased since (`feature-pipeline forget`)"


def _index_status(settings: Settings, client: QdrantClient, release: Release, released: ReleasedIndex) -> PartStatus:
    part, metadata = f"index {released.index}", read_metadata(client, released.collection)
    if metadata is None:
        state: State = "gone"
        detail = f"no collection {released.collection}"
    elif (metadata.version, metadata.version_run_id) != (released.version, released.metadata.get("version_run_id")):
        state, detail = "moved on", f"{released.collection} is at version {metadata.version}"
    else:
        state, detail = _compare_points(settings, client, released)
    copy = serving_collection(client, copy_name(released.index, release.name))
    if copy is not None:
        detail += f"; rebuilt as {copy_name(released.index, release.name)}"
    elif state in {"gone", "moved on"}:
        detail += f"; `feature-pipeline rebuild --as-of {release.name}` gives it back"
    return PartStatus(part=part, state=state, detail=detail)


def _compare_points(settings: Settings, client: QdrantClient, released: ReleasedIndex) -> tuple[State, str]:
    points = count_points(client, released.collection)
    record = IndexRecord(settings.indexes_folder, released.collection)
    note = record.read_note()
    if points != released.points:
        return "changed", f"{released.collection} holds {points:,} points, {released.points:,} were released"
    if note is not None and points_digest(record, note.table).hexdigest() != released.digest:
        return "changed", f"{released.collection} holds other points than were released"
    return "unchanged", f"{points:,} points in {released.collection}"


def _export_status(export: str, record: ExportRecord | None, release: Release) -> PartStatus:
    part = f"export {export}"
    if record is None:
        return PartStatus(part=part, state="gone", detail="it is not registered any more, and cannot be made again")
    compared = compare_files(record.folder, release.exports[export])
    missing = [name for name, same in compared.items() if same is None]
    changed = [name for name, same in compared.items() if same is False]
    if len(missing) == len(compared):
        detail = f"no file of it in {record.folder}; `feature-pipeline rebuild --as-of {release.name}` makes it again"
        return PartStatus(part=part, state="gone", detail=detail)
    if missing or changed:
        found = [
            f"{len(files)} {what} ({files[0]})" for what, files in (("missing", missing), ("changed", changed)) if files
        ]
        return PartStatus(part=part, state="changed", detail=f"files in {record.folder}: {', '.join(found)}")
    return PartStatus(part=part, state="unchanged", detail=f"{len(compared):,} files in {record.folder}")


def compare_files(folder: Path, expected: dict[str, str]) -> dict[str, bool | None]:
    """Return for each expected file whether it has that SHA-256; None where it is not there."""
    return {
        name: file_digest(path) == sha256 if (path := folder / name).is_file() else None
        for name, sha256 in expected.items()
    }


def _remove_copies(settings: Settings, release: Release) -> list[str]:
    removed = []
    with open_qdrant(settings) as client:
        for released in release.indexes:
            copy = copy_name(released.index, release.name)
            collection = physical_name(copy, released.fingerprint)
            if serving_collection(client, copy) == collection:
                alias = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=copy))
                retrying()(client.update_collection_aliases, change_aliases_operations=[alias])
            if retrying()(client.collection_exists, collection):
                retrying()(client.delete_collection, collection)
                removed.append(collection)
            # Also that of a collection which somebody dropped: it would keep the version from being pruned.
            record = IndexRecord(settings.indexes_folder, collection)
            record.forget()
            remove_folder(record.table_path)
    return removed
