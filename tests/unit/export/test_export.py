"""Whole exports: what is written, that it is the same each time, and that nothing is left of one that failed."""

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store.errors import ConfigurationError, LockedError, TerminalError
from feature_store.exports import list_exports, read_export, read_members
from feature_store.training import TrainingConfig
from steps.export import apply
from steps.export.apply import REASONS, export_training_set
from steps.export.ledger import opened_ledger
from steps.export.place import unfinished
from steps.export.tokens import load_token_counter
from tests.unit.export.corpus import Corpus, edited, id_of, text_of

FORMATS = ["parquet", "jsonl", "huggingface"]


def config(**options):
    return TrainingConfig.model_validate(options)


def export(corpus, folder, output_format="jsonl", since=None, version=None, **options):
    at = version or corpus.store.newest()
    return export_training_set(corpus.store, at, config(**options), output_format, folder, since)


def rows_of(folder, pattern="data/*.jsonl"):
    """Return the rows of all files of an export by their order, with the split."""
    rows = []
    for path in sorted(folder.glob(pattern)):
        lines = path.read_text(encoding="utf-8").splitlines()
        rows += [{"split": path.name.split("-")[0], **json.loads(line)} for line in lines]
    return rows


def bytes_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def many(corpus):
    """A corpus of 60 documents in two categories."""
    corpus.commit({number: text_of(number) for number in range(40)}, author="Ada", metadata={"license": "MIT"})
    corpus.commit({number: (text_of(number), {"category": "posts"}) for number in range(40, 60)}, language="de")
    return corpus


@pytest.mark.parametrize("output_format", FORMATS)
def test_every_format_holds_every_document_once_in_the_order_of_ids(many, tmp_path, output_format):
    record = export(many, tmp_path / "out", output_format)
    folder = tmp_path / "out"
    if output_format == "jsonl":
        splits = {name: [row for row in rows_of(folder) if row["split"] == name] for name in ("train", "test")}
        splits["validation"] = [row for row in rows_of(folder) if row["split"] == "validation"]
    elif output_format == "parquet":
        tables = {path.name.split("-")[0]: pq.read_table(path).to_pylist() for path in folder.glob("data/*.parquet")}
        splits = {"train": [], "validation": [], "test": [], **tables}
    else:
        splits = {
            path.parent.name: pa.ipc.open_stream(path).read_all().to_pylist() for path in folder.glob("*/*.arrow")
        }
    ids = {name: [row["document_id"] for row in rows] for name, rows in splits.items()}
    assert all(some == sorted(some) for some in ids.values())
    assert sorted(one for some in ids.values() for one in some) == sorted(map(id_of, range(60)))
    assert {name: len(some) for name, some in ids.items()} == {name: record.counts[name] for name in ids}
    assert {row["text"] for rows in splits.values() for row in rows} == {text_of(number) for number in range(60)}


def test_a_document_has_all_its_fields(corpus, tmp_path):
    fields = {
        "title": "T",
        "url": "https://example.org",
        "author": "Ada | <b>",
        "published_at": "2024-01-01T00:00:00Z",
        "metadata": {"license": "CC-BY-4.0", "page": 3},
    }
    corpus.commit({"a": ("Ein Text.\nUnd noch einer.", fields)}, language="de")
    export(corpus, tmp_path / "out", splits={"train": 1, "validation": 0, "test": 0})
    (row,) = rows_of(tmp_path / "out")
    assert json.loads(row.pop("metadata")) == fields.pop("metadata")
    assert row == {
        "split": "train",
        "document_id": id_of("a"),
        "category": "notes",
        "text": "Ein Text.\nUnd noch einer.",
        "language": "de",
        "license": "CC-BY-4.0",
        "tokens": load_token_counter(TrainingConfig().tokenizer).count(["Ein Text.\nUnd noch einer."])[0],
        "characters": 25,
        "changed_in": 1,
        **fields,
    }


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_same_export_in_another_process_has_the_same_bytes(many, tmp_path, output_format):
    many.commit({"copy": text_of(3), "near": edited(text_of(5), 7)})
    record = export(many, tmp_path / "here", output_format)
    script = (
        "import sys; from pathlib import Path\n"
        "from feature_store.store import open_feature_store\n"
        "from feature_store.training import TrainingConfig\n"
        "from steps.export.apply import export_training_set\n"
        "store = open_feature_store(Path(sys.argv[1]))\n"
        "export_training_set(store, store.newest(), TrainingConfig(), sys.argv[2], Path(sys.argv[3]))\n"
    )
    arguments = [str(many.store.folder), output_format, str(tmp_path / "there")]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, env=environment, cwd=Path.cwd())
    assert bytes_of(tmp_path / "here") == bytes_of(tmp_path / "there")
    assert {file.name: file.sha256 for file in record.files} == {
        name: hashlib.sha256(content).hexdigest() for name, content in bytes_of(tmp_path / "there").items()
    }


