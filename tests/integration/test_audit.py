"""Whatever happened to a collection, an audit finds just that, and a repair writes just that, without embedding."""

import json
import shutil
import uuid
from contextlib import contextmanager, nullcontext
from itertools import count

import numpy as np
import pyarrow as pa
import pytest
import typer
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models
from rich.console import Console
from typer.testing import CliRunner

from commands import audit as audit_command
from feature_store import schema
from feature_store.errors import ConfigurationError, LockedError, TransientError
from feature_store.index import (
    Lease,
    count_points,
    open_qdrant,
    read_metadata,
    serving_collection,
    vector_names,
    write_metadata,
)
from feature_store.index_record import IndexRecord
from feature_store.parts import write_part
from feature_store.payload_schema import schema_type
from feature_store.serving import note_promotion
from feature_store.settings import Settings
from feature_store.versions import now
from pipelines.audit import Place, audit_indexes, examine, find_targets
from pipelines.repair import _encoder_of, repair_index, repair_indexes
from tests.faults.faults import before_every_durable_step
from tests.flow import Flow, note, notes_config
from tests.stand_in import HashEncoder
from tests.support import make_notes

DIMENSION = 16
NAME = "notes_index"
SPLINTERED = {"window": 32, "overlap": 8}
CHUNKINGS = {
    "sliding_window": SPLINTERED,
    "heading_prefix": {**SPLINTERED, "heading_prefix": True},
    "small_to_big": {"strategy": "small_to_big", "child": {"window": 16}, "parent": {"window": 48}},
    "multi_size": {"strategy": "multi_size", "sizes": [{"window": 64, "overlap": 32}, {"window": 16, "overlap": 8}]},
}
FOREIGN = [7, "3b241101-e2bb-4255-8caf-4136c566a962", "00000000-0000-0000-0000-000000000000"]


def configured(chunking=SPLINTERED, **changes):
    index = {"name": NAME, "categories": ["notes"], "chunking": chunking, "encoder": {"model": "unused"}}
    return notes_config(indexes=[{**index, **changes}])


class Installation:
    """A flow whose one index is audited and repaired."""

    def __init__(self, folder, config, client=None):
        self.flow = Flow(folder, config, client)
        self.encoder = HashEncoder(dimension=DIMENSION)
        self.flow.load_encoder = lambda config: self.encoder

    @property
    def client(self):
        return self.flow.client

    @property
    def collection(self):
        return self.target().collection

    @property
    def metadata(self):
        return read_metadata(self.client, self.collection)

    @property
    def record(self):
        return IndexRecord(self.flow.settings.indexes_folder, self.collection)

    def place(self):
        flow = self.flow
        return Place(flow.client, flow.settings, flow.config, flow.store, flow.store.newest())

    def target(self, name=NAME):
        return find_targets(self.place(), [name])[0]

    def audit(self, quick=False):
        return examine(self.place(), self.target(), quick=quick)[0]

    def differences(self, quick=False):
        _, examined = examine(self.place(), self.target(), quick=quick)
        return {(found.kind, found.chunk_id) for found in examined.points.differences}

    def repair(self, quick=False):
        return repair_index(self.place(), self.target(), quick=quick)

    def points(self):
        return self.flow.points(self.collection)

    def say(self, **changes):
        write_metadata(self.client, self.collection, self.metadata.model_copy(update=changes))


@pytest.fixture(autouse=True)
def _stand_in_for_the_model(monkeypatch):
    monkeypatch.setattr("pipelines.repair.load_encoder", lambda config: HashEncoder(dimension=DIMENSION))


@pytest.fixture
def installation(tmp_path):
    client = QdrantClient(":memory:")
    made = Installation(tmp_path / "data", configured(), client)
    made.flow.run(make_notes(6))
    yield made
    client.close()


