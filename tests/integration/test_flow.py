"""From the embedded warehouse to search results as plain functions, without ZenML."""

import random
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count

import numpy as np
import pytest
from bson import ObjectId
from qdrant_client import QdrantClient

from feature_store.index import open_qdrant, read_metadata, serving_collection
from feature_store.settings import Settings
from inference.retriever import Retriever
from steps.extract.read import read_pages
from steps.report.summary import prove_invariants
from tests.flow import Flow, ModelCrashedError, Run, WatchedEncoder, note, notes_config
from tests.stand_in import HashEncoder
from tests.support import WORDS, make_notes
from warehouse.connection import open_warehouse

NOTES = 24
CATEGORIES = [
    {
        "name": "notes", "collection": "notes", "text": "body", "format": "markdown", "title": "title", "url": "link",
        "published_at": "at", "metadata": {"topic": "topic"},
    },
    {"name": "mails", "collection": "mails", "text": ["subject", "body"]},
]  # fmt: skip


def config(model):
    """Return a configuration of two categories and two indexes: both read the notes, one of them also the mails."""
    small = notes_config(model).indexes[0].model_dump()
    wide = {
        **small,
        "name": "wide",
        "categories": ["notes", "mails"],
        "chunking": {"window": 100, "overlap": 20, "heading_prefix": True},
    }
    return notes_config(model, categories=CATEGORIES, indexes=[small, wide])


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    with open_warehouse(Settings(data_dir=tmp_path_factory.mktemp("warehouse"), _env_file=None)) as database:
        yield database


@pytest.fixture(autouse=True)
def empty_warehouse(warehouse):
    for category in CATEGORIES:
        warehouse[category["collection"]].delete_many({})


@contextmanager
def installation(folder, model) -> Iterator[Flow]:
    """Give an empty installation."""
    with closing(QdrantClient(":memory:")) as client:
        yield Flow(folder, config(model), client)


@pytest.fixture
def flow(tmp_path, tiny_model):
    with installation(tmp_path / "first", tiny_model) as made:
        yield made


def pages(warehouse, flow):
    return {
        category.name: read_pages(warehouse, category.collection, category.paths(), 20)
        for category in flow.config.categories
    }


def run(warehouse, flow) -> Run:
    """Bring everything to the state of the warehouse, and prove what every run has to prove."""
    done = flow.run(pages(warehouse, flow))
    prove_invariants(done.raw, done.cleaned, [(index.chunks, index.embeddings, index.report) for index in done.indexes])
    return done


def content(flow, index):
    """Return point id to payload and vectors, of the collection that serves an index."""
    collection = serving_collection(flow.client, index)
    found = {}
    for identifier, (payload, vector) in flow.points(collection).items():
        sparse = dict(zip(vector["bm25"].indices, vector["bm25"].values, strict=True))
        found[identifier] = (payload, np.array(vector["dense"]), sparse)
    return found


def assert_same(first, second):
    assert first.keys() == second.keys()
    for identifier, (payload, dense, sparse) in first.items():
        other_payload, other_dense, other_sparse = second[identifier]
        assert payload == other_payload
        assert np.allclose(dense, other_dense, atol=1e-4)
        assert sparse == pytest.approx(other_sparse)


def fill(warehouse):
    warehouse.notes.insert_many(make_notes(NOTES))
    mails = [
        {"_id": ObjectId(), "subject": f"Mail {number}", "body": f"About the {WORDS[number]}."} for number in range(8)
    ]
    warehouse.mails.insert_many(mails)


def test_documents_of_the_warehouse_are_found_by_a_search(warehouse, flow):
    fill(warehouse)
    warehouse.notes.insert_one(
        note("zebra", "# Animals\n\nA zebra crossed the river.", title="Zebra", link="https://example.org/z")
    )
    done = run(warehouse, flow)
    assert {name: counts.added for name, counts in done.cleaned.categories.items()} == {"notes": NOTES + 1, "mails": 8}
    for index in ("notes_index", "wide"):
        best, *_ = Retriever.from_index(index, flow.client).search("zebra crossed")
        assert (best.title, best.url, best.heading_path) == ("Zebra", "https://example.org/z", ["Animals"])
    categories = {result.category for result in Retriever.from_index("wide", flow.client).search("mail", k=20)}
    assert categories == {"notes", "mails"}


