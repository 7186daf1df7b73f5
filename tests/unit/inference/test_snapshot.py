"""A retriever keeps up with what serves: no search fails of a promotion, and none mixes two collections."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse

from feature_store.errors import ConfigurationError
from feature_store.index import read_metadata, write_metadata
from feature_store.index_config import EncoderConfig
from feature_store.serving import move_alias
from inference.retriever import Retriever
from inference.snapshot import is_gone
from tests.searching import CHUNKING, INDEX, CountingClient, copy_collection
from tests.stand_in import HashEncoder


@pytest.fixture(params=CHUNKING)
def index(request, built):
    made = built[request.param].clone()
    yield made
    made.client.close()


@pytest.fixture
def plain(built):
    made = built["sliding_window"].clone()
    yield made
    made.client.close()


def copy(index, target, generation=1, **said):
    """Make another collection of the same points, each of which says which generation it is of."""
    said = {"version": generation, **said}
    copy_collection(index.client, index.collection, index.client, target, f"generation {generation}", **said)
    return target


def generations(results):
    return {(result.version, result.author) for result in results}


def test_another_collection_is_followed_at_the_next_look(index):
    first = index.collection
    soon, later = index.retriever(refresh_seconds=0), index.retriever(refresh_seconds=3600)
    move_alias(index.client, INDEX, copy(index, f"{INDEX}__second", 7))
    for options in ({}, {"fusion": "rrf"}, {"neighbours": 1}):
        assert generations(soon.search("mark3x2 river", 5, **options)) == {(7, "generation 7")}
        assert generations(later.search("mark3x2 river", 5, **options)) == {(1, None)}
    assert (soon.collection, later.collection) == (f"{INDEX}__second", first)
    later.refresh()
    assert generations(later.context("mark3x2").results) == {(7, "generation 7")}


def test_a_collection_that_is_dropped_is_left_at_once(index):
    retriever = index.retriever(refresh_seconds=3600)
    old = index.collection
    move_alias(index.client, INDEX, copy(index, f"{INDEX}__second", 2))
    index.client.delete_collection(old)
    for options in ({}, {"fusion": "rrf"}, {"neighbours": 2}):
        assert generations(retriever.search("mark3x2 river", 5, **options)) == {(2, "generation 2")}


@pytest.mark.parametrize("request_name", ["query_batch_points", "scroll", "retrieve"])
def test_a_collection_that_goes_in_the_middle_of_a_search_gives_no_mixed_results(built, monkeypatch, request_name):
    index = built["small_to_big"].clone()
    retriever, old = index.retriever(refresh_seconds=3600), index.collection
    copy(index, f"{INDEX}__second", 2)
    ask, done = getattr(index.client, request_name), []

    def promote_first(collection, *arguments, **options):
        if not done:
            done.append(move_alias(index.client, INDEX, f"{INDEX}__second"))
            index.client.delete_collection(old)
        return ask(collection, *arguments, **options)

    monkeypatch.setattr(index.client, request_name, promote_first)
    found = retriever.search("mark3x2 river", 5, neighbours=1)
    assert done
    assert generations(found) == {(2, "generation 2")}
    index.client.close()


def test_no_search_fails_or_is_mixed_while_others_promote_and_drop(index):
    retriever = index.retriever(refresh_seconds=0.01)
    over, barrier = threading.Event(), threading.Barrier(5)

    def keep_searching(number):
        options = [{}, {"fusion": "rrf"}, {"neighbours": 1}, {"alpha": 0.0}][number]
        seen = []
        barrier.wait()
        while not over.is_set():
            results = retriever.search("mark3x2 river", 5, **options)
            assert results
            (generation,) = generations(results)
            seen.append(generation)
        return seen

    with ThreadPoolExecutor(4) as pool:
        searches = [pool.submit(keep_searching, number) for number in range(4)]
        barrier.wait()
        try:
            for generation in range(2, 12):
                old = index.collection
                move_alias(index.client, INDEX, copy(index, f"{INDEX}__{generation}", generation))
                index.client.delete_collection(old)
        finally:
            over.set()
        seen = [search.result(timeout=60) for search in searches]
    for each in seen:
        assert set(each) <= {(1, None), *((number, f"generation {number}") for number in range(2, 12))}
        versions = [version for version, _ in each]
        assert versions == sorted(versions)
    assert len(set(itertools.chain(*seen))) > 2


def test_a_dropped_index_is_an_error_that_says_so(plain):
    retriever = plain.retriever(refresh_seconds=3600)
    plain.client.delete_collection(plain.collection)
    with pytest.raises(ConfigurationError, match=f"no index '{INDEX}' that serves"):
        retriever.search("river")


def test_an_alias_that_is_gone_does_not_stop_what_can_be_searched(plain):
    retriever = plain.retriever(refresh_seconds=0)
    delete = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=INDEX))
    plain.client.update_collection_aliases([delete])
    assert retriever.search("mark3x2")


def test_a_newly_promoted_collection_of_another_model_is_not_searched_with_this_one(plain):
    retriever = plain.retriever(refresh_seconds=0)
    other = read_metadata(plain.client, plain.collection).encoder.model_copy(update={"fingerprint": "0123456789ab"})
    old = plain.collection
    move_alias(plain.client, INDEX, copy(plain, f"{INDEX}__second", 2, encoder=other))
    assert generations(retriever.search("mark3x2 river", 5)) == {(1, None)}
    with pytest.raises(ConfigurationError, match="is not the model that made the vectors"):
        retriever.refresh()
    assert generations(retriever.search("mark3x2 river", 5)) == {(1, None)}
    plain.client.delete_collection(old)
    with pytest.raises(ConfigurationError, match="is not the model that made the vectors"):
        retriever.search("river")


def test_a_newly_promoted_collection_brings_its_own_model(plain, monkeypatch):
    first, second = HashEncoder(), HashEncoder(fingerprint="0123456789ab")
    models_by_name = {"unused": first, "better": second}
    loaded = []

    def load(config):
        loaded.append(config.model)
        return models_by_name[config.model]

    monkeypatch.setattr("inference.retriever.load_encoder", load)
    retriever = Retriever.from_index(INDEX, plain.client, refresh_seconds=0)
    assert retriever.search("river")
    described = read_metadata(plain.client, plain.collection).encoder.model_copy(update={"fingerprint": "0123456789ab"})
    target = copy(plain, f"{INDEX}__second", 2, encoder=described, encoder_config=EncoderConfig(model="better"))
    move_alias(plain.client, INDEX, target)
    assert generations(retriever.search("mark3x2 river", 5)) == {(2, "generation 2")}
    assert retriever.encoder is second
    assert set(loaded) == {"unused", "better"}


def test_a_model_that_was_refused_is_not_loaded_at_every_search(plain, monkeypatch):
    loaded = []

    def load(config):
        loaded.append(config.model)
        return HashEncoder()

    monkeypatch.setattr("inference.retriever.load_encoder", load)
    retriever = Retriever.from_index(INDEX, plain.client, refresh_seconds=0)
    other = read_metadata(plain.client, plain.collection).encoder.model_copy(update={"fingerprint": "0123456789ab"})
    target = copy(plain, f"{INDEX}__second", 2, encoder=other, encoder_config=EncoderConfig(model="better"))
    move_alias(plain.client, INDEX, target)
    for _ in range(3):
        retriever.search("river")
    assert loaded.count("better") == 1


def test_a_collection_can_be_searched_that_does_not_serve(plain):
    target = copy(plain, f"{INDEX}__second", 2)
    retriever = plain.retriever(collection=target, refresh_seconds=0)
    assert generations(retriever.search("mark3x2 river", 5)) == {(2, "generation 2")}
    plain.client.delete_collection(target)
    with pytest.raises(ConfigurationError, match=f"no collection '{target}'"):
        retriever.search("river")


def test_the_version_follows_the_metadata(plain):
    retriever = plain.retriever(refresh_seconds=0)
    metadata = read_metadata(plain.client, plain.collection)
    write_metadata(plain.client, plain.collection, metadata.model_copy(update={"version": 5}))
    assert generations(retriever.search("mark3x2 river", 5)) == {(5, None)}


@pytest.mark.parametrize("version", [2, 4])
def test_a_payload_version_that_this_code_does_not_know_is_refused(plain, version):
    target = copy(plain, f"{INDEX}__second", 2, payload_version=version)
    with pytest.raises(ConfigurationError, match=f"payload version {version}, unknown here"):
        plain.retriever(collection=target)


def test_within_the_time_nobody_asks_what_serves(plain, monkeypatch):
    retriever = plain.retriever(refresh_seconds=3600)

    def ask(*arguments, **options):
        raise AssertionError

    monkeypatch.setattr(CountingClient, "get_aliases", ask)
    monkeypatch.setattr(CountingClient, "get_collection", ask)
    assert retriever.search("river")


@pytest.mark.parametrize(
    ("error", "gone"),
    [
        (UnexpectedResponse(404, "Not Found", b"", None), True),
        (UnexpectedResponse(500, "Internal Server Error", b"", None), False),
        (ValueError("Collection notes not found"), True),
        (ValueError("Collection others not found"), False),
        (ValueError("limit value 0 is invalid"), False),
    ],
    ids=["404", "500", "local", "another one", "another error"],
)
def test_only_a_missing_collection_counts_as_gone(error, gone):
    assert is_gone(error, "notes") is gone


def test_other_errors_are_not_taken_for_a_missing_collection(plain, monkeypatch):
    retriever = plain.retriever()

    def fail(*arguments, **options):
        raise UnexpectedResponse(400, "Bad Request", b"", None)

    monkeypatch.setattr(plain.client, "query_batch_points", fail)
    with pytest.raises(UnexpectedResponse):
        retriever.search("river")


class OneAtATime(HashEncoder):
    """An encoder that fails if a second thread uses it while one does, as tokenizers do."""

    def __init__(self):
        super().__init__()
        self.busy = threading.Lock()

    def alone(self, work, argument):
        assert self.busy.acquire(blocking=False)
        time.sleep(0.002)
        self.busy.release()
        return work(argument)

    def embed_queries(self, texts):
        return self.alone(super().embed_queries, texts)

    def token_spans(self, text):
        return self.alone(super().token_spans, text)


def test_a_model_is_used_by_one_thread_at_a_time(plain):
    plain.encoder = OneAtATime()
    retrievers = plain.retriever(), plain.retriever()
    with ThreadPoolExecutor(4) as pool:
        made = pool.map(lambda number: retrievers[number % 2].context("mark3x2 river", 40), range(8))
        assert all(context.tokens for context in made)
