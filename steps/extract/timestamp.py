"""Capture by a date that every write moves: only documents at or after a watermark are read.

The watermark is the newest date that was there when the last run began, but never later than the server's time: a
document dated in the future must not hide those that come after it. A run looks at the dates from the watermark minus
an overlap on, because clocks differ and a slow transaction shows late. So that it does not read the same documents
over and over, the position keeps digests of the pairs of id and date that were read. There are about a thousand of
them, each for the documents of one cell, into which a hash of the id puts them: a cell with the same digest holds
nothing new. A document that was written less than a second before it was read is left out of the digest, and read once
more: it could have been written again with the same date.

What such a date cannot show is found by comparing ids alone: documents that are gone, and ones whose date is old or
missing. What remains unseen is a write that does not move the date; hash mode judges.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bson.datetime_ms import DatetimeMS

from feature_store.errors import ConfigurationError
from steps.extract.compare import Comparison
from steps.extract.fields import top_level, value_at
from steps.extract.hash import hash_waits
from steps.extract.ids import IdSet
from steps.extract.read import distinct_ids
from steps.extract.source import Document, Outcome, Source, compare_everything, compare_some, present_ids
from warehouse.failures import reading
from warehouse.server import describe_server

CELLS = 1024  # three hexadecimal characters, and twelve for the digest
SETTLED_MILLISECONDS = 1000
_DATES_AT_ONCE = 1000
_DIGEST = 16**12
_DATE_AS_TEXT = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"  # as an update with `$set` leaves it there
_DAMAGED = (
    "some documents have {field} as text, which the embedded server makes of a date in `$set` (a replace keeps it)"
)

Cells = Counter[int]


@dataclass(frozen=True, slots=True)
class Watermark:
    """Up to where a run has seen the dates of ``field``, all times in milliseconds since the epoch.

    ``start`` is the ``date`` less the overlap; ``cells`` are the digests of the documents that were read and are dated
    from there on.
    """

    field: str
    date: int
    start: int
    cells: Cells

    def add(self, raw_id: Any, date: int) -> None:
        """Add a document to the digest of its cell."""
        if date >= self.start:
            cell = cell_of(raw_id)
            self.cells[cell] = (self.cells[cell] + _hashed(raw_id, date)) % _DIGEST

    def record(self, documents: list[Document], clock: "Clock") -> int:
        """Add documents that were just read; return how many have no date."""
        now, undated = clock.now(), 0
        overlap = self.date - self.start
        for document in documents:
            date = as_date(value_at(document, self.field))
            if date is None:
                undated += 1
            elif not now - SETTLED_MILLISECONDS < date <= now + overlap:
                self.add(document["_id"], date)
        return undated

    def as_value(self) -> Document:
        """Return the value of a position."""
        cells = "".join(f"{cell:03x}{digest:012x}" for cell, digest in sorted(self.cells.items()))
        return {"field": self.field, "date": DatetimeMS(self.date), "start": DatetimeMS(self.start), "cells": cells}


def cell_of(raw_id: Any) -> int:
    """Return the cell of a document: a number below ``CELLS``."""
    return _hashed(raw_id) % CELLS


def _hashed(*values: Any) -> int:
    text = "\x1f".join(f"{type(value).__name__} {value!r}" for value in values)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()) % _DIGEST


class Clock:
    """The server's time in milliseconds, asked once."""

    def __init__(self, server_time: int) -> None:
        self._offset = server_time - time.monotonic() * 1000

    def now(self) -> int:
        """Return the server's present time."""
        return int(self._offset + time.monotonic() * 1000)


def capture_by_timestamp(source: Source, comparison: Comparison) -> Outcome:
    """Compare what is dated at or after the watermark, and the ids of everything.

    Raises:
        ConfigurationError: if the field holds something else than dates.
    """
    field, overlap = _what_to_go_by(source)
    with reading(source.category.collection):
        if _has_damaged_dates(source, field):
            return compare_everything(source, comparison, _DAMAGED.format(field=field))
        clock = Clock(describe_server(source.database).now)
        newest = _newest_date(source, field)
    if newest is None:
        return _compare_all(source, comparison, f"no document has a date in {field}", None, clock)
    date = min(newest, clock.now())
    watermark = Watermark(field, date, date - overlap, Counter())
    reached, reason = _last_watermark(source, watermark)
    if reached is None:
        return _compare_all(source, comparison, reason, watermark, clock)
    return _compare_newer(source, comparison, reached, watermark, clock)


def timestamp_waits(source: Source, comparison: Comparison) -> bool:
    """Return whether a date or an id is new, or an id is gone, without reading a document whole."""
    field, overlap = _what_to_go_by(source)
    with reading(source.category.collection):
        newest = None if _has_damaged_dates(source, field) else _newest_date(source, field)
    if newest is None:
        return hash_waits(source, comparison)
    watermark = Watermark(field, newest, newest - overlap, Counter())
    reached, _ = _last_watermark(source, watermark)
    if reached is None or _cells_with_news(reached, _recorded(source, reached, watermark)):
        return True
    if not source.category.capture.compare_ids:
        return False
    held, ids = comparison.held(), IdSet()
    return next(_unknown_ids(source, comparison, held, ids), None) is not None or bool(len(held - ids))


def as_date(value: Any) -> int | None:
    """Return a BSON date as milliseconds since the epoch, None for anything else."""
    if isinstance(value, DatetimeMS):
        return int(value)
    return int(DatetimeMS(value)) if isinstance(value, datetime) else None


def _what_to_go_by(source: Source) -> tuple[str, int]:
    capture = source.category.capture
    return str(capture.field), int(capture.overlap_seconds * 1000)


