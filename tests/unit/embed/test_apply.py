"""Embedding: each distinct text once, whatever happens in between."""

import json
import threading
from concurrent.futures import Future
from contextlib import contextmanager

import lance
import numpy as np
import pyarrow as pa
import pytest

from feature_store import schema
from feature_store.encoders import load_encoder, load_sparse_encoder
from feature_store.errors import TerminalError
from feature_store.executors.here import HERE, EncoderThread
from feature_store.executors.interface import Encoded
from feature_store.handles import Chunks
from feature_store.ids import chunk_id, text_hash
from feature_store.index_config import EncoderConfig, SparseConfig
from feature_store.parts import list_parts, read_part, write_part
from feature_store.vectors import VectorTable
from steps.embed import apply
from steps.embed.apply import embed_chunks
from tests.flow import ModelCrashedError, WatchedEncoder
from tests.stand_in import HashEncoder, hashed_vectors

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


def embed(folder, encoder, sparse, vectors, executor=HERE):
    """Embed the parts in a folder; return chunks, texts embedded, texts reused, and precisions."""
    handle = Chunks(folder=folder, index="i", collection="i__0", since=0, version=1)
    done = embed_chunks(handle, encoder, sparse, vectors, executor)
    return done.chunks, done.embedded, done.reused, done.precisions


def test_each_distinct_text_is_embedded_once(tmp_path, encoder, sparse, vectors):
    write_chunks(tmp_path, TEXTS)
    assert embed(tmp_path, encoder, sparse, vectors) == (6, 3, 0, ["float32"])
    assert sorted(encoder.texts) == ["a river", "a stone", "light"]
    assert lance.dataset(str(vectors.path)).count_rows() == 3


def test_a_second_call_embeds_nothing_and_writes_the_same(tmp_path, encoder, sparse, vectors):
    for name in ("first", "second"):
        write_chunks(tmp_path / name, TEXTS)
    embed(tmp_path / "first", encoder, sparse, vectors)
    again = WatchedEncoder(encoder.encoder, dies_after=0)
    assert embed(tmp_path / "second", again, sparse, vectors) == (6, 0, 3, ["float32"])
    first, second = (read_part(*list_parts(tmp_path / name, "embedded")) for name in ("first", "second"))
    assert first.equals(second)


def test_texts_of_another_part_are_reused(tmp_path, encoder, sparse, vectors):
    write_chunks(tmp_path / "first", TEXTS)
    embed(tmp_path / "first", encoder, sparse, vectors)
    write_chunks(tmp_path / "second", ["light", "bridge"], 7)
    assert embed(tmp_path / "second", encoder, sparse, vectors) == (2, 1, 1, ["float32"])
    assert encoder.texts.count("light") == 1
    assert [path.name for path in list_parts(tmp_path / "second", "embedded")] == ["embedded-000007.parquet"]


@pytest.mark.parametrize("parts_per_round", [1, 2, 8])
def test_a_text_that_several_parts_miss_is_embedded_once(
    tmp_path, encoder, sparse, vectors, monkeypatch, parts_per_round
):
    monkeypatch.setattr(apply, "PARTS_PER_ROUND", parts_per_round)
    monkeypatch.setattr(apply, "TEXTS_PER_BATCH", 2)
    parts = [["river", "stone"], ["stone", "light"], ["light", "river", "bridge"], ["bridge"]]
    for number, texts in enumerate(parts):
        write_chunks(tmp_path, texts, number)
    assert embed(tmp_path, encoder, sparse, vectors) == (8, 4, 4, ["float32"])
    assert sorted(encoder.texts) == ["bridge", "light", "river", "stone"]
    for part, texts in zip(list_parts(tmp_path, "embedded"), parts, strict=True):
        rows = read_part(part).to_pylist()
        assert [json.loads(row["payload"])["text"] for row in rows] == texts
        assert np.allclose([row["dense"] for row in rows], encoder.encoder.embed_documents(texts), atol=1e-5)


