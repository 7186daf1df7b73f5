"""A model that sentence-transformers has loaded once is read from its files from then on, and checked all the same."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from feature_store.defaults import REPOSITORY
from feature_store.encoders import load_encoder, packaged_model
from feature_store.encoders import references as module
from feature_store.encoders.model import load_model
from feature_store.encoders.precision import CHECK_TEXTS
from feature_store.encoders.references import keep_reference, recall_reference
from feature_store.index_config import EncoderConfig

LOADING = """
import sys
from pathlib import Path
import numpy as np
from feature_store.encoders import load_encoder
from feature_store.index_config import EncoderConfig
encoder = load_encoder(EncoderConfig(model=sys.argv[1], precision="float32"))
np.save(sys.argv[2], encoder.embed_documents(["a river", "a stone and another one"]))
print("sentence_transformers" in sys.modules, encoder.path)
"""


def loaded_in_another_process(model, folder):
    """Whether that imported sentence-transformers, how it embeds, and two vectors."""
    folder.mkdir()
    command = [sys.executable, "-c", LOADING, str(model), str(folder / "vectors.npy")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    imported, path = done.stdout.split()
    return imported == "True", path, np.load(folder / "vectors.npy")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def loaded_once(tiny_model, tmp_path_factory):
    """The folder of a model and of the cache after one process has loaded it; and what that process gave."""
    folder = tmp_path_factory.mktemp("loaded-once")
    model = shutil.copytree(tiny_model, folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        return folder, loaded_in_another_process(model, folder / "first")


@pytest.fixture
def first(loaded_once, cache, tmp_path):
    """What the first process gave, for tests of those that follow: model and cache are a copy for each."""
    folder, given = loaded_once
    shutil.copytree(folder / "cache", cache)
    shutil.copytree(folder / "model", tmp_path / "model")
    return given


@pytest.fixture
def model(first, tmp_path):
    return tmp_path / "model"


def test_only_the_first_process_needs_sentence_transformers(first, model, tmp_path):
    imported, path, vectors = first
    assert (imported, path) == (True, "packed")
    imported, path, second = loaded_in_another_process(model, tmp_path / "second")
    assert (imported, path) == (False, "packed")
    assert np.allclose(vectors, second, atol=1e-6)


def test_a_model_with_other_weights_is_another_one(model, tmp_path):
    weights = load_file(model / "model.safetensors")
    save_file({name: tensor * np.float32(1.01) for name, tensor in weights.items()}, model / "model.safetensors")
    assert loaded_in_another_process(model, tmp_path / "second")[0]


def test_a_model_that_falls_short_of_what_is_kept_is_loaded_the_long_way(first, cache, model, tmp_path):
    _, _, right = first
    (kept,) = cache.rglob("*.npy")
    np.save(kept, -np.load(kept))
    imported, path, found = loaded_in_another_process(model, tmp_path / "second")
    assert (imported, path) == (True, "packed")
    assert np.allclose(found, right, atol=1e-6)
    assert not loaded_in_another_process(model, tmp_path / "third")[0]


@pytest.mark.parametrize(
    "damage", [lambda kept: kept.write_bytes(b"half"), lambda kept: np.save(kept, np.ones((2, 2)))]
)
def test_what_is_damaged_is_made_anew(cache, damage):
    vectors = np.ones((len(CHECK_TEXTS), 8), np.float32)
    keep_reference("0123", vectors)
    (kept,) = cache.rglob("*.npy")
    assert np.array_equal(recall_reference("0123", 8), vectors)
    damage(kept)
    assert recall_reference("0123", 8) is None


def test_what_other_releases_of_the_libraries_made_does_not_count(cache, monkeypatch):
    keep_reference("0123", np.ones((len(CHECK_TEXTS), 8), np.float32))
    monkeypatch.setattr(module, "version", lambda library: "0.0")
    assert recall_reference("0123", 8) is None


def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    keep_reference("0123", np.ones((len(CHECK_TEXTS), 8), np.float32))
    assert recall_reference("0123", 8) is None


def test_what_comes_with_the_package_is_what_sentence_transformers_makes_of_the_packaged_model():
    from sentence_transformers import SentenceTransformer

    encoder = load_encoder(EncoderConfig())
    packaged = module.PACKAGED_REFERENCES / module.reference_name(encoder.fingerprint)
    assert packaged.exists(), "run: make reference-vectors"
    theirs = SentenceTransformer(str(packaged_model()), device="cpu").encode(list(CHECK_TEXTS), batch_size=4)
    assert np.allclose(np.load(packaged), theirs, atol=2e-6)


def test_a_model_that_is_described_by_itself_is_never_taken_for_known(tiny_model, monkeypatch):
    monkeypatch.setattr("feature_store.encoders.model.recall_reference", lambda *_: pytest.fail("nothing is known"))
    assert load_model(EncoderConfig(model=str(tiny_model)), None, None).path.name == "sentence-transformers"
