"""A load: the collection is at the version it says it is, whatever happened on the way."""

import shutil
import threading
from pkgutil import resolve_name

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from tenacity import wait_none

from feature_store import index as index_module
from feature_store.errors import ReconciliationError, TerminalError, TransientError
from feature_store.index import (
    VersionName,
    collections_of,
    count_points,
    distance,
    is_transient,
    read_metadata,
    serving_collection,
)
from feature_store.index_record import IndexRecord
from feature_store.parts import list_parts, read_part
from feature_store.payload_schema import indexed_fields
from feature_store.versions import now
from steps.load.points import reconcile
from tests.flow import Flow, note, notes_config

TEXT = " ".join(f"word{number}" for number in range(120))
DOCUMENTS = [
    note("a", TEXT),
    note("b", "a river and a stone"),
    note("c", TEXT.replace("word", "term")),
    note("bad", None),
]


class Watched:
    """A client that notes what it is asked for, and calls ``before`` first; it is taken for one of a server.

    A server is asked by several threads, which the embedded Qdrant behind this one does not bear.
    """

    def __init__(self, client):
        self.client = client
        self.calls = []
        self.before = lambda name, options: None
        self.one_at_a_time = threading.Lock()

    def __getattr__(self, name):
        function = getattr(self.client, name)

        def called(*arguments, **options):
            with self.one_at_a_time:
                self.calls.append((name, arguments, options))
                self.before(name, options)
                return function(*arguments, **options)

        return called

    def named(self, *names):
        return [call[0] for call in self.calls if call[0] in names]


@pytest.fixture
def client():
    opened = QdrantClient(":memory:")
    yield Watched(opened)
    opened.close()


@pytest.fixture
def flow(tmp_path, tiny_model, client):
    return Flow(tmp_path / "data", notes_config(tiny_model), client)


def record_of(flow, collection):
    return IndexRecord(flow.settings.indexes_folder, collection)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(index_module, "wait_exponential_jitter", lambda **_: wait_none())


@pytest.fixture(autouse=True)
def without_payload_indexes(monkeypatch):
    """The watched client passes for one of a server everywhere else, but it has no payload indexes."""
    monkeypatch.setattr("pipelines.serving.is_local", lambda client: True)


def documents_of(flow, collection):
    """Return source id to the spans in order of position, from the payloads of the points."""
    found = {}
    for payload, _ in flow.points(collection).values():
        found.setdefault(payload["source_id"], []).append((payload["position"], payload["start"], payload["end"]))
    return {name: sorted(spans) for name, spans in found.items()}


def test_a_new_collection_gets_its_payload_indexes_before_its_first_point(flow, client):
    flow.run(DOCUMENTS)
    (_, _, created), *_ = [call for call in client.calls if call[0] == "create_collection"]
    assert set(created["vectors_config"]) == {"dense"}
    assert created["sparse_vectors_config"]["bm25"].modifier == models.Modifier.IDF
    order = client.named("create_collection", "create_payload_index", "upsert")
    assert order[0] == "create_collection"
    assert order.index("upsert") == 1 + order.count("create_payload_index")
    assert "create_payload_index" not in order[order.index("upsert") :]
    fields = {arguments[1] for name, arguments, _ in client.calls if name == "create_payload_index"}
    assert fields == set(indexed_fields(flow.config.categories))
    assert "metadata.topic" in fields


def test_every_field_of_a_payload_that_a_filter_may_name_has_an_index(flow):
    run = flow.run([note("a", TEXT, title="A", topic="x")])
    (payload, _), *_ = flow.points(run.index.report.collection).values()
    not_filtered = {"text", "metadata", "start", "end", "token_count"}
    assert set(payload) - not_filtered <= set(indexed_fields(flow.config.categories))