def _newest_date(source: Source, field: str) -> int | None:
    newest = source.collection.find({}, dict.fromkeys(top_level([field]), 1)).sort(field, -1).limit(1)
    for document in newest:
        value = value_at(document, field)
        date = as_date(value)
        if date is None and value is not None:
            raise ConfigurationError(
                f"Category {source.category.name}: capture mode timestamp needs BSON dates in {field}, but that of "
                f"{document['_id']!r} is of type {type(value).__name__}.",
                "Name another field in `capture.field`, store dates as dates, or choose another mode.",
            )
        return date
    return None


def _has_damaged_dates(source: Source, field: str) -> bool:
    """Return whether the embedded server has turned a date into text, of which it finds no range reliably."""
    if describe_server(source.database).has_log:
        return False
    return source.collection.find_one({field: {"$regex": _DATE_AS_TEXT}}, {"_id": 1}) is not None


def _last_watermark(source: Source, watermark: Watermark) -> tuple[Watermark | None, str]:
    value, reason = source.position("timestamp")
    if value is None:
        return None, reason
    if value.get("field") != watermark.field:
        return None, f"the last position goes by {value.get('field')}"
    date = int(DatetimeMS(value["date"]))
    if watermark.date < date:
        return None, f"the newest {watermark.field} is older than before: its document was deleted, or data restored"
    pieces = [value["cells"][place : place + 15] for place in range(0, len(value["cells"]), 15)]
    cells = Counter({int(piece[:3], 16): int(piece[3:], 16) for piece in pieces})
    # A longer overlap than before holds for the past too.
    start = min(int(DatetimeMS(value["start"])), date - (watermark.date - watermark.start))
    return Watermark(watermark.field, date, start, cells), ""


def _compare_all(
    source: Source, comparison: Comparison, reason: str, watermark: Watermark | None, clock: Clock
) -> Outcome:
    if watermark is None:
        return compare_everything(source, comparison, reason)
    undated = 0

    def watch(page: list[Document]) -> None:
        nonlocal undated
        undated += watermark.record(page, clock)

    outcome = compare_everything(source, comparison, reason, [watermark.field], watch)
    notes = [outcome.reason, _blind_spot(watermark.field)]
    if undated:
        notes.append(f"{undated:,} documents have no date there and are followed by their ids alone")
    return replace(outcome, reason="; ".join(notes), value=watermark.as_value())


def _compare_newer(
    source: Source, comparison: Comparison, reached: Watermark, watermark: Watermark, clock: Clock
) -> Outcome:
    present = _recorded(source, reached, watermark)
    news = _cells_with_news(reached, present)
    if news:
        for cell in news:
            del watermark.cells[cell]
        # A document whose date moves while the index is read comes twice.
        ids = distinct_ids(raw_id for raw_id, _ in _dates_from(source, reached) if cell_of(raw_id) in news)
        for page in compare_some(source, comparison, ids, [watermark.field]):
            watermark.record(page, clock)
    compared = 0
    if source.category.capture.compare_ids:
        compared = _compare_ids(source, comparison, watermark, clock)
    # Where all is as it was, only the server's clock has gone on, which caps the watermark.
    value = (reached if present == reached else watermark).as_value()
    return Outcome(whole=False, reason=_blind_spot(watermark.field), value=value, compared_ids=compared)


def _recorded(source: Source, reached: Watermark, watermark: Watermark) -> Watermark:
    """Return ``reached`` as it would be now; ``watermark`` takes the same documents.

    All in one pass: what comes into a cell a moment later was not read, and must not pass for it.
    """
    present = replace(reached, cells=Counter())
    for raw_id, date in _dates_from(source, reached):
        present.add(raw_id, date)
        watermark.add(raw_id, date)
    return present


def _cells_with_news(reached: Watermark, present: Watermark) -> set[int]:
    return {cell for cell, digest in present.cells.items() if reached.cells[cell] != digest}


def _compare_ids(source: Source, comparison: Comparison, watermark: Watermark, clock: Clock) -> int:
    """Find what the field does not show, in both directions; return the number of ids read."""
    comparison.settle()
    held, present = comparison.held(), IdSet()
    for page in compare_some(source, comparison, _unknown_ids(source, comparison, held, present), [watermark.field]):
        watermark.record(page, clock)
    comparison.candidates.update(held - present)
    return len(present)


def _unknown_ids(source: Source, comparison: Comparison, held: IdSet, present: IdSet) -> Iterator[Any]:
    """Yield the ids that the source has and the store lacks; ``present`` takes all that the source has."""
    for there in present_ids(source):
        identifiers = comparison.document_ids(there)
        present.add(identifiers)
        known = zip(held.has(identifiers), comparison.settled.has(identifiers), strict=True)
        yield from (raw_id for raw_id, places in zip(there, known, strict=True) if not any(places))


def _dates_from(source: Source, watermark: Watermark) -> Iterator[tuple[Any, int]]:
    """Yield id and date of every document from the beginning of the overlap on."""
    wanted = {"_id": 1, **dict.fromkeys(top_level([watermark.field]), 1)}
    later = {watermark.field: {"$gte": DatetimeMS(watermark.start)}}
    with (
        reading(source.category.collection),
        source.collection.find(later, wanted).batch_size(_DATES_AT_ONCE) as cursor,
    ):
        for document in cursor:
            date = as_date(value_at(document, watermark.field))
            if date is not None:
                yield document["_id"], date


def _blind_spot(field: str) -> str:
    return f"a write that does not move {field} is not seen (`run --capture hash` judges)"
