"""What a stranger does with an export: the library `datasets`, offline, and a look at the card."""

import json

import datasets
import pytest
import yaml

from tests.unit.export.corpus import id_of, text_of
from tests.unit.export.test_export import export


@pytest.fixture
def written(corpus):
    corpus.commit({number: text_of(number) for number in range(30)}, metadata={"license": "MIT"}, author="Ada")
    corpus.commit(
        {"x": (text_of("x"), {"author": "<b>|`Eve`", "language": "de", "metadata": {"license": "Apache-2.0"}})},
        removed=[3],
    )
    return corpus


def head_of(folder):
    _, head, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head), body


def load(folder, tmp_path, *name):
    return datasets.load_dataset(str(folder), *name, cache_dir=str(tmp_path / "cache"))


def texts_of(loaded):
    return {row["document_id"]: row["text"] for split in loaded.values() for row in split}


@pytest.mark.parametrize("output_format", ["parquet", "jsonl"])
def test_load_dataset_gives_the_splits(written, tmp_path, output_format):
    record = export(written, tmp_path / "out", output_format, splits={"train": 0.5, "validation": 0.25, "test": 0.25})
    loaded = load(tmp_path / "out", tmp_path)
    assert {name: len(split) for name, split in loaded.items()} == {
        name: record.counts[name] for name in ("train", "validation", "test")
    }
    expected = {id_of(number): text_of(number) for number in range(30) if number != 3} | {id_of("x"): text_of("x")}
    assert texts_of(loaded) == expected
    assert loaded["train"].features["tokens"].dtype == "int64"
    assert loaded["train"].features["url"].dtype == "string"


@pytest.mark.parametrize("output_format", ["parquet", "jsonl"])
def test_a_split_without_documents_does_not_stop_load_dataset(written, tmp_path, output_format):
    export(written, tmp_path / "out", output_format, where="author = '<b>|`Eve`'")
    loaded = load(tmp_path / "out", tmp_path)
    assert texts_of(loaded) == {id_of("x"): text_of("x")}


@pytest.mark.parametrize("output_format", ["parquet", "jsonl"])
def test_what_is_gone_is_a_second_configuration_of_a_delta(written, tmp_path, output_format):
    export(written, tmp_path / "out", output_format, since=written.store.version(1))
    assert texts_of(load(tmp_path / "out", tmp_path)) == {id_of("x"): text_of("x")}
    gone = load(tmp_path / "out", tmp_path, "deleted")
    assert gone["deleted"].to_list() == [{"document_id": id_of(3), "change": "deleted"}]


@pytest.mark.parametrize("output_format", ["parquet", "jsonl"])
def test_a_delta_without_documents_still_tells_what_is_gone(written, tmp_path, output_format):
    before = written.store.newest()
    written.commit(removed=[4])
    export(written, tmp_path / "out", output_format, since=before)
    gone = load(tmp_path / "out", tmp_path, "deleted")
    assert gone["deleted"].to_list() == [{"document_id": id_of(4), "change": "deleted"}]
    with pytest.raises(ValueError, match="train"):
        datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))


@pytest.mark.parametrize("output_format", ["parquet", "jsonl"])
def test_an_export_without_documents_has_no_manifest_for_data(written, tmp_path, output_format):
    export(written, tmp_path / "out", output_format, filters={"min_characters": 1_000_000})
    with pytest.raises(FileNotFoundError, match="data/train"):
        load(tmp_path / "out", tmp_path)


def test_load_from_disk_reads_the_format_huggingface(written, tmp_path):
    options = {"rows_per_file": 10, "splits": {"train": 0.9, "validation": 0, "test": 0.1}}
    record = export(written, tmp_path / "out", "huggingface", **options)
    loaded = datasets.load_from_disk(str(tmp_path / "out"))
    assert set(loaded) == {"train", "test"}
    assert {name: len(split) for name, split in loaded.items()} == {
        name: record.counts[name] for name in ("train", "test")
    }
    assert len(texts_of(loaded)) == record.counts["documents"] == 30
    assert len(list((tmp_path / "out" / "train").glob("*.arrow"))) > 1
    # What depends on the fingerprint: the cache of what is made from a dataset.
    assert loaded["train"]._fingerprint != loaded["test"]._fingerprint