@pytest.fixture(scope="module", params=CHUNKINGS.values(), ids=CHUNKINGS)
def whole(request, tmp_path_factory):
    """A collection that is as it must be, and a copy of its points."""
    client = QdrantClient(":memory:")
    made = Installation(tmp_path_factory.mktemp("whole") / "data", configured(request.param), client)
    made.flow.run(make_notes(5))
    yield made, made.points()
    client.close()


def kinds(findings):
    return [(finding.kind, finding.count) for finding in findings]


def delete(made, point, held):
    made.client.delete(made.collection, [point])


def alter_payload(made, point, held):
    made.client.set_payload(made.collection, {"text": "something else"}, [point])


def add_a_field(made, point, held):
    made.client.set_payload(made.collection, {"stars": 5}, [point])


def alter_dense(made, point, held):
    name = next(name for name in held if name.startswith("dense"))
    made.client.update_vectors(made.collection, [models.PointVectors(id=point, vector={name: [0.25] * DIMENSION})])


def alter_sparse(made, point, held):
    name = next(name for name in held if name.startswith("bm25"))
    vector = models.SparseVector(indices=[1], values=[1.0])
    made.client.update_vectors(made.collection, [models.PointVectors(id=point, vector={name: vector})])


def remove_a_vector(made, point, held):
    made.client.delete_vectors(made.collection, [min(held)], [point])


def add_a_vector(made, point, held):
    names = {name for size in made.metadata.sizes() for name in vector_names(size)[:1]} - set(held)
    vectors = {min(names): [0.25] * DIMENSION}
    made.client.update_vectors(made.collection, [models.PointVectors(id=point, vector=vectors)])


DAMAGES = {
    delete: "lost",
    alter_payload: "payload",
    add_a_field: "payload",
    alter_dense: "dense",
    alter_sparse: "sparse",
    remove_a_vector: "missing_vector",
    add_a_vector: "surplus_vector",
}


def possible(made, held):
    """What can be done to a point: a parent has no vectors to alter, and one size has no others to get."""
    has_others = not held or len(made.metadata.sizes()) > 1
    on_vectors = {alter_dense, alter_sparse, remove_a_vector} if held else set()
    return [
        damage
        for damage in DAMAGES
        if damage in {delete, alter_payload, add_a_field, *on_vectors} or (damage is add_a_vector and has_others)
    ]


def restore(made, points):
    """Put back all points as they were, whatever an example left."""
    there = [record.id for record in made.client.scroll(made.collection, limit=10_000)[0]]
    made.client.delete(made.collection, there)
    structs = [models.PointStruct(id=name, payload=said, vector=held) for name, (said, held) in points.items()]
    made.client.upsert(made.collection, structs)