def test_the_version_moves_after_the_last_point_and_the_alias_after_that(flow, client):
    seen = []

    def note_version(name, options):
        if name in {"upsert", "batch_update_points", "delete", "update_collection", "update_collection_aliases"}:
            collection = collections_of(client.client, "notes_index")[0]
            serving = serving_collection(client.client, "notes_index")
            seen.append((name, read_metadata(client.client, collection).version, serving == collection))

    client.before = note_version
    flow.run(DOCUMENTS)
    assert seen[-4:] == [
        ("update_collection", 0, False),  # the lease, renewed
        ("update_collection", 0, False),
        ("update_collection_aliases", 1, False),
        ("update_collection", 1, True),  # since when it serves
    ]
    assert seen[0] == ("update_collection", 0, False)  # the lease
    assert set(seen[1:-4]) == {("upsert", 0, False)}
    seen.clear()
    flow.run([note("a", "new text"), note("b", DOCUMENTS[1]["body"], title="B"), *DOCUMENTS[2:]])
    operations = [
        "update_collection",
        "upsert",
        "batch_update_points",
        "delete",
        "update_collection",
        "update_collection",
    ]
    assert seen == [(name, 1, True) for name in operations]


def test_a_collection_says_how_it_was_made(flow):
    run = flow.run(DOCUMENTS)
    metadata = read_metadata(flow.client, run.index.report.collection)
    assert (metadata.index, metadata.version, metadata.points) == ("notes_index", 1, run.index.report.points)
    assert metadata.store_id == flow.store.newest().store_id
    assert metadata.encoder.fingerprint == run.index.embeddings.encoder_fingerprint
    assert (metadata.precisions, metadata.categories) == (["float32"], ["notes"])
    assert metadata.chunking["window"] == 32
    assert run.index.report.collection == f"notes_index__{metadata.fingerprint}"


def test_every_chunk_of_every_live_document_is_a_point(flow):
    run = flow.run(DOCUMENTS)
    report = run.index.report
    points = flow.points(report.collection)
    (part,) = list_parts(run.index.embeddings.folder, "embedded")
    rows = {row["chunk_id"]: row for row in read_part(part).to_pylist()}
    assert set(points) == set(rows)
    assert set(documents_of(flow, report.collection)) == {"a", "b", "c"}
    for chunk, (payload, vector) in points.items():
        assert np.allclose(vector["dense"], rows[chunk]["dense"], atol=1e-5)
        assert vector["bm25"].indices == rows[chunk]["sparse_indices"]
        assert payload["text"] == flow.texts()[payload["source_id"]][payload["start"] : payload["end"]]
    assert report.written == report.points == report.expected_points == run.index.chunks.chunks == len(points)
    assert (report.version_before, report.version, report.removed) == (0, 1, 0)


def test_stale_points_of_edited_and_deleted_documents_are_removed(flow):
    collection = flow.run(DOCUMENTS).index.report.collection
    before, points_before = documents_of(flow, collection), flow.points(collection)
    report = flow.run([note("a", TEXT[:300]), note("b", None), DOCUMENTS[2], note("bad", None)]).index.report
    after, points = documents_of(flow, collection), flow.points(collection)
    assert set(after) == {"a", "c"}
    assert len(after["a"]) < len(before["a"])
    assert after["c"] == before["c"]
    assert report.removed == len(points_before.keys() - points.keys()) > 0
    assert report.points == report.expected_points == len(points)
    texts = flow.texts()
    for payload, _ in points.values():
        assert payload["text"] == texts[payload["source_id"]][payload["start"] : payload["end"]]


def test_points_of_documents_that_did_not_change_are_not_written_again(flow):
    collection = flow.run(DOCUMENTS).index.report.collection
    report = flow.run([note("b", "another river"), DOCUMENTS[0], DOCUMENTS[2]]).index.report
    of_b = [payload for payload, _ in flow.points(collection).values() if payload["source_id"] == "b"]
    assert (report.written, report.updated) == (len(of_b), 0)


def test_loading_again_changes_nothing(flow, client):
    first = flow.run(DOCUMENTS)
    points = flow.points(first.index.report.collection)
    client.calls.clear()
    run = flow.run(DOCUMENTS)
    again = run.index.report
    assert (again.version_before, again.version, again.written, again.removed) == (1, 1, 0, 0)
    assert again.points == again.expected_points == len(points)
    assert (run.index.report.written, run.index.report.removed) == (0, 0)
    assert client.named("upsert", "delete", "update_collection", "update_collection_aliases", "create_collection") == []
    assert flow.points(first.index.report.collection).keys() == points.keys()


