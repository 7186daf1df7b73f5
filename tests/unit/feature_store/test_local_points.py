"""Points on their way to the rows of an embedded Qdrant: checked and changed exactly as qdrant-client does it."""

import copy
import uuid
from contextlib import closing
from datetime import UTC, datetime

import numpy as np
import pytest
from qdrant_client import models
from qdrant_client.embed.type_inspector import Inspector
from qdrant_client.local.local_collection import LocalCollection

from feature_store.local_collection import LazyCollection
from feature_store.local_qdrant import open_local_qdrant
from tests.two_qdrants import IDS, C, create, open_plain, rows, told

DENSE = np.array([0.5, 0.25, 1.0], np.float32)
NOT_A_NUMBER = float("nan")


def sparse(indices, values):
    return models.SparseVector.model_construct(indices=indices, values=values)


def of(identifier=IDS[0], payload=None, **vectors):
    return models.PointStruct.model_construct(id=identifier, vector=vectors, payload=payload)


BM25 = sparse([1, 2**32 - 1], [0.5, 1.0])
WELL_FORMED = of(payload={"a": [1, 2.5, None, True, {"b": "ä"}], "c": {}}, dense=DENSE, bm25=BM25)
CHANGED = {
    "the id in upper case": of(IDS[0].upper(), payload={}),
    "an id that is a UUID": of(uuid.UUID(IDS[0]), payload={}),
    "no payload": of(dense=DENSE),
    "a payload with a time": of(payload={"at": datetime(2026, 1, 2, tzinfo=UTC)}),
    "a payload with a tuple": of(payload={"a": {"b": [(1, 2)]}}),
    "a payload with keys that are numbers": of(payload={"a": {1: "b"}}),
    "a payload with a number of numpy": of(payload={"a": np.float64(0.5)}),
    "a payload with no number": of(payload={"a": NOT_A_NUMBER}),
    "indices out of order": of(payload={}, bm25=sparse([7, 3, 5], [0.7, 0.3, 0.5])),
    "no index": of(payload={}, bm25=sparse([], [])),
    "a vector of lists": of(payload={}, dense=[0.1, 0.2, 0.3]),
    "a vector of float64": of(payload={}, dense=DENSE.astype(np.float64)),
    "a vector that is None": of(payload={}, dense=None),
}
REFUSED = {
    "an id that is no UUID": of("x", payload={}),
    "another vector": of(payload={}, other=DENSE),
    "a vector that is too long": of(payload={}, dense=np.ones(4, np.float32)),
    "a list that is too short": of(payload={}, dense=[1.0]),
    "a vector of vectors": of(payload={}, dense=np.ones((1, 3), np.float32)),
    "a vector with no number in it": of(payload={}, dense=np.array([1, NOT_A_NUMBER, 1], np.float32)),
    "an array of texts": of(payload={}, dense=np.array(["a", "b", "c"])),
    "an index twice": of(payload={}, bm25=sparse([3, 3], [0.5, 0.5])),
    "more indices than weights": of(payload={}, bm25=sparse([3, 4], [0.5])),
    "a weight that is no number": of(payload={}, bm25=sparse([3, 4], [0.5, NOT_A_NUMBER])),
    "an index below 0": of(payload={}, bm25=sparse([-1, 4], [0.5, 0.5])),
    "an index too large": of(payload={}, bm25=sparse([4, 2**32], [0.5, 0.5])),
    "numbers in the place of indices": of(payload={}, bm25=DENSE),
    "indices in the place of numbers": of(payload={}, dense=BM25),
    "a payload that no JSON can hold": of(payload={"a": object()}),
    "an unnamed vector": models.PointStruct(id=IDS[0], vector=[1.0, 0.5, 0.25], payload={}),
}


