import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models

from feature_store.errors import ConfigurationError
from inference.filters import build_filter, parse_filters

INDEXES = {
    "category": "keyword",
    "author": "keyword",
    "url": "keyword",
    "heading_path": "keyword",
    "position": "integer",
    "published_at": "datetime",
    "metadata.topic": "keyword",
    "metadata.stars": "float",
    "metadata.draft": "bool",
}
PAYLOADS = [
    {
        "category": "articles",
        "author": "Lovelace, Ada",
        "url": "https://example.org/1",
        "heading_path": ["Guide", "Install"],
        "position": 0,
        "published_at": "2024-01-01T00:00:00Z",
        "metadata": {"topic": "tea", "stars": 4.5, "draft": False},
    },
    {
        "category": "posts",
        "author": "Turing",
        "heading_path": ["Guide"],
        "position": 1,
        "published_at": "2024-01-01T23:59:59Z",
        "metadata": {"topic": "coffee", "stars": 3, "draft": True},
    },
    {
        "category": "posts",
        "author": "Hopper",
        "url": "https://example.org/3",
        "heading_path": [],
        "position": 2,
        "published_at": "2024-12-31T12:00:00Z",
    },
]


@pytest.fixture(scope="module")
def client() -> Iterator[QdrantClient]:
    client = QdrantClient(":memory:")
    client.create_collection("notes", vectors_config={})
    points = [models.PointStruct(id=i, vector={}, payload=payload) for i, payload in enumerate(PAYLOADS)]
    client.upsert("notes", points)
    yield client
    client.close()


def found(client, filters):
    records, _ = client.scroll("notes", scroll_filter=build_filter(filters, INDEXES), limit=100, with_payload=False)
    return {record.id for record in records}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param(None, {0, 1, 2}, id="no-filter"),
        pytest.param({}, {0, 1, 2}, id="empty"),
        pytest.param({"category": "posts"}, {1, 2}, id="equal"),
        pytest.param({"category": "posts", "author": "Turing"}, {1}, id="all-fields-must-fit"),
        pytest.param({"author": ["Turing", "Hopper"]}, {1, 2}, id="any-of"),
        pytest.param({"author": {"Turing"}}, {1}, id="any-of-one"),
        pytest.param({"heading_path": "Guide"}, {0, 1}, id="element-of-a-list"),
        pytest.param({"position": 0}, {0}, id="zero"),
        pytest.param({"position": (0, 2)}, {0, 2}, id="any-of-numbers"),
        pytest.param({"position": {"gte": 1}}, {1, 2}, id="gte"),
        pytest.param({"position": {"gt": 1}}, {2}, id="gt"),
        pytest.param({"position": {"gt": 0, "lt": 2}}, {1}, id="between"),
        pytest.param({"position": {"lte": 1, "not": 0}}, {1}, id="bound-and-not"),
        pytest.param({"metadata.topic": "tea"}, {0}, id="nested"),
        pytest.param({"topic": "tea"}, {0}, id="nested-by-its-last-name"),
        pytest.param({"stars": 3}, {1}, id="equal-number"),
        pytest.param({"stars": [4.5, 3.0]}, {0, 1}, id="any-of-fractions"),
        pytest.param({"stars": {"gt": 3}}, {0}, id="above-a-number"),
        pytest.param({"draft": False}, {0}, id="false"),
        pytest.param({"draft": [True, False]}, {0, 1}, id="either"),
        pytest.param({"url": {"exists": True}}, {0, 2}, id="there"),
        pytest.param({"url": {"exists": False}}, {1}, id="missing"),
        pytest.param({"metadata.topic": {"exists": False}}, {2}, id="nested-missing"),
        pytest.param({"author": {"not": "Turing"}}, {0, 2}, id="not"),
        pytest.param({"author": {"not": ["Turing", "Hopper"]}}, {0}, id="none-of"),
        pytest.param({"url": {"not": "https://example.org/1"}}, {1, 2}, id="not-holds-for-a-missing-field"),
        pytest.param({"stars": {"not": [3, 4.5]}}, {2}, id="none-of-fractions"),
        pytest.param({"published_at": date(2024, 1, 1)}, {0, 1}, id="a-day"),
        pytest.param({"published_at": "2024-01-01"}, {0, 1}, id="a-day-as-text"),
        pytest.param({"published_at": {"not": date(2024, 1, 1)}}, {2}, id="not-on-a-day"),
        pytest.param({"published_at": ["2024-01-01", "2024-12-31"]}, {0, 1, 2}, id="any-of-days"),
        pytest.param({"published_at": {"lte": "2024-01-01"}}, {0, 1}, id="lte-takes-the-day-in"),
        pytest.param({"published_at": {"lt": "2024-01-01"}}, set(), id="lt-ends-before-the-day"),
        pytest.param({"published_at": {"gt": "2024-01-01"}}, {2}, id="gt-begins-after-the-day"),
        pytest.param({"published_at": {"gte": date(2024, 1, 1), "lt": "2024-12-31"}}, {0, 1}, id="dates-between"),
        pytest.param({"published_at": datetime(2024, 1, 1)}, {0}, id="a-naive-moment-is-utc"),  # noqa: DTZ001
        pytest.param({"published_at": "2024-01-01T00:00:00"}, {0}, id="a-naive-text-is-utc"),
        pytest.param({"published_at": "2024-01-01T01:00:00+01:00"}, {0}, id="a-zone-is-kept"),
        pytest.param({"published_at": {"gt": datetime(2024, 1, 1, tzinfo=UTC)}}, {1, 2}, id="after-a-moment"),
        pytest.param(
            {"published_at": {"lt": datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))}}, set(), id="zone"
        ),
        pytest.param({"published_at": {"lte": date.max, "gte": date.min}}, {0, 1, 2}, id="all-time"),
    ],
)
def test_a_filter_finds_what_it_says(client, filters, expected):
    assert found(client, filters) == expected


