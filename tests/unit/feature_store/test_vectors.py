"""The vectors table: what was stored is read back, in the order asked for."""

import lance
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import tables
from feature_store.ids import text_hash
from feature_store.vectors import VectorTable

DIMENSION = 4
HASHES = [text_hash(str(number)) for number in range(60)]


def vector_of(name):
    return np.frombuffer(bytes.fromhex(name[:32]), np.uint32).astype(np.float32)


def matrix_of(names):
    return np.stack([vector_of(name) for name in names])


@pytest.fixture
def vectors(tmp_path):
    made = VectorTable(tmp_path / "vectors", "fingerprint", DIMENSION)
    made.append(HASHES[:25], matrix_of(HASHES[:25]), "float32")
    made.append(HASHES[25:40], matrix_of(HASHES[25:40]), "bfloat16")
    return made


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    made = VectorTable(tmp_path_factory.mktemp("vectors"), "fingerprint", DIMENSION)
    made.append(HASHES, matrix_of(HASHES), "float32")
    return made


@settings(max_examples=25, deadline=None)
@given(asked=st.lists(st.sampled_from(HASHES), min_size=1, max_size=90), batch=st.sampled_from([1, 7, 30, 1000]))
def test_vectors_come_in_the_order_asked_for_repetitions_included(filled, asked, batch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "LOOKUP_BATCH", batch)
        assert np.array_equal(filled.read(asked), matrix_of(asked))


def test_no_hashes_give_no_rows(vectors):
    empty = vectors.read([])
    assert (empty.shape, empty.dtype) == ((0, DIMENSION), np.float32)


@pytest.mark.parametrize("asked", [[HASHES[50]], [HASHES[0], HASHES[50], HASHES[1]]])
def test_a_hash_without_a_vector_is_an_error_that_names_it(vectors, asked):
    with pytest.raises(KeyError, match=HASHES[50]):
        vectors.read(asked)


def test_known_hashes_are_those_with_a_vector(vectors, monkeypatch):
    monkeypatch.setattr(tables, "LOOKUP_BATCH", 7)
    assert set(vectors.known(HASHES)) == set(HASHES[:40])
    assert vectors.known([]) == {}


def test_several_commits_add_up(vectors):
    assert lance.dataset(str(vectors.path)).count_rows() == 40
    assert np.array_equal(vectors.read(HASHES[20:30]), matrix_of(HASHES[20:30]))


def test_the_precision_is_kept_with_each_vector(vectors):
    rows = lance.dataset(str(vectors.path)).to_table(columns=["text_hash", "precision"]).to_pylist()
    assert {row["precision"] for row in rows if row["text_hash"] in HASHES[:25]} == {"float32"}
    assert {row["precision"] for row in rows if row["text_hash"] in HASHES[25:40]} == {"bfloat16"}


def test_maintenance_merges_fragments_and_keeps_the_content(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "FRAGMENTS_BEFORE_COMPACTION", 5)
    vectors = VectorTable(tmp_path, "fingerprint", DIMENSION)
    for name in HASHES[:8]:
        vectors.append([name], matrix_of([name]), "float32")
    vectors.maintain()
    assert len(lance.dataset(str(vectors.path)).get_fragments()) == 1
    assert lance.dataset(str(vectors.path)).count_rows() == 8
    assert np.array_equal(vectors.read(HASHES[:8]), matrix_of(HASHES[:8]))
    assert set(vectors.known(HASHES)) == set(HASHES[:8])


def test_opening_again_finds_what_is_there(vectors):
    again = VectorTable(vectors.path.parent, "fingerprint", DIMENSION)
    assert np.array_equal(again.read(HASHES[:40]), matrix_of(HASHES[:40]))


def test_another_encoder_has_a_table_of_its_own(vectors):
    assert lance.dataset(str(VectorTable(vectors.path.parent, "other", DIMENSION).path)).count_rows() == 0
    assert lance.dataset(str(vectors.path)).count_rows() == 40


def test_a_table_whose_creation_died_is_made_anew(tmp_path):
    (tmp_path / "fingerprint.lance" / "_versions").mkdir(parents=True)
    (tmp_path / "fingerprint.lance" / "data").mkdir()
    vectors = VectorTable(tmp_path, "fingerprint", DIMENSION)
    vectors.append(HASHES[:2], matrix_of(HASHES[:2]), "float32")
    assert lance.dataset(str(vectors.path)).count_rows() == 2


def test_a_matrix_that_is_not_contiguous_is_stored_as_it_reads(tmp_path):
    vectors = VectorTable(tmp_path, "fingerprint", DIMENSION)
    vectors.append(HASHES[:4], np.asfortranarray(matrix_of(HASHES[:4])).astype(np.float64), "float32")
    assert np.array_equal(vectors.read(HASHES[:4]), matrix_of(HASHES[:4]))


@pytest.mark.parametrize("values", [[], ["plain"], ["o'clock", "''", "%", "a\\b"]])
def test_any_text_can_be_looked_up(tmp_path, values):
    import pyarrow as pa

    table = lance.write_dataset(
        pa.table({"key": ["plain", "o'clock", "''", "%", "a\\b", "other"]}), str(tmp_path / "t")
    )
    assert sorted(row["key"] for row in tables.look_up(table, "key", values, ["key"])) == sorted(values)