def test_a_collection_that_is_removed_while_a_run_is_at_work_is_not_half_filled(flow):
    flow.run(DOCUMENTS)
    _, cleaned = flow.commit([*DOCUMENTS, note("new", "a new note")])
    (index,) = flow.config.indexes
    embeddings = flow.embed(flow.chunk(cleaned, index), index)
    flow.client.delete_collection(embeddings.collection)
    with pytest.raises(TransientError, match="went from version 1 to 0"):
        flow.load(embeddings, cleaned, index)
    assert serving_collection(flow.client, "notes_index") is None
    report = flow.run([*DOCUMENTS, note("new", "a new note")]).index.report
    assert report.points == report.expected_points
    assert {"a", "b", "c", "new"} == set(documents_of(flow, report.collection))


def test_an_index_ahead_of_a_restored_feature_store_is_brought_back_to_it(flow):
    flow.run(DOCUMENTS)
    backup = flow.settings.feature_store_folder.with_name("backup")
    shutil.copytree(flow.settings.feature_store_folder, backup)
    changed = [note("a", "quite another text"), *DOCUMENTS[1:]]
    flow.run(changed)
    shutil.rmtree(flow.settings.feature_store_folder)
    backup.rename(flow.settings.feature_store_folder)
    run = flow.run(DOCUMENTS)
    texts = {payload["text"] for payload, _ in flow.points(run.index.report.collection).values()}
    assert "quite another text" not in texts
    assert run.index.report.version == read_metadata(flow.client, run.index.report.collection).version == 1


def test_one_point_too_many_does_not_make_up_for_one_too_few(flow):
    run = flow.run(DOCUMENTS)
    collection, (index,) = run.index.report.collection, flow.config.indexes
    _, cleaned = flow.commit([note("a", f"{TEXT} and an end"), *DOCUMENTS[1:]])
    embeddings = flow.embed(flow.chunk(cleaned, index), index)
    flow.load(embeddings, cleaned, index)
    expected = record_of(flow, collection).count_points()
    changed = flow.live()["a"]["document_id"]
    lost = next(key for key, (payload, _) in flow.points(collection).items() if payload["document_id"] == changed)
    flow.client.delete(collection, [lost])
    flow.client.upsert(collection, [foreign_point({"document_id": "foreign", "position": 2})])
    assert count_points(flow.client, collection) == expected
    with pytest.raises(ReconciliationError, match="points of 1 documents"):
        reconcile(flow.client, collection, expected, list_parts(embeddings.folder, "documents"), lambda: None)


def test_a_crash_while_a_lost_record_is_made_anew_leaves_no_false_version(flow, monkeypatch):
    first = flow.run(DOCUMENTS).index.report
    shutil.rmtree(record_of(flow, first.collection).table_path)
    with monkeypatch.context() as patch:
        patch.setattr("feature_store.index_record.tables.upsert", _die)
        with pytest.raises(MemoryError):
            flow.run(DOCUMENTS)
    assert read_metadata(flow.client, first.collection).version == 0
    report = flow.run(DOCUMENTS).index.report
    assert report.points == report.expected_points == first.points
    assert read_metadata(flow.client, first.collection).version == report.version


def _die(*arguments):
    raise MemoryError


def test_a_collection_that_lost_its_record_of_documents_is_filled_anew(flow):
    first = flow.run(DOCUMENTS)
    collection = first.index.report.collection
    shutil.rmtree(record_of(flow, collection).table_path)
    run = flow.run([DOCUMENTS[1], DOCUMENTS[2]])
    assert (run.index.chunks.since, run.index.chunks.record) == (0, None)
    assert run.index.embeddings.embedded == 0
    assert set(documents_of(flow, collection)) == {"b", "c"}
    assert record_of(flow, collection).count_points() == count_points(flow.client, collection)