def assert_same_points(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, (payload, vectors) in theirs.items():
        found, held = ours[name]
        assert found == payload
        assert held.keys() == vectors.keys()
        for vector_name, vector in vectors.items():
            if isinstance(vector, models.SparseVector):
                assert held[vector_name] == vector
            else:
                np.testing.assert_allclose(held[vector_name], vector, atol=1e-6)


def test_a_right_collection_is_clean(whole):
    made, points = whole
    for quick in (False, True):
        report = made.audit(quick)
        assert report.is_clean
        assert report.points == report.expected_points == len(points)
        assert (report.buckets, report.looked_into, report.findings) == (0, 0, [])


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_damage_is_found_exactly_and_repaired_exactly(whole, data):
    made, points = whole
    restore(made, points)
    damaged = data.draw(st.lists(st.sampled_from(sorted(points)), unique=True, max_size=8), "points")
    foreign = data.draw(st.lists(st.sampled_from(FOREIGN), unique=True), "foreign points")
    expected = {("foreign", str(name)) for name in foreign}
    for name in damaged:
        held = points[name][1]
        damage = data.draw(st.sampled_from(possible(made, held)), f"what happens to {name}")
        damage(made, name, held)
        expected.add((DAMAGES[damage], name))
    vector = {vector_names(made.metadata.sizes()[0])[0]: [0.25] * DIMENSION}
    for name in foreign:
        made.client.upsert(made.collection, [models.PointStruct(id=name, payload={"text": "ours?"}, vector=vector)])

    assert made.differences() == expected
    before = made.metadata
    report = made.repair()
    assert report.is_clean
    assert sum(count for _, count in kinds(report.findings)) == len(expected)
    if expected:
        assert (report.repair.written, report.repair.removed) == (len(damaged), len(foreign))
        assert report.repair.embedded == 0
    assert_same_points(made.points(), points)
    assert made.metadata.model_copy(update={"updated_at": before.updated_at}) == before
    assert made.audit().is_clean


def test_work_follows_the_difference(installation):
    points = installation.points()
    delete(installation, min(points), {})
    asked = []
    retrieve = installation.client.retrieve
    installation.client.retrieve = lambda *args, ids, **rest: asked.extend(ids) or retrieve(*args, ids=ids, **rest)
    report = installation.audit()
    assert (report.buckets, report.looked_into) == (1, 1)
    assert asked == [min(points)]


@pytest.mark.parametrize("damage", [alter_payload, alter_dense, alter_sparse, remove_a_vector])
def test_a_quick_audit_looks_at_ids_alone(installation, damage):
    points = installation.points()
    damage(installation, max(points), points[max(points)][1])
    delete(installation, min(points), {})
    installation.client.upsert(installation.collection, [models.PointStruct(id=7, payload={}, vector={})])
    assert installation.differences(quick=True) == {("lost", min(points)), ("foreign", "7")}
    report = installation.repair(quick=True)
    assert (report.repair.written, report.repair.removed, report.left) == (1, 1, [])
    assert installation.differences() == {(DAMAGES[damage], max(points))}


def test_one_lost_and_one_too_many_do_not_make_up_for_each_other(installation):
    delete(installation, min(installation.points()), {})
    installation.client.upsert(installation.collection, [models.PointStruct(id=7, payload={}, vector={})])
    assert kinds(installation.audit(quick=True).findings) == [("lost", 1), ("foreign", 1)]


def test_a_repair_writes_what_was_true_at_the_version_of_the_collection(installation):
    points = installation.points()
    # The feature store goes on; the index lags behind.
    installation.flow.commit([note("note-00000", "All of it is another text now."), *make_notes(5, start=1)])
    damaged = {name for name, (payload, _) in points.items() if payload["source_id"] == "note-00000"}
    installation.client.delete(installation.collection, list(damaged))
    report = installation.repair()
    assert (report.version, report.repair.written, report.left) == (1, len(damaged), [])
    assert_same_points(installation.points(), points)


def test_a_text_that_no_vector_is_kept_of_is_not_judged_and_embedded_only_if_its_point_must_be_written(installation):
    points = installation.points()
    shutil.rmtree(installation.flow.settings.vectors_folder)
    report = installation.audit()
    assert report.is_clean
    assert report.unchecked == len(points)
    delete(installation, min(points), {})
    report = installation.repair()
    assert (report.repair.written, report.repair.embedded, report.left) == (1, 1, [])
    assert_same_points(installation.points(), points)


def test_an_alias_that_is_gone_is_restored_and_the_newest_complete_collection_serves(installation):
    collection = installation.collection
    operation = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=NAME))
    installation.client.update_collection_aliases([operation])
    report = installation.audit()
    assert kinds(report.findings) == [("alias", 1)]
    assert serving_collection(installation.client, NAME) is None
    report = installation.repair()
    assert report.is_clean
    assert report.repair.alias == serving_collection(installation.client, NAME) == collection


def test_an_alias_that_points_to_nothing_is_restored(installation):
    collection = installation.collection
    installation.client._client.aliases[NAME] = f"{NAME}__gone"
    report = installation.repair()
    assert kinds(report.findings) == [("alias", 1)]
    assert "which is gone" in report.findings[0].detail
    assert report.is_clean
    assert serving_collection(installation.client, NAME) == collection


