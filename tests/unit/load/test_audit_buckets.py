"""Digests by bucket: order and batches do not matter; one member more, less or other shows in its bucket."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.load.audit_buckets import BUCKETS, BucketDigests, bucket_of, differing_buckets, id_bytes

members = st.dictionaries(st.binary(min_size=16, max_size=16), st.binary(max_size=9), max_size=30)


def digested(some, batch=7):
    digests = BucketDigests()
    pairs = list(some)
    for start in range(0, len(pairs), batch):
        chunk = pairs[start : start + batch]
        digests.add([identifier for identifier, _ in chunk], [value for _, value in chunk])
    return digests


@given(members, st.randoms(), st.integers(1, 40))
def test_neither_the_order_nor_the_batches_matter(some, chance, batch):
    shuffled = list(some.items())
    chance.shuffle(shuffled)
    ours, theirs = digested(some.items()), digested(shuffled, batch)
    assert not differing_buckets(ours, theirs).any()
    assert ours.count == theirs.count == len(some)


@given(members, st.data())
def test_exactly_the_buckets_of_what_differs_differ(some, data):
    other = dict(some)
    touched = set()
    for identifier in data.draw(st.lists(st.sampled_from(sorted(some)), unique=True) if some else st.just([])):
        touched.add(identifier)
        if data.draw(st.booleans()):
            del other[identifier]
        else:
            other[identifier] += b"!"
    apart = differing_buckets(digested(some.items()), digested(other.items()))
    assert set(apart.nonzero()[0]) == {bucket_of(identifier) for identifier in touched}


def test_a_value_that_moves_to_another_member_of_the_bucket_shows():
    one, two = bytes(16), bytes(15) + b"\1"
    assert bucket_of(one) == bucket_of(two)
    ours, theirs = digested([(one, b"a"), (two, b"b")]), digested([(one, b"b"), (two, b"a")])
    assert differing_buckets(ours, theirs).sum() == 1


def test_a_member_twice_is_not_as_good_as_none():
    assert differing_buckets(digested([(bytes(16), b"a")] * 2), digested([])).any()


@pytest.mark.parametrize("identifier", [bytes(16), b"\xff" * 16], ids=["first", "last"])
def test_every_id_has_a_bucket(identifier):
    assert bucket_of(identifier) in {0, BUCKETS - 1}
    assert digested([(identifier, b"")]).sums[bucket_of(identifier)].all()


def test_numbers_and_uuids_have_ids_of_16_bytes():
    name = uuid.uuid5(uuid.NAMESPACE_DNS, "a point")
    assert id_bytes(str(name)) == name.bytes
    assert len(id_bytes(7)) == 16
    assert id_bytes(7) != id_bytes(8)
