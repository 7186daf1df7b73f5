"""One point is right, or it is said in what it is wrong."""

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from feature_store.encoders import SparseVector
from feature_store.errors import TerminalError
from feature_store.ids import text_hash
from feature_store.index import count_points, read_metadata
from feature_store.index_record import IndexRecord
from feature_store.vectors import VectorTable
from steps.load.audit_points import VectorTruth, audit_sample, check_vectors, embedded_text, vector_truth
from tests.flow import Flow, note, notes_config
from tests.stand_in import HashEncoder

TEXT = "river stone"
DIMENSION = 4
LONG = [3.0, 0.0, 4.0, 0.0]  # as a model that does not normalise would give it
UNIT = [0.6, 0.0, 0.8, 0.0]
WORDS = ["river", "stone", "light"]


def count_words(text):
    found = [word for word in text.split() if word in WORDS]
    return SparseVector([WORDS.index(word) for word in dict.fromkeys(found)], [1.5] * len(set(found)))


@pytest.fixture
def truth(tmp_path):
    vectors = VectorTable(tmp_path, "f", DIMENSION)
    texts = [TEXT, "of the", f"Title > Part\n\n{TEXT}"]
    vectors.append([text_hash(text) for text in texts], np.array([LONG] * len(texts), np.float32), "float32")
    return VectorTruth(vectors, count_words, normalises=True)


def point(vector=None, text=TEXT, embedded=None, **payload):
    right = {"dense": UNIT, "bm25": models.SparseVector(indices=[1, 0], values=[1.5, 1.5])}
    said = {"text": text, "text_hash": text_hash(embedded or text), **payload}
    return models.Record(id=1, payload=said, vector=right if vector is None else vector)


def changed(**vectors):
    return {name: vector for name, vector in {**point().vector, **vectors}.items() if vector is not None}


def kinds(found):
    return sorted(kind for kind, _ in found.wrong)


RIGHT = {
    "as it was written, its words in another order": point(),
    "with a rounding error": point(changed(dense=[0.6000001, 0.0, 0.7999999, 0.0])),
    "stop words, and no sparse vector": point({"dense": UNIT}, text="of the"),
    "stop words, and an empty sparse vector": point(
        {"dense": UNIT, "bm25": models.SparseVector(indices=[], values=[])}, text="of the"
    ),
    "of a size, under the names of that size": point({"dense_48": UNIT, "bm25_48": point().vector["bm25"]}, size=48),
    "a parent without vectors": point({}, role="parent"),
    "a parent of which a server gives no vectors": models.Record(
        id=1, payload={"text": TEXT, "text_hash": text_hash(TEXT), "role": "parent"}, vector=None
    ),
    "as the embedded Qdrant keeps what a model does not normalise": point(changed(dense=LONG)),
    "embedded after its title and path": point(
        embedded=f"Title > Part\n\n{TEXT}", title="Title", heading_path=["Part"]
    ),
}


@pytest.mark.parametrize("record", RIGHT.values(), ids=RIGHT)
def test_a_right_point_is_right(truth, record):
    (found,) = check_vectors([record], truth)
    assert (found.wrong, found.unchecked) == ([], [])


WRONG = {
    "another dense vector": (point(changed(dense=[0.8, 0.0, 0.6, 0.0])), ["dense"]),
    "a dense vector just off": (point(changed(dense=[0.6001, 0.0, 0.8, 0.0])), ["dense"]),
    "a dense vector of length 0": (point(changed(dense=[0.0] * 4)), ["dense"]),
    "no number in the dense vector": (point(changed(dense=[float("nan"), 0.0, 0.8, 0.0])), ["dense"]),
    "a dense vector of another dimension": (point(changed(dense=[0.6, 0.8])), ["dense"]),
    "no dense vector": (point(changed(dense=None)), ["missing_vector"]),
    "no sparse vector": (point(changed(bm25=None)), ["missing_vector"]),
    "no vectors": (point({}), ["missing_vector", "missing_vector"]),
    "another word": (point(changed(bm25=models.SparseVector(indices=[0, 2], values=[1.5, 1.5]))), ["sparse"]),
    "a word more": (point(changed(bm25=models.SparseVector(indices=[0, 1, 2], values=[1.5] * 3))), ["sparse"]),
    "a word less": (point(changed(bm25=models.SparseVector(indices=[0], values=[1.5]))), ["sparse"]),
    "another weight": (point(changed(bm25=models.SparseVector(indices=[0, 1], values=[1.5, 1.4]))), ["sparse"]),
    "a vector that no chunk has": (point(changed(other=[1.0])), ["surplus_vector"]),
    "a parent with a vector": (point({"dense": UNIT}, role="parent"), ["surplus_vector"]),
    "under the names of another size": (point(size=48), ["missing_vector"] * 2 + ["surplus_vector"] * 2),
    "both vectors": (
        point({"dense": [1.0, 0.0, 0.0, 0.0], "bm25": models.SparseVector(indices=[], values=[])}),
        ["dense", "sparse"],
    ),
}


@pytest.mark.parametrize(("record", "expected"), WRONG.values(), ids=WRONG)
def test_a_wrong_point_is_wrong_in_just_that(truth, record, expected):
    # Between two that are right: each is told apart from its neighbours.
    before, found, after = check_vectors([point(), record, point()], truth)
    assert kinds(found) == expected
    assert before.wrong == after.wrong == []