def test_a_second_run_changes_nothing(warehouse, flow):
    fill(warehouse)
    run(warehouse, flow)
    before = {index: content(flow, index) for index in ("notes_index", "wide")}
    again = run(warehouse, flow)
    assert (again.cleaned.version, again.cleaned.previous_version) == (1, 1)
    assert {name: counts.unchanged for name, counts in again.cleaned.categories.items()} == {"notes": NOTES, "mails": 8}
    for index in again.indexes:
        assert (index.chunks.chunks, index.embeddings.embedded, index.report.written, index.report.removed) == (
            0,
            0,
            0,
            0,
        )
    for index, points in before.items():
        assert_same(content(flow, index), points)


def edit(warehouse, chance: random.Random) -> None:
    """Add, change and delete some documents at random: texts, metadata, unmapped fields, duplicates, bad ones."""
    names = sorted(document["_id"] for document in warehouse.notes.find({}, {"_id": 1}))
    for name in chance.sample(names, 3):
        warehouse.notes.delete_one({"_id": name})
    for name in chance.sample(names, 8):
        paragraphs = [" ".join(chance.choices(WORDS, k=chance.randint(5, 40))) for _ in range(chance.randint(1, 6))]
        change = chance.choice(
            [
                {"body": "\n\n".join(paragraphs)},
                {"body": f"# {chance.choice(WORDS)}\n\n{paragraphs[0]}"},
                {"body": "the same text in several notes"},
                {"body": None},
                {"topic": chance.choice(WORDS)},
                {"views": chance.randint(0, 9)},
            ]
        )
        warehouse.notes.update_one({"_id": name}, {"$set": change}, upsert=True)
    warehouse.notes.insert_many(make_notes(3, start=100 + chance.randrange(10_000)))
    mail = chance.choice(list(warehouse.mails.find()))
    warehouse.mails.update_one({"_id": mail["_id"]}, {"$set": {"body": f"Now about the {chance.choice(WORDS)}."}})


@pytest.mark.parametrize("seed", [1, 2])
def test_after_any_edits_the_index_is_that_of_a_fresh_installation(warehouse, flow, tmp_path, tiny_model, seed):
    fill(warehouse)
    run(warehouse, flow)
    chance = random.Random(seed)
    for _ in range(3):
        edit(warehouse, chance)
        run(warehouse, flow)
    with installation(tmp_path / "second", tiny_model) as fresh:
        run(warehouse, fresh)
        assert flow.texts() == fresh.texts()
        assert flow.rejects().keys() == fresh.rejects().keys()
        for index in ("notes_index", "wide"):
            assert_same(content(flow, index), content(fresh, index))


@pytest.mark.parametrize(
    ("where", "first"),
    [("commit", False), ("chunk", False), ("embed", False), ("upsert", False), ("commit", True), ("upsert", True)],
    ids=lambda value: value if isinstance(value, str) else ("first run" if value else "later run"),
)
def test_a_run_after_a_crash_makes_it_good(warehouse, flow, tmp_path, tiny_model, where, first):
    fill(warehouse)
    if not first:
        run(warehouse, flow)
    edit(warehouse, random.Random(3))
    crash(flow, pages(warehouse, flow), where)
    for index in flow.config.indexes:
        serving = serving_collection(flow.client, index.name)
        assert serving is None if first else read_metadata(flow.client, serving).version == 1
    edit(warehouse, random.Random(4))
    run(warehouse, flow)
    with installation(tmp_path / "second", tiny_model) as fresh:
        run(warehouse, fresh)
        assert flow.texts() == fresh.texts()
        for index in ("notes_index", "wide"):
            assert_same(content(flow, index), content(fresh, index))


