"""Mapped fields: what a category reads of a document, and a hash of exactly that."""

from hypothesis import given
from hypothesis import strategies as st

from feature_store.extended_json import to_extended_json
from steps.extract.fields import encode_fields, mapped_fields, source_hash, top_level

DOCUMENT = {
    "title": "T",
    "content": {"Title": "inner", "deep": {"er": 1}, "": "empty key"},
    "parts": [{"text": "one"}, {"other": 1}, {"text": "two"}, "loose", {"text": ["three", "four"]}],
    "none": None,
    "empty": [],
    "a.b": "a key with a dot",
}


def test_a_dotted_path_goes_through_mappings():
    assert mapped_fields(DOCUMENT, ["title", "content.Title", "content.deep.er"]) == {
        "title": "T",
        "content.Title": "inner",
        "content.deep.er": 1,
    }


def test_a_path_through_a_list_collects_the_values_of_its_elements():
    assert mapped_fields(DOCUMENT, ["parts.text"]) == {"parts.text": ["one", "two", ["three", "four"]]}


def test_a_path_through_lists_of_lists_collects_too():
    assert mapped_fields({"a": [[{"b": 1}], [{"b": 2}, {}]]}, ["a.b"]) == {"a.b": [[1], [2]]}


def test_a_path_that_the_document_lacks_is_left_out():
    paths = ["missing", "title.more", "content.missing", "parts.missing", "empty.text", "a.b"]
    assert mapped_fields(DOCUMENT, paths) == {}


def test_a_null_and_an_empty_list_are_values():
    assert mapped_fields(DOCUMENT, ["none", "empty"]) == {"none": None, "empty": []}


def test_the_server_is_asked_for_each_top_level_field_once():
    assert top_level(["content.Title", "content.deep.er", "title", "a.b"]) == ["a", "content", "title"]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=6,
)
documents = st.dictionaries(st.sampled_from(["title", "content", "parts"]), values)
unmapped = st.dictionaries(st.sampled_from(["_id", "views", "titles", "Title"]), values)
PATHS = ["title", "content.x", "parts"]


def hash_of(document, rules="rules"):
    return source_hash(encode_fields(mapped_fields(document, PATHS)), rules)


@given(documents, unmapped, st.randoms())
def test_fields_that_are_not_mapped_and_the_order_of_fields_do_not_change_the_hash(document, more, random):
    items = list({**document, **more}.items())
    random.shuffle(items)
    assert hash_of(dict(items)) == hash_of(document)


@given(documents, documents)
def test_the_hash_changes_exactly_with_the_mapped_fields(first, second):
    same = to_extended_json(mapped_fields(first, PATHS)) == to_extended_json(mapped_fields(second, PATHS))
    assert (hash_of(first) == hash_of(second)) == same


@given(documents, st.text(max_size=5), st.text(max_size=5))
def test_the_hash_changes_with_the_rules(document, first, second):
    assert (hash_of(document, first) == hash_of(document, second)) == (first == second)


def test_the_type_of_a_value_is_part_of_the_hash():
    assert len({hash_of({"title": value}) for value in (1, 1.0, "1", True, [1])}) == 5


def test_a_lone_surrogate_has_a_hash():
    assert hash_of({"title": "\ud800"}) != hash_of({"title": "\ud801"})