def test_a_collection_that_cannot_be_mended_does_not_serve_again(installation):
    operation = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=NAME))
    installation.client.update_collection_aliases([operation])
    installation.record.forget()
    report = installation.repair()
    assert kinds(report.left) == [("record", 1), ("alias", 1)]
    assert serving_collection(installation.client, NAME) is None


def test_an_index_that_was_never_built_is_not_wrong(installation):
    installation.client.delete_collection(installation.collection)
    report = installation.audit()
    assert report.collection is None
    assert report.is_clean


SAYINGS = {
    "points": {"points": 3},
    "payload_index": {"payload_indexes": {}},
    "lease": {"lease": "begun"},
}


@pytest.mark.parametrize(("kind", "changes"), SAYINGS.items(), ids=SAYINGS)
def test_what_a_collection_says_wrongly_of_itself_is_put_right(installation, kind, changes):
    before = installation.metadata
    if changes.get("lease"):
        lease = Lease(holder="host-1:1", token="t", expires_at=now(), loading=before.reflects)
        changes = {"lease": lease}
    if "payload_indexes" in changes:
        less = {name: kind for name, kind in before.payload_indexes.items() if name != "title"}
        changes = {"payload_indexes": {**less, "position": "keyword"}}
        operation = {"payload_indexes": changes["payload_indexes"]}
        installation.client._client.collections[installation.collection].config.metadata.update(operation)
    else:
        installation.say(**changes)
    report = installation.audit()
    assert [finding.kind for finding in report.findings] == [kind]
    if kind == "payload_index":
        assert report.findings[0].examples == ["position", "title"]
    report = installation.repair()
    assert report.is_clean
    assert installation.metadata.model_copy(update={"updated_at": before.updated_at}) == before


UNTRUE = {
    "another encoder": lambda said: {"encoder": said.encoder.model_copy(update={"fingerprint": "another"})},
    "another chunking": lambda said: {"chunking": {**said.chunking, "window": 64}},
    "another fingerprint": lambda said: {"fingerprint": "another"},
    "other categories": lambda said: {"categories": ["notes", "others"]},
}


@pytest.mark.parametrize("change", UNTRUE.values(), ids=UNTRUE)
def test_metadata_that_are_not_those_of_the_name_are_found_and_not_trusted(installation, change):
    installation.say(**change(installation.metadata))
    report = installation.repair()
    assert kinds(report.left) == [("metadata", 1)]
    assert "Remove the collection and run" in report.left[0].remedy
    assert report.repair.written == 0


def test_a_collection_with_other_vectors_is_found(installation):
    collection, said = installation.collection, installation.metadata
    installation.client.delete_collection(collection)
    vector = models.VectorParams(size=DIMENSION, distance=models.Distance.DOT)
    installation.client.create_collection(
        collection, vectors_config={"dense": vector}, metadata=said.model_dump(mode="json")
    )
    (finding,) = [finding for finding in installation.audit().findings if finding.kind == "vectors"]
    assert finding.examples == ["dense", "bm25"]


def test_without_its_record_a_collection_cannot_be_judged_and_the_next_run_writes_it_anew(installation):
    points = installation.points()
    installation.record.forget()
    alter_payload(installation, min(points), {})
    report = installation.repair()
    assert kinds(report.left) == [("record", 1)]
    assert "written anew" in report.left[0].remedy
    embedded = len(installation.encoder.texts)
    installation.flow.run([*make_notes(6), note("one more", "so that there is a new version")])
    assert installation.audit().is_clean
    assert len(installation.encoder.texts) == embedded + 1


def test_a_load_that_ended_early_is_for_the_next_run(installation, monkeypatch):
    def die(*arguments):
        raise TransientError("the process ends")

    monkeypatch.setattr("steps.load.apply.reconcile", die)
    with pytest.raises(TransientError):
        installation.flow.run(make_notes(7))
    report = installation.audit()
    assert kinds(report.findings) == [("load", 1)]
    assert "version 2" in report.findings[0].detail
    assert installation.repair().left == report.findings


