"""The rows that an embedded Qdrant keeps points in: one for each point, read and written without the others.

They are rows of a SQLite table, a point under the key of its id, both pickled by qdrant-client. What is written here is
what its own `CollectionPersistence` writes. All but `are_plain` are right only where that says so.
"""

import base64
import binascii
import pickle
import re
import sqlite3
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

from qdrant_client import models
from qdrant_client.conversions import common_types as types
from qdrant_client.local.persistence import CollectionPersistence
from qdrant_client.local.utils import normalize_point_id

_ANY_ID = "00000000-0000-0000-0000-000000000000"


def are_plain(storage: CollectionPersistence) -> bool:
    """Return whether each point has one row, and its id is a UUID.

    Ids that are numbers have other keys. And older releases have a row for each way in which a UUID was written.
    """
    return _KEYS.fullmatch(_decoded(_keys(storage))) is not None


def count_rows(storage: CollectionPersistence) -> int:
    """Return the number of points."""
    ((count,),) = _execute(storage, "SELECT count(*) FROM points")
    return int(count)


def sorted_ids(storage: CollectionPersistence, offset: types.PointId | None) -> list[str]:
    """Return the ids of all points in their order, from ``offset`` on."""
    decoded = _decoded(_keys(storage))
    ids = [decoded[start : start + len(_ANY_ID)].decode() for start in range(_ID_STARTS, len(decoded), _KEY_BYTES)]
    ids.sort()
    first = None if offset is None else normalize_point_id(offset)
    return ids[bisect_left(ids, first) :] if isinstance(first, str) else ids  # every number comes before


def present_ids(storage: CollectionPersistence, ids: Iterable[types.PointId]) -> list[models.ExtendedPointId]:
    """Return those of ``ids`` that are the id of a point, in their order."""
    keys = {point: CollectionPersistence.encode_key(point) for point in map(normalize_point_id, ids)}
    found = {key for (key,) in _select(storage, "id", list(keys.values()))}
    return [point for point in map(normalize_point_id, ids) if keys[point] in found]


def read_points(storage: CollectionPersistence, ids: Iterable[types.PointId]) -> list[models.PointStruct]:
    """Return the points with these ids, in any order; those that are not there are left out."""
    rows = _select(storage, "point", _keys_of(ids))
    return [pickle.loads(row) for (row,) in rows]  # noqa: S301 (as the client)


def write_points(storage: CollectionPersistence, points: Iterable[models.PointStruct]) -> None:
    """Write points, each in place of the one with its id; they are committed together."""
    with storage.storage as connection:
        connection.executemany("INSERT OR REPLACE INTO points VALUES (?, ?)", map(_row, points))


def remove_points(storage: CollectionPersistence, ids: Iterable[types.PointId]) -> None:
    """Remove the points with these ids, as far as they are there; that is committed together."""
    with storage.storage as connection:
        connection.executemany("DELETE FROM points WHERE id = ?", [(key,) for key in _keys_of(ids)])


def _row(point: models.PointStruct) -> tuple[str, bytes]:
    return CollectionPersistence.encode_key(point.id), pickle.dumps(point)


def _keys_of(ids: Iterable[types.PointId]) -> list[str]:
    return [CollectionPersistence.encode_key(normalize_point_id(point)) for point in ids]


def _keys(storage: CollectionPersistence) -> list[str]:
    return [key for (key,) in _execute(storage, "SELECT id FROM points")]


def _select(storage: CollectionPersistence, column: str, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    marks = ",".join("?" * len(keys))
    return _execute(storage, f"SELECT {column} FROM points WHERE id IN ({marks})", keys)  # noqa: S608 (only marks)


def _execute(storage: CollectionPersistence, statement: str, values: Sequence[str] = ()) -> list[tuple[Any, ...]]:
    connection: sqlite3.Connection = storage.storage
    return connection.execute(statement, values).fetchall()


def _decoded(keys: Sequence[str]) -> bytes:
    try:
        return base64.b64decode("".join(keys))
    except binascii.Error:
        return b"not even all of one length"


def _split_key() -> tuple[bytes, bytes]:
    """Return what comes before and after the UUID in a key, decoded."""
    before, after = base64.b64decode(CollectionPersistence.encode_key(_ANY_ID)).split(_ANY_ID.encode())
    return before, after


def _key_pattern() -> re.Pattern[bytes]:
    """Return what the keys of points with canonical UUIDs are, decoded one after the other: padding occurs in none."""
    before, after = map(re.escape, _split_key())
    digits = b"-".join(b"[0-9a-f]{%d}" % len(group) for group in _ANY_ID.split("-"))
    return re.compile(b"(?:" + before + digits + after + b")*")


_KEYS = _key_pattern()
_ID_STARTS = len(_split_key()[0])
_KEY_BYTES = len(b"".join(_split_key())) + len(_ANY_ID)