def test_load_from_disk_reads_an_empty_split(written, tmp_path):
    export(written, tmp_path / "out", "huggingface", where="author = '<b>|`Eve`'")
    loaded = datasets.load_from_disk(str(tmp_path / "out"))
    assert sorted(map(len, loaded.values())) == [0, 0, 1]
    assert len({tuple(split.column_names) for split in loaded.values()}) == 1


def test_a_layout_that_the_library_would_write_itself(written, tmp_path):
    export(written, tmp_path / "out", "huggingface")
    datasets.load_from_disk(str(tmp_path / "out")).save_to_disk(tmp_path / "theirs")
    for name in ("dataset_dict.json", "train/dataset_info.json"):
        ours, theirs = (json.loads((tmp_path / place / name).read_text()) for place in ("out", "theirs"))
        assert ours == theirs
    ours, theirs = (json.loads((tmp_path / place / "train/state.json").read_text()) for place in ("out", "theirs"))
    assert ours.keys() == theirs.keys()


def test_the_head_of_the_card_says_what_is_inside(written, tmp_path):
    export(written, tmp_path / "out", "parquet")
    head, _ = head_of(tmp_path / "out")
    assert head["license"] == "other"
    assert head["language"] == ["de", "en"]
    assert head["size_categories"] == ["n<1K"]
    export(written, tmp_path / "first", "huggingface", version=written.store.version(1))
    head, _ = head_of(tmp_path / "first")
    assert head == {"license": "mit", "language": ["en"], "size_categories": ["n<1K"]}


def test_a_licence_that_nobody_stated_is_unknown(corpus, tmp_path):
    corpus.commit({"a": text_of("a")}, language=None)
    export(corpus, tmp_path / "out")
    head, body = head_of(tmp_path / "out")
    assert head["license"] == "unknown"
    assert "language" not in head
    assert "| (not stated) | 1 |" in body


def test_the_card_tells_counts_origin_and_what_was_left_out(written, tmp_path):
    written.commit({"copy": text_of(7)})
    record = export(written, tmp_path / "out", splits={"train": 1, "validation": 0, "test": 0})
    _, body = head_of(tmp_path / "out")
    version = written.store.newest()
    assert f"30 documents, {record.counts['tokens']:,} tokens." in body
    assert "| category | train | all |\n| --- | --- | --- |\n| notes | 30 | 30 |\n| all | 30 | 30 |" in body
    assert "Of 31 documents.\n\n| reason | documents |\n| --- | --- |\n| duplicate | 1 |\n" in body
    assert "| MIT | 29 |\n| Apache-2.0 | 1 |" in body
    for value in (record.export_id, version.store_id, version.run_id.replace("_", r"\_"), version.config_fingerprint):
        assert f" {value} |" in body


def test_an_author_s_name_cannot_break_the_card(written, tmp_path):
    export(written, tmp_path / "out")
    _, body = head_of(tmp_path / "out")
    assert r"| &lt;b&gt;\|\`Eve\` | 1 |" in body


def test_an_author_s_address_becomes_no_link(corpus, tmp_path):
    corpus.commit({"a": text_of("a")}, author="https://spam.example\n[x](y)")
    export(corpus, tmp_path / "out")
    _, body = head_of(tmp_path / "out")
    assert r"| https\://spam.example \[x\](y) | 1 |" in body


def test_of_many_authors_the_most_frequent_are_listed(corpus, tmp_path):
    corpus.commit({number: (text_of(number), {"author": f"A{number:02d}"}) for number in range(30)})
    export(corpus, tmp_path / "out")
    _, body = head_of(tmp_path / "out")
    assert "The 20 most frequent of 30." in body
    assert "A19" in body
    assert "A20" not in body
