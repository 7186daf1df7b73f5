"""Files of artifacts: what names or shows an erased document is replaced, everything else stays byte for byte."""

import json

import pytest

from feature_store.ids import document_id
from feature_store.journal import ErasedDocument
from feature_store.traces import Traces
from pipelines.artifacts import NOTE, clean_file

SOURCE = "person-0042"
ID = document_id("notes", SOURCE)
OTHER = document_id("notes", "other")
TRACES = Traces({ID: ErasedDocument(category="notes", source_id=SOURCE)}, frozenset({"has said much about it"}))


def test_a_handle_keeps_its_figures_and_the_samples_of_other_documents():
    handle = {"chunks": 7, "samples": [{"document_id": ID, "text": "x"}, {"document_id": OTHER, "text": "y"}]}
    cleaned = json.loads(clean_file("store/chunks/handle.json", json.dumps(handle), TRACES))
    assert cleaned == {"chunks": 7, "samples": [{"document_id": OTHER, "text": "y"}]}


def test_samples_that_do_not_say_whose_they_are_go():
    handle = {"samples": [{"title": "whose?", "text": "x"}]}
    assert json.loads(clean_file("handle.json", json.dumps(handle), TRACES)) == {"samples": []}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("samples.html", f"<h1>Samples</h1><pre>{OTHER}: text</pre><pre>{ID}: text</pre>"),
        ("samples.html", f"<h1>Samples</h1><p>{OTHER}</p><pre>She has said much about it.</pre>"),
        ("samples.html", "<h1>Samples of an earlier release</h1><pre>A text without a name</pre>"),
        ("samples.csv", "category,source_id,fields\nnotes,other,{}\n"),
        ("samples.csv", f"document_id,fields\n{ID},x\n"),
        ("summary.md", f"# Rejected\n\n| {SOURCE.replace('-', chr(92) + '-')} | too long |\n"),
        ("output.md", f"captured: an event names {SOURCE!r}"),
    ],
    ids=["named", "quoted", "unnamed texts", "unnamed rows", "a row", "escaped", "a report"],
)
def test_a_view_that_may_show_it_is_replaced_by_a_note(name, content):
    cleaned = clean_file(name, content, TRACES)
    assert NOTE in cleaned
    assert cleaned.startswith({"html": "<!doctype html>", "md": "# Erased", "csv": "note\n"}[name.rsplit(".")[-1]])
    assert clean_file(name, cleaned, TRACES) == cleaned  # once is enough


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("handle.json", '{"chunks":7,   "samples": []}'),
        ("data.json", "not json"),
        ("charts.html", "<svg><title>articles: 7</title></svg>"),
        ("samples.html", f"<pre>{OTHER}: text</pre>"),
        ("samples.csv", f"document_id,fields\n{OTHER},x\n"),
        ("summary.md", "# Chunks\n"),
        ("step.log", '{"message":"Step has started."}\nplain\n'),
    ],
)
def test_what_does_not_show_it_stays_as_it_is(name, content):
    assert clean_file(name, content, TRACES) == content


def test_lines_of_a_log_that_name_it_lose_their_message():
    lines = [
        json.dumps({"message": f"rejected: notes {SOURCE}: Field body is missing", "level": 30}),
        json.dumps({"message": "Step has finished", "level": 20}),
        f"Traceback about {ID}",
    ]
    cleaned = clean_file("logs/step.log", "\n".join(lines) + "\n", TRACES).splitlines()
    assert json.loads(cleaned[0]) == {"message": "(forgotten)", "level": 30}
    assert cleaned[1] == lines[1]
    assert cleaned[2] == "(forgotten)"


def test_a_line_whose_letters_are_spelled_by_number_loses_its_message():
    name = "Zoë-Müller"
    traces = Traces({document_id("notes", name): ErasedDocument(category="notes", source_id=name)})
    line = json.dumps({"message": f"rejected: notes {name}: too long", "level": "info"}) + "\n"
    assert name not in line
    assert json.loads(clean_file("step.log", line, traces)) == {"message": "(forgotten)", "level": "info"}