def test_a_record_of_another_version_than_the_collection_is_not_trusted(installation):
    note_ = installation.record.read_note()
    installation.flow.run(make_notes(7))
    table = installation.record.read_note().table
    installation.record._write_note(note_.model_copy(update={"table": table}))
    assert kinds(installation.audit().findings) == [("record", 1)]


@pytest.mark.parametrize("change", ["missing", "stale"])
def test_a_record_that_does_not_know_the_documents_is_given_up_and_the_next_run_writes_anew(installation, change):
    record, (first, *_) = installation.record, sorted(row["document_id"] for row in installation.flow.live().values())
    if change == "missing":
        record.erase([first])
    else:
        row = {"document_id": str(uuid.uuid4()), "chunks": 1, "chunk_ids": bytes(16), "payload_hashes": bytes(8)}
        part = write_part(record.folder, "documents", 0, pa.Table.from_pylist([row], schema=schema.INDEX_RECORD))
        version = record.read_note().version
        record.write([part], lambda: None)
        record.publish(version)
    report = installation.repair()
    assert ("documents", 1) in kinds(report.left)
    assert report.repair.given_up
    assert record.read_note() is None
    installation.flow.run(make_notes(7))
    assert installation.audit().is_clean


def test_documents_that_give_other_chunks_than_recorded_are_not_written(installation, monkeypatch):
    points = installation.points()
    monkeypatch.setattr("steps.chunk.part.make_payload", lambda *_: {"text": "of another release"})
    delete(installation, min(points), {})
    report = installation.repair()
    assert kinds(report.left) == [("lost", 1), ("record", 1)]
    assert report.repair.given_up
    assert count_points(installation.client, installation.collection) == len(points) - 1


def test_a_collection_of_another_store_is_refused(installation, tmp_path):
    other = Installation(tmp_path / "other", configured(), installation.client)
    other.flow.commit(make_notes(2))
    report = other.audit()
    assert "made from another feature store" in report.refused
    assert not report.is_clean
    assert other.repair().repair is None


def test_a_collection_at_a_version_that_is_gone_is_refused(installation):
    installation.say(version=9, version_run_id="gone")
    assert "version 9, which the feature store does not have" in installation.audit().refused


def test_a_collection_of_a_newer_release_is_refused(installation):
    installation.say(chunking={"strategy": "of the future"})
    report = installation.audit()
    assert "is not one that this release knows" in report.refused
    assert not report.is_clean


def test_with_another_model_nothing_is_repaired(installation, monkeypatch):
    monkeypatch.setattr(
        "pipelines.repair.load_encoder", lambda config: HashEncoder(dimension=DIMENSION, fingerprint="another")
    )
    points = installation.points()
    delete(installation, min(points), {})
    with pytest.raises(ConfigurationError, match="is not the model that made"):
        installation.repair()
    assert installation.metadata.lease is None


@pytest.mark.parametrize("changes", [{"chunker_version": 7}, {"payload_version": 7}], ids=["chunker", "payload"])
def test_a_collection_of_another_release_is_not_repaired_by_this_one(installation, changes):
    said = installation.metadata.model_copy(update=changes)
    with pytest.raises(ConfigurationError, match="Run: a new collection is built"):
        _encoder_of(installation.flow.config, said)


@pytest.mark.parametrize("trusts", [True, False])
def test_only_the_configuration_lets_a_models_own_code_run(installation, monkeypatch, trusts):
    asked = []

    def load(config):
        asked.append(config.trust_remote_code)
        return HashEncoder(dimension=DIMENSION)

    monkeypatch.setattr("pipelines.repair.load_encoder", load)
    said = installation.metadata
    said = said.model_copy(
        update={"encoder_config": said.encoder_config.model_copy(update={"trust_remote_code": True})}
    )
    config = configured(encoder={"model": "unused", "trust_remote_code": trusts})
    _encoder_of(config, said)
    assert asked == [trusts]


