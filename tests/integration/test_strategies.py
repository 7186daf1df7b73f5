"""Families and sizes from the documents to Qdrant: exact points, cheap edits, and every command that reads them."""

import json
import random
from contextlib import closing, nullcontext

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from feature_store.errors import ReconciliationError
from feature_store.ids import document_id, text_hash
from feature_store.index import open_qdrant, serving_collection, vector_names
from feature_store.index_record import IndexRecord
from feature_store.records import CleanedDocument
from feature_store.settings import Settings
from pipelines.explain import explain
from pipelines.plan import make_plan
from pipelines.rebuild import rebuild_release
from pipelines.release import make_release
from steps.chunk.payload import make_payload
from steps.chunk.strategies import CHUNKERS
from steps.load.erase import erase_points
from tests.flow import Flow, ModelCrashedError, note, notes_config
from tests.stand_in import HashEncoder, hashed_vectors
from tests.support import WORDS
from warehouse.connection import open_warehouse

INDEX = "notes_index"
STRATEGIES = {
    "small_to_big": {"strategy": "small_to_big", "child": {"window": 24}, "parent": {"window": 96}},
    "small_to_big by sections": {
        "strategy": "small_to_big",
        "child": {"window": 24, "overlap": 8},
        "parent": {"window": 96, "unit": "section"},
        "heading_prefix": True,
    },
    "multi_size": {
        "strategy": "multi_size",
        "sizes": [{"window": 96, "overlap": 48}, {"window": 24, "overlap": 12}],
    },
}
FAMILIES = [name for name in STRATEGIES if "big" in name]


def sentence(number):
    return f"Sentence {number} tells of {' '.join(random.Random(number).choices(WORDS, k=8))}."


def long_note(name, numbers=range(44), **fields):
    sentences = [sentence(number) for number in numbers]
    paragraphs = [" ".join(sentences[start : start + 4]) for start in range(0, len(sentences), 4)]
    sections = [f"## Part {place}\n\n{paragraph}" for place, paragraph in enumerate(paragraphs)]
    return note(name, "\n\n".join(sections), **fields)


def edited(document, number):
    body = document["body"].replace(f"Sentence {number} tells", f"Sentence {number} sings")
    assert body != document["body"]
    return {**document, "body": body}


DOCUMENTS = [long_note("a", title="A"), long_note("b", range(100, 116)), note("c", "Few words.")]
EDITED = [edited(DOCUMENTS[0], 21), *DOCUMENTS[1:]]


class Watched:
    """A client that notes the ids of the points that are written, updated and removed."""

    def __init__(self, client):
        self.client = client
        self.upserted, self.updated, self.removed = set(), set(), set()

    def __getattr__(self, name):
        return getattr(self.client, name)

    def upsert(self, collection, points, **options):
        self.upserted |= {point.id for point in points}
        return self.client.upsert(collection, points=points, **options)

    def batch_update_points(self, collection, update_operations, **options):
        self.updated |= {point for each in update_operations for point in each.overwrite_payload.points}
        return self.client.batch_update_points(collection, update_operations=update_operations, **options)

    def delete(self, collection, points_selector, **options):
        self.removed |= set(getattr(points_selector, "points", ()))
        return self.client.delete(collection, points_selector=points_selector, **options)


def configuration(strategy):
    index = notes_config().indexes[0].model_dump() | {"chunking": STRATEGIES[strategy]}
    category = notes_config().categories[0].model_dump() | {"format": "markdown"}
    return notes_config(indexes=[index], categories=[category])


def make_flow(folder, strategy, client):
    flow, encoder = Flow(folder, configuration(strategy), client), HashEncoder()
    flow.load_encoder = lambda config: encoder
    flow.encoder = encoder
    return flow


@pytest.fixture(params=STRATEGIES)
def strategy(request):
    return request.param


@pytest.fixture
def flow(tmp_path, strategy):
    with closing(QdrantClient(":memory:")) as client:
        yield make_flow(tmp_path / "data", strategy, Watched(client))


def points(flow):
    return flow.points(serving_collection(flow.client, INDEX))


