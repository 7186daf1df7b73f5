"""Removing and updating points: exactly those that are meant, in local mode as on a server."""

import json
import uuid
from contextlib import closing

import httpx
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from feature_store import schema
from feature_store.errors import ReconciliationError
from feature_store.parts import write_part
from feature_store.points import pack
from steps.load import points as points_module
from steps.load.points import (
    reconcile,
    remove_all_but,
    remove_orphans,
    remove_part,
    update_payloads,
    upsert_parents,
    upsert_part,
)

COLLECTION = "c"
ONE, TWO, THREE, FOUR = (str(uuid.UUID(int=number)) for number in (1, 2 << 64, 3 << 8, 4 << 120))


@pytest.fixture
def client():
    with closing(QdrantClient(":memory:")) as opened:
        opened.create_collection(COLLECTION, vectors_config={})
        yield opened


def put(client, documents):
    points = [
        models.PointStruct(id=point, vector={}, payload={"document_id": document})
        for document, ids in documents.items()
        for point in ids
    ]
    client.upsert(COLLECTION, points=points)


def held(client):
    return {record.id for record in client.scroll(COLLECTION, limit=1000)[0]}


def documents_part(folder, documents, number=0):
    rows = []
    for document, ids in documents.items():
        chunk_ids, hashes = pack({uuid.UUID(point).bytes: b"12345678" for point in ids})
        rows.append({"document_id": document, "chunks": len(ids), "chunk_ids": chunk_ids, "payload_hashes": hashes})
    return write_part(folder, "documents", number, pa.Table.from_pylist(rows, schema=schema.INDEX_RECORD))


def payloads_part(folder, payloads):
    rows = [{"chunk_id": point, "payload": json.dumps(payload)} for point, payload in payloads.items()]
    return write_part(folder, "payloads", 0, pa.Table.from_pylist(rows, schema=schema.PAYLOADS))


def nothing():
    """Keep no lease."""


def test_orphans_of_the_named_documents_go_and_no_others(client, tmp_path):
    put(client, {"a": [ONE, TWO], "gone": [THREE], "other": [FOUR]})
    remove_orphans(client, COLLECTION, documents_part(tmp_path, {"a": [TWO], "gone": []}), nothing)
    assert held(client) == {TWO, FOUR}


def test_all_points_of_documents_without_chunks_go(client, tmp_path):
    put(client, {"a": [ONE, TWO], "other": [FOUR]})
    remove_orphans(client, COLLECTION, documents_part(tmp_path, {"a": []}), nothing)
    assert held(client) == {FOUR}


def test_stale_points_go_by_their_ids(client, tmp_path, monkeypatch):
    monkeypatch.setattr(points_module, "IDS_PER_REQUEST", 2)
    put(client, {"a": [ONE, TWO, THREE, FOUR]})
    kept = []
    part = write_part(tmp_path, "stale", 0, pa.table([pa.array([ONE, FOUR, TWO])], schema=schema.CHUNK_IDS))
    remove_part(client, COLLECTION, part, lambda: kept.append(1))
    assert held(client) == {THREE}
    assert len(kept) == 2


# Ids that end or begin with zero bytes are those that a comparison of strings could get wrong.
ids = st.sets(
    st.integers(0, 2**128 - 1) | st.integers(0, 255).flatmap(lambda n: st.sampled_from([n, n << 64, n << 120])),
    max_size=12,
)


@pytest.mark.parametrize(("ids", "requests"), [(3, 3), (4, 2), (100, 1)])
def test_the_ids_of_one_request_are_limited_but_a_document_is_never_cut(client, tmp_path, monkeypatch, ids, requests):
    monkeypatch.setattr(points_module, "IDS_PER_REMOVAL", ids)
    names = [str(uuid.UUID(int=number)) for number in range(1, 12)]
    kept = {"a": names[:2], "b": names[2:4], "c": names[4:9]}  # more than some limits allow
    put(client, kept | {"b": [*kept["b"], names[9]], "other": [names[10]]})
    calls = []
    remove_orphans(client, COLLECTION, documents_part(tmp_path, kept), lambda: calls.append(1))
    assert held(client) == {*names} - {names[9]}
    assert len(calls) == requests


def test_documents_of_one_request_are_limited(client, tmp_path, monkeypatch):
    monkeypatch.setattr(points_module, "DOCUMENTS_PER_REMOVAL", 2)
    put(client, {"a": [ONE], "b": [TWO], "c": [THREE], "d": [FOUR]})
    calls = []
    part = documents_part(tmp_path, {"a": [ONE], "b": [], "c": [THREE], "d": []})
    remove_orphans(client, COLLECTION, part, lambda: calls.append(1))
    assert held(client) == {ONE, THREE}
    assert len(calls) == 2


@given(current=ids, orphans=ids, numbers=st.sets(st.integers(0, 2**63), max_size=3), pages=st.integers(1, 5))
def test_of_all_points_only_the_current_chunks_stay(tmp_path_factory, current, orphans, numbers, pages):
    kept = sorted(str(uuid.UUID(int=number)) for number in current)
    present = {*kept, *(str(uuid.UUID(int=number)) for number in orphans), *numbers}
    folder = tmp_path_factory.mktemp("parts")
    half = len(kept) // 2
    parts = [documents_part(folder, {"a": kept[:half]}), documents_part(folder, {"b": kept[half:]}, 1)]
    with closing(QdrantClient(":memory:")) as client, pytest.MonkeyPatch.context() as patch:
        patch.setattr(points_module, "IDS_PER_SCROLL", pages)
        client.create_collection(COLLECTION, vectors_config={})
        if present:
            put(client, {"x": present})
        remove_all_but(client, COLLECTION, parts, nothing)
        assert held(client) == set(kept)


