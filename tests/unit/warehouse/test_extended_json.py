import datetime as dt
import gzip
import json
import tempfile
import uuid
from pathlib import Path

import pytest
from bson import Binary, Decimal128, Int64, ObjectId, Regex, Timestamp, json_util
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st

from warehouse.imports.errors import ImportSourceError
from warehouse.imports.extended_json import read_documents

UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "documents.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("written_id", "expected"),
    [
        pytest.param('{"$oid": "65a1b2c3d4e5f60718293a4b"}', ObjectId("65a1b2c3d4e5f60718293a4b"), id="ObjectId"),
        pytest.param('{"$uuid": "12345678-1234-5678-1234-567812345678"}', UUID, id="UUID"),
        pytest.param('{"$binary": {"base64": "EjRWeBI0VngSNFZ4EjRWeA==", "subType": "04"}}', UUID, id="UUID as binary"),
        pytest.param('{"$binary": {"base64": "AQI=", "subType": "80"}}', Binary(b"\1\2", 0x80), id="binary"),
        pytest.param('{"$numberInt": "7"}', 7, id="canonical int"),
        pytest.param('{"$numberLong": "7"}', Int64(7), id="canonical long"),
        pytest.param('{"$numberDouble": "1.5"}', 1.5, id="canonical double"),
        pytest.param('{"$numberDecimal": "1.50"}', Decimal128("1.50"), id="decimal"),
        pytest.param("7", 7, id="relaxed int"),
        pytest.param('"seven"', "seven", id="string"),
        pytest.param("null", None, id="null"),
        pytest.param('{"part": 1, "of": "key"}', {"part": 1, "of": "key"}, id="compound"),
        pytest.param('{"$timestamp": {"t": 3, "i": 4}}', Timestamp(3, 4), id="timestamp"),
        pytest.param(
            '{"$regularExpression": {"pattern": "a", "options": "i"}}', Regex("a", "i"), id="regular expression"
        ),
        pytest.param(
            '{"$date": "2024-07-29T10:00:00Z"}',
            dt.datetime(2024, 7, 29, 10, tzinfo=dt.UTC),
            id="relaxed date",
        ),
        pytest.param('{"$date": {"$numberLong": "0"}}', dt.datetime(1970, 1, 1, tzinfo=dt.UTC), id="canonical date"),
        pytest.param(
            '{"$date": {"$numberLong": "253402300800000"}}', DatetimeMS(253402300800000), id="date after year 9999"
        ),
    ],
)
def test_every_type_of_extended_json_is_read_as_id(written, written_id, expected):
    [document] = read_documents(written(f'{{"_id": {written_id}}}'))
    assert document["_id"] == expected
    assert type(document["_id"]) is type(expected)


ONE_AND_TWO = [{"_id": 1, "a": {"b": ["}", "]"]}}, {"_id": 2, "a": 'a "quoted" {\\'}]
LINES = "".join(json.dumps(document) + "\n" for document in ONE_AND_TWO)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(LINES, id="lines"),
        pytest.param(LINES.rstrip(), id="no newline at the end"),
        pytest.param(LINES.replace("\n", "\r\n\r\n"), id="blank lines and carriage returns"),
        pytest.param("\n".join(json.dumps(document, indent=2) for document in ONE_AND_TWO), id="pretty-printed"),
        pytest.param("".join(json.dumps(document) for document in ONE_AND_TWO), id="without any separator"),
        pytest.param("".join(json.dumps(document, indent=0) for document in ONE_AND_TWO), id="sharing a line"),
        pytest.param(json.dumps(ONE_AND_TWO), id="array"),
        pytest.param("\n\n " + json.dumps(ONE_AND_TWO, indent=4) + "\n", id="pretty-printed array after blank lines"),
        pytest.param(b"\xef\xbb\xbf" + LINES.encode(), id="lines after a byte order mark"),
        pytest.param(b"\xef\xbb\xbf" + json.dumps(ONE_AND_TWO).encode(), id="array after a byte order mark"),
        pytest.param(gzip.compress(LINES.encode()), id="compressed lines"),
        pytest.param(gzip.compress(json.dumps(ONE_AND_TWO).encode()), id="compressed array"),
    ],
)
def test_documents_are_read_in_every_layout(written, content):
    assert list(read_documents(written(content))) == ONE_AND_TWO


