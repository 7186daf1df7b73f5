from datetime import UTC, date, datetime, timedelta, timezone
from uuid import UUID

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from steps.clean.metadata import (
    UndecodableDateError,
    canonical_author,
    canonical_date,
    canonical_external_id,
    canonical_metadata,
    canonical_title,
    canonical_url,
)

DAY = "2024-07-29T00:00:00Z"
OBJECT_ID = ObjectId("64b000000000000000000001")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(datetime(2024, 7, 29), DAY, id="naive datetime"),  # noqa: DTZ001
        pytest.param(datetime(2024, 7, 29, 2, tzinfo=timezone(timedelta(hours=2))), DAY, id="datetime with a zone"),
        pytest.param(date(2024, 7, 29), DAY, id="date"),
        pytest.param("2024-07-29", DAY, id="ISO day"),
        pytest.param("2024-07-29T02:00:00.123+02:00", DAY, id="ISO with a zone"),
        pytest.param("2024-07-29 00:00:00 UTC", DAY, id="named zone"),
        pytest.param("Mon, 29 Jul 2024 00:00:00 GMT", DAY, id="RFC 2822"),
        pytest.param("July 29, 2024", DAY, id="written out"),
        pytest.param("29.07.2024", DAY, id="day that cannot be a month"),
        pytest.param("07/07/2024", "2024-07-07T00:00:00Z", id="same day and month"),
        pytest.param(1722211200, DAY, id="seconds"),
        pytest.param(1722211200000, DAY, id="milliseconds"),
        pytest.param(1722211200.5, DAY, id="fraction of a second"),
        pytest.param(None, None, id="missing"),
        pytest.param("  ", None, id="empty"),
    ],
)
def test_dates_become_iso_8601_in_utc(value, expected):
    assert canonical_date(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "July",
        "2024",
        "July 2024",
        "12:30",
        "tomorrow",
        "03/04/2024",
        "2024-13-45",
        True,
        b"x",
        [],
        float("nan"),
        10**20,
    ],
    ids=repr,
)
def test_values_that_name_no_day_without_doubt_are_refused(value):
    with pytest.raises(UndecodableDateError):
        canonical_date(value)


@given(st.text())
def test_no_text_makes_a_date_raise_anything_else(text):
    try:
        result = canonical_date(text)
    except UndecodableDateError:
        return
    assert result is None or datetime.fromisoformat(result).tzinfo == UTC


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_canonical_date_stays_as_it_is(moment):
    once = canonical_date(moment)
    assert canonical_date(once) == once


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("HTTP://Example.COM:80/a", "http://example.com/a", id="case and default port"),
        pytest.param("https://ex.com:8443/", "https://ex.com:8443/", id="other port"),
        pytest.param(
            "https://ex.com/a?utm_source=x&b=2&a=1&fbclid=3&gclid=4", "https://ex.com/a?a=1&b=2", id="tracking"
        ),
        pytest.param("https://ex.com/a#part", "https://ex.com/a", id="fragment"),
        pytest.param("https://ex.com/a#L10-L20", "https://ex.com/a#L10-L20", id="lines of source"),
        pytest.param("file:///data/x", "file:///data/x", id="file"),
        pytest.param("ex.com/a", None, id="no scheme"),
        pytest.param("mailto:a@b.org", None, id="other scheme"),
        pytest.param("http://[::1", None, id="broken host"),
        pytest.param("http://a b.org", None, id="space"),
        pytest.param("http://", None, id="no host"),
        pytest.param(7, None, id="no text"),
        pytest.param("", None, id="empty"),
    ],
)
def test_addresses_get_one_form(value, expected):
    assert canonical_url(value) == expected


@given(st.text() | st.text().map("https://ex.com/".__add__))
def test_an_address_stays_as_it_is_once_canonical(text):
    once = canonical_url(text)
    assert canonical_url(once) == once


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(" Jane\n Roe ", "Jane Roe", id="string"),
        pytest.param(["Jane", None, {"name": "Joe"}], "Jane, Joe", id="list"),
        pytest.param({"full_name": "Jane"}, "Jane", id="mapping"),
        pytest.param({"id": 1}, None, id="mapping without a name"),
        pytest.param(7, None, id="number"),
        pytest.param([], None, id="empty list"),
    ],
)
def test_authors_become_one_text(value, expected):
    assert canonical_author(value) == expected


@pytest.mark.parametrize(("value", "expected"), [("A\n b", "A b"), (" ", None), (None, None), (3, None)])
def test_a_title_is_one_line(value, expected):
    assert canonical_title(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, "7"),
        ("a", "a"),
        (OBJECT_ID, str(OBJECT_ID)),
        (UUID(int=1), str(UUID(int=1))),
        (True, None),
        (1.5, None),
        (None, None),
    ],
)
def test_external_ids_become_text(value, expected):
    assert canonical_external_id(value) == expected


def test_metadata_keeps_scalars_and_lists_of_scalars_and_writes_the_rest_as_json():
    values = {
        "when": datetime(2024, 7, 29, tzinfo=UTC),
        "tags": ["a", OBJECT_ID],
        "nested": {"b": [1, {"c": OBJECT_ID}], "a": None},
        "count": 3,
        "share": float("inf"),
        "flag": False,
        "missing": None,
    }
    assert canonical_metadata(values) == {
        "count": 3,
        "flag": False,
        "nested": f'{{"a": null, "b": [1, {{"c": "{OBJECT_ID}"}}]}}',
        "share": "inf",
        "tags": ["a", str(OBJECT_ID)],
        "when": DAY,
    }
