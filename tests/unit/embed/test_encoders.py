"""Encoders: described by what decides their vectors."""

import shutil

import numpy as np
import pytest

from feature_store.encoders import load_encoder, load_sparse_encoder
from feature_store.errors import ConfigurationError
from feature_store.index_config import EncoderConfig, SparseConfig


@pytest.fixture(scope="module")
def encoder(tiny_model):
    return load_encoder(EncoderConfig(model=str(tiny_model), precision="float32"))


def test_a_model_is_described_by_its_own_values(encoder):
    assert (encoder.dimension, encoder.token_limit, encoder.precision) == (32, 126, "float32")
    assert (encoder.normalised, encoder.similarity) == (True, "cosine")


def test_vectors_have_one_row_a_text_and_length_one(encoder):
    matrix = encoder.embed_documents(["a river", "a much longer text about stones and light", ""])
    assert (matrix.shape, matrix.dtype) == ((3, 32), np.float32)
    assert np.allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-6)
    assert encoder.embed_documents([]).shape == (0, 32)


def test_a_query_without_prompts_has_the_vector_of_the_same_text(encoder):
    query = encoder.embed_query("a river")
    assert query.shape == (32,)
    assert np.allclose(query, encoder.embed_documents(["a river"])[0], atol=1e-5)


def test_token_spans_are_those_of_the_text_and_never_cut(encoder):
    text = "word " * 500
    spans = encoder.token_spans(text)
    assert len(spans) == 500
    assert {text[start:end] for start, end in spans} == {"word"}
    assert encoder.token_spans("") == []


def test_the_limit_can_be_lowered_but_not_raised(tiny_model):
    low = load_encoder(EncoderConfig(model=str(tiny_model), precision="float32", max_tokens=64))
    high = load_encoder(EncoderConfig(model=str(tiny_model), precision="float32", max_tokens=5000))
    assert (low.token_limit, high.token_limit) == (62, 126)


def test_the_fingerprint_follows_weights_and_limit_and_nothing_else(encoder, tiny_model, tmp_path):
    from safetensors.numpy import load_file, save_file

    same, other = tmp_path / "same", tmp_path / "other"
    shutil.copytree(tiny_model, same)
    shutil.copytree(tiny_model, other)
    (weights,) = other.rglob("*.safetensors")
    tensors = load_file(weights)
    name = min(tensors)
    save_file({**tensors, name: tensors[name] + 0.5}, weights, metadata={"format": "pt"})

    def fingerprint(**values):
        return load_encoder(EncoderConfig(**{"model": str(tiny_model), "precision": "float32", **values})).fingerprint

    assert (
        fingerprint(model=str(same))
        == fingerprint(batch_size=7)
        == fingerprint(precision="bfloat16")
        == encoder.fingerprint
    )
    assert len({encoder.fingerprint, fingerprint(model=str(other)), fingerprint(max_tokens=64)}) == 3


def test_a_model_that_cannot_be_loaded_is_named_with_a_remedy(tmp_path):
    with pytest.raises(ConfigurationError, match=r"The embedding model .*nowhere.* cannot be loaded") as caught:
        load_encoder(EncoderConfig(model=str(tmp_path / "nowhere")))
    assert "Give the folder" in caught.value.remedy


def test_an_unknown_language_is_named_with_a_remedy():
    with pytest.raises(ConfigurationError, match=r"sparse.language 'klingon'") as caught:
        load_sparse_encoder(SparseConfig(language="klingon"))
    assert "`english`" in caught.value.remedy


def test_sparse_vectors_have_distinct_indices_and_meet_on_the_same_stem():
    document, query = load_sparse_encoder(SparseConfig())
    rivers, asked = document("The rivers, rivers and stones"), query("river")
    assert len(set(rivers.indices)) == len(rivers.indices) == len(rivers.values) == 2
    assert set(asked.indices) < set(rivers.indices)
    assert query("the of and").indices == []


def test_the_language_decides_the_stems():
    english, german = (load_sparse_encoder(SparseConfig(language=name))[0] for name in ("english", "german"))
    assert german("die Häuser").indices == german("das Haus").indices != english("die Häuser").indices


def test_another_pooling_of_the_same_weights_is_another_fingerprint(encoder, tiny_model, tmp_path):
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    (pooling,) = copy.rglob("*Pooling/config.json")
    pooling.write_text(pooling.read_text().replace('"mean"', '"cls"'))
    other = load_encoder(EncoderConfig(model=str(copy), precision="float32"))
    assert other.fingerprint != encoder.fingerprint
