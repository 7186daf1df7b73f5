"""Ids: the text form of an ``_id`` and its way back, and sets of document ids at 16 bytes each."""

import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from bson import Binary, ObjectId
from bson.binary import OLD_UUID_SUBTYPE

from feature_store.extended_json import from_extended_json, to_extended_json
from feature_store.ids import UnsupportedIdError, source_id
from feature_store.tables import LOOKUP_BATCH

Compact = npt.NDArray[np.bytes_]
_BYTES = 16
_TYPE = np.dtype(f"S{_BYTES}")


class IdSet:
    """Document ids (UUIDs as text). Membership is asked in batches, for each question after an addition sorts once."""

    def __init__(self, document_ids: Iterable[str] = ()) -> None:
        self._batches: list[Compact] = []
        self.add(document_ids)

    def add(self, document_ids: Iterable[str]) -> None:
        """Add ids; those that are there already are kept once."""
        self._append(_compact(document_ids))

    def update(self, other: "IdSet") -> None:
        """Add the ids of another set."""
        self._append(other._sorted())  # noqa: SLF001

    def __len__(self) -> int:
        return len(self._sorted())

    def __iter__(self) -> Iterator[list[str]]:
        """Yield all ids, sorted, in lists of up to a thousand."""
        everything = self._sorted()
        for start in range(0, len(everything), LOOKUP_BATCH):
            yield [_as_text(value) for value in everything[start : start + LOOKUP_BATCH]]

    def has(self, document_ids: Iterable[str]) -> list[bool]:
        """Return for each of some ids whether it is in the set."""
        asked, everything = _compact(document_ids), self._sorted()
        if not len(everything):
            return [False] * len(asked)
        places = np.minimum(np.searchsorted(everything, asked), len(everything) - 1)
        return [bool(same) for same in everything[places] == asked]

    def __sub__(self, other: "IdSet") -> "IdSet":
        result = IdSet()
        result._append(np.setdiff1d(self._sorted(), other._sorted(), assume_unique=True))
        return result

    def _append(self, batch: Compact) -> None:
        if len(batch):
            self._batches.append(batch)

    def _sorted(self) -> Compact:
        match self._batches:
            case []:
                return np.empty(0, _TYPE)
            case [only] if only.flags.writeable is False:
                return only
            case several:
                everything = np.unique(np.concatenate(several))
                everything.flags.writeable = False  # also the mark of what is sorted
                self._batches = [everything]
                return everything


def text_of_id(raw_id: object) -> tuple[str, str | None]:
    """Return the source id of a document's ``_id``, and why it cannot be used where that is so."""
    try:
        return source_id(raw_id), None
    except UnsupportedIdError as error:
        return f"unsupported:{to_extended_json({'_id': raw_id})}", str(error)


def raw_ids(text: str) -> list[Any]:
    """Return the ``_id`` that has this source id; a UUID in each of its binary forms."""
    kind, separator, value = text.partition(":")
    match kind if separator else "":
        case "ObjectId":
            return [ObjectId(value)]
        case "int":
            return [int(value)]
        case "UUID":
            identifier = uuid.UUID(value)
            return [identifier, Binary(identifier.bytes, OLD_UUID_SUBTYPE), Binary(identifier.bytes, 0)]
        case "str":
            return [value]
        case "unsupported":
            return [from_extended_json(value)["_id"]]
        case _:
            return [text]


def _compact(document_ids: Iterable[str]) -> Compact:
    return np.array([bytes.fromhex(text.replace("-", "")) for text in document_ids], _TYPE)


def _as_text(value: bytes) -> str:
    # numpy drops zeros at the end.
    text = value.ljust(_BYTES, b"\0").hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