def foreign_point(payload):
    vector = {"dense": [1.0] + [0.0] * 31, "bm25": models.SparseVector(indices=[1], values=[1.0])}
    return models.PointStruct(id=4711, vector=vector, payload=payload)


@pytest.mark.parametrize("payload", [{}, {"document_id": "foreign", "position": 2}])
@pytest.mark.parametrize("documents", [DOCUMENTS, DOCUMENTS[:2]], ids=["nothing to do", "a change"])
def test_foreign_points_are_an_error_and_the_version_is_not_moved(flow, payload, documents):
    collection = flow.run(DOCUMENTS).index.report.collection
    flow.client.upsert(collection, points=[foreign_point(payload)], wait=True)
    with pytest.raises(ReconciliationError, match=f"{collection} holds .* points") as caught:
        flow.run(documents)
    assert caught.value.exit_code == 6
    assert read_metadata(flow.client, collection).version == 1
    assert serving_collection(flow.client, "notes_index") == collection
    assert flow.run(documents).index.report.version == flow.store.newest().number
    assert 4711 not in flow.points(collection)


@pytest.mark.parametrize("documents", [DOCUMENTS, [*DOCUMENTS, note("d", "delta")]], ids=["nothing to do", "a change"])
def test_a_lost_point_of_an_unchanged_document_fails_one_run_and_the_next_heals_it_in_place(flow, client, documents):
    collection = flow.run(DOCUMENTS).index.report.collection
    lost = next(iter(flow.points(collection)))
    flow.client.delete(collection, points_selector=[lost])
    client.calls.clear()
    with pytest.raises(ReconciliationError) as caught:
        flow.run(documents)
    assert caught.value.exit_code == 6
    assert read_metadata(flow.client, collection).version == 1
    run = flow.run(documents).index
    assert (run.chunks.since, run.embeddings.embedded, run.report.collection) == (0, 0, collection)
    assert run.report.version == flow.store.newest().number
    assert lost in flow.points(collection)
    assert client.named("delete_collection", "create_collection", "update_collection_aliases") == []
    assert flow.run(documents).index.report.written == 0


def test_what_is_expected_is_what_the_record_says(flow, monkeypatch):
    flow.run(DOCUMENTS)
    expected = flow.run(DOCUMENTS).index.report.points + 1
    monkeypatch.setattr(IndexRecord, "count_points", lambda record: expected)
    monkeypatch.setattr("steps.load.apply.require_points", lambda client, collection, expected: 1)
    report = flow.run(DOCUMENTS).index.report
    assert (report.points, report.expected_points) == (1, expected)


def test_a_load_that_failed_does_not_lock_out_the_next_run_from_another_host(flow, client, monkeypatch):
    collection = flow.run(DOCUMENTS).index.report.collection
    client.before = failing("upsert", ValueError("crash"), 1)
    with pytest.raises(ValueError, match="crash"):
        flow.run([note("a", "another text"), *DOCUMENTS[1:]])
    left = read_metadata(flow.client, collection).lease
    assert left.expires_at <= now()
    assert left.loading == VersionName.of(flow.store.newest())
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    report = flow.run([note("a", "another text"), *DOCUMENTS[1:]]).index.report
    assert report.version == 2
    assert read_metadata(flow.client, report.collection).lease is None


@pytest.mark.parametrize("method", ["upsert", "update_collection_aliases", "publish"])
def test_a_load_that_was_killed_does_not_lock_out_the_next_run_of_its_data_folder(flow, client, monkeypatch, method):
    monkeypatch.setattr("steps.load.lease.HeldLease._give_up", lambda held: None)  # as after kill -9
    with monkeypatch.context() as patch:
        if method == "publish":
            patch.setattr("steps.load.apply.publish", _die)  # the record is published already
        else:
            client.before = failing(method, MemoryError(), 1)
        with pytest.raises(MemoryError):
            flow.run(DOCUMENTS)
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    report = flow.run(DOCUMENTS).index.report
    assert read_metadata(flow.client, report.collection).lease is None
    assert serving_collection(flow.client, "notes_index") == report.collection