@given(
    category=st.one_of(st.none(), st.lists(st.sampled_from(["articles", "posts", "books"]), min_size=1)),
    low=st.one_of(st.none(), st.integers(-1, 3)),
    high=st.one_of(st.none(), st.integers(-1, 3)),
    after=st.one_of(st.none(), st.dates(date(2023, 12, 30), date(2025, 1, 2))),
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_filter_agrees_with_python(client, category, low, high, after):
    filters, position = {}, {}
    if category is not None:
        filters["category"] = category
    position |= {} if low is None else {"gte": low}
    position |= {} if high is None else {"lt": high}
    if position:
        filters["position"] = position
    if after is not None:
        filters["published_at"] = {"gt": after}
    expected = {
        i
        for i, payload in enumerate(PAYLOADS)
        if (category is None or payload["category"] in category)
        and (low is None or payload["position"] >= low)
        and (high is None or payload["position"] < high)
        and (after is None or payload["published_at"][:10] > after.isoformat())
    }
    assert found(client, filters) == expected


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        pytest.param({"token_count": 3}, ["'token_count'", "author, category", "metadata.topic"], id="unindexed"),
        pytest.param({"position": "3"}, ["'position'", "'3'", "a whole number"], id="text-for-a-number"),
        pytest.param({"position": True}, ["'position'", "True"], id="bool-for-a-number"),
        pytest.param({"position": 1.5}, ["1.5"], id="fraction-for-an-integer"),
        pytest.param({"category": 3}, ["'category'", "3", "a string"], id="number-for-a-text"),
        pytest.param({"category": ["a", 3]}, ["'category'", "3", "a string"], id="one-of-several"),
        pytest.param({"category": [["a"]]}, ["a string"], id="a-list-in-a-list"),
        pytest.param({"category": None}, ["None", "exists"], id="none"),
        pytest.param({"draft": 1}, ["'metadata.draft'", "true or false"], id="number-for-a-bool"),
        pytest.param({"stars": float("nan")}, ["nan", "finite"], id="nan"),
        pytest.param({"stars": {"lt": float("inf")}}, ["inf"], id="infinity"),
        pytest.param({"published_at": "yesterday"}, ["'published_at'", "'yesterday'", "ISO 8601"], id="no-date"),
        pytest.param({"published_at": 2024}, ["2024", "ISO 8601"], id="number-for-a-date"),
        pytest.param({"author": {"gte": "A"}}, ["'author'", "keyword", "gte"], id="texts-have-no-order"),
        pytest.param({"draft": {"gt": False}}, ["bool", "gt"], id="bools-have-no-order"),
        pytest.param({"position": {"min": 1}}, ["'min'", "gte"], id="unknown-operator"),
        pytest.param({"position": {}}, ["'position'", "no operator"], id="no-operator"),
        pytest.param({"author": []}, ["'author'", "at least one"], id="any-of-nothing"),
        pytest.param({"author": {"not": []}}, ["'author'", "at least one"], id="none-of-nothing"),
        pytest.param({"url": {"exists": "yes"}}, ["'url'", "'yes'", "True or False"], id="exists-yes"),
    ],
)
def test_a_filter_that_cannot_hold_says_why(filters, said):
    with pytest.raises(ConfigurationError) as caught:
        build_filter(filters, INDEXES)
    assert all(words in str(caught.value) for words in said), str(caught.value)


