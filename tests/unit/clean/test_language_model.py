"""The model that tells languages apart is unpacked once, and mapped by everything that comes after."""

from pathlib import Path

import numpy as np
import pytest
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from steps.clean import language_model
from steps.clean.language_model import load_identifier

TEXTS = [
    "The committee will publish its findings next week.",
    "Der Ausschuss wird seine Ergebnisse nächste Woche veröffentlichen.",
    "委員会は来週その結果を発表する予定です。",
    "",
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "rag-feature-pipeline" / "languages"


@pytest.fixture
def _never_unpacked_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_identifier()
    monkeypatch.setattr(LanguageIdentifier, "from_model_file", lambda *_: pytest.fail("it was unpacked once more"))


@pytest.mark.usefixtures("_never_unpacked_again")
def test_the_mapped_model_says_of_every_text_exactly_what_the_packed_one_says(monkeypatch: pytest.MonkeyPatch) -> None:
    mapped = load_identifier()
    monkeypatch.undo()
    packed = LanguageIdentifier.from_model_file(MODEL_FILE)
    assert [mapped.rank(text) for text in TEXTS] == [packed.rank(text) for text in TEXTS]
    assert isinstance(mapped.nb_ptc.base, np.memmap)


@pytest.mark.parametrize("damage", ["missing", "cut short", "no array"])
def test_a_damaged_file_is_made_anew(cache: Path, damage: str) -> None:
    load_identifier()
    (folder,) = cache.iterdir()
    file = folder / "tk_nextmove.npy"
    before = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes(before[:1000] if damage == "cut short" else b"no array at all")
    assert load_identifier().classify(TEXTS[1])[0] == "de"
    assert file.read_bytes() == before
    assert list(cache.iterdir()) == [folder]


def test_a_process_that_comes_second_leaves_the_files_of_the_first(cache: Path) -> None:
    identifier = load_identifier()
    (folder,) = cache.iterdir()
    before = {file.name: file.stat().st_ino for file in folder.iterdir()}
    with pytest.raises(OSError, match="not empty"):
        language_model._unpack(identifier, folder)
    assert {file.name: file.stat().st_ino for file in folder.iterdir()} == before
    assert list(cache.iterdir()) == [folder]


def test_where_nothing_can_be_written_the_packed_model_is_used(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder would be", encoding="utf-8")
    assert load_identifier().classify(TEXTS[0])[0] == "en"


def test_a_write_that_fails_leaves_nothing_behind(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(language_model.os, "fsync", full)
    assert load_identifier().classify(TEXTS[0])[0] == "en"
    assert list(cache.iterdir()) == []