def expected_points(flow):
    """Return what the collection has to hold, by pure functions of the cleaned documents: payload and embedded text."""
    chunking, found = flow.config.indexes[0].chunking, {}
    for row in flow.live().values():
        kept = {name: row[name] for name in CleanedDocument.__slots__ if name in row and name != "metadata"}
        document = CleanedDocument(**kept, metadata=json.loads(row["metadata"]))
        for chunk in CHUNKERS[chunking.strategy](document, chunking, flow.encoder.token_spans, 254):
            digest = text_hash(chunk.text if chunk.is_parent else chunk.embedded_text)
            found[chunk.chunk_id] = (make_payload(document, chunk, digest), chunk.embedded_text, chunk.size)
    return found


def assert_exact(flow):
    """Check every point with its vectors, the record, and that no text was embedded twice."""
    ours, theirs = points(flow), expected_points(flow)
    assert ours.keys() == theirs.keys()
    for identifier, (payload, vector) in ours.items():
        expected, text, size = theirs[identifier]
        assert payload == expected
        if payload.get("role") == "parent":
            assert vector == {}
            continue
        dense, sparse = vector_names(size)
        assert vector.keys() == {dense, sparse}
        assert np.allclose(vector[dense], hashed_vectors([text], 384)[0], atol=1e-6)
        assert len(vector[sparse].indices) > 0
    record = IndexRecord(flow.settings.indexes_folder, serving_collection(flow.client, INDEX))
    assert record.count_points() == len(ours)
    assert len(flow.encoder.texts) == len(set(flow.encoder.texts))


def test_every_point_is_there_with_the_vectors_of_its_own_kind_alone(flow):
    run = flow.run(DOCUMENTS).index
    assert_exact(flow)
    chunks = run.chunks
    assert run.report.points == run.report.written == chunks.chunks + chunks.parents
    assert run.embeddings.chunks == chunks.chunks == chunks.new
    flow.run(DOCUMENTS)
    assert_exact(flow)


def test_an_edit_writes_only_what_differs_and_embeds_only_new_texts(flow):
    flow.run(DOCUMENTS)
    before, embedded = points(flow), len(flow.encoder.texts)
    flow.client.upserted.clear()
    run = flow.run(EDITED).index
    after = points(flow)
    new, gone, kept = after.keys() - before.keys(), before.keys() - after.keys(), after.keys() & before.keys()
    moved = {name for name in kept if before[name][0] != after[name][0]}
    assert (flow.client.upserted, flow.client.updated, flow.client.removed) == (new, moved, gone)
    assert 0 < len(new) < len(after) / 4
    new_texts = {name for name in new if after[name][0].get("role") != "parent"}
    assert len(flow.encoder.texts) - embedded == run.embeddings.embedded == len(new_texts) == run.chunks.new
    assert (run.report.written, run.report.updated, run.report.removed) == (len(new), len(moved), len(gone))
    assert_exact(flow)


@pytest.mark.parametrize("strategy", FAMILIES, indirect=True)
def test_an_edit_touches_its_children_their_parent_and_the_payloads_of_their_siblings(flow):
    flow.run(DOCUMENTS)
    before = points(flow)
    flow.client.upserted.clear()
    run = flow.run(EDITED).index
    after = points(flow)
    written = [after[name][0] for name in flow.client.upserted]
    (parent,) = [payload for payload in written if payload.get("role") == "parent"]
    children = [payload for payload in written if "parent_id" in payload]
    assert "Sentence 21 sings" in parent["text"]
    assert children
    assert all("Sentence 21 sings" in child["text"] for child in children)
    (parent_id,) = {child["parent_id"] for child in children}
    assert after[parent_id][0] == parent

    family = {name for name, (payload, _) in after.items() if payload.get("parent_id") == parent_id}
    assert flow.client.updated == family - flow.client.upserted != set()
    for name in flow.client.updated:
        assert np.array_equal(before[name][1]["dense"], after[name][1]["dense"])
    assert (run.chunks.new_parents, run.chunks.moved_parents) == (1, 0)


@pytest.mark.parametrize("strategy", FAMILIES, indirect=True)
def test_searches_find_children_and_lead_to_their_parents(flow):
    flow.run(DOCUMENTS)
    collection = serving_collection(flow.client, INDEX)
    held = points(flow)
    query = flow.encoder.embed_query("anything").tolist()
    found = flow.client.query_points(collection, query, using="dense", limit=1000).points
    assert {point.id for point in found} == {name for name, (payload, _) in held.items() if "role" not in payload}
    parents = {name: payload for name, (payload, _) in held.items() if payload.get("role") == "parent"}
    groups = flow.client.query_points_groups(
        collection, query=query, using="dense", group_by="parent_id", limit=1000, group_size=100,
        with_lookup=models.WithLookup(collection=collection),
    ).groups  # fmt: skip
    assert {group.id: group.lookup.payload for group in groups} == parents
    for group in groups:
        for hit in group.hits:
            start, end = parents[group.id]["start"], parents[group.id]["end"]
            assert start <= hit.payload["start"] < hit.payload["end"] <= end