def test_a_field_of_the_payload_goes_before_metadata_of_its_name():
    both = {"topic": "keyword", "metadata.topic": "keyword"}
    assert build_filter({"topic": "tea"}, both).must[0].key == "topic"


def test_an_index_without_payload_indexes_says_so():
    with pytest.raises(ConfigurationError, match="none, this index has no such field"):
        build_filter({"category": "posts"}, {})


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param([], {}, id="nothing"),
        pytest.param(["category=articles"], {"category": "articles"}, id="equal"),
        pytest.param([" category = two words "], {"category": "two words"}, id="blanks-around"),
        pytest.param(["url=https://a.b/?c=d>e"], {"url": "https://a.b/?c=d>e"}, id="signs-in-the-value"),
        pytest.param(["author=Turing,Hopper"], {"author": ["Turing", "Hopper"]}, id="any-of"),
        pytest.param(['author="Lovelace, Ada", Turing'], {"author": ["Lovelace, Ada", "Turing"]}, id="quotes"),
        pytest.param(['author="Lovelace, Ada"'], {"author": "Lovelace, Ada"}, id="one-in-quotes"),
        pytest.param(["author!=Turing"], {"author": {"not": "Turing"}}, id="not"),
        pytest.param(["position!=1,2"], {"position": {"not": [1, 2]}}, id="none-of"),
        pytest.param(["position=007"], {"position": 7}, id="integer"),
        pytest.param(["stars>=4.5"], {"metadata.stars": {"gte": 4.5}}, id="float"),
        pytest.param(["draft=TRUE"], {"metadata.draft": True}, id="bool"),
        pytest.param(["position>1", "position<=5"], {"position": {"gt": 1, "lte": 5}}, id="bounds-are-joined"),
        pytest.param(["position<5", "position!=1"], {"position": {"lt": 5, "not": 1}}, id="bound-and-not"),
        pytest.param(["published_at<2025-01-01"], {"published_at": {"lt": "2025-01-01"}}, id="date"),
        pytest.param(["url?"], {"url": {"exists": True}}, id="there"),
        pytest.param(["url!", "author?"], {"url": {"exists": False}, "author": {"exists": True}}, id="missing"),
    ],
)
def test_words_are_read_by_the_types_of_the_fields(texts, expected):
    parsed = parse_filters(texts, INDEXES)
    assert parsed == expected
    build_filter(parsed, INDEXES)


def test_what_words_ask_for_is_found(client):
    parsed = parse_filters(['author="Lovelace, Ada",Turing', "published_at>=2024-01-01T12:00:00Z"], INDEXES)
    assert found(client, parsed) == {1}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        pytest.param(["category"], ["'category'", "field=value"], id="no-sign"),
        pytest.param(["=posts"], ["'=posts'", "field=value"], id="no-field"),
        pytest.param(["category="], ["'category='", "field=value"], id="no-value"),
        pytest.param(["url?yes"], ["'url?yes'"], id="value-after-a-question"),
        pytest.param(["colour=red"], ["'colour'", "category"], id="unindexed"),
        pytest.param(["position=three"], ["'position'", "'three'", "a whole number"], id="no-number"),
        pytest.param(["stars=nan"], ["'nan'", "finite"], id="nan"),
        pytest.param(["draft=maybe"], ["'maybe'", "true or false"], id="no-bool"),
        pytest.param(["published_at>soon"], ["'soon'", "ISO 8601"], id="no-date"),
        pytest.param(["author=A", "author=B"], ["'author'", "author=a,b"], id="twice"),
        pytest.param(["position>1", "position>2"], ["'position'", "twice"], id="one-bound-twice"),
        pytest.param(["topic=a", "metadata.topic=b"], ["'metadata.topic'", "twice"], id="twice-by-two-names"),
    ],
)
def test_words_that_are_no_filter_say_why(texts, said):
    with pytest.raises(ConfigurationError) as caught:
        parse_filters(texts, INDEXES)
    assert all(words in str(caught.value) for words in said), str(caught.value)


def test_a_filter_goes_to_a_server_as_json():
    filters = {"published_at": {"gte": date(2024, 1, 1)}, "author": {"not": "A"}, "draft": [True, False]}
    sent = build_filter(filters, INDEXES).model_dump_json(exclude_none=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert models.Filter.model_validate_json(sent) == build_filter(filters, INDEXES)
