"""What has to be done for a document: compared with what the collection holds of it."""

import json
import uuid

import pyarrow as pa
import pytest

from feature_store.handles import Chunks
from feature_store.ids import text_hash
from feature_store.index_config import MultiSizeConfig, ParentConfig, SlidingWindowConfig, SmallToBigConfig, WindowSize
from feature_store.parts import list_parts, read_part
from feature_store.points import payload_hash, unpack
from steps.chunk import part
from steps.chunk.apply import chunk_changes

CHUNKING = SlidingWindowConfig(window=12, overlap=0)
FAMILIES = SmallToBigConfig(strategy="small_to_big", child=WindowSize(window=12), parent=ParentConfig(window=24))
SIZES = MultiSizeConfig(strategy="multi_size", sizes=(WindowSize(window=24), WindowSize(window=12)))
SENTENCES = [f"Sentence {number} has exactly so many words as it has." for number in range(8)]


def row(name, sentences=SENTENCES, **fields):
    described = dict.fromkeys(("url", "author", "published_at", "updated_at", "external_id", "language"))
    return {
        "document_id": name, "category": "notes", "source_id": name, "source_hash": "h", "text": " ".join(sentences),
        "text_format": "text", "title": None, "metadata": "{}", "state": "live", **described, **fields,
    }  # fmt: skip


def deleted(name):
    return {**dict.fromkeys(row(name)), "document_id": name, "state": "deleted"}


def chunked(folder, words, rows, known=None, version=1, chunking=CHUNKING):
    handle = Chunks(folder=folder, index="i", collection="i__0", since=0, version=version)
    batches = pa.Table.from_pylist(rows).to_batches(max_chunksize=2)
    look_up = None if known is None else lambda names: {name: known[name] for name in names if name in known}
    return chunk_changes(batches, chunking, words, 100, handle, look_up, lambda units: None)


def rows_of(folder, name):
    return [row for part in list_parts(folder, name) for row in read_part(part).to_pylist()]


def points_of(folder):
    """Return what the parts ``documents`` record, by document."""
    return {row["document_id"]: unpack(row["chunk_ids"], row["payload_hashes"]) for row in rows_of(folder, "documents")}


def ids(points):
    return {str(uuid.UUID(bytes=point)) for point in points}


def counts(chunks):
    return chunks.new, chunks.moved, chunks.unchanged, chunks.stale


@pytest.fixture
def known(tmp_path, words):
    chunked(tmp_path / "before", words, [row("a"), row("b", SENTENCES[:3])])
    return points_of(tmp_path / "before")


def test_where_nothing_is_known_every_chunk_is_new_and_every_document_recorded(tmp_path, words):
    chunks = chunked(tmp_path, words, [row("a"), deleted("b")])
    assert counts(chunks) == (8, 0, 0, 0)
    points = points_of(tmp_path)
    assert ids(points["a"]) == {chunk["chunk_id"] for chunk in rows_of(tmp_path, "chunks")}
    assert points["b"] == {}
    assert (chunks.documents, chunks.deleted_documents, chunks.chunks) == (1, 1, 8)
    assert [row["chunks"] for row in rows_of(tmp_path, "documents")] == [8, 0]


def test_what_is_as_it_was_leaves_no_trace(tmp_path, words, known):
    chunks = chunked(tmp_path / "now", words, [row("a"), row("b", SENTENCES[:3])], known, version=2)
    assert counts(chunks) == (0, 0, 11, 0)
    assert not (tmp_path / "now").exists()
    assert (chunks.documents, chunks.chunks) == (2, 11)


