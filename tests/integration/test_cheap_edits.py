"""An edit costs what it changes, and whatever stops a load, the next one makes exactly the right points of it."""

import random
import shutil
from contextlib import closing
from pkgutil import resolve_name

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from feature_store.errors import LockedError, ReconciliationError
from feature_store.index import read_metadata, serving_collection, write_metadata
from feature_store.index_record import IndexRecord
from feature_store.vectors import VectorTable
from steps.load import lease
from steps.load.points import reconcile
from tests.flow import Flow, ModelCrashedError, note, notes_config
from tests.stand_in import HashEncoder
from tests.support import WORDS

INDEX = "notes_index"


def paragraph(number):
    chance = random.Random(number)
    return f"Paragraph {number}: {' '.join(chance.choices(WORDS, k=24))}."


def long_note(name, paragraphs=range(12), **fields):
    return note(name, "\n\n".join(paragraph(number) for number in paragraphs), **fields)


class Watched:
    """A client that notes what is written to it."""

    def __init__(self, client):
        self.client = client
        self.written = {"upsert": [], "batch_update_points": [], "delete": [], "update_collection": []}

    def __getattr__(self, name):
        function = getattr(self.client, name)
        if name not in self.written:
            return function

        def called(*arguments, **options):
            self.written[name].append(options)
            return function(*arguments, **options)

        return called

    def clear(self):
        for calls in self.written.values():
            calls.clear()

    def upserted(self):
        return {point.id for call in self.written["upsert"] for point in call["points"]}

    def updated(self):
        operations = [item for call in self.written["batch_update_points"] for item in call["update_operations"]]
        return {operation.overwrite_payload.points[0] for operation in operations}

    def removed(self):
        return {identifier for call in self.written["delete"] for identifier in call["points_selector"].points}


def make_flow(folder, client, **changes):
    flow = Flow(folder, notes_config(**changes), client)
    encoder = HashEncoder()
    flow.load_encoder = lambda config: encoder
    flow.encoder = encoder
    return flow


@pytest.fixture
def client():
    with closing(QdrantClient(":memory:")) as opened:
        yield Watched(opened)


@pytest.fixture
def flow(tmp_path, client):
    return make_flow(tmp_path / "data", client)


def content(flow):
    """Return point id to payload, dense and sparse vector."""
    found = {}
    for identifier, (payload, vector) in flow.points(serving_collection(flow.client, INDEX)).items():
        sparse = dict(zip(vector["bm25"].indices, vector["bm25"].values, strict=True))
        found[identifier] = (payload, vector["dense"], sparse)
    return found


def assert_exact(flow, documents, folder):
    """Check that the index is that of a fresh installation, and no text was embedded twice."""
    with closing(QdrantClient(":memory:")) as client:
        fresh = make_flow(folder, client)
        fresh.run(documents)
        ours, theirs = content(flow), content(fresh)
    assert ours.keys() == theirs.keys()
    for identifier, (payload, dense, sparse) in ours.items():
        other_payload, other_dense, other_sparse = theirs[identifier]
        assert (payload, sparse) == (other_payload, other_sparse)
        assert np.allclose(dense, other_dense, atol=1e-6)  # local Qdrant normalises again at each write
    assert len(flow.encoder.texts) == len(set(flow.encoder.texts))


def test_an_edit_writes_only_what_differs(flow, client, tmp_path):
    collection = flow.run([long_note("a"), long_note("b", range(20, 24))]).index.report.collection
    before = flow.points(collection)
    embedded = len(flow.encoder.texts)
    client.clear()
    edited = [long_note("a", [0, 1, 2, 3, 99, 5, 6, 7, 8, 9, 10, 11]), long_note("b", range(20, 24))]
    edited[0]["body"] = edited[0]["body"].replace("Paragraph 99", "A longer beginning of paragraph 99")
    run = flow.run(edited).index
    after = flow.points(collection)

    new, gone = after.keys() - before.keys(), before.keys() - after.keys()
    kept = after.keys() & before.keys()
    same = {name for name in kept if before[name][0] == after[name][0]}
    assert min(len(new), len(gone), len(kept - same), len(same)) > 0
    assert (client.upserted(), client.updated(), client.removed()) == (new, kept - same, gone)
    assert all(list(before[name][1]["dense"]) == list(after[name][1]["dense"]) for name in kept)

    chunks, report = run.chunks, run.report
    assert (chunks.new, chunks.moved, chunks.stale) == (len(new), len(kept - same), len(gone))
    assert chunks.chunks == chunks.new + chunks.moved + chunks.unchanged
    assert (report.written, report.updated, report.removed) == (len(new), len(kept - same), len(gone))
    assert len(flow.encoder.texts) - embedded == run.embeddings.embedded == run.embeddings.chunks == len(new)
    assert_exact(flow, edited, tmp_path / "fresh")


