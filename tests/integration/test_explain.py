"""From a point or a document back to the warehouse, and forward to whatever holds it."""

import json

import pyarrow as pa
import pytest
import typer
from bson import ObjectId
from qdrant_client import models
from typer.testing import CliRunner

from commands import explain as commands
from feature_store.errors import LockedError, TerminalError, TransientError
from feature_store.exports import MEMBERS, ExportRecord, save_export
from feature_store.ids import document_id
from feature_store.index import open_qdrant, serving_collection
from feature_store.releases import Release, save_release
from feature_store.suppression import suppress
from feature_store.versions import now
from pipelines.explain import explain
from pipelines.rebuild import rebuild_release
from pipelines.release import make_release
from tests.flow import CATEGORY, Flow, note, notes_config
from tests.stand_in import HashEncoder
from tests.support import fill_warehouse

OBJECT_ID = ObjectId("65f000000000000000000001")
LONG = " ".join(f"Sentence number {number} says something else." for number in range(30))
DOCUMENTS = [
    note("a", LONG, title="A long [note]"),
    note("b", "short"),
    note(7, "seven"),
    note(OBJECT_ID, "an object"),
    note("int:9", "a text that looks like a typed id"),
    note("bad", None),
]


class Installation:
    def __init__(self, settings) -> None:
        self.settings = settings
        self.config = notes_config()
        self.flow = Flow(settings.data_dir, self.config)
        self.flow.load_encoder = lambda config: HashEncoder()

    def run(self, documents, warehouse=True) -> None:
        if warehouse:
            fill_warehouse(self.settings, documents)
        with open_qdrant(self.settings) as client:
            self.flow.client = client
            self.flow.run(documents)

    def explain(self, identifier):
        return explain(self.settings, self.config, identifier)


@pytest.fixture
def installation(settings):
    installation = Installation(settings)
    installation.run(DOCUMENTS)
    return installation


def edited():
    return [note("a", LONG.replace("number 3 ", "number three "), title="A long [note]"), *DOCUMENTS[1:]]


def test_a_point_is_followed_back_to_the_warehouse(installation):
    document = document_id("notes", "a")
    chunks = installation.explain(document).indexes[0].chunks
    found = installation.explain(chunks[2].chunk_id)
    assert found.chunk is not None
    assert found.chunk.chunk == chunks[2]
    assert (found.chunk.index, found.chunk.serving, found.chunk.version) == ("notes_index", True, 1)
    assert found.chunk.is_in_document
    around = found.chunk.before + found.chunk.chunk.text + found.chunk.after
    assert around in LONG
    assert found.chunk.before
    assert found.chunk.after
    assert (found.document_id, found.category, found.source_id, found.state) == (document, "notes", "a", "live")
    assert found.document is not None
    assert found.document.text == LONG
    assert found.document.described["title"] == "A long [note]"
    assert found.document.added_in.run_id == installation.flow.store.version(1).run_id
    assert found.raw is not None
    assert (found.raw.state, found.raw.collection, found.raw.source_id) == ("same", "notes", "a")


@pytest.mark.parametrize(
    ("asked", "source"),
    [
        ("notes:a", "a"),
        (" notes:a ", "a"),
        (document_id("notes", "a"), "a"),
        (document_id("notes", "a").upper(), "a"),
        ("notes:int:7", "int:7"),
        ("notes:7", "int:7"),
        (f"notes:ObjectId:{OBJECT_ID}", f"ObjectId:{OBJECT_ID}"),
        (f"notes:{OBJECT_ID}", f"ObjectId:{OBJECT_ID}"),
        ("notes:int:9", "str:int:9"),
        ("notes:str:int:9", "str:int:9"),
    ],
)
def test_a_document_is_found_by_its_id_or_its_name_in_the_warehouse(installation, asked, source):
    found = installation.explain(asked)
    assert (found.source_id, found.document_id, found.chunk) == (source, document_id("notes", source), None)
    assert found.raw is not None
    assert found.raw.state == "same"


@pytest.mark.parametrize(
    "asked", ["notes:nothing", "other:a", "gibberish", "7d444840-9dc0-11d1-b245-5ffdce74fad2", "", ":", "notes:\udcff"]
)
def test_an_unknown_id_is_told_with_what_was_searched(installation, asked):
    with pytest.raises(TerminalError, match=r"Searched were the 5 documents.*1 rejects.*categories are: notes") as told:
        installation.explain(asked)
    assert told.value.exit_code == 1
    assert ("points of every collection" in str(told.value)) == asked.startswith("7d")


def test_an_empty_store_explains_nothing(settings):
    with pytest.raises(TerminalError, match="no version yet"):
        explain(settings, notes_config(), "notes:a")