def test_an_edit_makes_new_chunks_moves_those_behind_it_and_leaves_those_before_it(tmp_path, words, known):
    edited = [*SENTENCES[:2], "Something else stands here in a longer manner than before.", *SENTENCES[3:]]
    chunks = chunked(tmp_path / "now", words, [row("a", edited)], known, version=2)
    assert counts(chunks) == (1, 5, 2, 1)
    new, moved = rows_of(tmp_path / "now", "chunks"), rows_of(tmp_path / "now", "payloads")
    before, after = ids(known["a"]), ids(points_of(tmp_path / "now")["a"])
    assert {chunk["chunk_id"] for chunk in new} == after - before
    assert {chunk["chunk_id"] for chunk in moved} <= after & before
    assert {stale["chunk_id"] for stale in rows_of(tmp_path / "now", "stale")} == before - after
    text = " ".join(edited)
    for chunk in (*new, *moved):
        payload = json.loads(chunk["payload"])
        assert payload["text"] == text[payload["start"] : payload["end"]]
    assert set(points_of(tmp_path / "now")) == {"a"}


@pytest.mark.parametrize(
    "change",
    [{"title": "T"}, {"url": "u"}, {"published_at": "2024-07-29T00:00:00Z"}, {"metadata": '{"topic": "x"}'}],
    ids=lambda change: next(iter(change)),
)
def test_other_metadata_moves_every_chunk_and_makes_none_new(tmp_path, words, known, change):
    chunks = chunked(tmp_path / "now", words, [row("a", **change)], known, version=2)
    assert counts(chunks) == (0, 8, 0, 0)
    assert list_parts(tmp_path / "now", "chunks") == list_parts(tmp_path / "now", "stale") == []
    before, after = known["a"], points_of(tmp_path / "now")["a"]
    assert before.keys() == after.keys()
    assert all(before[point] != after[point] for point in before)


def test_of_a_document_that_is_gone_all_known_points_are_stale(tmp_path, words, known):
    chunks = chunked(tmp_path / "now", words, [deleted("a"), deleted("never seen")], known, version=2)
    assert counts(chunks) == (0, 0, 0, 8)
    assert {stale["chunk_id"] for stale in rows_of(tmp_path / "now", "stale")} == ids(known["a"])
    assert points_of(tmp_path / "now") == {"a": {}}
    assert chunks.deleted_documents == 2


def test_a_document_that_the_record_does_not_know_is_new(tmp_path, words, known):
    assert counts(chunked(tmp_path / "now", words, [row("c", SENTENCES[:2])], known)) == (2, 0, 0, 0)


def test_every_part_is_filled_by_whole_documents(tmp_path, words, monkeypatch):
    monkeypatch.setattr(part, "ROWS_PER_PART", 10)
    chunked(tmp_path, words, [row(f"d{number}") for number in range(5)])
    documents = [
        {chunk["document_id"] for chunk in read_part(part).to_pylist()} for part in list_parts(tmp_path, "chunks")
    ]
    assert documents == [{"d0", "d1"}, {"d2", "d3"}, {"d4"}]
    assert len(rows_of(tmp_path, "documents")) == 5


def test_the_hash_of_a_payload_does_not_depend_on_the_order_of_its_keys():
    assert payload_hash({"a": 1, "b": {"c": 2, "d": 3}}) == payload_hash({"b": {"d": 3, "c": 2}, "a": 1})
    assert len(payload_hash({})) == 8


def test_the_version_is_no_part_of_what_is_compared(tmp_path, words, known):
    chunked(tmp_path / "later", words, [row("a"), row("b", SENTENCES[:3])], version=7)
    assert points_of(tmp_path / "later") == known


def parent_counts(chunks):
    return chunks.parents, chunks.new_parents, chunks.moved_parents


def test_parents_are_parts_of_their_own_and_count_apart(tmp_path, words):
    chunks = chunked(tmp_path, words, [row("a")], chunking=FAMILIES)
    assert counts(chunks) == (8, 0, 0, 0)
    assert (chunks.chunks, *parent_counts(chunks)) == (8, 4, 4, 0)
    parents, children = rows_of(tmp_path, "parents"), rows_of(tmp_path, "chunks")
    assert [json.loads(parent["payload"])["role"] for parent in parents] == ["parent"] * 4
    assert {parent["document_id"] for parent in parents} == {"a"}
    assert {json.loads(child["payload"])["parent_id"] for child in children} == {p["chunk_id"] for p in parents}
    (document,) = rows_of(tmp_path, "documents")
    assert document["chunks"] == 12
    assert ids(points_of(tmp_path)["a"]) == {point["chunk_id"] for point in (*parents, *children)}