def test_a_text_without_a_vector_in_the_table_is_not_judged(truth):
    known, unknown = check_vectors(
        [point(), point(text="light", vector=changed(bm25=models.SparseVector(indices=[2], values=[1.5])))], truth
    )
    assert known.unchecked == []
    assert (unknown.wrong, unknown.unchecked) == ([], ["dense"])


def test_keywords_of_a_text_that_cannot_be_told_are_not_judged(truth):
    (found,) = check_vectors([point(embedded="what nobody knows")], truth)
    assert (found.wrong, found.unchecked) == ([], ["bm25", "dense"])
    (lacking,) = check_vectors([point(changed(bm25=None), embedded="what nobody knows")], truth)
    assert kinds(lacking) == ["missing_vector"]


def test_without_cosine_vectors_are_compared_as_they_are(truth):
    as_given = VectorTruth(truth.vectors, truth.sparse, normalises=False)
    right, wrong = check_vectors([point(changed(dense=LONG)), point()], as_given)
    assert (kinds(right), kinds(wrong)) == ([], ["dense"])


EMBEDDED = {
    "the text alone": (TEXT, {}),
    "after title and path": (f"A  title > One > Two\n\n{TEXT}".replace("  ", " "), {"title": "A  title"}),
    "after part of the path": (f"Two\n\n{TEXT}", {"title": "A title"}),
    "a path that begins with the title": (f"One > Two\n\n{TEXT}", {"title": "ONE"}),
    "no title": (f"One > Two\n\n{TEXT}", {}),
}


@pytest.mark.parametrize(("embedded", "payload"), EMBEDDED.values(), ids=EMBEDDED)
def test_the_embedded_text_is_the_one_that_has_the_hash(embedded, payload):
    said = {"text": TEXT, "text_hash": text_hash(embedded), "heading_path": ["One", "Two"], **payload}
    assert embedded_text(said) == embedded


@pytest.mark.parametrize("payload", [{}, {"text": TEXT}, {"text": TEXT, "text_hash": text_hash("another")}])
def test_an_embedded_text_without_its_hash_is_unknown(payload):
    assert embedded_text(payload) is None


@pytest.fixture
def loaded(tmp_path):
    client, encoder = QdrantClient(":memory:"), HashEncoder(dimension=8)
    flow = Flow(tmp_path / "data", notes_config(), client)
    flow.load_encoder = lambda config: encoder
    texts = {name: " ".join(f"{name}{number}" for number in range(length)) for name, length in SIZES.items()}
    flow.run([note(name, text) for name, text in texts.items()])
    del texts["gone"]
    run = flow.run([note(name, text) for name, text in texts.items()])
    collection = run.index.chunks.collection
    vectors = VectorTable(flow.settings.vectors_folder, encoder.fingerprint, encoder.dimension)
    truth = vector_truth(read_metadata(client, collection), vectors, count_words_truly())
    yield client, IndexRecord(flow.settings.indexes_folder, collection), truth
    client.close()


SIZES = {"alpha": 200, "beta": 5, "gone": 40, "delta": 90, "word": 1}


def count_words_truly():
    from feature_store.encoders import load_sparse_encoder
    from feature_store.index_config import SparseConfig

    return load_sparse_encoder(SparseConfig())[0]


def test_a_sample_of_a_right_collection_finds_nothing(loaded):
    client, record, truth = loaded
    sample = audit_sample(client, record, truth, 8, seed=1)
    assert (sample.points, sample.wrong) == (8, [])


def test_a_sample_larger_than_the_collection_is_all_of_it(loaded):
    client, record, truth = loaded
    assert audit_sample(client, record, truth, 10_000, seed=1).points == count_points(client, record.collection)


def test_a_sample_of_all_finds_each_damage_and_says_of_which_document(loaded):
    client, record, truth = loaded
    points, _ = client.scroll(record.collection, limit=1000)
    lost, altered, moved = points[0], points[3], points[5]
    client.delete(record.collection, [lost.id])
    client.set_payload(record.collection, {"title": "another"}, [altered.id])
    client.update_vectors(record.collection, [models.PointVectors(id=moved.id, vector={"dense": [1.0] + [0.0] * 7})])
    wrong = audit_sample(client, record, truth, 10_000, seed=1).wrong
    expected = [("lost", lost), ("payload", altered), ("dense", moved)]
    found = sorted((item.kind, item.chunk_id, item.document_id) for item in wrong)
    assert found == sorted((kind, point.id, point.payload["document_id"]) for kind, point in expected)


def test_a_sample_follows_its_seed_and_reaches_every_point(loaded, monkeypatch):
    client, record, truth = loaded
    asked = []

    def retrieve(collection, ids, **options):
        asked.append(frozenset(ids))
        return QdrantClient.retrieve(client, collection, ids, **options)

    monkeypatch.setattr(client, "retrieve", retrieve)
    for seed in [*range(60), 0]:
        audit_sample(client, record, truth, 3, seed)
    assert asked[0] == asked[-1] != asked[1]
    assert len(frozenset.union(*asked)) == count_points(client, record.collection)
    assert all(len(ids) == 3 for ids in asked)


def test_without_a_record_there_is_nothing_to_compare_with(loaded):
    client, record, truth = loaded
    record.forget()
    with pytest.raises(TerminalError, match="Nothing says what the collection"):
        audit_sample(client, record, truth, 3, seed=0)