def test_a_rejected_document_is_explained_by_its_reject(installation):
    found = installation.explain("notes:bad")
    assert found.state == "rejected"
    assert found.reject is not None
    assert found.reject.rejected_in.version == 1
    assert found.reject.reason
    assert (found.document, found.indexes) == (None, [])


def test_a_deleted_document_says_since_when(installation):
    installation.run([document for document in DOCUMENTS if document["_id"] != "b"])
    found = installation.explain("notes:b")
    assert found.state == "deleted"
    assert found.document is not None
    assert (found.document.text, found.document.added_in.version, found.document.changed_in.version) == (None, 1, 2)
    assert found.indexes == []
    assert found.raw is not None
    assert found.raw.state == "gone"


def test_a_document_that_changed_in_the_warehouse_since_is_told(installation):
    fill_warehouse(installation.settings, edited())
    found = installation.explain("notes:a")
    assert found.raw is not None
    assert found.raw.state == "differs"


def test_a_document_that_is_marked_as_deleted_counts_as_gone(installation):
    fill_warehouse(installation.settings, [note("a", LONG, gone=True), note("b", "short", gone=False)])
    config = notes_config(categories=[{**CATEGORY, "deleted_field": "gone"}])
    a, b = (explain(installation.settings, config, name).raw for name in ("notes:a", "notes:b"))
    assert a is not None
    assert b is not None
    assert (a.state, a.detail) == ("gone", "marked as deleted by gone")
    assert b.state == "same"


def test_a_chunk_of_an_index_that_lags_is_explained_at_its_own_version(installation):
    old = installation.explain("notes:a").indexes[0].chunks[0]
    installation.flow.commit([note("a", "Nothing is left of it."), *DOCUMENTS[1:]])
    found = installation.explain(old.chunk_id)
    assert found.chunk is not None
    assert found.document is not None
    assert (found.chunk.version, found.document.version, found.document.text) == (1, 1, LONG)
    assert found.chunk.is_in_document
    at_newest = installation.explain("notes:a").document
    assert at_newest is not None
    assert at_newest.text == "Nothing is left of it."


def test_a_chunk_whose_version_was_pruned_is_still_explained(installation):
    old = installation.explain("notes:a").indexes[0].chunks[0]
    installation.flow.commit(edited())
    (installation.flow.store.folder / "versions" / "00000001.json").unlink()
    found = installation.explain(old.chunk_id)
    assert found.chunk is not None
    assert found.document is not None
    assert (found.chunk.is_in_document, found.document.version) == (None, 2)
    assert (found.document.added_in.version, found.document.added_in.run_id) == (1, None)


def test_a_warehouse_that_does_not_answer_is_said_and_not_fatal(installation, monkeypatch):
    def refuse(settings):
        raise TransientError("No server answered.")

    monkeypatch.setattr("pipelines.explain.open_warehouse", refuse)
    found = installation.explain("notes:a")
    assert found.raw is not None
    assert (found.raw.state, found.raw.detail) == ("unknown", "could not be looked at: No server answered.")


def test_a_qdrant_that_does_not_answer_is_said_and_not_fatal_for_a_document(installation, monkeypatch):
    def refuse(settings):
        raise LockedError("Qdrant is open elsewhere.")

    monkeypatch.setattr("pipelines.explain.open_qdrant", refuse)
    found = installation.explain("notes:a")
    assert (found.indexes, found.problems) == ([], ["Not searched: Qdrant is open elsewhere."])
    with pytest.raises(TerminalError, match="Not searched: Qdrant is open elsewhere"):
        installation.explain("7d444840-9dc0-11d1-b245-5ffdce74fad2")


def test_a_document_leads_to_its_indexes_exports_and_releases(installation):
    store = installation.flow.store
    for name, members in (("with", ["a", "b"]), ("without", ["b"])):
        record = ExportRecord(
            export_id=name,
            created_at=now(),
            version=1,
            version_run_id="0",
            store_id="s",
            format="jsonl",
            folder="folder",
            options={},
        )
        rows = [{"document_id": document_id("notes", member), "split": "train"} for member in members]
        save_export(store.folder, record, [pa.RecordBatch.from_pylist(rows, schema=MEMBERS)])
    installation.run([note("new", "later"), *edited()])
    for name, version in (("first", 1), ("second", 2), ("pruned", 99)):
        values = {"store_id": "s", "version_run_id": "0", "config_fingerprint": "", "documents_digest": ""}
        release = Release(name=name, created_at=now(), version=version, documents=1, **values)
        save_release(store.folder, release)
    found = installation.explain("notes:a")
    assert [(export.export_id, export.split) for export in found.exports] == [("with", "train")]
    assert found.releases == ["first", "second"]
    assert installation.explain("notes:new").releases == ["second"]
    installation.run([note("new", "later"), *edited()[1:]], warehouse=False)
    save_release(store.folder, Release(name="third", created_at=now(), version=3, documents=1, **values))
    assert installation.explain("notes:a").releases == ["first", "second"]
    assert [(index.index, index.serving) for index in found.indexes] == [("notes_index", True)]