@pytest.mark.parametrize("strategy", ["multi_size"], indirect=True)
def test_a_search_by_the_vectors_of_one_size_finds_that_size_alone(flow):
    flow.run(DOCUMENTS)
    collection, query = serving_collection(flow.client, INDEX), flow.encoder.embed_query("anything").tolist()
    for size in (96, 24):
        found = flow.client.query_points(collection, query, using=f"dense_{size}", limit=1000).points
        assert {point.payload["size"] for point in found} == {size}
        assert len(found) == sum(payload["size"] == size for payload, _ in points(flow).values())


@pytest.mark.parametrize("strategy", ["multi_size"], indirect=True)
def test_equal_texts_of_two_sizes_are_two_points_and_embedded_once(flow):
    run = flow.run([note("c", "Few words.")]).index
    held = points(flow)
    assert sorted((payload["size"], payload["text"]) for payload, _ in held.values()) == [
        (24, "Few words."), (96, "Few words."),
    ]  # fmt: skip
    assert flow.encoder.texts == ["Few words."]
    assert (run.embeddings.chunks, run.embeddings.embedded) == (2, 1)


def test_a_document_that_is_gone_leaves_nothing(flow):
    flow.run(DOCUMENTS)
    run = flow.run(DOCUMENTS[1:]).index
    assert {payload["source_id"] for payload, _ in points(flow).values()} == {"b", "c"}
    assert run.report.removed == run.chunks.stale > run.chunks.chunks
    assert_exact(flow)


def test_other_metadata_write_payloads_of_every_point_and_embed_nothing(flow):
    flow.run(DOCUMENTS)
    embedded = len(flow.encoder.texts)
    flow.client.upserted.clear()
    run = flow.run([{**DOCUMENTS[0], "topic": "other"}, *DOCUMENTS[1:]]).index
    own = {name for name, (payload, _) in points(flow).items() if payload["source_id"] == "a"}
    assert (flow.client.upserted, flow.client.updated, flow.client.removed) == (set(), own, set())
    assert (len(flow.encoder.texts), run.report.updated) == (embedded, len(own))


@pytest.mark.parametrize("strategy", FAMILIES, indirect=True)
def test_a_parent_that_somebody_removed_is_missed_and_written_anew(flow):
    flow.run(DOCUMENTS)
    parent = next(name for name, (payload, _) in points(flow).items() if payload.get("role") == "parent")
    flow.client.client.delete(serving_collection(flow.client, INDEX), points_selector=[parent])
    with pytest.raises(ReconciliationError):
        flow.run(EDITED)
    flow.run(EDITED)
    assert_exact(flow)


@pytest.mark.parametrize(
    ("strategy", "place"),
    [
        ("small_to_big", "upsert_parents"),
        ("small_to_big", "upsert_part"),
        ("small_to_big", "update_payloads"),
        ("small_to_big", "remove_part"),
        ("multi_size", "upsert_part"),
        ("multi_size", "remove_part"),
    ],
    indirect=["strategy"],
)
def test_a_load_that_dies_is_made_good_by_the_next(flow, monkeypatch, place):
    flow.run(DOCUMENTS)

    def die(*_arguments, **_options):
        raise ModelCrashedError

    with monkeypatch.context() as patch:
        patch.setattr(f"steps.load.apply.{place}", die)
        with pytest.raises(ModelCrashedError):
            flow.run(EDITED)
    flow.run([edited(EDITED[0], 40), *EDITED[1:]])
    assert_exact(flow)


def test_after_edits_of_every_kind_the_index_is_exact(flow):
    first, second = list(range(20)), list(range(100, 120))
    for a, b in [
        (first, second),
        ([1000, *first], second),  # in front
        ([1000, *first], second[:8]),  # half of it is gone
        ([1000, *first], [*second[:8], *first[:6]]),  # texts that another document has
        (first[::-1], [*second[:8], *first[:6]]),  # another order
        (first[::-1], first),
    ]:
        flow.run([long_note("a", a, topic=str(len(b))), long_note("b", b), note("c", "Few words.")])
        assert_exact(flow)


