"""Ranges of ids: together all, each id once."""

import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from steps.export.read import Size, ranges
from tests.unit.export.corpus import id_of

SIZES = st.builds(Size, st.integers(0, 60_000), st.integers(0, 60_000_000))


@given(SIZES, st.lists(st.text("0123456789abcdefz-", max_size=12), max_size=20))
def test_every_id_is_in_exactly_one_range(size, ids):
    conditions = ranges(size)
    borders = [condition.split("'")[1] for condition in conditions if "'" in condition]
    for one in {*ids, *borders, id_of(1)}:
        query = f"SELECT {' + '.join(f'({condition})' for condition in conditions)} FROM (SELECT ? AS document_id)"
        assert sqlite3.connect(":memory:").execute(query, (one,)).fetchone() == (1,)


def test_ranges_hold_two_million_characters_or_five_thousand_documents():
    assert len(ranges(Size(0, 0))) == len(ranges(Size(4_999, 1_999_999))) == 1
    assert len(ranges(Size(1000, 200_000_000))) == 101
    assert len(ranges(Size(50_000, 100))) == 11