def test_collections_that_do_not_serve_are_told_apart(installation):
    index = installation.config.indexes[0].model_dump() | {"chunking": {"window": 48, "overlap": 8}}
    installation.flow.config = notes_config(indexes=[index])
    installation.run(DOCUMENTS)
    found = installation.explain("notes:a")
    assert [index.serving for index in found.indexes] == [True, False]
    assert len(found.indexes[0].chunks) < len(found.indexes[1].chunks)
    positions = [chunk.position for chunk in found.indexes[1].chunks]
    assert positions == list(range(len(positions)))


def test_the_collection_of_the_configured_index_comes_before_a_rebuilt_one(installation, monkeypatch):
    for module in ("pipelines.release", "pipelines.rebuild"):
        monkeypatch.setattr(f"{module}.load_encoder", lambda config: HashEncoder())
    make_release(installation.settings, installation.config, "spring")
    rebuild_release(installation.settings, installation.config, "spring")
    found = installation.explain("notes:a")
    assert [(index.index, index.serving) for index in found.indexes] == [
        ("notes_index", True),
        ("notes_index@spring", True),
    ]
    chunk = installation.explain(found.indexes[0].chunks[0].chunk_id).chunk
    assert chunk is not None
    assert chunk.index == "notes_index"


@pytest.mark.parametrize("payload", [{}, {"document_id": document_id("notes", "a")}], ids=["empty", "of a document"])
def test_a_point_that_somebody_else_wrote_is_no_chunk(installation, payload):
    point = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
    with open_qdrant(installation.settings) as client:
        collection = serving_collection(client, "notes_index")
        client.upsert(collection, points=[models.PointStruct(id=point, vector={}, payload=payload)])
    with pytest.raises(TerminalError, match="Nothing is known"):
        installation.explain(point)
    assert point not in {chunk.chunk_id for chunk in installation.explain("notes:a").indexes[0].chunks}


def test_collections_of_others_are_left_alone(installation):
    with open_qdrant(installation.settings) as client:
        size = models.VectorParams(size=2, distance=models.Distance.COSINE)
        client.create_collection("somebody_elses", vectors_config=size)
    assert len(installation.explain("notes:a").indexes) == 1


def test_a_forgotten_document_is_known_to_be_forgotten(installation):
    unknown = document_id("notes", "never")
    suppress(installation.flow.store.folder, [unknown])
    found = installation.explain("notes:never")
    assert (found.state, found.document_id, found.document, found.raw) == ("forgotten", unknown, None, None)


def test_a_category_that_is_configured_no_more_is_said(installation):
    other = notes_config(categories=[{"name": "others", "collection": "notes", "text": "body"}], indexes=[])
    found = explain(installation.settings, other, "notes:a")
    assert found.raw is not None
    assert (found.raw.state, found.raw.detail) == ("unknown", "the configuration has no category notes")


@pytest.fixture
def call(installation, monkeypatch):
    monkeypatch.setattr(commands, "started", lambda: installation.settings)
    monkeypatch.setattr(commands, "load_config", lambda path: installation.config)
    application = typer.Typer(pretty_exceptions_enable=False)
    application.command("explain")(commands.explain)
    return lambda *arguments: CliRunner().invoke(application, list(arguments))


def test_the_way_is_printed_with_the_texts(call, installation):
    chunk = installation.explain("notes:a").indexes[0].chunks[1]
    result = call(chunk.chunk_id)
    assert result.exit_code == 0
    assert f"Chunk {chunk.chunk_id}" in result.stdout
    assert chunk.text in result.stdout
    assert "title: A long [note]" in result.stdout
    assert "added in version 1, " in result.stdout
    assert "Raw document collection notes, _id a: same" in result.stdout
    assert "index notes_index (serves), " in result.stdout


def test_a_reject_is_printed_with_its_reason(call):
    result = call("notes:bad")
    assert "notes:bad: rejected" in result.stdout
    assert "rejected as " in result.stdout
    assert "no index, export or release" in result.stdout


def test_json_has_everything_and_nothing_else(call, installation):
    result = call("notes:a", "--json")
    assert json.loads(result.stdout) == installation.explain("notes:a").model_dump(mode="json")


def test_a_deleted_document_is_printed_with_its_version(call, installation):
    installation.run([document for document in DOCUMENTS if document["_id"] != "b"])
    result = call("notes:b")
    assert "at version 2: deleted" in result.stdout
    assert "deleted in version 2, " in result.stdout