def crash(flow, source, where):
    """Do what a run does up to the middle of a stage, and leave it there."""

    def die(shares):
        raise ModelCrashedError

    if where == "commit":
        with pytest.raises(ModelCrashedError):
            flow.commit(source, die)
        return
    _, cleaned = flow.commit(source)
    index = flow.config.indexes[0]
    chunks = flow.chunk(cleaned, index)
    if where == "chunk":
        return
    if where == "embed":
        flow.wrap_encoder = lambda encoder: WatchedEncoder(encoder, dies_after=0)
        with pytest.raises(ModelCrashedError):
            flow.embed(chunks, index)
        flow.wrap_encoder = lambda encoder: encoder
        return
    embeddings = flow.embed(chunks, index)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steps.load.apply._remove_stale", lambda *_: die(None))
        with pytest.raises(ModelCrashedError):
            flow.load(embeddings, cleaned, index)


def test_vectors_made_before_a_crash_are_not_made_again(warehouse, flow):
    fill(warehouse)
    _, cleaned = flow.commit(pages(warehouse, flow))
    index = flow.config.indexes[0]
    embedded = flow.embed(flow.chunk(cleaned, index), index).embedded
    assert embedded > 0
    assert run(warehouse, flow).indexes[0].embeddings.embedded == 0


BAD = {
    "no text": ({"title": "No text"}, "missing_text"),
    "bytes": ({"body": b"\x00\x01bytes"}, "not_text"),
    "huge": ({"body": "word " * 600_000}, "too_large"),
    "date": ({"body": "a text", "at": "the day after tomorrow"}, "undecodable_date"),
    "binary": ({"body": "\x00\x01\x02\x03" * 50}, "binary_text"),
    "blank": ({"body": " \n\n "}, "empty"),
}


def test_bad_documents_are_kept_as_rejects_with_their_reason_and_the_others_arrive(warehouse, flow):
    fill(warehouse)
    warehouse.notes.insert_many([{"_id": name, **fields} for name, (fields, _) in BAD.items()])
    warehouse.notes.insert_one(note("nul", "A text with a NUL\x00 in it about an okapi."))
    warehouse.notes.insert_one(note(1.5, "an id that is no id"))
    done = run(warehouse, flow)
    rejects = flow.rejects()
    reasons = {name: row["reason"] for name, row in rejects.items() if name in BAD}
    assert reasons == {name: reason for name, (_, reason) in BAD.items()}
    (odd,) = (row for name, row in rejects.items() if name not in BAD)
    assert odd["reason"] == "unsupported_id"
    assert all(
        row["detail"] and len(row["excerpt"]) <= 200 and row["excerpt"].isprintable() for row in rejects.values()
    )
    counts = done.cleaned.categories["notes"]
    assert (counts.read, counts.added, counts.rejected) == (NOTES + 8, NOTES + 1, 7)
    best, *_ = Retriever.from_index("notes_index", flow.client).search("okapi")
    assert best.payload["source_id"] == "nul"
    assert "\x00" not in best.text
    assert run(warehouse, flow).cleaned.version == 1


def test_a_warehouse_that_was_emptied_takes_nothing_with_it(warehouse, flow):
    fill(warehouse)
    run(warehouse, flow)
    warehouse.notes.delete_many({})
    done = run(warehouse, flow)
    assert (done.raw.categories["notes"].deleted, done.raw.categories["notes"].held_back) == (0, NOTES)
    assert done.cleaned.version == 1
    assert len(flow.live()) == NOTES + 8


class LongVectors(HashEncoder):
    """A model that is compared by cosine and does not normalise."""

    def embed_documents(self, texts):
        return 3 * super().embed_documents(texts)


def test_vectors_that_a_model_does_not_normalise_are_right_after_the_folder_was_opened_anew(tmp_path):
    documents = [note(number, f"The text of note {number}.") for number in range(20)]
    for changed in (documents, [*documents[1:], note(0, "Another text.")]):
        with open_qdrant(Settings(data_dir=tmp_path, _env_file=None)) as client:
            flow = Flow(tmp_path, notes_config(), client)
            flow._runs = count(time.time_ns())
            flow.load_encoder = lambda _: LongVectors(fingerprint="10ng", normalised=False)
            run = flow.run(changed)
            assert run.index.report.points == run.index.report.expected_points == 20
