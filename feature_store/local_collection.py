"""A collection of an embedded Qdrant that works on the rows of its points as long as nothing needs all of them.

A load writes points, removes and counts them, and replaces payloads by their ids: for that, no point but those need be
in memory. A search, or a filter by payload, loads all of them; from then on it is a collection like any other.
"""

import gc
import threading
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from qdrant_client import models
from qdrant_client.conversions import common_types as types
from qdrant_client.local.local_collection import EPSILON, LocalCollection
from qdrant_client.local.persistence import CollectionPersistence

from feature_store import local_rows
from feature_store.local_points import checked_points

IDS_FROM_ROWS = 2048  # who asks for more at once is better off with a loaded collection


class LazyCollection(LocalCollection):
    """A collection whose points are still on disk; from the first need on it is a `LocalCollection` like any other.

    Another thread may load it in any moment: then even this class's own methods are gone, hence the functions below.
    """

    def __init__(
        self,
        config: models.CreateCollection,
        storage: CollectionPersistence,
        text_indexes: dict[str, models.TextIndexParams],
    ) -> None:
        self.config = config
        self.text_indexes = text_indexes
        self.persistent = True
        self.storage = storage
        self.loading = threading.RLock()
        self.are_rows_plain: bool | None = None
        self.written: set[models.ExtendedPointId] = set()

    def __getattr__(self, name: str) -> Any:
        """Load the points: whatever is not there yet (ids, payloads, vectors) comes with them."""
        if name.startswith("__"):
            raise AttributeError(name)
        _load(self)
        return object.__getattribute__(self, name)

    def count(self, count_filter: models.Filter | None = None) -> models.CountResult:
        """Return the number of points; without a filter it is that of the rows."""
        with self.loading:
            if count_filter is None and _has_plain_rows(self):
                return models.CountResult(count=local_rows.count_rows(_storage(self)))
            _load(self)
        return LocalCollection.count(self, count_filter)

    def retrieve(
        self,
        ids: Sequence[types.PointId],
        with_payload: types.WithPayloadInterface = True,  # noqa: FBT002 (as it is there)
        with_vectors: types.WithVector = False,  # noqa: FBT002
    ) -> list[models.Record]:
        """Return points by their ids: a few from their rows."""
        with self.loading:
            if len(ids) <= IDS_FROM_ROWS and _has_plain_rows(self):
                if with_payload is False and with_vectors is False:
                    return _without_content(local_rows.present_ids(_storage(self), ids))
                return _only(self, ids).retrieve(ids, with_payload, with_vectors)
            _load(self)
        return LocalCollection.retrieve(self, ids, with_payload, with_vectors)

    def scroll(
        self,
        scroll_filter: types.Filter | None = None,
        limit: int = 10,
        order_by: types.OrderBy | None = None,
        offset: types.PointId | None = None,
        with_payload: types.WithPayloadInterface = True,  # noqa: FBT002 (as it is there)
        with_vectors: types.WithVector = False,  # noqa: FBT002
    ) -> tuple[list[types.Record], types.PointId | None]:
        """Return points in the order of their ids, and the id to go on with: a page of all of them from their rows."""
        ids_alone = with_payload is False and with_vectors is False
        is_page = scroll_filter is None and order_by is None and (ids_alone or limit <= IDS_FROM_ROWS)
        with self.loading:
            if is_page and _has_plain_rows(self):
                ids = local_rows.sorted_ids(_storage(self), offset)
                page, following = ids[:limit], ids[limit] if len(ids) > limit else None
                if ids_alone:
                    return _without_content(page), following
                return _only(self, page).retrieve(page, with_payload, with_vectors), following
            _load(self)
        return LocalCollection.scroll(self, scroll_filter, limit, order_by, offset, with_payload, with_vectors)

    def upsert(
        self,
        points: Sequence[models.PointStruct] | models.Batch,
        update_filter: types.Filter | None = None,
        update_mode: types.UpdateMode | None = None,
    ) -> None:
        """Write points: all of them, or none if one of them is not as the collection needs it."""
        with self.loading:
            if update_filter is None and update_mode is None and _has_plain_rows(self):
                checked = checked_points(self.config, points)
                if all(isinstance(point.id, str) for point in checked):
                    local_rows.write_points(_storage(self), checked)
                    self.written.update(point.id for point in checked)
                    return
            _load(self)
        LocalCollection.upsert(self, points, update_filter, update_mode)

    def delete(self, selector: Any) -> None:
        """Remove points, by their ids without reading them."""
        with self.loading:
            if isinstance(selector, list | models.PointIdsList) and _has_plain_rows(self):
                ids = LocalCollection._selector_to_ids(self, selector)  # noqa: SLF001
                local_rows.remove_points(_storage(self), ids)
                return
            _load(self)
        LocalCollection.delete(self, selector)

    def batch_update_points(self, update_operations: Sequence[types.UpdateOperation]) -> None:
        """Change points: a few payloads by the ids of their points without reading others."""
        with self.loading:
            ids = _ids_of_payload_updates(update_operations)
            if ids is not None and len(ids) <= IDS_FROM_ROWS and _has_plain_rows(self):
                _only(self, ids).batch_update_points(update_operations)
                return
            _load(self)
        LocalCollection.batch_update_points(self, update_operations)


