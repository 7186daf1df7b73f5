from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.config import CategoryConfig, CleaningConfig
from feature_store.records import CleanedDocument, RawDocument, Reject
from steps.clean.clean import FORMATS, clean_document, format_of

CLEANING = CleaningConfig(max_characters=10_000)
CATEGORY = CategoryConfig(
    name="articles",
    collection="Articles",
    text=["body.lead", "body.text"],
    format="markdown",
    format_field="kind",
    title="title",
    url="link",
    author="by",
    published_at="day",
    external_id="number",
    metadata={"platform": "site"},
)


def document(**fields):
    named = {name.replace("__", "."): value for name, value in fields.items()}
    return RawDocument("id-1", "articles", "source-1", "hash-1", named)


def cleaned(**fields):
    result = clean_document(document(**fields), CATEGORY, CLEANING)
    assert isinstance(result, CleanedDocument), result
    return result


def rejected(**fields):
    result = clean_document(document(**fields), CATEGORY, CLEANING)
    assert isinstance(result, Reject), result
    return result


def test_a_document_comes_out_with_all_its_fields():
    result = cleaned(
        body__lead="A lead that is written in English.",
        body__text="# T\n\nwrapped\nline",
        title=" My\ntitle ",
        link="HTTPS://Ex.com/?utm_source=a",
        by=["Jane", "Joe"],
        day=datetime(2024, 7, 29, tzinfo=UTC),
        number=7,
        site="medium",
    )
    assert result == CleanedDocument(
        document_id="id-1",
        category="articles",
        source_id="source-1",
        source_hash="hash-1",
        text="A lead that is written in English.\n\n# T\n\nwrapped line",
        text_format="markdown",
        title="My title",
        url="https://ex.com/",
        author="Jane, Joe",
        published_at="2024-07-29T00:00:00Z",
        external_id="7",
        language="en",
        metadata={"platform": "medium"},
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        pytest.param({}, "missing_text", id="no field"),
        pytest.param({"body__text": None}, "missing_text", id="null"),
        pytest.param({"body__text": b"text"}, "not_text", id="bytes"),
        pytest.param({"body__text": 7}, "not_text", id="number"),
        pytest.param({"body__text": "\x00\x01\x02\x03PNG" * 9}, "binary_text", id="binary"),
        pytest.param({"body__text": "x" * 10_001}, "too_large", id="large"),
        pytest.param({"body__text": ["x" * 6_000] * 2}, "too_large", id="large in sum"),
        pytest.param({"body__text": " \n <!-- c -->"}, "empty", id="comment only"),
        pytest.param({"body__text": "x", "day": "July"}, "undecodable_date", id="date"),
    ],
)
def test_unusable_documents_are_rejected_with_reason_detail_and_a_short_excerpt(fields, reason):
    reject = rejected(**fields)
    assert reject.reason == reason
    assert (reject.document_id, reject.source_id, reject.source_hash) == ("id-1", "source-1", "hash-1")
    assert len(reject.excerpt) <= 200
    assert reject.excerpt.isprintable()
    assert ("day" if reason == "undecodable_date" else "body.text") in reject.detail


def test_a_text_shorter_than_asked_for_is_empty():
    result = clean_document(document(body__text="short"), CATEGORY, CleaningConfig(min_characters=6))
    assert isinstance(result, Reject)
    assert result.reason == "empty"
    assert "min_characters" in result.detail


def test_a_large_text_is_refused_before_it_is_parsed(monkeypatch):
    monkeypatch.setitem(FORMATS, "markdown", (lambda _text: pytest.fail("was parsed"), "markdown"))
    assert rejected(body__text="x" * 10_001).reason == "too_large"


def test_the_error_of_a_parser_is_in_the_reject(monkeypatch):
    monkeypatch.setattr("steps.clean.rst.publish_parts", lambda *_, **__: [].pop())
    reject = rejected(body__text="x", kind="rst")
    assert reject.reason == "unparseable"
    assert "pop from empty list" in reject.detail


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("text/markdown; charset=UTF-8; variant=GFM", "markdown"),
        ("text/x-rst", "rst"),
        ("text/plain", "text"),
        ("TEXT/HTML", "html"),
        ("md", "markdown"),
        ("rst", "rst"),
        ("docstring", "docstring"),
        ("text", "text"),
        ("application/pdf", "markdown"),
        (None, "markdown"),
        (7, "markdown"),
    ],
)
def test_a_document_states_its_format_and_the_category_stands_in(stated, expected):
    assert format_of({"kind": stated}, CATEGORY) == expected


@pytest.mark.parametrize(
    ("source_format", "text_format"),
    [("text", "text"), ("markdown", "markdown"), ("rst", "markdown"), ("html", "markdown"), ("docstring", "markdown")],
)
def test_every_format_gives_its_text_format(source_format, text_format):
    assert cleaned(body__text="Some text.", kind=source_format).text_format == text_format


def test_the_first_heading_outside_of_code_stands_in_for_the_title():
    assert cleaned(body__text="```\n# no\n```\n\n## Yes *it* is").title == "Yes it is"
    assert cleaned(body__text="no heading").title is None
    assert cleaned(body__text="# no", kind="text").title is None


def test_a_web_page_fills_what_the_fields_leave_empty():
    page = (
        "<html><head><title>Page</title><meta name='author' content='Jane Roe'>"
        "<link rel='canonical' href='https://ex.com/a'></head><body><p>Some text.</p></body></html>"
    )
    result = cleaned(body__text=page, kind="html", by="Joe")
    assert (result.title, result.author, result.url) == ("Page", "Joe", "https://ex.com/a")


def test_a_mapping_of_texts_is_joined_under_its_keys():
    assert cleaned(body__text={"Usage": "run *it*", "Empty": "", "Notes": ["a", "b"]}).text == (
        "## Usage\n\nrun it\n\n## Notes\n\na\n\nb"
    )


def test_an_open_fence_in_one_field_does_not_swallow_the_next():
    assert cleaned(body__lead="```\nx", body__text="*after*").text == "```\nx\n```\n\nafter"


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.characters(exclude_categories=[])),
    st.sampled_from(sorted(FORMATS)),
    st.none() | st.text() | st.integers() | st.binary() | st.floats() | st.datetimes() | st.lists(st.text()),
)
def test_no_document_raises_and_every_one_comes_out_the_same_twice_and_as_utf_8(text, source_format, value):
    raw = document(body__text=text, kind=source_format, title=value, link=value, by=value, day=value, site=value)
    first, second = (clean_document(raw, CATEGORY, CLEANING) for _ in range(2))
    assert first == second
    shown = (
        f"{first.text}{first.title}{first.author}{first.url}" if isinstance(first, CleanedDocument) else first.detail
    )
    assert shown.encode()