# The commands


class Installation:
    """A data folder with a warehouse, and an embedded Qdrant, which is closed between two runs."""

    def __init__(self, settings, strategy):
        self.settings, self.config, self.encoder = settings, configuration(strategy), HashEncoder()

    def run(self, documents):
        with open_qdrant(self.settings) as client:
            flow = Flow(self.settings.data_dir, self.config, client)
            flow.load_encoder = lambda config: self.encoder
            return flow.run(documents).index


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    """The warehouse, kept running: a server is slow to start."""
    with open_warehouse(Settings(data_dir=tmp_path_factory.mktemp("warehouse"), _env_file=None)) as database:
        yield database


@pytest.fixture
def installation(settings, strategy, warehouse, monkeypatch):
    made = Installation(settings, strategy)
    for module in ("pipelines.plan", "pipelines.release", "pipelines.rebuild"):
        monkeypatch.setattr(f"{module}.load_encoder", lambda config: made.encoder)
    for module in ("pipelines.plan", "pipelines.explain", "steps.preflight.checks"):
        monkeypatch.setattr(f"{module}.open_warehouse", lambda settings: nullcontext(warehouse))
    return made


@pytest.mark.parametrize("strategy", ["small_to_big", "multi_size"], indirect=True)
def test_a_plan_says_what_the_run_then_does(installation, warehouse):
    installation.run(DOCUMENTS)
    warehouse.notes.delete_many({})
    warehouse.notes.insert_many(EDITED[:2])
    (planned,) = make_plan(installation.settings, installation.config).indexes
    done = installation.run(EDITED[:2])
    report, chunks = done.report, done.chunks
    assert (planned.write, planned.update, planned.remove) == (report.written, report.updated, report.removed)
    assert (planned.chunks, planned.unchanged) == (chunks.chunks, chunks.unchanged)
    assert (planned.embed, planned.reuse) == (done.embeddings.embedded, done.embeddings.reused)


@pytest.mark.parametrize("strategy", ["small_to_big", "multi_size"], indirect=True)
def test_every_point_of_a_document_is_explained_with_its_kind(installation):
    installation.run(DOCUMENTS)
    settings, config = installation.settings, installation.config
    explained = explain(settings, config, document_id("notes", "b"))
    (index,) = explained.indexes
    kinds = {(chunk.size, chunk.role, chunk.parent_id is not None) for chunk in index.chunks}
    families = {(None, "parent", False), (None, None, True)}
    assert kinds == (
        {(96, None, False), (24, None, False)} if "multi" in config.indexes[0].chunking.strategy else families
    )
    for chunk in (index.chunks[0], index.chunks[-1]):
        found = explain(settings, config, chunk.chunk_id)
        assert found.chunk is not None
        assert found.chunk.chunk == chunk
        assert found.chunk.is_in_document
    if (None, "parent", False) in kinds:
        parents = [chunk for chunk in index.chunks if chunk.role == "parent"]
        following = [index.chunks[index.chunks.index(parent) + 1] for parent in parents]
        assert [chunk.parent_id for chunk in following] == [parent.chunk_id for parent in parents]


@pytest.mark.parametrize("strategy", ["small_to_big", "multi_size"], indirect=True)
def test_a_release_is_rebuilt_point_by_point(installation):
    installation.run(DOCUMENTS)
    make_release(installation.settings, installation.config, "first")
    installation.run(EDITED[:2])
    rebuilt = rebuild_release(installation.settings, installation.config, "first")
    assert rebuilt.differing == []
    assert any(comparison.part == f"index {INDEX}" for comparison in rebuilt.comparisons)


@pytest.mark.parametrize("strategy", ["small_to_big", "multi_size"], indirect=True)
def test_a_forgotten_document_leaves_no_point_of_any_kind(flow):
    flow.run(DOCUMENTS)
    collection, folder = serving_collection(flow.client, INDEX), flow.settings.indexes_folder
    own = sum(payload["source_id"] == "a" for payload, _ in points(flow).values())
    newest = flow.store.newest()
    erased = erase_points(flow.client.client, folder, [document_id("notes", "a")], newest.store_id)
    assert erased.points == {collection: own}
    assert erased.recorded == own
    assert {payload["source_id"] for payload, _ in points(flow).values()} == {"b", "c"}