def test_without_any_chunk_every_point_goes(client):
    put(client, {"a": [ONE, TWO], "b": [4711]})
    remove_all_but(client, COLLECTION, [], nothing)
    assert held(client) == set()


def test_a_payload_is_replaced_whole_and_in_batches(client, tmp_path):
    put(client, {"a": [ONE, TWO, THREE]})
    part = payloads_part(tmp_path, {ONE: {"text": "one"}, TWO: {"text": "two"}, FOUR: {"text": "four"}})
    put(client, {"d": [FOUR]})
    units = []
    assert update_payloads(client, COLLECTION, part, 2, units.append) == 3
    assert units == [2, 1]
    found = {record.id: record.payload for record in client.scroll(COLLECTION, limit=10)[0]}
    assert found == {ONE: {"text": "one"}, TWO: {"text": "two"}, THREE: {"document_id": "a"}, FOUR: {"text": "four"}}


def test_a_point_that_is_not_there_gets_no_payload(client, tmp_path):
    put(client, {"a": [ONE]})
    with pytest.raises(ReconciliationError, match="lacks a point"):
        update_payloads(client, COLLECTION, payloads_part(tmp_path, {TWO: {}}), 2, lambda units: None)


@pytest.mark.parametrize(("status", "expected"), [(404, ReconciliationError), (400, UnexpectedResponse)])
def test_what_a_server_answers_is_told_apart(tmp_path, status, expected):
    class Server:
        def batch_update_points(self, *arguments, **options):
            raise UnexpectedResponse(status, "", b"", httpx.Headers())

    with pytest.raises(expected):
        update_payloads(Server(), COLLECTION, payloads_part(tmp_path, {TWO: {}}), 2, lambda units: None)


def test_points_that_are_exactly_the_chunks_add_up(client, tmp_path):
    put(client, {"a": [ONE, TWO], "b": [THREE]})
    part = documents_part(tmp_path, {"a": [ONE, TWO], "gone": []})
    assert reconcile(client, COLLECTION, 3, [part], nothing) == 3


@pytest.mark.parametrize(
    ("expected", "documents"),
    [(2, {"a": [ONE, TWO]}), (4, {"a": [ONE, TWO]}), (3, {"a": [ONE, FOUR]})],
    ids=["one too many", "one too few", "another one"],
)
def test_anything_else_does_not_add_up(client, tmp_path, expected, documents):
    put(client, {"a": [ONE, TWO], "b": [THREE]})
    with pytest.raises(ReconciliationError):
        reconcile(client, COLLECTION, expected, [documents_part(tmp_path, documents)], nothing)


def embedded_part(folder, sizes):
    """Write a chunk for every id; its vectors tell its place."""
    rows = [
        {
            "chunk_id": point, "document_id": "a", "size": size, "payload": json.dumps({"place": place}),
            "dense": [float(place + 1), 0.0], "sparse_indices": [place], "sparse_values": [0.5],
        }
        for place, (point, size) in enumerate(sizes.items())
    ]  # fmt: skip
    return write_part(folder, "embedded", 0, pa.Table.from_pylist(rows, schema=schema.embedded_chunks(2)))


@pytest.fixture
def sized(client):
    vector = models.VectorParams(size=2, distance=models.Distance.DOT)
    client.create_collection(
        "sized",
        vectors_config={"dense": vector, "dense_200": vector, "dense_48": vector},
        sparse_vectors_config={name: models.SparseVectorParams() for name in ("bm25", "bm25_200", "bm25_48")},
    )
    return client


def test_a_chunk_is_written_with_the_vectors_of_its_size_alone(sized, tmp_path):
    done = []
    part = embedded_part(tmp_path, {ONE: 200, TWO: 48, THREE: None})
    assert upsert_part(sized, "sized", part, 2, done.append) == 3
    assert done == [2, 1]
    records = {record.id: record for record in sized.scroll("sized", with_vectors=True)[0]}
    names = {point: set(record.vector) for point, record in records.items()}
    assert names == {ONE: {"dense_200", "bm25_200"}, TWO: {"dense_48", "bm25_48"}, THREE: {"dense", "bm25"}}
    assert {point: record.payload for point, record in records.items()} == {
        ONE: {"place": 0}, TWO: {"place": 1}, THREE: {"place": 2},
    }  # fmt: skip
    assert records[TWO].vector["dense_48"] == [2.0, 0.0]
    assert records[TWO].vector["bm25_48"] == models.SparseVector(indices=[1], values=[0.5])


def test_parents_are_written_without_vectors_and_found_by_their_ids_alone(sized, tmp_path):
    done = []
    rows = [{"chunk_id": point, "document_id": "a", "payload": json.dumps({"role": "parent"})} for point in (ONE, TWO)]
    part = write_part(tmp_path, "parents", 0, pa.Table.from_pylist(rows, schema=schema.PARENTS))
    upsert_part(sized, "sized", embedded_part(tmp_path, {THREE: None}), 10, lambda units: None)
    assert upsert_parents(sized, "sized", part, 1, done.append) == 2
    assert done == [1, 1]
    assert [point.id for point in sized.query_points("sized", [1.0, 0.0], using="dense", limit=10).points] == [THREE]
    found = sized.retrieve("sized", [ONE, TWO], with_payload=True, with_vectors=True)
    assert [(record.payload, record.vector) for record in found] == [({"role": "parent"}, {})] * 2
    update_payloads(
        sized, "sized", payloads_part(tmp_path, {ONE: {"role": "parent", "title": "T"}}), 10, lambda units: None
    )
    assert sized.retrieve("sized", [ONE])[0].payload["title"] == "T"
