"""What changed since a version: with the splits of the whole, and with what a trainer should forget."""

import json

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store.errors import ConfigurationError
from feature_store.exports import read_members
from feature_store.training import TrainingConfig
from steps.export.apply import export_training_set
from tests.unit.export.corpus import Corpus, edited, id_of, text_of
from tests.unit.export.test_export import export, rows_of


def by_id(rows):
    return {row["document_id"]: row for row in rows}


def gone_of(folder):
    lines = (folder / "deleted.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["document_id"] for row in rows] == sorted(row["document_id"] for row in rows)
    return {row["document_id"]: row["change"] for row in rows}


@pytest.fixture
def history(corpus):
    """Version 1: a to f. Then a is edited, b deleted, c touched without a change of content, g added."""
    texts = {name: text_of(name) for name in "abcdef"}
    first = corpus.commit(texts)
    corpus.commit({"a": text_of("a2"), "c": texts["c"], "g": text_of("g")}, removed=["b"])
    return corpus, first


def test_a_delta_holds_what_was_added_or_changed_in_its_content(history, tmp_path):
    corpus, first = history
    record = export(corpus, tmp_path / "out", since=first)
    assert {row["document_id"] for row in rows_of(tmp_path / "out")} == {id_of("a"), id_of("g")}
    assert gone_of(tmp_path / "out") == {id_of("a"): "replaced", id_of("b"): "deleted"}
    assert (record.since, record.counts["documents"], record.counts["considered"]) == (1, 2, 2)
    assert (record.counts["deleted"], record.counts["replaced"]) == (1, 1)
    members = [
        row["document_id"] for batch in read_members(corpus.store.folder, record.export_id) for row in batch.to_pylist()
    ]
    assert members == sorted([id_of("a"), id_of("g")])


def test_the_splits_of_a_delta_are_those_of_the_whole(history, tmp_path):
    corpus, first = history
    corpus.commit({f"g{number}": edited(text_of("g"), number) for number in range(10)})
    corpus.commit({f"n{number}": text_of(f"n{number}") for number in range(20)})
    export(corpus, tmp_path / "delta", since=first)
    export(corpus, tmp_path / "whole")
    whole, delta = by_id(rows_of(tmp_path / "whole")), by_id(rows_of(tmp_path / "delta"))
    assert len(delta) == 32
    assert {one: whole[one] for one in delta} == delta


def test_a_newcomer_that_is_near_to_an_old_document_follows_it(history, tmp_path):
    corpus, _ = history
    second = corpus.store.newest()
    corpus.commit({"near": edited(text_of("d"), 30), "copy": text_of("e")})
    record = export(corpus, tmp_path / "delta", since=second)
    export(corpus, tmp_path / "whole")
    (row,) = rows_of(tmp_path / "delta")
    assert row["split"] == by_id(rows_of(tmp_path / "whole"))[id_of("d")]["split"]
    assert record.counts["excluded_duplicate"] == 1
    assert record.counts["considered"] == 2


def test_a_document_that_no_longer_fulfils_the_condition_is_deleted(corpus, tmp_path):
    first = corpus.commit({"a": (text_of("a"), {"author": "Ada"}), "b": (text_of("b"), {"author": "Ada"})})
    corpus.commit({"a": (text_of("a"), {"author": "Bob"})})
    export(corpus, tmp_path / "out", since=first, where="author = 'Ada'")
    assert gone_of(tmp_path / "out") == {id_of("a"): "deleted"}
    assert rows_of(tmp_path / "out") == []


def test_a_document_that_only_now_fulfils_the_condition_is_added(corpus, tmp_path):
    first = corpus.commit({"a": (text_of("a"), {"author": "Bob"})})
    corpus.commit({"a": (text_of("a"), {"author": "Ada"})})
    export(corpus, tmp_path / "out", since=first, where="author = 'Ada'")
    assert gone_of(tmp_path / "out") == {}
    assert set(by_id(rows_of(tmp_path / "out"))) == {id_of("a")}


def test_a_category_that_is_newer_than_the_earlier_version_is_all_new(corpus, tmp_path):
    first = corpus.commit({"a": text_of("a")})
    corpus.commit({"b": (text_of("b"), {"category": "posts"})})
    export(corpus, tmp_path / "out", since=first, categories=["posts"])
    assert set(by_id(rows_of(tmp_path / "out"))) == {id_of("b")}
    assert gone_of(tmp_path / "out") == {}


def test_of_other_categories_nothing_is_told(corpus, tmp_path):
    first = corpus.commit({"a": text_of("a"), "b": (text_of("b"), {"category": "posts"})})
    corpus.commit({"a": text_of("a2"), "b": (text_of("b2"), {"category": "posts"})})
    export(corpus, tmp_path / "out", since=first, categories=["posts"])
    assert set(by_id(rows_of(tmp_path / "out"))) == {id_of("b")}
    assert gone_of(tmp_path / "out") == {id_of("b"): "replaced"}


def test_that_all_documents_of_a_category_are_gone_is_told(corpus, tmp_path):
    first = corpus.commit({"a": text_of("a"), "b": (text_of("b"), {"category": "posts"})})
    corpus.commit(removed=["a"])
    export(corpus, tmp_path / "out", since=first, categories=["notes"])
    assert gone_of(tmp_path / "out") == {id_of("a"): "deleted"}


def test_a_category_that_never_was_is_refused_in_a_delta_too(history, tmp_path):
    corpus, first = history
    with pytest.raises(ConfigurationError, match="poems"):
        export(corpus, tmp_path / "out", since=first, categories=["poems"])


def test_a_document_that_became_too_short_is_deleted(corpus, tmp_path):
    first = corpus.commit({"a": text_of("a"), "b": text_of("b")})
    corpus.commit({"a": "short"})
    record = export(corpus, tmp_path / "out", since=first, filters={"min_characters": 50})
    assert gone_of(tmp_path / "out") == {id_of("a"): "deleted"}
    assert record.counts["excluded_too_short"] == 1


def test_a_delta_in_which_all_is_gone_can_be_written(corpus, tmp_path):
    first = corpus.commit({"a": text_of("a")})
    corpus.commit(removed=["a"])
    record = export(corpus, tmp_path / "out", since=first)
    assert (record.counts["documents"], record.counts["deleted"]) == (0, 1)


def test_deleted_documents_are_in_the_format_of_the_export(history, tmp_path):
    corpus, first = history
    export(corpus, tmp_path / "out", "parquet", since=first)
    rows = pq.read_table(tmp_path / "out" / "deleted.parquet").to_pylist()
    assert {row["document_id"]: row["change"] for row in rows} == {id_of("a"): "replaced", id_of("b"): "deleted"}


@pytest.mark.parametrize("number", [1, 2])
def test_a_delta_needs_an_earlier_version(history, tmp_path, number):
    corpus, first = history
    since = corpus.store.version(number)
    with pytest.raises(ConfigurationError, match="not earlier than version 1"):
        export_training_set(corpus.store, first, TrainingConfig(), "jsonl", tmp_path / "out", since)


STEPS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["remove", "x", "y", "z", "x near"])), min_size=1, max_size=4
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=STEPS, after=STEPS)
def test_the_whole_before_and_the_delta_give_the_contents_of_the_whole_after(tmp_path_factory, before, after):
    # Without sharing or dropping of duplicates, nothing but the changes themselves moves a document.
    options = {"drop_duplicates": False, "splits": {"train": 1, "validation": 0, "test": 0}}
    folder = tmp_path_factory.mktemp("delta")
    corpus = Corpus(folder)
    apply_steps(corpus, [("fixed", "always"), *before])
    first = corpus.store.newest()
    apply_steps(corpus, [("other", "more"), *after])
    export(corpus, folder / "first", version=first, **options)
    export(corpus, folder / "last", **options)
    export(corpus, folder / "delta", since=first, **options)
    held = by_id(rows_of(folder / "first"))
    gone = gone_of(folder / "delta")
    assert set(gone) <= set(held)
    applied = {one: row["text"] for one, row in held.items() if one not in gone}
    new = by_id(rows_of(folder / "delta"))
    assert not set(new) & set(applied)
    applied |= {one: row["text"] for one, row in new.items()}
    assert applied == {one: row["text"] for one, row in by_id(rows_of(folder / "last")).items()}


def apply_steps(corpus, steps):
    for name, what in steps:
        if what == "remove":
            corpus.commit(removed=[name])
        else:
            corpus.commit({name: edited(text_of(what[0]), 30) if what.endswith("near") else text_of(what[0])})
