"""What a document is recognised by, and what becomes of texts and values that name or quote it."""

import json
from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.config import validate_parameters
from feature_store.ids import document_id
from feature_store.journal import ErasedDocument
from feature_store.traces import Traces, gather, known_documents, search_files
from tests.flow import CATEGORY, Flow, note, notes_config

SOURCE = "person-0042"
ID = document_id("notes", SOURCE)
TRACES = Traces({ID: ErasedDocument(category="notes", source_id=SOURCE)}, frozenset({"has said much <about> it"}))


def traces_of(source):
    return Traces({document_id("notes", source): ErasedDocument(category="notes", source_id=source)})


@pytest.mark.parametrize(
    "text",
    [
        f"rejected: notes {SOURCE}: too long",
        f"an event names {SOURCE!r}, which",
        f'"{SOURCE}"',
        f"document {ID}.",
        SOURCE,
    ],
)
def test_a_text_that_names_the_document_no_longer_does(text):
    assert TRACES.names_in(text)
    hidden = TRACES.hidden(text)
    assert "(forgotten)" in hidden
    assert SOURCE not in hidden
    assert ID not in hidden


@pytest.mark.parametrize("text", [f"{SOURCE}1", f"x{SOURCE}", f"{SOURCE}-b", f"{SOURCE}_b", "person", ""])
def test_a_longer_name_is_another_one(text):
    assert not TRACES.are_in(text)
    assert TRACES.hidden(text) == text


def test_a_short_id_counts_only_in_quotes():
    short = traces_of("a")
    assert not short.names_in("a note about a river")
    assert short.hidden("an event names 'a', which") == "an event names (forgotten), which"


def test_nothing_is_named_where_nothing_is_erased():
    assert not Traces({}).are_in("anything")
    assert Traces({}).hidden_in({"a": ["b"]}) == {"a": ["b"]}


@pytest.mark.parametrize(
    "quoted",
    [
        "She has said much <about> it.",
        f"<p>{escape('has said much <about> it')}</p>",
        "has said\nmuch   &lt;about\\&gt; it",
    ],
)
def test_a_quotation_is_found_however_it_is_escaped(quoted):
    assert TRACES.are_in(quoted)


def test_a_value_loses_its_rows_about_the_document_and_keeps_the_others():
    value = {
        "samples": [{"document_id": ID, "text": "x"}, {"document_id": "other", "text": "y"}, {"text": "whose?"}],
        "pairs": [{"left": "other", "right": ID}, {"left": "other", "right": "another"}],
        "captures": {"notes": {"reason": f"an event names {SOURCE!r}"}},
        "title": "She has said much <about> it.",
        "count": 3,
    }
    assert TRACES.hidden_in(value) == {
        "samples": [{"document_id": "other", "text": "y"}],
        "pairs": [{"left": "other", "right": "another"}],
        "captures": {"notes": {"reason": "an event names (forgotten)"}},
        "title": "(forgotten)",
        "count": 3,
    }


@pytest.mark.parametrize(
    ("source", "value"),
    [
        (SOURCE, json.dumps({"token": {"_data": "82" + SOURCE.encode().hex().upper() + "00"}})),
        ("ObjectId:65a1b2c3d4e5f60718293a4b", '{"token": {"_data": "8264A065A1B2C3D4E5F60718293A4B04"}}'),
        (SOURCE, json.dumps({"token": SOURCE})),
    ],
    ids=["a string in a token", "an ObjectId in a token", "as it is"],
)
def test_a_position_that_spells_the_id_is_given_up(source, value):
    position = {"mode": "log", "rules": "r", "source": "s", "value": value}
    assert traces_of(source).hidden_in({"positions": {"notes": position}})["positions"]["notes"] == {
        **position,
        "value": None,
    }
    other = {**position, "value": '{"token": {"_data": "8200"}}'}
    assert traces_of(source).hidden_in(other) == other


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_a_value_that_does_not_mention_it_stays_as_it_is(value):
    assert TRACES.hidden_in(value) == value


def test_all_that_the_store_ever_held_is_gathered_but_for_what_others_have_too(tmp_path):
    flow = Flow(tmp_path / "data", notes_config(cleaning={"max_rejected_share": 1.0}))
    shared = "A sentence that is in two notes."
    flow.commit([note(SOURCE, f"The first text of it.\n\n{shared}", title="First title"), note("b", shared)])
    flow.commit([note(SOURCE, "The second text of it.", title="Second title", topic="a topic"), note("b", shared)])
    flow.commit([note(SOURCE, None), note("b", shared)])
    traces = gather(flow.store, {ID: ErasedDocument()})
    assert traces.documents == {ID: ErasedDocument(category="notes", source_id=SOURCE)}
    assert traces.phrases >= {"The first text of it.", "The second text of it.", "First title", "Second title"}
    assert shared not in traces.phrases
    assert shared in traces.shared
    assert SOURCE.encode() in traces.in_bytes()
    assert ID.encode() in traces.in_bytes()


def test_a_name_that_hides_another_is_no_name(tmp_path):
    flow = Flow(tmp_path / "data", notes_config(cleaning={"max_rejected_share": 1.0}))
    (tmp_path / "data" / "feature_store").mkdir(parents=True)
    (tmp_path / "data" / "feature_store" / "suppressed.json").write_text(json.dumps({ID: "now"}))
    flow.commit([note(SOURCE, "text"), note("b", "text")])
    assert known_documents(flow.store, {ID: ErasedDocument()}) == {ID: ErasedDocument()}


def test_files_are_searched_for_bytes(tmp_path):
    contents = {"hit": b"x" * 5000 + b"MARKER" + b"y", "miss": b"MARKE R", "empty": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert [path.name for path in search_files(sorted(tmp_path.iterdir()), [b"nothing", b"MARKER"])] == ["hit"]


@pytest.mark.parametrize("word", ["generation", "positions", "text_hash", "documents"])
def test_a_word_that_every_file_is_made_of_tells_nobody(word, tmp_path):
    flow = Flow(tmp_path, notes_config())
    flow.commit([note(word, "A text about a river.", title=word), note("other", "A text about a bridge.")])
    traces = gather(flow.store, {document_id("notes", word): ErasedDocument()})
    assert word not in traces.phrases
    assert word.encode() not in traces.in_bytes()
    record = {"number": 1, "generation": 2, "positions": {"notes": "documents"}, "message": f"all but {word!r}"}
    assert traces.hidden_in(record) == {**record, "message": "all but (forgotten)"}


def test_the_names_of_fields_stay_whatever_a_document_is_called():
    assert traces_of("feature_pipeline").hidden_in({"feature_pipeline": 1}) == {"feature_pipeline": 1}
    assert TRACES.hidden_in({SOURCE: 1, ID: 2}) == {"(forgotten)": 2}


def test_a_title_that_is_the_category_of_others_is_no_phrase(tmp_path):
    category = {**CATEGORY, "name": "articles"}
    flow = Flow(tmp_path, validate_parameters({"categories": [category], "indexes": []}, "a test"))
    flow.commit([note("a", "A text about a river.", title="articles"), note("b", "A text about a bridge.")])
    assert "articles" not in gather(flow.store, {document_id("articles", "a"): ErasedDocument()}).phrases
