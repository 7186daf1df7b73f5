"""Chunking by parts: which documents go together, and the same files whoever makes them."""

import json
import os
import random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.errors import TerminalError
from feature_store.executors.here import HERE
from feature_store.executors.processes import Processes
from feature_store.handles import Chunks
from feature_store.index_config import MultiSizeConfig, ParentConfig, SlidingWindowConfig, SmallToBigConfig, WindowSize
from feature_store.parts import list_parts, read_part
from feature_store.points import unpack
from steps.chunk import apply, part
from steps.chunk.apply import chunk_changes
from steps.chunk.part import PARTS_PER_ITEM
from tests.stand_in import HashEncoder

CHUNKING = SlidingWindowConfig(window=12, overlap=0)
STRATEGIES = {
    "window": SlidingWindowConfig(window=24, overlap=8),
    "families": SmallToBigConfig(strategy="small_to_big", child=WindowSize(window=12), parent=ParentConfig(window=24)),
    "sizes": MultiSizeConfig(strategy="multi_size", sizes=(WindowSize(window=24), WindowSize(window=12))),
}
NAMES = ("chunks", "parents", "payloads", "stale", "documents")
WORDS = [
    "light",
    "river",
    "stone",
    "bridge",
    "morning,",
    "evening.",
    "Tower;",
    "harbour!",
    "window",
    "and",
    "a",
    "very",
    "long-winded",
    "description",
    "of",
    "it",
]


@pytest.fixture(scope="module")
def two():
    opened = Processes(2, seconds_here=0.0)
    yield opened
    opened.close()


def row(name, text, state="live", **fields):
    described = dict.fromkeys(("title", "url", "author", "published_at", "updated_at", "external_id", "language"))
    return {
        "document_id": name, "category": "notes", "source_id": name, "source_hash": "h", "text": text,
        "text_format": "markdown", "metadata": "{}", "state": state, **described, **fields,
    }  # fmt: skip


def corpus(seed, documents=40):
    chance = random.Random(seed)
    for number in range(documents):
        paragraphs = [" ".join(chance.choices(WORDS, k=chance.randint(1, 60))) for _ in range(chance.randint(1, 8))]
        yield row(f"d{number}", "\n\n".join([f"# Title {number}", *paragraphs]))


def chunked(folder, rows, known=None, chunking=CHUNKING, executor=HERE, batch=7):
    handle = Chunks(folder=folder, index="i", collection="i__0", since=0, version=1)
    batches = pa.Table.from_pylist(rows).to_batches(max_chunksize=batch)
    look_up = None if known is None else lambda names: {name: known[name] for name in names if name in known}
    units = []
    tokens = HashEncoder().token_spans
    return chunk_changes(batches, chunking, tokens, 100, handle, look_up, units.append, executor), sum(units)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def points_of(folder):
    rows = [row for each in list_parts(folder, "documents") for row in read_part(each).to_pylist()]
    return {row["document_id"]: unpack(row["chunk_ids"], row["payload_hashes"]) for row in rows}


@pytest.mark.parametrize("chunking", STRATEGIES.values(), ids=STRATEGIES)
def test_processes_write_the_same_files_as_this_process(tmp_path, two, monkeypatch, chunking):
    monkeypatch.setattr(apply, "DOCUMENTS_PER_ITEM", 6)
    rows = list(corpus(1))
    chunked(tmp_path / "before", rows, chunking=chunking)
    changed = [*corpus(2, 20), *rows[20:35], row("d39", None, "deleted")]
    for number in (21, 24):
        changed[number] = {**changed[number], "title": "Another"}
    known = points_of(tmp_path / "before")
    made = {}
    for name, executor in (("here", HERE), ("there", two)):
        handle, units = chunked(tmp_path / name, changed, known, chunking, executor)
        assert units == len(changed)
        made[name] = handle.model_dump(exclude={"folder"}), files(tmp_path / name)
    assert made["here"] == made["there"]
    assert made["here"][0]["stale"] > 0 < made["here"][0]["moved"]
    assert {name.rsplit("-", 1)[0] for name in made["here"][1]} >= {"chunks", "payloads", "stale", "documents"}