def test_the_payload_of_a_parent_has_the_hash_of_its_own_text(tmp_path, words):
    chunked(tmp_path, words, [row("a", title="T")], chunking=FAMILIES.model_copy(update={"heading_prefix": True}))
    for parent in rows_of(tmp_path, "parents"):
        payload = json.loads(parent["payload"])
        assert payload["text_hash"] == text_hash(payload["text"])


def test_an_edit_makes_one_parent_new_and_moves_the_siblings_of_the_edited_child(tmp_path, words):
    chunked(tmp_path / "before", words, [row("a")], chunking=FAMILIES)
    known = points_of(tmp_path / "before")
    edited = [*SENTENCES[:4], SENTENCES[4].replace("exactly", "certain"), *SENTENCES[5:]]
    chunks = chunked(tmp_path / "now", words, [row("a", edited)], known, version=2, chunking=FAMILIES)
    assert counts(chunks) == (1, 1, 6, 2)
    assert parent_counts(chunks) == (4, 1, 0)
    (parent,), (moved,) = rows_of(tmp_path / "now", "parents"), rows_of(tmp_path / "now", "payloads")
    (child,) = rows_of(tmp_path / "now", "chunks")
    for point in (moved, child):
        assert json.loads(point["payload"])["parent_id"] == parent["chunk_id"]
    assert json.loads(moved["payload"])["text"] == SENTENCES[5]


def test_other_metadata_move_parents_and_children(tmp_path, words):
    chunked(tmp_path / "before", words, [row("a")], chunking=FAMILIES)
    known = points_of(tmp_path / "before")
    chunks = chunked(tmp_path / "now", words, [row("a", url="u")], known, version=2, chunking=FAMILIES)
    assert counts(chunks) == (0, 8, 0, 0)
    assert parent_counts(chunks) == (4, 0, 4)
    assert ids(known["a"]) == {moved["chunk_id"] for moved in rows_of(tmp_path / "now", "payloads")}
    assert list_parts(tmp_path / "now", "parents") == []


def test_families_that_are_as_they_were_leave_no_trace(tmp_path, words):
    chunked(tmp_path / "before", words, [row("a")], chunking=FAMILIES)
    known = points_of(tmp_path / "before")
    chunks = chunked(tmp_path / "now", words, [row("a")], known, version=2, chunking=FAMILIES)
    assert counts(chunks) == (0, 0, 8, 0)
    assert parent_counts(chunks) == (4, 0, 0)
    assert not (tmp_path / "now").exists()


def test_sizes_are_told_in_the_parts_and_each_is_counted_by_its_own_window(tmp_path, words):
    chunks = chunked(tmp_path, words, [row("a")], chunking=SIZES)
    assert [chunk["size"] for chunk in rows_of(tmp_path, "chunks")] == [24] * 4 + [12] * 8
    assert (chunks.window, chunks.windows, chunks.chunks) == (24, [24, 12], 12)
    assert chunks.token_counts == [0] * 9 + [12, 0]  # 22 of 24 tokens, and 11 of 12
    assert chunks.dropped_characters == 4 - 1  # spaces that no chunk of either size holds


def test_chunks_of_a_category_are_counted_by_its_own_window(tmp_path, words):
    chunking = SlidingWindowConfig(window=48, overlap=0, categories={"notes": WindowSize(window=12)})
    chunks = chunked(tmp_path, words, [row("a")], chunking=chunking)
    assert (chunks.windows, chunks.token_counts) == ([48, 12], [0] * 9 + [8, 0])
    assert [chunk["size"] for chunk in rows_of(tmp_path, "chunks")] == [None] * 8