def _load(collection: LazyCollection) -> None:
    with collection.loading:
        if type(collection) is LazyCollection:
            loaded = _with_points(collection, collection.storage)
            vars(collection).update({**vars(loaded), **vars(collection)})
            collection.__class__ = LocalCollection  # type: ignore[assignment]


def _has_plain_rows(collection: LazyCollection) -> bool:
    """Return whether the points are still on disk, in rows that can be worked on one by one.

    Points with several vectors of one name are left to the plain collection.
    """
    if type(collection) is not LazyCollection:
        return False
    if collection.are_rows_plain is None:
        has_multivectors = bool(LocalCollection(collection.config).multivectors)
        collection.are_rows_plain = not has_multivectors and local_rows.are_plain(_storage(collection))
    return collection.are_rows_plain


def _storage(collection: LazyCollection) -> CollectionPersistence:
    assert collection.storage is not None  # noqa: S101 (since `__init__`)
    return collection.storage


def _ids_of_payload_updates(operations: Sequence[types.UpdateOperation]) -> list[models.ExtendedPointId] | None:
    """Return whose payloads are replaced; None if that is not said by ids, or is not all that is to be done."""
    ids: list[models.ExtendedPointId] = []
    for operation in operations:
        if not isinstance(operation, models.OverwritePayloadOperation) or not operation.overwrite_payload.points:
            return None
        ids += operation.overwrite_payload.points
    return ids


def _without_content(ids: Iterable[models.ExtendedPointId]) -> list[models.Record]:
    return [models.Record(id=point) for point in ids]


def _only(collection: LazyCollection, ids: Collection[types.PointId]) -> LocalCollection:
    """Return a collection of these points alone; what is written to it is written to the rows of the other one."""
    points = _Points(local_rows.read_points(_storage(collection), ids))
    only = _with_points(collection, points)
    only.storage = collection.storage
    return only


def _with_points(collection: LazyCollection, storage: Any) -> LocalCollection:
    loaded = LocalCollection(collection.config)
    loaded.storage = storage
    collects = gc.isenabled()
    gc.disable()  # so many new objects make it look at all of them again and again: 1.7 times as long
    try:
        loaded.load_vectors()
    finally:
        if collects:
            gc.enable()
    _bring_to_length_one(loaded, collection.written)
    return loaded


def _bring_to_length_one(loaded: LocalCollection, written: Collection[models.ExtendedPointId]) -> None:
    """Do with vectors for cosine what a collection does when it is given them: rows hold them as they were given."""
    places = [place for point, place in loaded.ids.items() if point in written]
    for name, params in loaded.vectors_config.items():
        if places and params.distance is models.Distance.COSINE:
            vectors = loaded.vectors[name][places]
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            loaded.vectors[name][places] = np.divide(vectors, lengths, out=vectors.copy(), where=lengths > EPSILON)


class _Points:
    """Points in the place of a storage."""

    def __init__(self, points: Iterable[models.PointStruct]) -> None:
        self.points = points

    def load(self) -> Iterable[models.PointStruct]:
        return self.points
