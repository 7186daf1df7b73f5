"""The way from a cleaned text back to what it was made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.alignment import align
from feature_store.config import CategoryConfig, CleaningConfig
from feature_store.records import CleanedDocument, RawDocument
from steps.clean.clean import clean_document


def in_raw(raw, cleaned, part):
    start = cleaned.index(part)
    first, after = align(raw, cleaned).to_raw(start, start + len(part))
    return raw[first:after]


def test_white_space_that_cleaning_changed_does_not_move_a_place():
    raw, cleaned = "one  two \n three\n\n\nfour", "one two\nthree\n\nfour"
    assert in_raw(raw, cleaned, "two\nthree") == "two \n three"
    assert in_raw(raw, cleaned, " two ".rstrip()) == "two"
    assert align(raw, cleaned).share == 1


@pytest.mark.parametrize(
    ("raw", "cleaned", "part", "found"),
    [
        ("a long exam-\nple of a text that goes on", "a long example of a text that goes on", "example", "exam-\nple"),
        (
            "before it\n-----\nbehind it there is more text",
            "before it\n\nbehind it there is more text",
            "behind",
            "behind",
        ),
        ("cafe\u0301 and a good deal more of it", "caf\u00e9 and a good deal more of it", "and", "and"),
        ("the end\n*****", "the end", "end", "end"),
        ("it is \u00bd of all that there was once", "it is 1/2 of all that there was once", "of all", "of all"),
    ],
    ids=["hyphen", "ruler", "composed", "end", "replaced"],
)
def test_after_a_difference_both_texts_agree_again(raw, cleaned, part, found):
    assert in_raw(raw, cleaned, part) == found


def test_texts_that_have_nothing_in_common_cannot_be_aligned():
    with pytest.raises(ValueError, match="the texts differ from 'aaaa"):
        align("a" * 2000, "b" * 2000)


def test_a_span_of_white_space_has_no_place():
    with pytest.raises(ValueError, match="no character"):
        align("a b", "a b").to_raw(1, 2)


@given(st.text(st.sampled_from("abcde \n.-“"), min_size=1, max_size=200))
def test_every_word_of_a_cleaned_text_comes_from_the_raw_text(raw):
    category = CategoryConfig(name="notes", collection="notes", text="body", format="text")
    document = RawDocument("id", "notes", "source", "hash", {"body": raw})
    made = clean_document(document, category, CleaningConfig())
    if isinstance(made, CleanedDocument):
        alignment = align(raw, made.text)
        for start in range(len(made.text)):
            if not made.text[start].isspace():
                first, after = alignment.to_raw(start, start + 1)
                assert 0 <= first < after <= len(raw)
        assert list(alignment.places) == sorted(alignment.places)