def test_the_physical_order_of_the_table_does_not_matter(tmp_path):
    texts = {number: text_of(number) for number in range(30)} | {"near": edited(text_of(5), 7), "copy": text_of(3)}
    folders = []
    for name, order in (("one", list(texts)), ("other", list(reversed(texts)))):
        corpus = Corpus(tmp_path / name)
        corpus.commit({key: texts[key] for key in order})
        export(corpus, tmp_path / f"{name}-out")
        folders.append(rows_of(tmp_path / f"{name}-out"))
    assert folders[0] == folders[1]


def test_compacting_the_table_changes_no_byte(many, tmp_path):
    export(many, tmp_path / "before")
    version = many.store.newest()
    lance.dataset(str(many.store.documents_path)).optimize.compact_files()
    compacted = lance.dataset(str(many.store.documents_path)).version
    assert compacted != version.documents_version
    # The version's record stays: only the table under it was written anew.
    moved = version.model_copy(update={"documents_version": compacted})
    (many.store.folder / "versions" / "00000002.json").write_text(moved.model_dump_json(), encoding="utf-8")
    export(many, tmp_path / "after")
    assert bytes_of(tmp_path / "before") == bytes_of(tmp_path / "after")


def test_no_file_names_the_time_or_the_folder(many, tmp_path):
    record = export(many, tmp_path / "secret-place", "huggingface")
    for content in bytes_of(tmp_path / "secret-place").values():
        assert b"secret-place" not in content
        assert str(record.created_at.year).encode() + b"-" not in content


def test_rows_per_file_cuts_the_files(many, tmp_path):
    record = export(many, tmp_path / "out", "parquet", rows_per_file=7, splits={"train": 1, "validation": 0, "test": 0})
    counts = [pq.read_metadata(path).num_rows for path in sorted((tmp_path / "out").glob("data/*.parquet"))]
    assert counts == [7] * 8 + [4]
    assert [file.name for file in record.files][1] == "data/train-00000.parquet"


def test_large_corpora_are_read_in_ranges_with_the_same_result(many, tmp_path, monkeypatch):
    export(many, tmp_path / "whole")
    monkeypatch.setattr("steps.export.read._CHARACTERS_IN_RANGE", 1000)
    monkeypatch.setattr("steps.export.writers._ROWS_AT_ONCE", 3)
    export(many, tmp_path / "ranges")
    assert bytes_of(tmp_path / "whole") == bytes_of(tmp_path / "ranges")


def test_every_filter_counts_what_it_leaves_out(corpus, tmp_path):
    questions = tmp_path / "questions.txt"
    questions.write_text(f"\n{text_of('q', 20)}\nfew words\n", encoding="utf-8")
    corpus.commit(
        {
            "good": text_of("good"),
            "short": "tiny",
            "long": text_of("long", 500),
            "foreign": (text_of("foreign"), {"language": "fr"}),
            "unknown": (text_of("unknown"), {"language": None}),
            "lines": "the same line of words\n" * 9 + "and one other",
            "leaked": f"{text_of('l', 20)} {text_of('q', 20).upper()}!",
            "copy": text_of("good"),
            "near": edited(text_of("good", 60), 30),
        }
    )
    record = export(
        corpus,
        tmp_path / "out",
        filters={"min_characters": 10, "max_characters": 1500, "languages": ["en"], "max_duplicate_lines": 0.3},
        decontamination={"files": [str(questions)]},
        near_duplicates={"drop": True},
    )
    excluded = {reason: record.counts[f"excluded_{reason}"] for reason in REASONS}
    kept = {row["document_id"] for row in rows_of(tmp_path / "out")}
    # All came with one version: then the smallest id is the first of the group.
    group = sorted(map(id_of, ("good", "copy", "near")))
    assert kept == {group[0]}
    assert excluded.pop("duplicate") + excluded.pop("near_duplicate") == 2
    assert excluded == {
        "too_short": 1,
        "too_long": 1,
        "language": 2,
        "duplicate_lines": 1,
        "contaminated": 1,
        "near_duplicate_across_splits": 0,
    }
    assert record.counts["considered"] == 9
    assert (record.counts["evaluation_texts"], record.counts["evaluation_texts_too_short"]) == (2, 1)