def test_other_metadata_embeds_nothing_and_reads_no_vector(flow, client, tmp_path, monkeypatch):
    collection = flow.run([long_note("a", topic="one"), long_note("b", range(20, 24))]).index.report.collection
    client.clear()
    monkeypatch.setattr(VectorTable, "read", lambda *_: pytest.fail("a vector was read"))
    edited = [long_note("a", topic="two", title="A title"), long_note("b", range(20, 24))]
    run = flow.bring(flow.commit(edited)[1], flow.config.indexes[0])
    assert (client.upserted(), client.removed()) == (set(), set())
    own = {name for name, (payload, _) in flow.points(collection).items() if payload["source_id"] == "a"}
    assert client.updated() == own
    assert (run.embeddings.chunks, run.report.written, run.report.updated) == (0, 0, len(own))
    monkeypatch.undo()
    assert_exact(flow, edited, tmp_path / "fresh")


def test_a_document_that_only_stops_being_a_duplicate_is_not_written(flow, client, tmp_path):
    flow.run([long_note("a")])
    flow.run([long_note("a"), long_note("b")])
    assert flow.live()["b"]["duplicate_of"] is not None
    client.clear()
    run = flow.run([long_note("b")]).index
    assert flow.live()["b"]["duplicate_of"] is None
    assert flow.live()["b"]["changed_in"] == 3
    assert (client.upserted(), client.updated()) == (set(), set())
    assert (run.chunks.documents, run.chunks.unchanged, run.chunks.stale) == (1, run.chunks.chunks, run.chunks.chunks)
    assert_exact(flow, [long_note("b")], tmp_path / "fresh")


def test_a_version_without_anything_for_an_index_only_moves_its_version(flow, client):
    other = {"name": "other", "collection": "other", "text": "body"}
    flow.config = notes_config(categories=[flow.config.categories[0].model_dump(), other])
    pages = {"notes": [[long_note("a")]], "other": [[note("x", "one")]]}
    collection = flow.run(pages).index.report.collection
    client.clear()
    report = flow.run({**pages, "other": [[note("x", "two")]]}).index.report
    assert (report.version_before, report.version) == (1, 2)
    assert (client.upserted(), client.updated(), client.removed()) == (set(), set(), set())
    assert read_metadata(client, collection).version == 2
    client.clear()
    flow.run({**pages, "other": [[note("x", "two")]]})
    assert not any(client.written.values())


DOCUMENTS = [long_note("a"), long_note("b", range(20, 28)), long_note("c", range(40, 44)), note("d", "delta")]
EDITED = [
    long_note("a", [50, 51, 52, *range(4), *range(5, 12)]),
    long_note("b", range(20, 28), topic="new"),
    note("d", "delta"),
    note("e", "epsilon"),
]
EDITED_AGAIN = [
    long_note("a", [50, *range(4), 60, *range(7, 12)]),
    long_note("b", [*range(20, 26), 70], topic="newer"),
    note("e", "epsilon"),
]
PLACES = [
    "steps.load.lease.write_metadata",
    "steps.load.apply.IndexRecord.begin",
    "steps.load.apply.upsert_part",
    "steps.load.apply.update_payloads",
    "steps.load.apply.remove_part",
    "steps.load.apply.IndexRecord.write",
    "steps.load.apply.reconcile",
    "steps.load.apply.IndexRecord.publish",
    "steps.load.apply.publish",
    "feature_store.index_record.tables.upsert",
    "feature_store.index_record.tables.maintain",
    "feature_store.index_record.tables.forget_old_versions",
]
OF_KNOWN_POINTS = {"steps.load.apply.update_payloads", "steps.load.apply.remove_part"}
FOLLOWING = [EDITED, EDITED_AGAIN, DOCUMENTS]


