"""Searching: nothing but the collection is needed, and nothing but the right model is accepted."""

import shutil

import pytest
from qdrant_client import QdrantClient

from feature_store.errors import ConfigurationError
from feature_store.index import read_metadata, serving_collection, write_metadata
from inference.retriever import Retriever, SearchResult
from tests.flow import Flow, ModelCrashedError, note, notes_config
from tests.support import WORDS

DOCUMENTS = [
    note("zebra", "# Animals\n\nA zebra crossed the river at night.", title="Zebra", link="https://example.org/zebra"),
    *(
        note(
            f"n{number}",
            f"# Note {number}\n\n" + " ".join(WORDS[(number + step * step) % len(WORDS)] for step in range(60)),
        )
        for number in range(12)
    ),
    note("stop", "To be, or not to be."),
]
CATEGORY = {
    "name": "notes", "collection": "notes", "text": "body", "format": "markdown", "title": "title", "url": "link",
    "metadata": {"topic": "topic"},
}  # fmt: skip


@pytest.fixture(scope="module")
def flow(tmp_path_factory, tiny_model):
    made = Flow(tmp_path_factory.mktemp("data"), notes_config(tiny_model, categories=[CATEGORY]))
    made.run(DOCUMENTS)
    yield made
    made.client.close()


@pytest.fixture(scope="module")
def retriever(flow):
    return Retriever.from_index(flow.client, "notes_index")


def test_a_keyword_finds_the_document_that_has_it(retriever):
    best, *_ = retriever.search("zebra crossed river")
    assert isinstance(best, SearchResult)
    assert (best.title, best.url, best.category) == ("Zebra", "https://example.org/zebra", "notes")
    assert best.heading_path == ["Animals"]


@pytest.mark.parametrize("query", ["zebra", "silver forest garden", "note 7", "to be or not"])
def test_results_quote_the_cleaned_text_at_their_span(flow, retriever, query):
    texts = {row["document_id"]: row["text"] for row in flow.live().values()}
    results = retriever.search(query, k=8)
    assert len(results) == 8
    for result in results:
        assert result.text == result.payload["text"] == texts[result.document_id][result.start : result.end]
        assert result.text
    assert len({result.chunk_id for result in results}) == 8
    scores = [result.score for result in results]
    assert scores == sorted(scores, reverse=True)


def test_the_text_of_a_chunk_finds_that_chunk_first(flow, retriever):
    points = flow.points(serving_collection(flow.client, "notes_index"))
    found = [retriever.search(payload["text"], k=1)[0].text == payload["text"] for payload, _ in points.values()]
    assert sum(found) >= 0.9 * len(points)


def test_a_query_of_stop_words_alone_works(retriever):
    assert len(retriever.search("the and of it", k=4)) == 4


def test_k_may_be_larger_than_the_index(flow, retriever):
    points = flow.points(serving_collection(flow.client, "notes_index"))
    assert {result.chunk_id for result in retriever.search("river", k=500)} == set(points)


@pytest.mark.parametrize("query", ["", "   ", "\n\t"])
def test_an_empty_query_is_refused(retriever, query):
    with pytest.raises(ConfigurationError, match="The query is empty"):
        retriever.search(query)


@pytest.mark.parametrize("k", [0, -1])
def test_fewer_than_one_result_is_refused(retriever, k):
    with pytest.raises(ConfigurationError, match=f"k is {k}"):
        retriever.search("river", k=k)


def test_a_missing_index_is_named_with_a_remedy(flow):
    with pytest.raises(ConfigurationError, match="no index 'unknown' that serves") as caught:
        Retriever.from_index(flow.client, "unknown")
    assert "Run the feature pipeline" in caught.value.remedy


def test_an_index_whose_first_load_has_not_finished_does_not_serve(tmp_path, tiny_model):
    class Dying(QdrantClient):
        def update_collection_aliases(self, *arguments, **options):
            raise ModelCrashedError

    flow = Flow(tmp_path, notes_config(tiny_model), Dying(":memory:"))
    with pytest.raises(ModelCrashedError):
        flow.run([note("a", "alpha")])
    with pytest.raises(ConfigurationError, match="that serves"):
        Retriever.from_index(flow.client, "notes_index")


def test_another_model_than_that_of_the_vectors_is_refused(flow):
    collection = serving_collection(flow.client, "notes_index")
    metadata = read_metadata(flow.client, collection)
    other = metadata.encoder.model_copy(update={"fingerprint": "0123456789ab"})
    write_metadata(flow.client, collection, metadata.model_copy(update={"encoder": other}))
    try:
        with pytest.raises(ConfigurationError, match="is not the model that made the vectors of 'notes_index'"):
            Retriever.from_index(flow.client, "notes_index")
    finally:
        write_metadata(flow.client, collection, metadata)


def test_a_retriever_does_not_ask_a_collection_of_another_model(tmp_path, tiny_model):
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    flow = Flow(tmp_path / "data", notes_config(tiny_model))
    flow.run(DOCUMENTS)
    retriever = Retriever.from_index(flow.client, "notes_index")
    shorter = {"model": str(other), "precision": "float32", "max_tokens": 64}
    flow.config = notes_config(tiny_model, indexes=[{**flow.config.indexes[0].model_dump(), "encoder": shorter}])
    flow.run([*DOCUMENTS, note("newcomer", "Another zebra.")])
    serving = serving_collection(flow.client, "notes_index")
    assert read_metadata(flow.client, serving).encoder.fingerprint != retriever.encoder.fingerprint
    try:
        results = retriever.search("zebra", k=500)
    except ConfigurationError:
        return
    assert "newcomer" not in {result.payload["source_id"] for result in results}


def test_what_is_in_qdrant_does_not_decide_that_a_models_own_code_runs(flow):
    collection = serving_collection(flow.client, "notes_index")
    metadata = read_metadata(flow.client, collection)
    trusting = metadata.encoder_config.model_copy(update={"trust_remote_code": True})
    write_metadata(flow.client, collection, metadata.model_copy(update={"encoder_config": trusting}))
    try:
        with pytest.raises(ConfigurationError, match="brings its own code"):
            Retriever.from_index(flow.client, "notes_index")
        given = Retriever.from_index(flow.client, "notes_index", flow.config.indexes[0].encoder)
        assert given.search("zebra")
    finally:
        write_metadata(flow.client, collection, metadata)


def test_the_same_model_may_be_in_another_folder(flow, tiny_model, tmp_path):
    moved = shutil.copytree(tiny_model, tmp_path / "moved")
    encoder = flow.config.indexes[0].encoder.model_copy(update={"model": str(moved)})
    assert Retriever.from_index(flow.client, "notes_index", encoder).search("zebra")