def test_the_lease_is_confirmed_before_payloads_and_removals_and_renewed_before_the_record(flow, monkeypatch):
    flow.run(DOCUMENTS)
    order = []

    def noting(name, place):
        function = resolve_name(place)
        monkeypatch.setattr(place, lambda *arguments: (order.append(name), function(*arguments))[1])

    noting("confirm", "steps.load.lease.HeldLease.confirm")
    for name in ("upsert_part", "update_payloads", "remove_part", "reconcile", "IndexRecord.publish"):
        noting(name, f"steps.load.apply.{name}")
    flow.run([note("a", "new text"), note("b", DOCUMENTS[1]["body"], title="B"), *DOCUMENTS[2:]])
    assert order == [
        "confirm", "upsert_part", "confirm", "update_payloads", "confirm", "remove_part", "reconcile", "confirm",
        "IndexRecord.publish",
    ]  # fmt: skip


def test_the_lease_is_kept_during_the_record_and_the_reconciliation(flow, monkeypatch):
    kept = []
    monkeypatch.setattr("steps.load.lease.HeldLease.keep", lambda held: kept.append(1))
    counts = {}
    for name in ("IndexRecord.write", "reconcile"):
        function = resolve_name(f"steps.load.apply.{name}")

        def counted(*arguments, function=function, name=name):
            before = len(kept)
            result = function(*arguments)
            counts[name] = len(kept) - before
            return result

        monkeypatch.setattr(f"steps.load.apply.{name}", counted)
    flow.run(DOCUMENTS)
    assert counts == {"IndexRecord.write": 3, "reconcile": 1}


def test_another_configuration_is_another_collection_and_the_alias_swaps_in_one_operation(flow, client, tiny_model):
    first = flow.run(DOCUMENTS).index.report.collection
    client.calls.clear()
    larger = {**notes_config(tiny_model).indexes[0].model_dump(), "chunking": {"window": 64, "overlap": 8}}
    flow.config = notes_config(tiny_model, indexes=[larger])
    run = flow.run(DOCUMENTS)
    report = run.index.report
    assert report.collection != first
    assert (run.serving.indexes[0].previous, report.version_before, report.version) == (first, 0, 1)
    (swap,) = [call for call in client.calls if call[0] == "update_collection_aliases"]
    delete, create = swap[2]["change_aliases_operations"]
    assert delete.delete_alias.alias_name == create.create_alias.alias_name == "notes_index"
    assert serving_collection(flow.client, "notes_index") == report.collection
    assert collections_of(flow.client, "notes_index") == sorted([first, report.collection])

    client.calls.clear()
    flow.config = notes_config(tiny_model)
    again = flow.run(DOCUMENTS)
    back = again.index
    assert (back.report.collection, again.serving.indexes[0].previous) == (first, report.collection)
    assert (back.embeddings.embedded, back.report.written) == (0, 0)
    assert serving_collection(flow.client, "notes_index") == first


def test_a_larger_batch_of_upserts_is_the_same_collection(flow, tiny_model, client):
    first = flow.run(DOCUMENTS).index.report.collection
    small = {**notes_config(tiny_model).indexes[0].model_dump(), "upsert_batch": 2}
    flow.config = notes_config(tiny_model, indexes=[small])
    client.calls.clear()
    assert flow.run([*DOCUMENTS, note("d", TEXT.replace("word", "item"))]).index.report.collection == first
    sizes = [len(options["points"]) for name, _, options in client.calls if name == "upsert"]
    assert len(sizes) > 1
    assert set(sizes[:-1]) == {2}


def test_a_collection_of_somebody_else_is_refused(flow):
    _, cleaned = flow.commit(DOCUMENTS)
    collection = flow.collection(cleaned, flow.config.indexes[0])
    flow.client.create_collection(collection, vectors_config={})
    with pytest.raises(TerminalError, match=f"{collection} was not made by this pipeline"):
        flow.bring(cleaned, flow.config.indexes[0])


