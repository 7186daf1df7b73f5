"""Ids: the same on every machine, different for everything that is different."""

import datetime
import uuid

import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from feature_store.ids import UnsupportedIdError, chunk_id, document_id, fingerprint, source_id, text_hash

object_ids = st.binary(min_size=12, max_size=12).map(ObjectId)
numbers = st.integers(min_value=-(2**63), max_value=2**63 - 1)
raw_ids = st.one_of(object_ids, numbers, st.uuids(), st.text())


@st.composite
def look_alikes(draw):
    """Two ids: any one, and a string that is the text form of it or of its text form."""
    raw = draw(raw_ids)
    form = source_id(raw)
    return raw, draw(st.sampled_from([form, f"str:{form}", source_id(form), str(raw)]))


def same(first, second):
    return type(first) is type(second) and first == second


@given(look_alikes())
def test_a_string_that_looks_like_the_text_form_of_another_id_does_not_collide_with_it(pair):
    raw, text = pair
    assert same(raw, text) or source_id(raw) != source_id(text)


@given(raw_ids, raw_ids)
def test_different_ids_have_different_text_forms(first, second):
    assert same(first, second) == (source_id(first) == source_id(second))


@given(st.sampled_from(["ObjectId:", "int:", "UUID:", "str:", "str:str:"]), st.text())
def test_strings_with_a_prefix_stay_distinct_from_each_other(prefix, rest):
    assert source_id(prefix + rest) not in {source_id(rest), prefix + rest}


@pytest.mark.parametrize("raw", ["article-1", "int", "objectid:5", ""])
def test_an_ordinary_string_is_its_own_text_form(raw):
    assert source_id(raw) == raw


@pytest.mark.parametrize("subtype", [0, 3, 4])
@given(value=st.uuids())
def test_a_uuid_and_its_bytes_have_the_same_id_whatever_the_subtype(subtype, value):
    assert source_id(Binary(value.bytes, subtype)) == source_id(value) == f"UUID:{value}"
    assert source_id(value.bytes) == source_id(value)


def test_an_integer_has_the_same_id_whatever_its_width():
    assert source_id(Int64(7)) == source_id(7) == "int:7"


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (True, "bool"),
        (1.5, "float"),
        (None, "NoneType"),
        ({"a": 1}, "dict"),
        (Decimal128("1.5"), "Decimal128"),
        (datetime.datetime(2024, 7, 29, tzinfo=datetime.UTC), "datetime"),
        (b"fifteen bytes..", "binary"),
        (Binary(bytes(16), 5), "binary"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_id_of_another_type_is_refused_with_the_name_of_the_type(raw, kind):
    with pytest.raises(UnsupportedIdError, match=f"is of type {kind}") as caught:
        source_id(raw)
    assert "ObjectId, UUID" in caught.value.remedy


def test_the_message_about_a_huge_id_stays_short():
    with pytest.raises(UnsupportedIdError) as caught:
        source_id({"key": "x" * 10_000})
    assert len(str(caught.value)) < 250


def test_document_ids_are_uuids_that_never_change():
    # A changed value would orphan every document and point of every installation.
    assert document_id("notes", "note-1") == "ab4ce72f-5661-56c7-94e2-d79c3bfe6a98"
    assert chunk_id("ab4ce72f-5661-56c7-94e2-d79c3bfe6a98", text_hash("a"), 0) == "4ca5df96-8c9e-55c5-8536-9592d7fcf5d8"


def test_the_same_source_id_in_two_categories_is_two_documents():
    assert document_id("notes", "1") != document_id("posts", "1")


@given(st.text(), st.text(), st.integers(0, 5), st.integers(0, 5))
def test_a_chunk_id_follows_text_and_occurrence(first, second, one, other):
    document = document_id("notes", "1")
    same_chunk = (first, one) == (second, other)
    assert same_chunk == (chunk_id(document, text_hash(first), one) == chunk_id(document, text_hash(second), other))


def test_equal_texts_of_two_documents_are_two_chunks():
    assert chunk_id(document_id("notes", "1"), text_hash("a"), 0) != chunk_id(
        document_id("notes", "2"), text_hash("a"), 0
    )


def test_a_chunk_id_is_a_uuid_that_qdrant_takes_as_point_id():
    assert str(uuid.UUID(chunk_id("d", text_hash("a"), 3))) == chunk_id("d", text_hash("a"), 3)


def test_a_text_with_a_lone_surrogate_has_a_hash():
    assert len(text_hash("\ud800")) == 64
    assert text_hash("\ud800") != text_hash("\ud801")


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.integers()), max_size=6), st.randoms())
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert fingerprint(dict(items)) == fingerprint(value)
    assert fingerprint([dict(items)]) != fingerprint(value)