def dying(function, after):
    def die(*arguments, **options):
        if after:
            function(*arguments, **options)
        raise ModelCrashedError

    return die


def run_and_die(flow, documents, place, after, monkeypatch):
    """Run, and die just before the call of a function or just after it."""
    with monkeypatch.context() as patch:
        patch.setattr(place, dying(resolve_name(place), after))
        with pytest.raises(ModelCrashedError):
            flow.run(documents)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("place", PLACES)
def test_whatever_a_crash_leaves_the_next_run_makes_exact(flow, tmp_path, monkeypatch, place, after):
    flow.run(DOCUMENTS)
    run_and_die(flow, EDITED, place, after, monkeypatch)
    following = FOLLOWING[(PLACES.index(place) + after) % len(FOLLOWING)]
    flow.run(following)
    assert_exact(flow, following, tmp_path / "fresh")
    trusted = flow.run([*following[1:], long_note("f", range(80, 84))]).index
    assert trusted.chunks.record is not None
    assert trusted.report.written == trusted.chunks.new == 4


@pytest.mark.parametrize("place", [place for place in PLACES if place not in OF_KNOWN_POINTS])
def test_a_first_load_that_dies_is_made_good(flow, tmp_path, monkeypatch, place):
    run_and_die(flow, DOCUMENTS, place, after=True, monkeypatch=monkeypatch)
    flow.run(EDITED)
    assert_exact(flow, EDITED, tmp_path / "fresh")


@pytest.mark.parametrize("place", [place for place in PLACES[::2] if place not in OF_KNOWN_POINTS])
def test_a_load_that_dies_twice_is_made_good(flow, tmp_path, monkeypatch, place):
    flow.run(DOCUMENTS)
    run_and_die(flow, EDITED, "steps.load.apply.IndexRecord.publish", after=False, monkeypatch=monkeypatch)
    run_and_die(flow, EDITED_AGAIN, place, after=True, monkeypatch=monkeypatch)
    flow.run(EDITED_AGAIN)
    assert_exact(flow, EDITED_AGAIN, tmp_path / "fresh")


@pytest.mark.parametrize("seed", [1, 2])
def test_after_any_edits_and_crashes_the_index_is_exact(flow, tmp_path, monkeypatch, seed):
    chance = random.Random(seed)
    documents = {name: list(range(start, start + 8)) for name, start in (("a", 0), ("b", 100), ("c", 200))}
    topics = dict.fromkeys("abcdef", "x")
    fresh = 1000
    for step in range(8):
        for _ in range(3):
            name = chance.choice("abcdef")
            paragraphs = documents.setdefault(name, [])
            fresh += 1
            match chance.randrange(5):
                case 0:
                    paragraphs.insert(chance.randint(0, len(paragraphs)), fresh)
                case 1 if paragraphs:
                    del paragraphs[chance.randrange(len(paragraphs))]
                case 2:
                    topics[name] = chance.choice("xyz")
                case 3:
                    del documents[name]
                case _:
                    documents[name] = [*paragraphs, *documents.get("a", [])[:2]]
        source = [long_note(name, numbers, topic=topics[name]) for name, numbers in documents.items()]
        source.append(long_note("always", [fresh]))
        if chance.random() < 0.4:
            place = chance.choice([place for place in PLACES if "lease" in place or "IndexRecord" in place])
            run_and_die(flow, source, place, chance.random() < 0.5, monkeypatch)
        flow.run(source)
        assert_exact(flow, source, tmp_path / f"fresh-{step}")


# What was restored or copied