def test_each_chunk_has_the_vectors_of_its_own_text(tmp_path, encoder, sparse, vectors):
    write_chunks(tmp_path, TEXTS)
    embed(tmp_path, encoder, sparse, vectors)
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
    write_part(tmp_path, "chunks", 0, pa.Table.from_pylist(rows, schema=schema.CHUNKS))
    embed(tmp_path, encoder, sparse, vectors)
    embedded = read_part(*list_parts(tmp_path, "embedded"))
    assert embedded.schema.equals(schema.embedded_chunks(encoder.dimension))
    assert embedded.column("size").to_pylist() == [200, None, 48]


def test_a_text_of_stop_words_has_a_dense_and_an_empty_sparse_vector(tmp_path, encoder, sparse, vectors):
    write_chunks(tmp_path, ["the and of", "river"])
    embed(tmp_path, encoder, sparse, vectors)
    rows = read_part(*list_parts(tmp_path, "embedded")).to_pylist()
    assert [bool(row["sparse_indices"]) for row in rows] == [False, True]
    assert np.linalg.norm(rows[0]["dense"]) == pytest.approx(1, abs=1e-5)


def test_a_crash_keeps_the_batches_that_were_stored(tmp_path, encoder, sparse, vectors, monkeypatch):
    monkeypatch.setattr(apply, "TEXTS_PER_BATCH", 4)
    texts = [f"text number {number}" for number in range(10)]
    write_chunks(tmp_path, texts)
    dying = WatchedEncoder(encoder.encoder, dies_after=9)
    with pytest.raises(ModelCrashedError):
        embed(tmp_path, dying, sparse, vectors)
    assert vectors.known([text_hash(text) for text in texts]) == {text_hash(text): "float32" for text in texts[:8]}
    assert list_parts(tmp_path, "embedded") == []

    assert embed(tmp_path, encoder, sparse, vectors) == (10, 2, 8, ["float32"])
    assert encoder.texts == texts[8:]
    assert lance.dataset(str(vectors.path)).count_rows() == 10


@pytest.fixture
def commits(monkeypatch):
    """How many texts each commit has stored."""
    sizes = []
    append = VectorTable.append

    def noted(table, hashes, matrix, precision):
        append(table, hashes, matrix, precision)
        sizes.append(len(hashes))

    monkeypatch.setattr(VectorTable, "append", noted)
    monkeypatch.setattr(apply, "TEXTS_PER_BATCH", 2)
    return sizes


def test_batches_that_come_quickly_are_stored_together(tmp_path, sparse, commits, monkeypatch):
    monkeypatch.setattr(apply, "SECONDS_PER_COMMIT", 600)
    monkeypatch.setattr(apply, "BATCHES_PER_COMMIT", 3)
    write_chunks(tmp_path, [f"text {number}" for number in range(21)])
    table = VectorTable(tmp_path / "vectors", "f", 32)
    assert embed(tmp_path, HashEncoder(dimension=32), sparse, table) == (21, 21, 0, ["float32"])
    assert sum(commits) == 21
    assert 3 <= len(commits) <= 4, "11 batches; one may come while the commit is made"


def test_what_a_kill_may_cost_is_two_batches_where_nothing_is_waited_for(tmp_path, sparse, commits, monkeypatch):
    monkeypatch.setattr(apply, "SECONDS_PER_COMMIT", 0.0)
    write_chunks(tmp_path, [f"text {number}" for number in range(9)])
    embed(tmp_path, HashEncoder(dimension=32), sparse, VectorTable(tmp_path / "vectors", "f", 32))
    assert sum(commits) == 9
    assert max(commits) <= 2 * EncoderThread.width, "no more than was under way at once"


def test_a_vector_waits_for_its_commit_no_longer_than_said(tmp_path, sparse, commits, monkeypatch):
    monkeypatch.setattr(apply, "SECONDS_PER_COMMIT", 0.2)
    stored = threading.Event()
    append = VectorTable.append
    monkeypatch.setattr(VectorTable, "append", lambda *arguments: (append(*arguments), stored.set()))
    encoder = Hurried(lambda batch: batch == 1 or stored.wait(20))  # the second batch waits for it
    write_chunks(tmp_path, [f"text {number}" for number in range(4)])
    embed(tmp_path, encoder, sparse, VectorTable(tmp_path / "vectors", "f", 32))
    assert commits == [2, 2]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_refused_and_not_stored(tmp_path, encoder, sparse, vectors, value):
    class Broken(WatchedEncoder):
        def embed_documents(self, texts):
            matrix = super().embed_documents(texts).copy()
            matrix[texts.index("light"), 3] = value
            return matrix

    write_chunks(tmp_path, TEXTS)
    with pytest.raises(TerminalError, match=text_hash("light")) as caught:
        embed(tmp_path, Broken(encoder.encoder), sparse, vectors)
    assert "precision to float32" in caught.value.remedy
    assert lance.dataset(str(vectors.path)).count_rows() == 0
    assert list_parts(tmp_path, "embedded") == []