def test_categories_and_conditions_choose_documents(many, tmp_path):
    record = export(many, tmp_path / "out", categories=["notes"], where="author = 'Ada' OR author = 'Bob'")
    assert record.counts["considered"] == record.counts["documents"] == 40
    assert {row["category"] for row in rows_of(tmp_path / "out")} == {"notes"}


def test_a_condition_may_end_in_a_comment(many, tmp_path):
    first = many.store.version(1)
    where = "author = 'Ada' -- hers"
    assert export(many, tmp_path / "out", where=where).counts["documents"] == 40
    assert export(many, tmp_path / "delta", since=first, where=where).counts["documents"] == 0


def test_an_earlier_version_is_exported_as_it_was(many, tmp_path):
    record = export(many, tmp_path / "out", version=many.store.version(1))
    assert (record.version, record.counts["documents"]) == (1, 40)


def test_token_counts_are_those_of_the_files(many, tmp_path):
    record = export(many, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    for split in ("train", "validation", "test"):
        expected = sum(row["tokens"] for row in rows if row["split"] == split)
        assert record.counts[f"tokens_{split}"] == expected
    assert record.counts["tokens"] == sum(row["tokens"] for row in rows) > 60 * 60
    assert record.counts["characters"] == sum(len(row["text"]) for row in rows)


def test_an_export_is_registered_with_its_documents(many, tmp_path):
    record = export(many, tmp_path / "out")
    assert read_export(many.store.folder, record.export_id) == record
    members = pa.Table.from_batches(read_members(many.store.folder, record.export_id)).to_pylist()
    assert [member["document_id"] for member in members] == sorted(map(id_of, range(60)))
    splits = {row["document_id"]: row["split"] for row in rows_of(tmp_path / "out")}
    assert {member["document_id"]: member["split"] for member in members} == splits
    assert TrainingConfig.model_validate(record.options) == TrainingConfig()
    assert record.folder == tmp_path / "out"


def test_the_export_id_follows_from_what_decides_the_bytes(many, tmp_path):
    questions = [tmp_path / name for name in ("a.txt", "b.txt", "c.txt")]
    for path, content in zip(questions, ("one\n", "one\n", "two\n"), strict=True):
        path.write_text(content, encoding="utf-8")
    made = [
        export(many, tmp_path / "1", "parquet"),
        export(many, tmp_path / "2", "jsonl"),
        export(many, tmp_path / "3", "jsonl", splits={"salt": "x"}),
        export(many, tmp_path / "4", "jsonl", version=many.store.version(1)),
        export(many, tmp_path / "5", "jsonl", since=many.store.version(1)),
        *(export(many, tmp_path / path.stem, decontamination={"files": [str(path)]}) for path in questions),
    ]
    ids = [record.export_id for record in made]
    assert ids[5] == ids[6]  # the same texts in another place
    assert len(set(ids)) == len(ids) - 1
    assert export(many, tmp_path / "6", "parquet").export_id == ids[0]


def test_which_texts_of_a_file_count_is_part_of_the_export_id(many, tmp_path):
    for name in ("a.jsonl", "a.txt"):
        (tmp_path / name).write_text('{"question": "one", "answer": "two"}\n', encoding="utf-8")
    files = [
        {"path": str(tmp_path / "a.jsonl"), "field": "question"},
        {"path": str(tmp_path / "a.jsonl"), "field": "answer"},
        {"path": str(tmp_path / "a.txt"), "field": "question"},
    ]
    made = [
        export(many, tmp_path / str(number), decontamination={"files": [file]}) for number, file in enumerate(files)
    ]
    assert len({record.export_id for record in made}) == 3


def test_pairs_of_near_duplicates_are_told_most_similar_first(corpus, tmp_path):
    corpus.commit({"a": text_of("a", 200), "b": text_of("b", 200)})
    corpus.commit({"a2": edited(text_of("a", 200), 100), "b2": edited(text_of("b", 200), 30, 60, 90)})
    record = export(corpus, tmp_path / "out")
    assert [pair[:2] for pair in record.near_duplicate_pairs] == [(id_of("a"), id_of("a2")), (id_of("b"), id_of("b2"))]
    similarities = [similarity for *_, similarity in record.near_duplicate_pairs]
    assert similarities[0] > similarities[1] >= 0.8
    assert record.counts["near_duplicate_groups"] == 2


def test_a_folder_with_something_in_it_is_refused(many, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work", encoding="utf-8")
    for overwrite in (False, True):
        with pytest.raises(ConfigurationError, match="no export"):
            export_training_set(
                many.store, many.store.newest(), config(), "jsonl", tmp_path / "out", overwrite=overwrite
            )
    assert bytes_of(tmp_path / "out") == {"thesis.txt": b"years of work"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]


def test_a_volume_is_refused_before_any_work(many, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "out")
    with pytest.raises(ConfigurationError, match="inside of it"):
        export(many, tmp_path / "out")


def test_an_export_is_replaced_when_that_is_asked_for(many, tmp_path):
    export(many, tmp_path / "out", "jsonl")
    with pytest.raises(ConfigurationError, match="--overwrite"):
        export(many, tmp_path / "out", "parquet")
    export_training_set(many.store, many.store.newest(), config(), "parquet", tmp_path / "out", overwrite=True)
    assert not list((tmp_path / "out").rglob("*.jsonl"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]


def test_an_empty_folder_is_filled(many, tmp_path):
    (tmp_path / "out").mkdir()
    assert export(many, tmp_path / "out").counts["documents"] == len(rows_of(tmp_path / "out"))


@pytest.mark.parametrize("stage", ["_read_candidates", "_write_documents", "save_export"])
def test_an_interrupted_export_leaves_nothing_behind(many, tmp_path, monkeypatch, stage):
    whole = getattr(apply, stage)

    def interrupted(*arguments):
        if stage != "save_export":
            whole(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(apply, stage, interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(many, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert list_exports(many.store.folder) == []


def test_rows_that_were_half_read_cause_no_error_after_an_interruption(tmp_path, monkeypatch):
    errors = []
    monkeypatch.setattr(sys, "unraisablehook", errors.append)
    with opened_ledger(tmp_path / "ledger.sqlite") as ledger:
        rows = ledger.rows("SELECT 1 UNION SELECT 2")
        assert next(rows) == (1,)
    del rows
    assert errors == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="files that are open cannot be listed")
def test_what_does_not_fit_into_memory_is_sorted_beside_the_export(tmp_path):
    numbers = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 300000)"
    place = tmp_path / "it's here"
    place.mkdir()
    query = f"{numbers} SELECT hex(n) FROM numbers ORDER BY 1 DESC"
    with opened_ledger(place / "ledger.sqlite") as ledger:
        ledger.database.execute("PRAGMA cache_size = -1000")
        rows = ledger.rows(query)
        next(rows)
        opened = [str(link.resolve()) for link in Path("/proc/self/fd").iterdir()]
        assert any(name.startswith(f"{place}/") and name.endswith("(deleted)") for name in opened)
    place.rmdir()
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("PRAGMA cache_size = -1000")
    assert other.execute(query).fetchone() == ("3939393939",)
    other.close()


def test_what_a_killed_export_left_is_removed_by_the_next(many, tmp_path):
    left = tmp_path / ".out.unfinished"
    (left / "files").mkdir(parents=True)
    (left / "ledger.sqlite").write_bytes(b"half")
    export(many, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]


def test_two_exports_cannot_write_the_same_folder(many, tmp_path):
    with unfinished(tmp_path / "out"), pytest.raises(LockedError, match="Another export"):
        export(many, tmp_path / "out")


def test_an_export_of_documents_that_were_erased_meanwhile_is_not_published(many, tmp_path, monkeypatch):
    version = many.store.newest()
    path = many.store.folder / "versions" / "00000002.json"
    write = apply._write_documents

    def erase(*arguments):
        written = write(*arguments)
        path.write_text(version.model_copy(update={"documents_version": 99}).model_dump_json(), encoding="utf-8")
        return written

    monkeypatch.setattr(apply, "_write_documents", erase)
    with pytest.raises(TerminalError, match="erased"):
        export_training_set(many.store, version, config(), "jsonl", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"categories": ["poems"]}, "no documents of poems.*notes, posts"),
        ({"where": "colour = 'red'"}, "colour"),
        ({"where": "characters >"}, "characters >"),
        ({"where": "author = 'Ada') OR (author = 'Bob'"}, "without its"),
        ({"tokenizer": "/nowhere/at/all"}, "tokenizer '/nowhere/at/all' cannot be loaded"),
        ({"decontamination": {"files": ["/nowhere.txt"]}}, "/nowhere.txt cannot be read"),
    ],
    ids=["category", "column", "syntax", "parenthesis", "tokenizer", "evaluation texts"],
)
def test_an_option_that_cannot_be_used_is_named(many, tmp_path, options, words):
    with pytest.raises(ConfigurationError, match=words):
        export(many, tmp_path / "out", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_an_unknown_format_is_named(many, tmp_path):
    with pytest.raises(ConfigurationError, match=r"'csv'.*parquet, jsonl, huggingface"):
        export(many, tmp_path / "out", "csv")


def test_nothing_to_export_is_an_error(many, tmp_path):
    with pytest.raises(TerminalError, match="no document to export"):
        export(many, tmp_path / "out", where="author = 'nobody'")
