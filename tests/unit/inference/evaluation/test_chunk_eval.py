"""Texts whose answers are marked."""

import csv
import json

import pytest

from feature_store.errors import ConfigurationError
from inference.evaluation.chunk_eval import Question, read_chunk_evaluation
from inference.evaluation.spans import Span

TEXT = "A first line.\nThe answer: “forty-two”.\n"


def write(folder, *rows, columns=("question", "references", "corpus_id")):
    with (folder / "questions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    (folder / "deep.md").write_text(TEXT, encoding="utf-8")
    return folder


def reference(start, end, content=None):
    return {"content": TEXT[start:end] if content is None else content, "start_index": start, "end_index": end}


def test_questions_have_the_places_of_their_answers(tmp_path):
    write(tmp_path, ["What,\nthen?", json.dumps([reference(14, 24), reference(26, 37)]), "deep"])
    data = read_chunk_evaluation(tmp_path)
    assert data.corpora == {"deep": TEXT}
    assert data.questions == [Question("What,\nthen?", [Span("deep", 14, 24), Span("deep", 26, 37)])]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ([" ", json.dumps([reference(0, 5)]), "deep"], "row 2: the question is empty"),
        (["q", "[]", "deep"], "row 2: `references`: List should have at least 1 item"),
        (["q", "none", "deep"], "row 2: `references`: Invalid JSON"),
        (["q", json.dumps([reference(0, 5, "Other")]), "deep"], "row 2: deep.md does not have the text"),
        (["q", json.dumps([reference(5, 5)]), "deep"], "row 2: deep.md does not have the text"),
        (["q", json.dumps([reference(0, 999)]), "deep"], "row 2: deep.md does not have the text"),
        (["q", json.dumps([reference(0, 5)]), "blue"], "Cannot read"),
        (["q"], "Cannot read"),
    ],
    ids=str,
)
def test_a_row_that_is_wrong_is_named(tmp_path, row, told):
    write(tmp_path, ["fine", json.dumps([reference(0, 5)]), "deep"], row)
    with pytest.raises(ConfigurationError, match=told):
        read_chunk_evaluation(tmp_path)


def test_a_folder_without_questions_says_what_belongs_there(tmp_path):
    with pytest.raises(ConfigurationError, match=r"Cannot read .*questions\.csv: .*The folder holds"):
        read_chunk_evaluation(tmp_path)
    with pytest.raises(ConfigurationError, match="lacks the columns corpus_id, references"):
        read_chunk_evaluation(write(tmp_path, columns=("question",)))
    with pytest.raises(ConfigurationError, match="has no question"):
        read_chunk_evaluation(write(tmp_path))
