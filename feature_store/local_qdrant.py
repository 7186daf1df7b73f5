"""Opens an embedded Qdrant without reading its points: a collection is loaded when something first needs that.

qdrant-client reads all points of all collections when it opens a folder: seconds for 20,000. What a collection says of
itself lies beside its points, and their number and single ones are found in the SQLite file that it keeps them in. So
a run that finds nothing to do, and whoever only asks for the state of an index, need no more than that.

This reaches into private parts of qdrant-client. It is tried with the releases that `TRIED` names; any other one gets
the plain client, which answers the same.
"""

import base64
import binascii
import gc
import json
import pickle
import re
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from qdrant_client import QdrantClient, models
from qdrant_client.conversions import common_types as types
from qdrant_client.local.local_collection import LocalCollection
from qdrant_client.local.persistence import CollectionPersistence
from qdrant_client.local.qdrant_local import META_INFO_FILENAME, QdrantLocal
from qdrant_client.local.utils import normalize_point_id

TRIED = "1.20."
IDS_FROM_STORAGE = 1000  # who asks for more at once is better off with a loaded collection
_ANY_ID = "00000000-0000-0000-0000-000000000000"


def open_local_qdrant(folder: Path) -> QdrantClient:
    """Open the embedded Qdrant in a folder; it is locked for other processes until the client is closed.

    Raises:
        RuntimeError: if another process has it open.
    """
    if not version("qdrant-client").startswith(TRIED) or not (folder / META_INFO_FILENAME).exists():
        return QdrantClient(path=str(folder))
    client = QdrantClient(":memory:")
    client._client = _LazyQdrant(str(folder))  # noqa: SLF001
    return client


class LazyCollection(LocalCollection):
    """A collection whose points are still on disk; from the first need on it is a `LocalCollection` like any other.

    Another thread may load it in any moment: then even this class's own methods are gone, hence the functions below.
    """

    def __init__(self, config: models.CreateCollection, location: str, text_indexes: dict[str, Any]) -> None:
        self.config = config
        self.text_indexes = {name: models.TextIndexParams(**params) for name, params in text_indexes.items()}
        self.persistent = True
        self.storage = CollectionPersistence(location)
        self.loading = threading.RLock()
        self.rows: int | None = None

    def __getattr__(self, name: str) -> Any:
        """Load the points: whatever is not there yet (ids, payloads, vectors) comes with them."""
        if name.startswith("__"):
            raise AttributeError(name)
        _load(self)
        return object.__getattribute__(self, name)

    def count(self, count_filter: models.Filter | None = None) -> models.CountResult:
        """Return the number of points; without a filter it is that of the rows."""
        with self.loading:
            if count_filter is None and _are_rows_plain(self):
                return models.CountResult(count=self.rows)
            _load(self)
        return LocalCollection.count(self, count_filter)

    def retrieve(self, ids: Sequence[types.PointId], *args: Any, **options: Any) -> list[models.Record]:
        """Return points by their ids: a few from their rows."""
        with self.loading:
            if len(ids) <= IDS_FROM_STORAGE and _are_rows_plain(self):
                return _only(self, ids).retrieve(ids, *args, **options)
            _load(self)
        return LocalCollection.retrieve(self, ids, *args, **options)


def _load(collection: LazyCollection) -> None:
    with collection.loading:
        if type(collection) is LazyCollection:
            loaded = _with_points(collection.config, collection.storage)
            vars(collection).update({**vars(loaded), **vars(collection)})
            collection.__class__ = LocalCollection  # type: ignore[assignment]


def _only(collection: LazyCollection, ids: Sequence[types.PointId]) -> LocalCollection:
    """Return a collection of these points alone."""
    keys = [CollectionPersistence.encode_key(normalize_point_id(point)) for point in ids]
    marks = ",".join("?" * len(keys))
    rows = _execute(collection, f"SELECT point FROM points WHERE id IN ({marks})", keys)  # noqa: S608 (only marks)
    return _with_points(collection.config, _Rows([pickle.loads(row) for (row,) in rows]))  # noqa: S301 (as the client)


def _are_rows_plain(collection: LazyCollection) -> bool:
    """Return whether the points are still on disk, each in one row whose key is that of a UUID; count them then.

    Ids that are numbers have other keys. And older releases have a row for each way in which a UUID was written.
    """
    if type(collection) is not LazyCollection:
        return False
    if collection.rows is None:
        keys = [key for (key,) in _execute(collection, "SELECT id FROM points")]
        if not _KEYS.fullmatch(_decoded(keys)):
            return False
        collection.rows = len(keys)
    return True


def _decoded(keys: Sequence[str]) -> bytes:
    try:
        return base64.b64decode("".join(keys))
    except binascii.Error:
        return b"not even all of one length"


def _execute(collection: LazyCollection, statement: str, values: Sequence[str] = ()) -> list[tuple[Any, ...]]:
    assert collection.storage is not None  # noqa: S101 (since `__init__`)
    connection: sqlite3.Connection = collection.storage.storage
    return connection.execute(statement, values).fetchall()


def _with_points(config: models.CreateCollection, storage: Any) -> LocalCollection:
    collection = LocalCollection(config)
    collection.storage = storage
    collects = gc.isenabled()
    gc.disable()  # so many new objects make it look at all of them again and again: 1.7 times as long
    try:
        collection.load_vectors()
    finally:
        if collects:
            gc.enable()
    return collection


class _Rows:
    """Points in the place of a storage."""

    def __init__(self, points: Iterable[models.PointStruct]) -> None:
        self.points = points

    def load(self) -> Iterable[models.PointStruct]:
        return self.points


class _LazyQdrant(QdrantLocal):
    def _load(self) -> None:
        import portalocker  # it looks for a folder to write to, and there may be none where Qdrant is a server

        self._flock_file = (Path(self.location) / ".lock").open("a+")
        try:
            portalocker.lock(self._flock_file, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
        except portalocker.exceptions.LockException as error:
            self._flock_file.close()
            raise RuntimeError(f"Storage folder {self.location} is already accessed by another instance.") from error
        meta = json.loads((Path(self.location) / META_INFO_FILENAME).read_text())
        for name, config in meta["collections"].items():
            config.pop("init_from", None)
            path, text_indexes = str(self._collection_path(name)), meta.get("text_indexes", {}).get(name, {})
            self.collections[name] = LazyCollection(models.CreateCollection(**config), path, text_indexes)
        self.aliases = meta["aliases"]


def _key_pattern() -> re.Pattern[bytes]:
    """Return what the keys of points with canonical UUIDs are, decoded one after the other: padding occurs in none."""
    example = base64.b64decode(CollectionPersistence.encode_key(_ANY_ID))
    before, after = (re.escape(part) for part in example.split(_ANY_ID.encode()))
    digits = b"-".join(b"[0-9a-f]{%d}" % len(group) for group in _ANY_ID.split("-"))
    return re.compile(b"(?:" + before + digits + after + b")*")


_KEYS = _key_pattern()
