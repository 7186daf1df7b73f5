"""Searching: nothing but the collection is needed, and nothing but the right model is accepted."""

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from qdrant_client import QdrantClient

from feature_store.encoders import load_encoder
from feature_store.errors import ConfigurationError
from feature_store.index import open_qdrant, read_metadata, serving_collection, write_metadata
from feature_store.settings import load_settings
from inference.retriever import Retriever, SearchResult
from tests.flow import Flow, ModelCrashedError, note, notes_config
from tests.stand_in import HashEncoder
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
    return Retriever.from_index("notes_index", flow.client)


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
        Retriever.from_index("unknown", flow.client)
    assert "Run the feature pipeline" in caught.value.remedy


def test_an_index_whose_first_load_has_not_finished_does_not_serve(tmp_path, tiny_model):
    class Dying(QdrantClient):
        def update_collection_aliases(self, *arguments, **options):
            raise ModelCrashedError

    flow = Flow(tmp_path, notes_config(tiny_model), Dying(":memory:"))
    with pytest.raises(ModelCrashedError):
        flow.run([note("a", "alpha")])
    with pytest.raises(ConfigurationError, match="that serves"):
        Retriever.from_index("notes_index", flow.client)


def test_another_model_than_that_of_the_vectors_is_refused(flow):
    collection = serving_collection(flow.client, "notes_index")
    metadata = read_metadata(flow.client, collection)
    other = metadata.encoder.model_copy(update={"fingerprint": "0123456789ab"})
    write_metadata(flow.client, collection, metadata.model_copy(update={"encoder": other}))
    try:
        with pytest.raises(ConfigurationError, match="is not the model that made the vectors of 'notes_index'"):
            Retriever.from_index("notes_index", flow.client)
    finally:
        write_metadata(flow.client, collection, metadata)


def test_a_retriever_with_a_model_of_its_own_does_not_ask_a_collection_of_another_one(tmp_path, tiny_model):
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    flow = Flow(tmp_path / "data", notes_config(tiny_model))
    flow.run(DOCUMENTS)
    given = Retriever.from_index("notes_index", flow.client, flow.config.indexes[0].encoder, refresh_seconds=0)
    following = Retriever.from_index("notes_index", flow.client, refresh_seconds=0)
    shorter = {"model": str(other), "precision": "float32", "max_tokens": 64}
    flow.config = notes_config(tiny_model, indexes=[{**flow.config.indexes[0].model_dump(), "encoder": shorter}])
    flow.run([*DOCUMENTS, note("newcomer", "Another zebra.")])
    serving = serving_collection(flow.client, "notes_index")
    assert read_metadata(flow.client, serving).encoder.fingerprint != given.encoder.fingerprint
    assert "newcomer" in {result.payload["source_id"] for result in following.search("zebra", k=500)}
    assert following.collection == serving != given.collection
    assert given.search("zebra", k=500)
    assert given.metadata.encoder.fingerprint == given.encoder.fingerprint


def test_what_is_in_qdrant_does_not_decide_that_a_models_own_code_runs(flow):
    collection = serving_collection(flow.client, "notes_index")
    metadata = read_metadata(flow.client, collection)
    trusting = metadata.encoder_config.model_copy(update={"trust_remote_code": True})
    write_metadata(flow.client, collection, metadata.model_copy(update={"encoder_config": trusting}))
    try:
        with pytest.raises(ConfigurationError, match="brings its own code"):
            Retriever.from_index("notes_index", flow.client)
        given = Retriever.from_index("notes_index", flow.client, flow.config.indexes[0].encoder)
        assert given.search("zebra")
    finally:
        write_metadata(flow.client, collection, metadata)


def test_the_same_model_may_be_in_another_folder(flow, tiny_model, tmp_path):
    moved = shutil.copytree(tiny_model, tmp_path / "moved")
    encoder = flow.config.indexes[0].encoder.model_copy(update={"model": str(moved)})
    assert Retriever.from_index("notes_index", flow.client, encoder).search("zebra")