@pytest.fixture
def opened(tmp_path):
    """Two embedded Qdrants with an empty collection each: the plain one, and the one that loads late."""
    with closing(open_plain(tmp_path / "plain")) as plain, closing(open_local_qdrant(tmp_path / "lazy")) as lazy:
        create(plain), create(lazy)
        yield plain, lazy


def shown(found):
    """Return rows with all that makes a difference to whoever reads them, types too."""
    return [(key, repr(point.id), repr(point.vector), repr(point.payload)) for key, point in found]


@pytest.mark.parametrize("point", [WELL_FORMED, *CHANGED.values()], ids=["nothing", *CHANGED])
def test_what_is_stored_is_what_the_plain_client_stores(opened, tmp_path, point):
    given = copy.deepcopy(point)
    for client in opened:
        client.upsert(C, [point, of(IDS[1], payload={"number": 1}, dense=DENSE)])
        assert shown([("", point)]) == shown([("", given)])
    assert type(opened[1]._client.collections[C]) is LazyCollection
    assert shown(rows(tmp_path / "lazy")) == shown(rows(tmp_path / "plain"))


@pytest.mark.parametrize("point", REFUSED.values(), ids=REFUSED)
def test_what_the_plain_client_refuses_is_refused_with_the_same_words_and_nothing_stored(opened, tmp_path, point):
    said = []
    for client in opened:
        with pytest.raises(Exception) as error:  # noqa: PT011 (whatever the plain one raises)
            client.upsert(C, [of(IDS[1], payload={}), point])
        said.append(repr(error.value))
    assert said[0] == said[1]
    assert rows(tmp_path / "lazy") == rows(tmp_path / "plain") == []


def test_no_points_at_all_are_refused(opened):
    for client in opened:
        with pytest.raises(ValueError, match="Empty update request"):
            client.upsert(C, [])


def test_a_well_formed_point_is_not_copied(opened, monkeypatch):
    def fail(*_):
        raise AssertionError

    monkeypatch.setattr(LocalCollection, "_validate_point", fail)
    opened[1].upsert(C, [WELL_FORMED])
    with pytest.raises(AssertionError):
        opened[1].upsert(C, [CHANGED["indices out of order"]])


def test_nothing_looks_for_texts_that_the_client_should_embed(opened, monkeypatch):
    def fail(*_):
        raise AssertionError

    monkeypatch.setattr(Inspector, "inspect", fail)
    opened[1].upsert(C, [WELL_FORMED])
    with pytest.raises(AssertionError):
        opened[0].upsert(C, [WELL_FORMED])


def test_columns_of_points_are_stored_as_the_plain_client_stores_them(opened, tmp_path):
    columns = models.Batch(ids=IDS[:2], vectors={"dense": [[1, 2, 3], [4, 5, 6]]}, payloads=[{"a": 1}, {}])
    for client in opened:
        client.upsert(C, columns)
    assert shown(rows(tmp_path / "lazy")) == shown(rows(tmp_path / "plain"))


SEVERAL = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)


@pytest.mark.parametrize(
    ("several", "vectors"),
    [(None, [3.0, 4.0]), (None, {"": [3.0, 4.0]}), (SEVERAL, [[1.0, 1.0], [0.0, 2.0]])],
    ids=["unnamed", "with an empty name", "several for each point"],
)
def test_other_vectors_than_ours_are_what_the_plain_client_makes_of_them(tmp_path, several, vectors):
    config = models.VectorParams(size=2, distance=models.Distance.COSINE, multivector_config=several)
    answers = []
    for opener in (open_plain, open_local_qdrant):
        with closing(opener(tmp_path / opener.__name__)) as client:
            client.create_collection(C, vectors_config=config)
            client.upsert(C, [models.PointStruct(id=IDS[0], vector=vectors, payload={})])
            answers.append(told(client.retrieve(C, [IDS[0]], with_vectors=True)))
    assert answers[0] == answers[1]
    assert shown(rows(tmp_path / "open_plain")) == shown(rows(tmp_path / "open_local_qdrant"))