# Failures on the way

TRANSIENT = [
    pytest.param(ResponseHandlingException(OSError("reset")), id="connection reset"),
    pytest.param(UnexpectedResponse(503, "Unavailable", b"", httpx.Headers()), id="503"),
    pytest.param(httpx.ReadTimeout("late"), id="timeout"),
]
TERMINAL = [
    pytest.param(UnexpectedResponse(400, "Bad Request", b"", httpx.Headers()), id="400"),
    pytest.param(UnexpectedResponse(401, "Unauthorized", b"", httpx.Headers()), id="401"),
    pytest.param(ValueError("wrong"), id="defect"),
]

METHODS = ["create_collection", "create_payload_index", "update_collection", "update_collection_aliases"]


def failing(method, error, times):
    remaining = iter(range(times))

    def fail(name, options):
        if name == method and next(remaining, None) is not None:
            raise error

    return fail


@pytest.mark.parametrize(
    ("method", "error"),
    [
        *(pytest.param("upsert", *parameter.values, id=parameter.id) for parameter in TRANSIENT),
        *((method, httpx.ReadTimeout("late")) for method in METHODS),
    ],
)
def test_a_transient_failure_is_tried_again(flow, client, method, error):
    client.before = failing(method, error, 2)
    report = flow.run(DOCUMENTS).index.report
    assert report.version == 1
    assert serving_collection(flow.client, "notes_index") == report.collection
    assert count_points(flow.client, report.collection) == report.points > 3


@pytest.mark.parametrize("error", TERMINAL)
def test_a_terminal_failure_is_not_tried_again(flow, client, error):
    client.before = failing("upsert", error, 1)
    with pytest.raises(type(error)):
        flow.run(DOCUMENTS)
    assert client.named("upsert") == ["upsert"]


def test_a_failure_that_does_not_end_is_raised_after_some_attempts(flow, client):
    client.before = failing("upsert", ResponseHandlingException(OSError("reset")), 1000)
    with pytest.raises(ResponseHandlingException):
        flow.run(DOCUMENTS)
    assert len(client.named("upsert")) == index_module.ATTEMPTS
    client.before = failing("upsert", None, 0)
    assert flow.run(DOCUMENTS).index.report.version == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_busy_servers_are_transient(status):
    assert is_transient(UnexpectedResponse(status, "", b"", httpx.Headers()))


@pytest.mark.parametrize(
    "error", [*(parameter.values[0] for parameter in TERMINAL), KeyError("x"), KeyboardInterrupt()]
)
def test_everything_else_is_terminal(error):
    assert not is_transient(error)


@pytest.mark.parametrize("method", [*METHODS[1:], "upsert", "delete"])
def test_a_run_after_a_crash_anywhere_in_a_load_makes_it_good(flow, client, method, tmp_path, tiny_model):
    flow.run([note("a", TEXT), note("b", "beta"), note("x", "to be deleted")])
    larger = {**notes_config(tiny_model).indexes[0].model_dump(), "name": "second"}
    flow.config = notes_config(tiny_model, indexes=[flow.config.indexes[0].model_dump(), larger])
    client.before = failing(method, ValueError("crash"), 1)
    with pytest.raises(ValueError, match="crash"):
        flow.run([note("a", TEXT[:200]), note("b", "beta")])
    flow.run([note("a", TEXT[:150]), note("c", "gamma")])
    fresh = Flow(tmp_path / "fresh", flow.config)
    fresh.run([note("a", TEXT[:150]), note("c", "gamma")])
    for index in flow.config.indexes:
        ours, theirs = (serving_collection(item.client, index.name) for item in (flow, fresh))
        assert documents_of(flow, ours) == documents_of(fresh, theirs)
        assert read_metadata(flow.client, ours).version == flow.store.newest().number


def test_the_distance_is_that_the_model_was_trained_for():
    names = ("cosine", "dot", "euclidean", "manhattan", "unheard of")
    assert [distance(name).value for name in names] == ["Cosine", "Dot", "Euclid", "Manhattan", "Cosine"]
