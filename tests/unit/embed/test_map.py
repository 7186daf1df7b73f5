"""The map of the embeddings: bounded, in the plane of the principal components, and named by documents."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from feature_store import schema
from feature_store.parts import write_part
from feature_store.vectors import VectorTable
from steps.embed import map as map_module
from steps.embed.map import CHUNKS_ON_MAP, draw_map, project
from tests.stand_in import hashed_vectors

DIMENSION = 16


def write_embedded(folder, number, count, title="A title"):
    texts = [f"text {number} {position}" for position in range(count)]
    rows = [
        {
            "chunk_id": f"chunk-{text}",
            "document_id": f"document-{text}",
            "payload": json.dumps({"category": "notes", "title": title, "source_id": text}),
            "dense": vector,
            "sparse_indices": [],
            "sparse_values": [],
        }
        for text, vector in zip(texts, hashed_vectors(texts, DIMENSION).tolist(), strict=True)
    ]
    return write_part(folder, "embedded", number, pa.Table.from_pylist(rows, schema=schema.embedded_chunks(DIMENSION)))


@pytest.fixture
def vectors(tmp_path):
    return VectorTable(tmp_path / "vectors", "fingerprint", DIMENSION)


@given(arrays.arrays(np.float32, st.tuples(st.integers(3, 12), st.integers(3, 6)), elements=st.floats(-1, 1, width=16)))
def test_the_plane_is_that_of_the_two_principal_components(matrix):
    places = project(matrix)
    assert places.shape == (len(matrix), 2)
    centred = matrix.astype(np.float64) - matrix.astype(np.float64).mean(axis=0)
    variances = np.linalg.eigvalsh(centred.T @ centred)[::-1][:2]
    assert np.allclose((places**2).sum(axis=0), variances, atol=1e-5)
    assert abs(float(places[:, 0] @ places[:, 1])) < 1e-5
    for axis in places.T:
        assert axis[np.abs(axis).argmax()] >= 0


def test_a_single_vector_lies_in_the_middle():
    assert project(np.ones((1, 4), np.float32)).tolist() == [[0.0, 0.0]]


def test_no_chunks_make_no_map(vectors):
    assert draw_map([], vectors) == []


@pytest.mark.parametrize("count", [1, 7])
def test_a_few_chunks_are_all_on_the_map_with_their_documents(tmp_path, vectors, count):
    points = draw_map([write_embedded(tmp_path, 0, count)], vectors)
    assert [point.document_id for point in points] == [f"document-text 0 {place}" for place in range(count)]
    assert {(point.category, point.title) for point in points} == {("notes", "A title")}


def test_a_few_chunks_have_texts_behind_them_that_were_embedded_before(tmp_path, vectors):
    hashes = [f"hash {number}" for number in range(500)]
    vectors.append(hashes, hashed_vectors(hashes, DIMENSION), "float32")
    points = draw_map([write_embedded(tmp_path, 0, 5)], vectors)
    behind = [point for point in points if point.document_id is None]
    assert len(points) - len(behind) == 5
    assert len(behind) == map_module.TEXTS_BEHIND
    assert len({(point.x, point.y) for point in behind}) > 100


def test_many_chunks_are_sampled_evenly_over_the_parts(tmp_path, vectors):
    parts = [write_embedded(tmp_path, number, 60, title="x" * 1000) for number in range(20)]
    points = draw_map(parts, vectors)
    assert CHUNKS_ON_MAP / 2 < len(points) <= CHUNKS_ON_MAP
    assert len({point.document_id.split()[1] for point in points}) == 7
    assert len({point.document_id for point in points}) == len(points)
    assert {len(point.title) for point in points} == {120}