@pytest.mark.parametrize("word", ["held", "refused"])
def test_a_collection_that_was_kept_from_serving_does_not_serve_by_a_repair(installation, word):
    collection = installation.collection
    operation = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=NAME))
    installation.client.update_collection_aliases([operation])
    note_promotion(installation.client, collection, read_metadata(installation.client, collection), **{word: "why"})
    assert installation.collection is None
    installation.repair()
    assert serving_collection(installation.client, NAME) is None


def test_of_several_the_one_that_served_last_serves_again(installation):
    served = installation.collection
    installation.flow.config = configured(CHUNKINGS["multi_size"])
    newer = installation.flow.run(make_notes(6)).index.chunks.collection
    assert serving_collection(installation.client, NAME) == newer != served
    operation = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=NAME))
    installation.client.update_collection_aliases([operation])
    assert installation.collection == newer
    note_promotion(installation.client, newer, read_metadata(installation.client, newer), retired_at=now())
    note_promotion(installation.client, served, read_metadata(installation.client, served), retired_at=None)
    assert installation.collection == served


def test_a_collection_that_is_loaded_meanwhile_is_not_judged(installation, monkeypatch):
    lease = Lease(holder="host-1:1", token="t", expires_at=now(), loading=installation.metadata.reflects)
    scroll = installation.client.scroll

    def and_load(*arguments, **options):
        installation.say(lease=lease)
        return scroll(*arguments, **options)

    monkeypatch.setattr(installation.client, "scroll", and_load)
    with pytest.raises(TransientError, match="was loaded while it was audited"):
        installation.audit()


def test_collections_and_indexes_are_named_and_nothing_else(installation):
    assert installation.target(installation.collection).alias is None
    assert installation.target().alias == NAME
    with pytest.raises(ConfigurationError, match="neither an index nor a collection"):
        installation.target("nonsense")


@contextmanager
def opened(settings, config):
    with open_qdrant(settings) as client:
        yield Installation(settings.data_dir, config, client)


class KilledError(BaseException):
    """Stands for the death of the process: from then on nothing is written any more."""


def test_a_repair_that_is_killed_anywhere_is_completed_by_the_next(tmp_path):
    config = configured()
    original = Settings(data_dir=tmp_path / "original", _env_file=None)
    with opened(original, config) as made:
        made.flow.run(make_notes(3))
        points = made.points()
        names = sorted(points)
        delete(made, names[0], {})
        alter_payload(made, names[3], {})
        alter_dense(made, names[6], points[names[6]][1])
        made.client.upsert(made.collection, [models.PointStruct(id=7, payload={}, vector={})])
        made.say(points=3)

    def repaired_until(step, folder):
        """Repair a copy until that durable step; return whether the repair came to its end."""
        shutil.copytree(original.data_dir, folder)
        copy = Settings(data_dir=folder, _env_file=None)

        def act(number, target):
            if number >= step:
                raise KilledError

        with opened(copy, config) as made:
            try:
                with before_every_durable_step(act):
                    report = made.repair()
            except KilledError:
                report = None
        with opened(copy, config) as made:
            assert made.repair().is_clean
            assert_same_points(made.points(), points)
            assert (made.metadata.points, made.metadata.lease) == (len(points), None)
            assert made.audit().findings == []
        return report is not None

    steps = next(step for step in count(1) if repaired_until(step, tmp_path / str(step)))
    assert steps > 8, "the repair was killed at too few places"


