"""Golden queries: what a file may hold, and what a person is told who wrote it otherwise."""

import json

import pytest

from feature_store.errors import ConfigurationError
from feature_store.ids import document_id
from inference.evaluation.golden import GoldenQuery, as_document_id, read_golden

ID = document_id("articles", "42")


def write(tmp_path, *lines):
    path = tmp_path / "golden.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return path


def test_documents_are_named_by_id_or_by_category_and_source_id(tmp_path):
    path = write(
        tmp_path,
        {"query": "first", "relevant": [ID, "posts:ObjectId:5f"]},
        "",
        {"query": "second", "relevant": {"articles:42": 2, "articles:7": 0}},
    )
    assert read_golden(path) == [
        GoldenQuery("1", "first", {ID: 1, document_id("posts", "ObjectId:5f"): 1}),
        GoldenQuery("3", "second", {ID: 2, document_id("articles", "7"): 0}),
    ]


def test_an_id_in_capitals_is_the_same_document():
    assert as_document_id(ID.upper()) == ID


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "Invalid JSON"),
        ("[]", "object"),
        ({"query": "  ", "relevant": [ID]}, "`query`: Value error, it is empty"),
        ({"query": "q"}, "`relevant`: Field required"),
        ({"query": "q", "relevant": [ID], "relevent": []}, "`relevent`: Extra inputs"),
        ({"query": "q", "relevant": "articles:42"}, "`relevant`"),
        ({"query": "q", "relevant": {ID: -1}}, "`relevant`"),
        ({"query": "q", "relevant": {ID: 1.5}}, "`relevant`"),
        ({"query": "q", "relevant": []}, "no document that is relevant"),
        ({"query": "q", "relevant": {ID: 0}}, "no document that is relevant"),
        ({"query": "q", "relevant": ["42"]}, "'42' is no document id and not category:source id"),
        ({"query": "q", "relevant": ["articles:"]}, "'articles:' is no document id"),
        ({"query": "q", "relevant": [ID, "articles:42"]}, "names a document twice"),
    ],
    ids=str,
)
def test_a_line_that_is_wrong_is_named_with_what_to_write(tmp_path, line, told):
    path = write(tmp_path, {"query": "fine", "relevant": [ID]}, line)
    with pytest.raises(ConfigurationError) as error:
        read_golden(path)
    assert f"{path}, line 2: " in str(error.value)
    assert told in str(error.value)
    assert "A line is such as" in str(error.value)


def test_a_query_that_is_asked_twice_is_named_with_both_lines(tmp_path):
    path = write(tmp_path, {"query": "q", "relevant": [ID]}, {"query": "q", "relevant": ["a:1"]})
    with pytest.raises(ConfigurationError, match="line 2: the query is that of line 1"):
        read_golden(path)


def test_a_file_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"golden\.jsonl has no query"):
        read_golden(write(tmp_path, "", " "))
    with pytest.raises(ConfigurationError, match=r"Cannot read .*none\.jsonl: No such file"):
        read_golden(tmp_path / "none.jsonl")
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(ConfigurationError, match="latin is not UTF-8"):
        read_golden(tmp_path / "latin")