def test_progress_counts_every_chunk_once(tmp_path, encoder, sparse, vectors, monkeypatch):
    units = []
    monkeypatch.setattr(apply, "progress", lambda *_: contextmanager(lambda: (yield units.append))())
    monkeypatch.setattr(apply, "TEXTS_PER_BATCH", 2)
    write_chunks(tmp_path, ["one", "two"])
    embed(tmp_path, encoder, sparse, vectors)
    assert sum(units) == 2
    write_chunks(tmp_path, [*TEXTS, "one"], 1)
    write_chunks(tmp_path, ["light", "two", "light"], 2)
    embed(tmp_path, encoder, sparse, vectors)
    assert sum(units) == 2 + (2 + 7 + 3)
    assert min(units) >= 0


def test_the_precision_of_the_encoder_is_stored_with_the_vectors(tmp_path, encoder, sparse, vectors):
    write_chunks(tmp_path, TEXTS)
    embed(tmp_path, encoder, sparse, vectors)
    column = lance.dataset(str(vectors.path)).to_table(columns=["precision"]).column("precision")
    assert set(column.to_pylist()) == {"float32"}


def test_an_encoder_that_is_not_needed_is_not_asked(tmp_path, encoder, sparse, vectors):
    assert embed(tmp_path, WatchedEncoder(encoder.encoder, dies_after=0), sparse, vectors) == (0, 0, 0, [])


def test_what_the_model_saw_is_summed_up(tmp_path, encoder, sparse, vectors, monkeypatch):
    monkeypatch.setattr(apply, "TEXTS_PER_BATCH", 2)
    write_chunks(tmp_path, TEXTS)
    handle = Chunks(folder=tmp_path, index="i", collection="i__0", since=0, version=1)
    before = encoder.tokens_embedded, encoder.operations_embedded
    done = embed_chunks(handle, encoder, sparse, vectors)
    assert done.tokens == encoder.tokens_embedded - before[0] > 3
    assert done.operations == encoder.operations_embedded - before[1] > done.tokens


class Hurried(HashEncoder):
    """Goes on with a batch only when something else has happened: what would be idle without overlap hangs."""

    def __init__(self, may_go_on):
        super().__init__(dimension=32)
        self.may_go_on = may_go_on
        self.batches = 0

    def embed_documents(self, texts):
        self.batches += 1
        assert self.may_go_on(self.batches), "nothing happened while the model worked"
        return super().embed_documents(texts)


@pytest.fixture
def few_at_once(monkeypatch):
    """A part a round, two texts a batch, a commit for each batch that takes its time."""
    monkeypatch.setattr(apply, "SECONDS_PER_COMMIT", 0.02)
    monkeypatch.setattr(apply, "TEXTS_PER_BATCH", 2)
    monkeypatch.setattr(apply, "BATCHES_PER_ROUND", 1)


def numbered_parts(folder, parts, texts=2):
    for number in range(parts):
        write_chunks(folder, [f"text {text} of part {number}" for text in range(texts)], number)


def test_the_texts_after_the_next_are_looked_up_while_the_model_works(tmp_path, sparse, few_at_once, monkeypatch):
    looked_up = [threading.Event() for _ in range(6)]
    open_part = apply.open_part

    def noted(part, *arguments):
        opened = open_part(part, *arguments)
        looked_up[int(part.stem[-1])].set()
        return opened

    monkeypatch.setattr(apply, "open_part", noted)
    # Batch n goes on only when part n + 1, which is embedded after it, is ready: the model finds it waiting.
    encoder = Hurried(lambda batch: looked_up[min(batch, 5)].wait(20))
    numbered_parts(tmp_path, 6)
    vectors = VectorTable(tmp_path / "vectors", "f", 32)
    assert embed(tmp_path, encoder, sparse, vectors)[:3] == (12, 12, 0)
    assert encoder.batches == 6