def test_qdrant_restored_from_a_snapshot_is_brought_back(tmp_path):
    folder, snapshot = tmp_path / "qdrant", tmp_path / "snapshot"
    with closing(QdrantClient(path=str(folder))) as client:
        flow = make_flow(tmp_path / "data", client)
        flow.run(DOCUMENTS)
    shutil.copytree(folder, snapshot)
    with closing(QdrantClient(path=str(folder))) as client:
        flow.client = client
        flow.run(EDITED)
    shutil.rmtree(folder)
    snapshot.rename(folder)
    with closing(QdrantClient(path=str(folder))) as client:
        flow.client = client
        run = flow.run(EDITED_AGAIN).index
        assert (run.chunks.since, run.chunks.record) == (1, None)
        assert_exact(flow, EDITED_AGAIN, tmp_path / "fresh")


def restored(folder):
    """Keep a copy of a folder; return the function that puts it back."""
    kept = folder.with_name(f"{folder.name}-kept")
    shutil.copytree(folder, kept)

    def put_back():
        shutil.rmtree(folder)
        kept.rename(folder)

    return put_back


def test_a_record_restored_from_a_backup_is_brought_forward(flow, tmp_path):
    flow.run(DOCUMENTS)
    put_back = restored(flow.settings.indexes_folder)
    flow.run(EDITED)
    put_back()
    run = flow.run(EDITED_AGAIN).index
    assert (run.chunks.since, run.chunks.record) == (1, None)
    assert_exact(flow, EDITED_AGAIN, tmp_path / "fresh")


def test_a_feature_store_restored_from_a_backup_is_not_confused_with_the_history_it_had(flow, tmp_path):
    flow.run(DOCUMENTS)
    put_back = restored(flow.settings.feature_store_folder)
    flow.run(EDITED)
    put_back()
    run = flow.run(EDITED_AGAIN).index  # another version 2
    assert (run.chunks.since, run.report.version) == (0, 2)
    assert_exact(flow, EDITED_AGAIN, tmp_path / "fresh")


def test_a_whole_data_folder_restored_from_a_backup_takes_points_of_unknown_documents_away(flow, tmp_path):
    flow.run(DOCUMENTS)
    put_back = restored(flow.settings.data_dir)
    flow.run([*EDITED, long_note("unknown", range(90, 95))])
    put_back()
    run = flow.run(EDITED_AGAIN).index
    assert (run.chunks.since, run.chunks.record) == (0, None)
    assert run.report.removed > 0
    flow.encoder.texts.clear()  # the vectors of that time are gone with the folder
    assert_exact(flow, EDITED_AGAIN, tmp_path / "fresh")


def test_a_load_that_died_before_the_data_folder_was_restored_leaves_nothing(flow, tmp_path, monkeypatch):
    flow.run(DOCUMENTS)
    put_back = restored(flow.settings.data_dir)
    run_and_die(flow, [*EDITED, long_note("f", range(90, 95))], "steps.load.apply.remove_part", True, monkeypatch)
    put_back()
    flow.run(DOCUMENTS)
    flow.encoder.texts.clear()
    assert_exact(flow, DOCUMENTS, tmp_path / "fresh")


@pytest.fixture
def copies(flow, client, tmp_path):
    """Two data folders, one a copy of the other, that share a Qdrant."""
    flow.run(DOCUMENTS)
    shutil.copytree(flow.settings.data_dir, tmp_path / "copy")
    return flow, make_flow(tmp_path / "copy", client)


def test_copies_of_a_data_folder_take_turns(copies, tmp_path):
    first, second = copies
    for number, (flow, documents) in enumerate(
        [(first, EDITED), (second, EDITED_AGAIN), (first, EDITED), (second, [])]
    ):
        source = [*documents, long_note("own", range(number * 5, number * 5 + 3))]
        flow.run(source)
        flow.encoder.texts.clear()
        assert_exact(flow, source, tmp_path / f"fresh-{number}")


@pytest.mark.parametrize("place", ["steps.load.apply.upsert_part", "steps.load.apply.IndexRecord.publish"])
def test_a_load_of_a_copy_that_died_is_noticed(copies, tmp_path, monkeypatch, place):
    first, second = copies
    run_and_die(first, EDITED, place, True, monkeypatch)
    run = second.run([*DOCUMENTS[:3], note("d", "delta, edited")]).index
    assert run.chunks.record is None
    second.encoder.texts.clear()
    assert_exact(second, [*DOCUMENTS[:3], note("d", "delta, edited")], tmp_path / "fresh")


