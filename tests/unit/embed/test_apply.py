"""Embedding: each distinct text once, whatever happens in between."""

import json

import lance
import numpy as np
import pyarrow as pa
import pytest

from feature_store import schema
from feature_store.encoders import load_encoder, load_sparse_encoder
from feature_store.errors import TerminalError
from feature_store.ids import chunk_id, text_hash
from feature_store.index_config import EncoderConfig, SparseConfig
from feature_store.parts import list_parts, read_part, write_part
from feature_store.vectors import VectorTable
from steps.embed import apply
from steps.embed.apply import EmbeddedPart, embed_part
from tests.flow import ModelCrashedError, WatchedEncoder, ignore

TEXTS = ["a river", "a stone", "a river", "light", "a stone", "a river"]


@pytest.fixture
def encoder(tiny_model):
    return WatchedEncoder(load_encoder(EncoderConfig(model=str(tiny_model), precision="float32")))


@pytest.fixture
def vectors(tmp_path, encoder):
    return VectorTable(tmp_path / "vectors", encoder.fingerprint, encoder.dimension)


@pytest.fixture
def sparse():
    return load_sparse_encoder(SparseConfig())[0]


def write_chunks(folder, texts, number=0):
    rows = [
        {
            "chunk_id": chunk_id(f"document-{number}", text_hash(text), position),
            "document_id": f"document-{number}",
            "position": position,
            "start": 0,
            "end": len(text),
            "embedded_text": text,
            "text_hash": text_hash(text),
            "token_count": 2,
            "payload": json.dumps({"text": text, "position": position}),
        }
        for position, text in enumerate(texts)
    ]
    return write_part(folder, "chunks", number, pa.Table.from_pylist(rows, schema=schema.CHUNKS))


def test_each_distinct_text_is_embedded_once(tmp_path, encoder, sparse, vectors):
    done = embed_part(write_chunks(tmp_path, TEXTS), encoder, sparse, vectors, tmp_path, ignore)
    assert done == EmbeddedPart(6, 3, 0, frozenset({"float32"}))
    assert sorted(encoder.texts) == ["a river", "a stone", "light"]
    assert lance.dataset(str(vectors.path)).count_rows() == 3


def test_a_second_call_embeds_nothing_and_writes_the_same(tmp_path, encoder, sparse, vectors):
    part = write_chunks(tmp_path, TEXTS)
    embed_part(part, encoder, sparse, vectors, tmp_path / "first", ignore)
    again = WatchedEncoder(encoder.encoder, dies_after=0)
    done = embed_part(part, again, sparse, vectors, tmp_path / "second", ignore)
    assert done == EmbeddedPart(6, 0, 3, frozenset({"float32"}))
    first, second = (read_part(*list_parts(tmp_path / name, "embedded")) for name in ("first", "second"))
    assert first.equals(second)


def test_texts_of_another_part_are_reused(tmp_path, encoder, sparse, vectors):
    embed_part(write_chunks(tmp_path, TEXTS), encoder, sparse, vectors, tmp_path, ignore)
    done = embed_part(write_chunks(tmp_path, ["light", "bridge"], 1), encoder, sparse, vectors, tmp_path, ignore)
    assert done == EmbeddedPart(2, 1, 1, frozenset({"float32"}))
    assert encoder.texts.count("light") == 1
    assert [path.name for path in list_parts(tmp_path, "embedded")] == [
        "embedded-000000.parquet",
        "embedded-000001.parquet",
    ]


def test_each_chunk_has_the_vectors_of_its_own_text(tmp_path, encoder, sparse, vectors):
    embed_part(write_chunks(tmp_path, TEXTS), encoder, sparse, vectors, tmp_path, ignore)
    (part,) = list_parts(tmp_path, "embedded")
    rows = read_part(part).to_pylist()
    assert [json.loads(row["payload"])["text"] for row in rows] == TEXTS
    expected = encoder.encoder.embed_documents(TEXTS)
    assert np.allclose([row["dense"] for row in rows], expected, atol=1e-5)
    for row, text in zip(rows, TEXTS, strict=True):
        vector = sparse(text)
        assert dict(zip(row["sparse_indices"], row["sparse_values"], strict=True)) == pytest.approx(
            dict(zip(vector.indices, vector.values, strict=True))
        )
        assert row["chunk_id"] == chunk_id("document-0", text_hash(text), json.loads(row["payload"])["position"])


