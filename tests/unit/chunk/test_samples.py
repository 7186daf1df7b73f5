"""The samples that a chunks handle keeps for its view: few, cut short, and named by document."""

import pyarrow as pa
import pytest

from feature_store.handles import Chunks
from feature_store.index_config import MultiSizeConfig, ParentConfig, SlidingWindowConfig, SmallToBigConfig, WindowSize
from steps.chunk import apply
from steps.chunk.apply import chunk_changes
from steps.chunk.part import SAMPLE_CHARACTERS, SAMPLES

CHUNKING = SlidingWindowConfig(window=32, overlap=8)
SIZES = MultiSizeConfig(strategy="multi_size", sizes=(WindowSize(window=32), WindowSize(window=16)))
FAMILIES = SmallToBigConfig(strategy="small_to_big", child=WindowSize(window=16), parent=ParentConfig(window=32))
SHORT = "A short text."
LONG = "A sentence of seven words is here. " * 20


@pytest.fixture(params=[1, 1000], ids=["a document at a time", "all at once"])
def samples_of(request, tmp_path, words, monkeypatch):
    monkeypatch.setattr(apply, "DOCUMENTS_PER_ITEM", request.param)
    missing = dict.fromkeys(("url", "author", "published_at", "updated_at", "external_id", "language"))

    def sample(*texts, title=None, chunking=CHUNKING):
        rows = [
            {
                "document_id": f"document-{number}", "category": "notes", "source_id": f"source-{number}",
                "source_hash": "h", "text": text, "text_format": "text", "title": title, "metadata": "{}",
                "state": "live", **missing,
            }
            for number, text in enumerate(texts)
        ]  # fmt: skip
        handle = Chunks(folder=tmp_path, index="i", collection="i__0", since=0, version=1)
        batches = pa.Table.from_pylist(rows).to_batches()
        return chunk_changes(batches, chunking, words, 100, handle, None, lambda units: None).samples

    return sample


def test_the_first_documents_are_kept(samples_of):
    samples = samples_of(*[LONG] * (SAMPLES + 3))
    assert [sample.document_id for sample in samples] == [f"document-{number}" for number in range(SAMPLES)]


def test_a_document_of_several_chunks_takes_the_place_of_one_of_a_single(samples_of):
    samples = samples_of(LONG, *[SHORT] * SAMPLES, LONG, SHORT)
    assert [len(sample.chunks) > 1 for sample in samples] == [True, True] + [False] * (SAMPLES - 2)
    assert samples[1].document_id == f"document-{SAMPLES + 1}"


def test_a_sample_has_the_chunks_that_begin_in_it(samples_of):
    (sample,) = samples_of(LONG * 50, title="A title")
    assert (sample.title, sample.category) == ("A title", "notes")
    assert sample.text == (LONG * 50)[:SAMPLE_CHARACTERS]
    assert sample.characters == len(LONG) * 50
    assert [chunk.position for chunk in sample.chunks] == list(range(len(sample.chunks)))
    assert sample.chunks[-1].start < SAMPLE_CHARACTERS <= sample.chunks[-1].end + 200
    assert all(later.start < earlier.end for earlier, later in zip(sample.chunks, sample.chunks[1:], strict=False))


def test_titles_of_a_sample_are_cut_and_the_id_stands_for_a_missing_one(samples_of):
    assert len(samples_of(SHORT, title="x" * 5000)[0].title) == 200
    assert samples_of(SHORT)[0].title == "source-0"


@pytest.mark.parametrize("chunking", [SIZES, FAMILIES], ids=["sizes", "families"])
def test_one_chunk_of_each_kind_counts_as_a_single(samples_of, chunking):
    samples = samples_of(LONG, *[SHORT] * SAMPLES, LONG, SHORT, chunking=chunking)
    assert [len(sample.text) > len(SHORT) for sample in samples] == [True, True] + [False] * (SAMPLES - 2)


def test_a_sample_has_the_chunks_of_every_size(samples_of):
    (sample,) = samples_of(LONG, chunking=SIZES)
    assert [chunk.size for chunk in sample.chunks] == [32] * 5 + [16] * 10
    assert sample.parents == []


def test_a_sample_has_parents_apart_and_each_chunk_names_its_own(samples_of):
    (sample,) = samples_of(LONG, chunking=FAMILIES)
    assert [parent.position for parent in sample.parents] == [0, 1, 2, 3, 4]
    assert [chunk.parent for chunk in sample.chunks] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    for chunk in sample.chunks:
        parent = sample.parents[chunk.parent]
        assert parent.start <= chunk.start < chunk.end <= parent.end