def test_two_loads_of_copies_exclude_each_other(copies, tmp_path, monkeypatch):
    first, second = copies
    monkeypatch.setattr(lease, "_is_over", lambda *_: False)  # as on another machine
    seen = []

    def try_meanwhile(units):
        with pytest.raises(LockedError, match="Another run is loading the collection") as caught:
            second.run(EDITED_AGAIN)
        seen.append(caught.value)

    with monkeypatch.context() as patch:
        patch.setattr("steps.load.apply.remove_part", lambda *_: try_meanwhile(0) or pytest.fail("stop"))
        with pytest.raises(pytest.fail.Exception):
            first.run(EDITED)
    (refusal,) = seen
    assert refusal.exit_code == 4
    monkeypatch.undo()
    first.run(EDITED)
    assert_exact(first, EDITED, tmp_path / "fresh")
    second.run(EDITED_AGAIN)
    second.encoder.texts.clear()
    assert_exact(second, EDITED_AGAIN, tmp_path / "fresher")


@pytest.mark.parametrize("place", ["client.upsert", "reconcile"])
def test_a_load_that_lost_its_lease_stops_and_publishes_nothing(flow, client, tmp_path, monkeypatch, place):
    collection = flow.run(DOCUMENTS).index.report.collection
    monkeypatch.setattr(lease, "SECONDS_BETWEEN_RENEWALS", 0)

    def then_taken_over(function):
        def called(*arguments, **options):
            result = function(*arguments, **options)
            metadata = read_metadata(client, collection)
            theirs = metadata.lease.model_copy(update={"token": "theirs"})
            write_metadata(client, collection, metadata.model_copy(update={"lease": theirs}))
            return result

        return called

    client.clear()
    with monkeypatch.context() as patch:
        if place == "reconcile":
            patch.setattr("steps.load.apply.reconcile", then_taken_over(reconcile))
        else:
            patch.setattr(client, "upsert", then_taken_over(client.upsert), raising=False)
        with pytest.raises(LockedError):
            flow.run(EDITED)
    assert read_metadata(client, collection).version == 1
    assert IndexRecord(flow.settings.indexes_folder, collection).read_note().version.number == 1
    assert bool(client.removed()) == (place == "reconcile")
    flow.run(EDITED)
    assert_exact(flow, EDITED, tmp_path / "fresh")


def test_a_point_that_vanished_under_a_trusted_record_is_an_error_and_healed_by_the_next_run(flow, client, tmp_path):
    collection = flow.run(DOCUMENTS).index.report.collection
    points = flow.points(collection)
    lost = next(name for name, (payload, _) in points.items() if payload["source_id"] == "b")
    client.delete(collection, points_selector=[lost])
    with pytest.raises(ReconciliationError, match="lacks a point"):
        flow.run(EDITED)
    assert read_metadata(client, collection).version == 1
    flow.run(EDITED)
    assert_exact(flow, EDITED, tmp_path / "fresh")


def test_a_lost_note_is_a_lost_record(flow, tmp_path):
    collection = flow.run(DOCUMENTS).index.report.collection
    record = IndexRecord(flow.settings.indexes_folder, collection)
    for damage in (record.note_path.unlink, lambda: record.note_path.write_text("{")):
        damage()
        run = flow.run(EDITED).index
        assert (run.chunks.since, run.chunks.record) == (0, None)
        assert_exact(flow, EDITED, tmp_path / f"fresh-{damage.__name__}")


def test_foreign_points_go_when_a_collection_is_filled_anew(flow, tmp_path):
    collection = flow.run(DOCUMENTS).index.report.collection
    vector = {"dense": [1.0] * 384, "bm25": models.SparseVector(indices=[1], values=[1.0])}
    flow.client.client.upsert(collection, [models.PointStruct(id=4711, vector=vector, payload={"document_id": "?"})])
    IndexRecord(flow.settings.indexes_folder, collection).note_path.unlink()
    assert flow.run(DOCUMENTS).index.report.removed == 1
    assert_exact(flow, DOCUMENTS, tmp_path / "fresh")