def test_the_size_of_a_chunk_goes_with_it(tmp_path, encoder, sparse, vectors):
    part = write_chunks(tmp_path, ["river", "stone", "light"])
    rows = [{**row, "size": size} for row, size in zip(read_part(part).to_pylist(), (200, None, 48), strict=True)]
    part = write_part(tmp_path, "chunks", 0, pa.Table.from_pylist(rows, schema=schema.CHUNKS))
    embed_part(part, encoder, sparse, vectors, tmp_path, ignore)
    embedded = read_part(*list_parts(tmp_path, "embedded"))
    assert embedded.schema.equals(schema.embedded_chunks(encoder.dimension))
    assert embedded.column("size").to_pylist() == [200, None, 48]


def test_a_text_of_stop_words_has_a_dense_and_an_empty_sparse_vector(tmp_path, encoder, sparse, vectors):
    embed_part(write_chunks(tmp_path, ["the and of", "river"]), encoder, sparse, vectors, tmp_path, ignore)
    rows = read_part(*list_parts(tmp_path, "embedded")).to_pylist()
    assert [bool(row["sparse_indices"]) for row in rows] == [False, True]
    assert np.linalg.norm(rows[0]["dense"]) == pytest.approx(1, abs=1e-5)


def test_a_crash_keeps_the_batches_that_were_stored(tmp_path, encoder, sparse, vectors, monkeypatch):
    monkeypatch.setattr(apply, "TEXTS_PER_COMMIT", 4)
    texts = [f"text number {number}" for number in range(10)]
    part = write_chunks(tmp_path, texts)
    dying = WatchedEncoder(encoder.encoder, dies_after=9)
    with pytest.raises(ModelCrashedError):
        embed_part(part, dying, sparse, vectors, tmp_path, ignore)
    assert vectors.known([text_hash(text) for text in texts]) == {text_hash(text): "float32" for text in texts[:8]}
    assert list_parts(tmp_path, "embedded") == []

    done = embed_part(part, encoder, sparse, vectors, tmp_path, ignore)
    assert done == EmbeddedPart(10, 2, 8, frozenset({"float32"}))
    assert encoder.texts == texts[8:]
    assert lance.dataset(str(vectors.path)).count_rows() == 10


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_refused_and_not_stored(tmp_path, encoder, sparse, vectors, value):
    class Broken(WatchedEncoder):
        def embed_documents(self, texts):
            matrix = super().embed_documents(texts).copy()
            matrix[texts.index("light"), 3] = value
            return matrix

    with pytest.raises(TerminalError, match=text_hash("light")) as caught:
        embed_part(write_chunks(tmp_path, TEXTS), Broken(encoder.encoder), sparse, vectors, tmp_path, ignore)
    assert "precision to float32" in caught.value.remedy
    assert lance.dataset(str(vectors.path)).count_rows() == 0
    assert list_parts(tmp_path, "embedded") == []


def test_progress_counts_every_chunk_once(tmp_path, encoder, sparse, vectors):
    units = []
    embed_part(write_chunks(tmp_path, ["one", "two"]), encoder, sparse, vectors, tmp_path, units.append)
    embed_part(write_chunks(tmp_path, [*TEXTS, "one"], 1), encoder, sparse, vectors, tmp_path, units.append)
    assert sum(units) == 2 + 7


def test_the_precision_of_the_encoder_is_stored_with_the_vectors(tmp_path, encoder, sparse, vectors):
    embed_part(write_chunks(tmp_path, TEXTS), encoder, sparse, vectors, tmp_path, ignore)
    column = lance.dataset(str(vectors.path)).to_table(columns=["precision"]).column("precision")
    assert set(column.to_pylist()) == {"float32"}
