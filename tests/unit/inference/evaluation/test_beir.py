"""Test collections in BEIR's layout."""

import json

import pytest

from feature_store.errors import ConfigurationError
from inference.evaluation.beir import BeirDocument, read_corpus, read_queries
from inference.evaluation.golden import GoldenQuery

HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "qrels").mkdir()
    write(tmp_path / "corpus.jsonl", {"_id": "d1", "title": "One", "text": "first", "metadata": {}})
    write(tmp_path / "queries.jsonl", {"_id": "q1", "text": "what?"}, {"_id": "q2", "text": "why?"})
    (tmp_path / "qrels" / "test.tsv").write_text(HEADER + "q2\td1\t2\nq2\td2\t0\nq1\td1\t0\n")
    return tmp_path


def write(path, *entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")


def test_documents_have_id_title_and_text(folder):
    write(folder / "corpus.jsonl", {"_id": "d1", "title": "One", "text": "first"}, {"_id": "d2", "text": "a\u2028b"})
    assert [document.model_dump() for document in read_corpus(folder)] == [
        {"id": "d1", "title": "One", "text": "first"},
        {"id": "d2", "title": "", "text": "a\u2028b"},
    ]
    assert isinstance(next(iter(read_corpus(folder))), BeirDocument)


def test_queries_with_a_relevant_document_are_read_with_all_their_judgements(folder):
    assert read_queries(folder) == [GoldenQuery("q2", "why?", {"d1": 2, "d2": 0})]


def test_queries_are_those_of_the_split(folder):
    (folder / "qrels" / "dev.tsv").write_text("q1\td1\t1\n")  # some collections have no header
    assert read_queries(folder, "dev") == [GoldenQuery("q1", "what?", {"d1": 1})]


@pytest.mark.parametrize(
    ("judgements", "told"),
    [
        ("q1\td1\n", "line 2 is not a query id, a document id and a whole number"),
        ("q1\td1\t1\nq1\td1\tyes\n", "line 3 is not"),
        ("q9\td1\t1\n", "line 2: there is no query 'q9'"),
        ("q1\td1\t1\nq1\td1\t1\n", "line 3: document 'd1' was judged for query 'q1' already"),
        ("q1\td1\t0\n", "names no document that is relevant"),
    ],
    ids=lambda value: value.splitlines()[-1],
)
def test_judgements_that_are_wrong_are_named_by_file_and_line(folder, judgements, told):
    path = folder / "qrels" / "test.tsv"
    path.write_text(HEADER + judgements)
    with pytest.raises(ConfigurationError) as error:
        read_queries(folder)
    assert str(path) in str(error.value)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('{"_id": "q1", "text": "a"}\n{"_id": "q1", "text": "b"}\n', "line 2: the id 'q1' was there before"),
        ('{"_id": "q1", "text": " "}\n', "line 1: `text`"),
        ('{"_id": 1, "text": "a"}\n', "line 1: `_id`"),
        ('{"id": "q1", "text": "a"}\n', "line 1: `_id`: Field required"),
        ("\nnothing\n", "line 2: Invalid JSON"),
    ],
    ids=lambda value: value,
)
def test_queries_that_are_wrong_are_named_by_file_and_line(folder, lines, told):
    (folder / "queries.jsonl").write_text(lines)
    with pytest.raises(ConfigurationError) as error:
        read_queries(folder)
    assert f"{folder / 'queries.jsonl'}, {told}" in str(error.value)


def test_a_file_that_is_not_there_is_named_with_the_layout(folder):
    with pytest.raises(ConfigurationError, match=r"Cannot read .*qrels/train\.tsv: .*The layout is that of BEIR"):
        read_queries(folder, "train")