def test_a_result_carries_what_an_answer_cites(flow, retriever):
    best, *_ = retriever.search("zebra crossed river")
    payload = flow.points(retriever.collection)[best.chunk_id][0]
    assert best.payload == payload
    assert (best.start, best.end, best.spans) == (payload["start"], payload["end"], [(best.start, best.end)])
    assert (best.document_id, best.author, best.published_at) == (payload["document_id"], None, None)
    assert best.version == 1
    assert best.score == best.scores.fused


def test_a_batch_gives_what_single_searches_give(retriever):
    queries = ["zebra crossed river", "note 7", "the and of it", "silver forest garden"]
    for found, query in zip(retriever.search_batch(queries, k=5), queries, strict=True):
        alone = retriever.search(query, k=5)
        assert [result.chunk_id for result in found] == [result.chunk_id for result in alone]
    contexts = retriever.context_batch(queries, 60)
    assert [context.text for context in contexts] == [retriever.context(query, 60).text for query in queries]


def test_one_query_given_as_a_batch_is_refused(retriever):
    with pytest.raises(ConfigurationError, match="a list of queries"):
        retriever.search_batch("zebra")


def test_the_event_loop_goes_on_during_a_search(retriever):
    async def both():
        return await asyncio.gather(
            retriever.search_async("zebra crossed river", 2, alpha=0.5), retriever.context_async("zebra", 40)
        )

    results, context = asyncio.run(both())
    assert [result.chunk_id for result in results] == [
        result.chunk_id for result in retriever.search("zebra crossed river", 2, alpha=0.5)
    ]
    assert context.text == retriever.context("zebra", 40).text


def test_threads_share_a_retriever_and_its_model(flow, retriever):
    other = Retriever.from_index("notes_index", flow.client)

    def work(number):
        shared = (retriever, other)[number % 2]
        context = shared.context(f"zebra river {number}" + " bridge" * (number % 7), 60)
        best, *_ = shared.search("zebra crossed river", k=2)
        return context.tokens, best.title

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(work, range(64)))
    assert {title for _, title in done} == {"Zebra"}
    assert all(0 < tokens <= 60 for tokens, _ in done)


def test_tokens_of_a_context_are_those_of_the_model(flow, retriever):
    context = retriever.context("zebra crossed river", 100)
    assert context.tokens == len(load_encoder(flow.config.indexes[0].encoder).token_spans(context.text)) <= 100


def test_without_a_client_qdrant_is_opened_as_the_environment_says(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.delenv("QDRANT_URL", raising=False)
    settings = load_settings()
    with open_qdrant(settings) as client:
        Flow(tmp_path, notes_config(tiny_model), client).run([note("a", "A zebra.")])
    with Retriever.from_index("notes_index") as retriever:
        assert retriever.search("zebra")
    with pytest.raises(ConfigurationError, match="that serves"):
        Retriever.from_index("unknown")
    with open_qdrant(settings):  # closed each time
        pass


def test_a_retriever_that_nobody_closes_is_closed_when_the_process_ends(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.delenv("QDRANT_URL", raising=False)
    with open_qdrant(load_settings()) as client:
        flow = Flow(tmp_path, notes_config(), client)
        flow.load_encoder = lambda config: HashEncoder()
        flow.run([note("a", "A zebra.")])
    at_the_end = []
    monkeypatch.setattr("inference.retriever.finalize", lambda retriever, close: at_the_end.append(close))
    retriever = Retriever.from_index("notes_index", encoder=HashEncoder())
    assert retriever.search("zebra")
    (close,) = at_the_end
    close()
    with open_qdrant(load_settings()):  # it would be locked
        pass


def test_a_client_that_was_given_stays_open(flow):
    with Retriever.from_index("notes_index", flow.client):
        pass
    assert flow.client.get_aliases().aliases