@pytest.mark.filterwarnings("ignore:Local mode is not recommended")
def test_five_damaged_points_of_20_000_are_found_and_just_they_are_written(installation, monkeypatch):
    installation.flow.run(make_notes(525, paragraphs=20))
    client, config, settings_ = installation.client, installation.flow.config, installation.flow.settings
    points = installation.points()
    assert len(points) >= 20_000
    names = sorted(points)[:: len(points) // 5][:5]
    delete(installation, names[0], {})
    for damage, name in zip([alter_payload, alter_dense, alter_sparse, remove_a_vector], names[1:], strict=True):
        damage(installation, name, points[name][1])
    monkeypatch.setattr("pipelines.audit.open_qdrant", lambda settings: nullcontext(client))

    (report,) = audit_indexes(settings_, config)
    assert kinds(report.findings) == [("lost", 1), ("payload", 1), ("dense", 1), ("sparse", 1), ("missing_vector", 1)]
    assert sorted(example for finding in report.findings for example in finding.examples) == names
    assert report.looked_into <= 20

    written = []
    upsert = client.upsert

    def watched(collection, points, **options):
        written.extend(point.id for point in points)
        return upsert(collection, points=points, **options)

    monkeypatch.setattr(client, "upsert", watched)
    (report,) = repair_indexes(settings_, config)
    assert report.is_clean
    assert report.repair.embedded == 0
    assert sorted(written) == names
    now_there = installation.points()
    assert now_there.keys() == points.keys()
    assert_same_points(*({name: some[name] for name in names} for some in (now_there, points)))


@pytest.mark.parametrize("look", [audit_indexes, repair_indexes])
def test_an_audit_refuses_while_a_run_is_at_work(tmp_path, look):
    settings_, config = Settings(data_dir=tmp_path / "data", _env_file=None), configured()
    with opened(settings_, config) as made:
        made.flow.run(make_notes(1))
    with FileLock(settings_.data_dir / "run.lock"), pytest.raises(LockedError):
        look(settings_, config)
    assert look(settings_, config)[0].is_clean


class Server:
    """An embedded Qdrant that is taken for a server, which says itself what payload indexes it has."""

    def __init__(self, client, schema):
        self.client, self.schema = client, schema
        self._client = None  # by which an embedded one is known

    def __getattr__(self, name):
        return getattr(self.client, name)

    def get_collection(self, collection):
        return self.client.get_collection(collection).model_copy(update={"payload_schema": self.schema})

    def create_payload_index(self, collection, field_name, field_schema, **options):
        self.schema[field_name] = models.PayloadIndexInfo(data_type=field_schema, points=0)


def test_of_a_server_its_own_payload_indexes_count(installation):
    present = {
        name: models.PayloadIndexInfo(data_type=schema_type(kind), points=0)
        for name, kind in installation.metadata.payload_indexes.items()
        if name != "title"
    }
    present["position"] = models.PayloadIndexInfo(data_type=models.PayloadSchemaType.KEYWORD, points=0)
    installation.flow.client = Server(installation.client, present)
    (finding,) = installation.audit().findings
    assert (finding.kind, finding.examples) == ("payload_index", ["position", "title"])
    report = installation.repair()
    assert report.is_clean
    assert report.repair.payload_indexes == ["position", "title"]
    assert present["position"].data_type is models.PayloadSchemaType.INTEGER


def invoke(settings_, config, *arguments):
    """Call the command as the command line does; return exit code and stdout."""
    application = typer.Typer()
    application.command()(audit_command.audit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit_command, "started", lambda: settings_)
        patch.setattr(audit_command, "load_config", lambda path: config)
        patch.setattr(audit_command, "output", Console(width=200))
        result = CliRunner().invoke(application, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


def test_the_command_tells_what_is_wrong_and_exits_with_6_until_it_is_mended(tmp_path):
    settings_, config = Settings(data_dir=tmp_path / "data", _env_file=None), configured()
    with opened(settings_, config) as made:
        made.flow.run(make_notes(3))
        collection, name = made.collection, min(made.points())
        delete(made, name, {})
    code, text = invoke(settings_, config)
    assert code == 6
    assert name in text
    assert "points are not there" in text
    assert "1 point compared one by one, in 1 bucket\n" in text
    code, told = invoke(settings_, config, "--json", "--quick")
    (report,) = json.loads(told)
    assert (code, report["is_clean"], report["findings"][0]["examples"]) == (6, False, [name])
    code, text = invoke(settings_, config, "--repair")
    assert code == 0
    assert "mended" in text
    assert "1 point written, 0 removed, 0 texts embedded" in text
    code, text = invoke(settings_, config, collection)
    assert code == 0
    assert "wrong" not in text
