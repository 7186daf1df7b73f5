"""Ids: the way back from their text, and compact sets of them."""

import uuid

import pytest
from bson import Binary, Int64, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from feature_store.ids import source_id
from steps.extract.ids import IdSet, raw_ids, text_of_id

ids = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["ObjectId:x", "int:1", "UUID:", "str:", "unsupported:{}", "a:b", ":"]),
    st.integers(-(2**63), 2**63 - 1),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    st.uuids(),
)
supported = st.uuids().map(str)


@given(ids)
def test_the_text_of_an_id_leads_back_to_it(raw_id):
    back, *_ = raw_ids(source_id(raw_id))
    assert (type(back), back) == (type(raw_id), raw_id)


@pytest.mark.parametrize("subtype", [0, 3, 4])
def test_a_uuid_is_looked_for_in_every_binary_form(subtype):
    value = uuid.uuid4()
    stored = value if subtype == 4 else Binary(value.bytes, subtype)
    assert stored in raw_ids(source_id(Binary(value.bytes, subtype)))


@pytest.mark.parametrize("raw_id", [1.5, None, True, {"b": 1, "a": Int64(2)}, Binary(b"abc", 5)], ids=repr)
def test_an_unsupported_id_leads_back_too(raw_id):
    text, problem = text_of_id(raw_id)
    assert "is of type" in problem
    assert raw_ids(text) == [raw_id]


def everything(ids):
    return [identifier for batch in ids for identifier in batch]


@given(st.lists(supported), st.lists(supported))
def test_a_set_gives_back_what_was_added_once_and_sorted(first, second):
    ids = IdSet(first)
    assert len(ids) == len(set(first))
    ids.add(second)
    assert everything(ids) == sorted({*first, *second})


@given(st.sets(supported), st.sets(supported))
def test_difference_and_membership_are_those_of_sets(first, second):
    ids, others = IdSet(first), IdSet(second)
    assert everything(ids - others) == sorted(first - second)
    asked = [*first, *second]
    assert ids.has(asked) == [identifier in first for identifier in asked]
    others.update(ids)
    assert everything(others) == sorted(first | second)


@pytest.mark.parametrize("zeros", range(17))
def test_ids_that_end_in_zero_bytes_are_told_apart(zeros):
    identifier = str(uuid.UUID(bytes=b"\1" * (16 - zeros) + b"\0" * zeros))
    ids = IdSet([identifier])
    assert everything(ids) == [identifier]
    assert ids.has([identifier, str(uuid.UUID(int=0)), str(uuid.UUID(int=2**128 - 1))]) == [True, zeros == 16, False]


def test_long_sets_come_in_batches():
    ids = IdSet(str(uuid.UUID(int=number)) for number in range(2500))
    assert [len(batch) for batch in ids] == [1000, 1000, 500]