@given(batch=st.integers(1, 50), documents=st.integers(1, 50), characters=st.integers(1, 5000))
def test_items_hold_every_row_once_in_order_and_no_more_than_they_may(batch, documents, characters):
    rows = [row(f"d{number}", "x" * (number * 37 % 900)) for number in range(60)]
    batches = pa.Table.from_pylist(rows).to_batches(max_chunksize=batch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apply, "DOCUMENTS_PER_ITEM", documents)
        patch.setattr(apply, "CHARACTERS_PER_ITEM", characters)
        items = list(apply._items(batches, None))
    assert [found for item in items for found in item.rows] == rows
    assert [item.number for item in items] == list(range(len(items)))
    for item in items:
        assert 1 <= len(item.rows) <= documents
        assert len(item.rows) == 1 or sum(len(found["text"]) for found in item.rows) <= characters


def test_an_item_carries_only_what_is_known_of_its_own_documents(monkeypatch):
    monkeypatch.setattr(apply, "DOCUMENTS_PER_ITEM", 2)
    rows = [row(f"d{number}", "text") for number in range(5)]
    known = {f"d{number}": {b"1": b"2"} for number in range(4)}
    items = apply._items(
        pa.Table.from_pylist(rows).to_batches(), lambda names: {name: known[name] for name in names if name in known}
    )
    assert [sorted(item.known) for item in items] == [["d0", "d1"], ["d2", "d3"], []]


def test_a_large_document_is_divided_into_parts_of_the_usual_size(tmp_path, monkeypatch):
    monkeypatch.setattr(part, "ROWS_PER_PART", 10)
    chunked(tmp_path, [row("small", "A few words."), row("large", "Some words stand in this sentence here. " * 200)])
    sizes = [read_part(each).num_rows for each in list_parts(tmp_path, "chunks")]
    assert sum(sizes) > 50
    assert all(10 <= size < 20 for size in sizes)
    positions = [
        row["position"]
        for each in list_parts(tmp_path, "chunks")
        for row in read_part(each).to_pylist()
        if row["document_id"] == "large"
    ]
    assert positions == list(range(len(positions)))


def test_parts_of_later_items_sort_behind_those_of_earlier_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(apply, "DOCUMENTS_PER_ITEM", 1)
    chunked(tmp_path, [row(f"d{number:02}", "A few words.") for number in range(23)])
    parts = list_parts(tmp_path, "chunks")
    assert [read_part(each).column("document_id").to_pylist() for each in parts] == [[f"d{n:02}"] for n in range(23)]
    assert parts[-1].stem == f"chunks-{22 * PARTS_PER_ITEM}"


def test_a_document_that_cannot_be_chunked_is_named_whoever_tried(tmp_path, two, monkeypatch):
    monkeypatch.setattr(apply, "DOCUMENTS_PER_ITEM", 1)
    monkeypatch.setattr(HashEncoder, "token_spans", lambda *_: [(0, 1)] * 500)
    for executor in (HERE, two):
        with pytest.raises(TerminalError, match="Document d0"):
            chunked(tmp_path, [row(f"d{number}", "Words") for number in range(3)], executor=executor)


def test_payloads_are_json_of_the_documents_text(tmp_path, two):
    rows = list(corpus(3, 5))
    chunked(tmp_path, rows, executor=two)
    texts = {found["document_id"]: found["text"] for found in rows}
    (only,) = list_parts(tmp_path, "chunks")
    for chunk in read_part(only).to_pylist():
        payload = json.loads(chunk["payload"])
        assert payload["text"] == texts[chunk["document_id"]][chunk["start"] : chunk["end"]]


def test_a_worker_imports_neither_torch_nor_zenml_nor_qdrant_nor_lance():
    def imported(_item):  # no function of this module, which imports more
        import os
        import sys
        import time
        from importlib import import_module

        import_module("steps.chunk.part")
        time.sleep(0.05)  # so that the others have their share
        return os.getpid(), {name.partition(".")[0] for name in sys.modules}

    executor = Processes(2, seconds_here=0.0)
    loaded = [names for process, names in executor.map(imported, range(20)) if process != os.getpid()]
    executor.close()
    assert "pyarrow" in loaded[0]
    assert not {"torch", "transformers", "zenml", "qdrant_client", "lance"} & set().union(*loaded)