def test_an_empty_array_holds_no_documents(written):
    assert list(read_documents(written("[ ]\n"))) == []


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        pytest.param('{"_id": 1}\n{"_id": 2}\n{"_id": }\n', 3, "Expecting value", id="bad line"),
        pytest.param('{"_id": 1}\n\nhello\n', 3, "Expecting value", id="no JSON"),
        pytest.param('{"_id": 1}\n{"_id": 2\n', 3, "starts on line 2", id="document without end"),
        pytest.param('{"_id": 1}\n{"_id": 2\n{"_id": 3}\n', 3, "starts on line 2", id="bracket missing"),
        pytest.param('{\n  "_id": 1,\n  "a": ,\n}\n', 3, "starts on line 1", id="within a pretty-printed document"),
        pytest.param('{"_id": 1}}\n', 1, "Expecting value", id="bracket too many"),
        pytest.param('{"_id": 1}\n{"_id": {"$oid": "xyz"}}', 2, "not a valid ObjectId", id="bad ObjectId"),
        pytest.param('{"_id": 1}\n{"d": {"$date": "soon"}}', 2, "soon", id="bad date"),
        pytest.param('{"_id": 1}\n{"d": {"$numberDecimal": "x"}}', 2, "", id="bad decimal"),
        pytest.param('{"_id": 1}\n{"d": {"$uuid": "x"}}', 2, "", id="bad UUID"),
        pytest.param('{"_id": 1}\n5\n', 2, "int where a document belongs", id="number"),
        pytest.param('{"_id": 1}\n[{"_id": 2}]\n', 2, "list where a document belongs", id="array after a document"),
        pytest.param('{"$oid": "65a1b2c3d4e5f60718293a4b"}', 1, "ObjectId where a document", id="bare value"),
        pytest.param('[\n{"_id": 1},\n{"_id": 2}\n{"_id": 3}]', 4, "expected ',' or ']'", id="comma missing"),
        pytest.param('[\n{"_id": 1},\n7\n]', 3, "int where a document belongs", id="number in an array"),
        pytest.param('[\n{"_id": 1},\n]', 3, "Expecting value", id="comma before the end"),
        pytest.param('[\n{"_id": 1},\n{"_id": 2', 3, "Expecting ',' delimiter", id="array cut short"),
        pytest.param('[\n{"_id": 1}\n', 3, "expected ',' or ']'", id="array without end"),
        pytest.param('[\n{"_id": 1}]\n{}', 3, "follows the end of the array", id="more after an array"),
        pytest.param(b'{"_id": 1}\n{"_id": "\xff"}\n', 2, "not UTF-8", id="bytes that are no text"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(written, content, line, problem):
    path = written(content)
    with pytest.raises(ImportSourceError) as caught:
        list(read_documents(path))
    assert f"{path}, line {line}: " in str(caught.value)
    assert problem in str(caught.value)
    assert caught.value.remedy


def test_documents_before_a_bad_line_are_given(written):
    documents = read_documents(written('{"_id": 1}\n{"_id": }\n'))
    assert next(documents) == {"_id": 1}
    with pytest.raises(ImportSourceError, match="line 2"):
        next(documents)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b" \n\n", "is empty", id="blank"),
        pytest.param(b"\xef\xbb\xbf", "is empty", id="only a byte order mark"),
        pytest.param('{"_id": 1}'.encode("utf-16"), "is UTF-16", id="UTF-16"),
        pytest.param(gzip.compress(LINES.encode())[:-9], "is damaged", id="compressed file cut short"),
        pytest.param(b"\x1f\x8b nothing of the kind", "is damaged", id="not really compressed"),
    ],
)
def test_a_file_without_documents_is_named(written, content, problem):
    path = written(content)
    with pytest.raises(ImportSourceError) as caught:
        list(read_documents(path))
    assert f"{path} {problem}" in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ImportSourceError, match=r"nowhere\.json cannot be read: No such file"):
        list(read_documents(tmp_path / "nowhere.json"))


def test_too_deep_nesting_is_named_with_its_line(written):
    with pytest.raises(ImportSourceError, match="line 2"):
        list(read_documents(written('{"_id": 1}\n' + '{"a":' * 100_000 + "1" + "}" * 100_000)))


def test_a_document_that_does_not_end_is_not_read_without_limit(written, monkeypatch):
    monkeypatch.setattr("warehouse.imports.extended_json.MAX_DOCUMENT_CHARACTERS", 1000)
    path = written('{"_id": 1}\n{"_id": 2,\n' + '{"_id": 3}\n' * 1000)
    with pytest.raises(ImportSourceError, match="line 2: the document that starts here does not end within 1,000"):
        list(read_documents(path))


def test_a_document_without_id_gets_the_same_one_in_every_layout(written):
    [line] = read_documents(written('{"title": "A", "at": {"$date": "1970-01-01T00:00:00Z"}}'))
    [pretty] = read_documents(written('{\n"at": {"$date": {"$numberLong": "0"}},\n"title": "A"}'))
    [other] = read_documents(written('{"title": "B", "at": {"$date": "1970-01-01T00:00:00Z"}}'))
    assert line["_id"] == pretty["_id"]
    assert line["_id"] != other["_id"]
    assert uuid.UUID(line["_id"]).version == 5


def test_a_generated_id_never_changes_between_releases(written):
    [document] = read_documents(written('{"title": "A"}'))
    assert document == {"_id": "10c52990-3718-5d31-9278-ed05de5be771", "title": "A"}


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**31), 2**31 - 1)
    | st.integers(-(2**63), 2**63 - 1).map(Int64)
    | st.floats(allow_nan=False)
    | st.text()
    | st.uuids()
    | st.binary(max_size=16).map(lambda data: Binary(data, 0x80))
    | st.binary(min_size=12, max_size=12).map(ObjectId)
    | st.datetimes(max_value=dt.datetime(9999, 12, 29), timezones=st.just(dt.UTC)).map(  # noqa: DTZ001
        lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text().filter(lambda name: not name.startswith("$")), inner, max_size=3)
    ),
    max_leaves=8,
)
documents = st.dictionaries(st.text().filter(lambda name: not name.startswith("$")), values, max_size=4)
modes = st.sampled_from([json_util.CANONICAL_JSON_OPTIONS, json_util.RELAXED_JSON_OPTIONS])


@given(st.lists(st.builds(lambda rest, raw_id: {**rest, "_id": raw_id}, documents, values), max_size=4), modes)
def test_what_is_written_as_extended_json_is_read_back(originals, options):
    options = options.with_options(uuid_representation=4)
    texts = [json_util.dumps(original, json_options=options) for original in originals]
    indented = [json_util.dumps(original, json_options=options, indent=1) for original in originals]
    with tempfile.TemporaryDirectory() as folder:
        for content in ("\n".join(texts), "\n".join(indented), f"[{', '.join(texts)}]"):
            path = Path(folder) / "documents.json"
            path.write_text(content or "[]", encoding="utf-8")
            assert list(read_documents(path)) == originals