def test_a_part_is_written_while_the_model_works_on_the_next(tmp_path, sparse, few_at_once, monkeypatch):
    written = [threading.Event() for _ in range(6)]
    finish_part = apply.finish_part

    def noted(opened, *arguments):
        finish_part(opened, *arguments)
        written[int(opened.part.stem[-1])].set()

    monkeypatch.setattr(apply, "finish_part", noted)
    encoder = Hurried(lambda batch: batch == 1 or written[batch - 2].wait(20))
    numbered_parts(tmp_path, 6)
    vectors = VectorTable(tmp_path / "vectors", "f", 32)
    embed(tmp_path, encoder, sparse, vectors)
    assert all(event.is_set() for event in written)


class WidePool:
    """Several encoders: batches are done in another order than they were asked for."""

    width = 4

    def __init__(self):
        self.waiting = []
        self.most_at_once = 0

    def submit(self, texts):
        future = Future()
        self.waiting.append((future, texts))
        self.most_at_once = max(self.most_at_once, len(self.waiting))
        if len(self.waiting) == self.width:
            threading.Timer(0.05, self.answer).start()
        return future

    def answer(self):
        waiting, self.waiting = self.waiting, []
        for place, (future, texts) in enumerate(reversed(waiting)):
            future.set_result(Encoded(hashed_vectors(texts, 32), "bfloat16" if place % 2 else "float32"))

    map = staticmethod(map)

    @contextmanager
    def encoders(self, encoder, load):
        yield self


def test_as_many_batches_are_under_way_as_there_are_encoders_for(tmp_path, sparse, few_at_once):
    numbered_parts(tmp_path, 8)
    pool, vectors = WidePool(), VectorTable(tmp_path / "vectors", "f", 32)
    done = embed(tmp_path, HashEncoder(dimension=32), sparse, vectors, pool)
    assert done == (16, 16, 0, ["bfloat16", "float32"])
    assert pool.most_at_once == 4
    rows = [row for part in list_parts(tmp_path, "embedded") for row in read_part(part).to_pylist()]
    texts = [json.loads(row["payload"])["text"] for row in rows]
    assert np.array_equal(np.array([row["dense"] for row in rows], np.float32), hashed_vectors(texts, 32))
    stored = lance.dataset(str(vectors.path)).to_table(columns=["text_hash", "precision"]).to_pylist()
    assert {row["text_hash"] for row in stored} == {text_hash(text) for text in texts}
    assert [row["precision"] for row in stored].count("bfloat16") == 8


def test_only_a_few_parts_are_on_their_way_at_once(tmp_path, sparse, few_at_once, monkeypatch):
    opened, finished, most = [], [], []
    open_part, finish_part = apply.open_part, apply.finish_part

    def noted_open(part, *arguments):
        opened.append(part)
        most.append(len(opened) - len(finished))
        return open_part(part, *arguments)

    def noted_finish(part, *arguments):
        finish_part(part, *arguments)
        finished.append(part)

    monkeypatch.setattr(apply, "open_part", noted_open)
    monkeypatch.setattr(apply, "finish_part", noted_finish)
    monkeypatch.setattr(apply, "PARTS_TO_WRITE", 3)
    numbered_parts(tmp_path, 40)
    vectors = VectorTable(tmp_path / "vectors", "f", 32)
    embed(tmp_path, HashEncoder(dimension=32), sparse, vectors)
    assert len(finished) == 40
    # Two with the model, three that wait for it, one that is looked up, and those that wait to be written.
    assert max(most) <= 2 + 3 + 1 + 3 + 1


@pytest.mark.parametrize("place", ["open_part", "finish_part"])
def test_what_fails_beside_the_model_ends_the_work_with_its_own_error(
    tmp_path, sparse, few_at_once, monkeypatch, place
):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(apply, place, full)
    numbered_parts(tmp_path, 40)
    encoder, vectors = HashEncoder(dimension=32), VectorTable(tmp_path / "vectors", "f", 32)
    with pytest.raises(OSError, match="No space"):
        embed(tmp_path, encoder, sparse, vectors)
    assert len(encoder.texts) < 80
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("embed-", "encoder"))]
