"""Candidates and their ranking: fused as documented, asked for once, filtered, reranked, diverse."""

import math

import numpy as np
import pytest

from feature_store.encoders import load_sparse_encoder
from feature_store.errors import ConfigurationError
from feature_store.index import read_metadata, write_metadata
from feature_store.index_config import QuantizationConfig, ServerConfig, SparseConfig
from inference.candidates import Candidate
from inference.ranking import without_repetition
from inference.results import Scores
from tests.searching import CHUNKING, Index

QUERIES = ["mark3x2 river", "silver forest garden", "mark5x0 mark5x1 bridge"]


def names(rankings):
    return [[result.chunk_id for result in results] for results in rankings]


def expected_convex(index, query, alpha):
    """Return the fused scores of all chunks of a one-size index, by hand."""
    points = index.flow.points(index.collection)
    wanted = index.encoder.embed_query(query)
    dense = {name: float(np.dot(wanted, vector["dense"])) for name, (_, vector) in points.items()}
    embed, embed_query = load_sparse_encoder(SparseConfig())
    documents = {name: embed(payload["text"]) for name, (payload, _) in points.items()}
    keywords = {}
    asked = embed_query(query)
    for name, vector in documents.items():
        weights = dict(zip(vector.indices, vector.values, strict=True))
        score = 0.0
        for token, weight in zip(asked.indices, asked.values, strict=True):
            holding = sum(token in other.indices for other in documents.values())
            score += weight * weights.get(token, 0) * math.log((len(points) - holding + 0.5) / (holding + 0.5) + 1)
        if score:
            keywords[name] = score
    fused = dict.fromkeys(points, 0.0)
    for weight, scores in ((alpha, dense), (1 - alpha, keywords)):
        best = dict(sorted(scores.items(), key=lambda item: -item[1])[:100])
        least, most = min(best.values()), max(best.values())
        for name, score in best.items():
            fused[name] += weight * (score - least) / (most - least)
    return fused, dense, keywords


@pytest.mark.parametrize("alpha", [0.2, 0.4, 0.75])
@pytest.mark.parametrize("query", QUERIES)
def test_scores_are_the_convex_combination_of_both_lists(built, query, alpha):
    index = built["sliding_window"]
    fused, dense, keywords = expected_convex(index, query, alpha)
    results = index.retriever().search(query, 20, alpha=alpha)
    assert [result.score for result in results] == pytest.approx(sorted(fused.values(), reverse=True)[:20], abs=1e-5)
    for result in results:
        assert result.score == result.scores.fused == pytest.approx(fused[result.chunk_id], abs=1e-5)
        assert result.scores.dense == pytest.approx(dense[result.chunk_id], abs=1e-5)
        assert result.scores.keywords == pytest.approx(keywords.get(result.chunk_id), abs=1e-4)
        assert result.scores.reranked is None


def test_without_alpha_the_indexes_own_holds(any_index):
    retriever = any_index.retriever()
    alpha = retriever.metadata.retrieval.alpha
    own, same, other = names([retriever.search(QUERIES[0], 8, alpha=alpha) for alpha in (None, alpha, 1 - alpha / 4)])
    assert own == same != other


def test_keywords_alone_do_not_run_the_model(any_index, monkeypatch):
    def run(texts):
        raise AssertionError

    retriever = any_index.retriever()
    monkeypatch.setattr(any_index.encoder, "embed_queries", run)
    best, *_ = results = retriever.search("mark3x2 river", 5, alpha=0)
    assert "mark3x2" in best.text
    assert best.score == 1
    assert all(result.scores.dense is None for result in results)
    assert all(request.using.startswith("bm25") for request in any_index.client.asked)


def test_vectors_alone_do_not_ask_for_keywords(any_index):
    results = any_index.retriever().search("mark3x2 river", 5, alpha=1)
    assert all(result.scores.keywords is None for result in results)
    assert any_index.client.asked
    assert all(request.using.startswith("dense") for request in any_index.client.asked)


@pytest.mark.parametrize("query", ["the and of it", "zzzunheardof"], ids=["stop words", "a word that is nowhere"])
def test_a_query_without_keywords_is_ranked_by_its_vectors(any_index, query):
    retriever = any_index.retriever()
    found = retriever.search(query, 5)
    assert [result.chunk_id for result in found] == [each.chunk_id for each in retriever.search(query, 5, alpha=1)]
    assert found[0].score == pytest.approx(1)
    assert retriever.search(query, 5, alpha=0) == []
    assert retriever.context(query, 50, alpha=0).results == []
    assert len(retriever.search(query, 5, fusion="rrf")) == 5


@pytest.mark.parametrize("query", ["ünïcode 日本語 🦓", "\x00", "mark3x2 " * 3000], ids=["unicode", "nul", "very long"])
@pytest.mark.parametrize("fusion", ["convex", "rrf"])
def test_odd_queries_find_something(any_index, query, fusion):
    assert any_index.retriever().search(query, 2, fusion=fusion)


@pytest.mark.parametrize("fusion", ["convex", "rrf"])
def test_a_search_for_more_than_there_is_returns_all_there_is(any_index, fusion):
    points = any_index.points()
    readable = {name for name, payload in points.items() if "parent_id" not in payload}
    found = [result.chunk_id for result in any_index.retriever().search("mark3x2", 5000, fusion=fusion)]
    assert len(found) == len(set(found))
    if len(any_index.retriever().metadata.sizes()) == 1:
        assert set(found) == readable
    else:
        assert set(found) < readable


@pytest.mark.parametrize(
    ("strategy", "options", "requests"),
    [
        ("sliding_window", {}, {"query_batch_points": 1}),
        ("sliding_window", {"fusion": "rrf"}, {"query_batch_points": 1}),
        ("multi_size", {}, {"query_batch_points": 1}),
        ("multi_size", {"fusion": "rrf"}, {"query_batch_points": 1}),
        ("small_to_big", {}, {"query_batch_points": 1, "retrieve": 1}),
        ("small_to_big", {"fusion": "rrf"}, {"query_points_groups": 3}),
    ],
    ids=lambda value: value.get("fusion", "convex") if isinstance(value, dict) and len(value) < 2 else None,
)
def test_several_queries_are_one_request_but_for_parents(built, strategy, options, requests):
    retriever = built[strategy].retriever()
    built[strategy].client.requests.clear()
    found = retriever.search_batch(QUERIES, 4, **options)
    assert dict(built[strategy].client.requests) == requests
    alone = [retriever.search(query, 4, **options) for query in QUERIES]
    assert names(found) == names(alone)
    assert [result.score for result in found[1]] == pytest.approx([result.score for result in alone[1]], abs=1e-6)


def test_no_queries_give_no_rankings(any_index):
    assert any_index.retriever().search_batch([]) == any_index.retriever().context_batch([]) == []
    assert not any_index.client.requests


def test_filters_hold_for_every_result_and_leave_the_rest_in_its_order(any_index):
    retriever = any_index.retriever()
    for fusion in ("convex", "rrf"):
        found = retriever.search("mark4x2 river", 6, filters={"topic": "t1"}, fusion=fusion)
        assert len(found) == 6
        assert {result.payload["metadata"]["topic"] for result in found} == {"t1"}
    with pytest.raises(ConfigurationError, match="no payload index for the field 'colour'"):
        retriever.search("river", filters={"colour": "red"})


def test_parents_are_ranked_by_their_best_child_with_the_spans_that_matched(built):
    index = built["small_to_big"]
    points = index.points()
    children = {name: payload for name, payload in points.items() if "parent_id" in payload}
    retriever = index.retriever()
    for query in QUERIES:
        ranked = []
        for fused in (retriever.search(query, 30), retriever.search(query, 30, fusion="rrf")):
            assert all(points[result.chunk_id]["role"] == "parent" for result in fused)
            for result in fused:
                own = {
                    (each["start"], each["end"]) for each in children.values() if each["parent_id"] == result.chunk_id
                }
                assert result.spans
                assert set(result.spans) <= own
                assert result.text == index.texts()[result.document_id][result.start : result.end]
            ranked.append(fused[0].chunk_id)
        assert len(set(ranked)) <= 2
    (best,) = retriever.search("mark3x2", 1, alpha=0)
    start, end = best.spans[0]
    assert "mark3x2" in index.texts()[best.document_id][start:end]
    assert len(best.spans) == 1


@pytest.mark.parametrize("strategy", ["small_to_big", "multi_size"])
def test_enough_is_asked_for_to_find_k_parents_or_chunks_that_repeat_no_other(built, strategy):
    index = built[strategy].clone()
    metadata = read_metadata(index.client, index.collection)
    few = metadata.retrieval.model_copy(update={"candidates": 2})
    write_metadata(index.client, index.collection, metadata.model_copy(update={"retrieval": few}))
    retriever = index.retriever()
    for query in QUERIES:
        assert len(retriever.search(query, 12, alpha=1)) == 12
        assert len(retriever.search(query, 12, fusion="rrf")) == 12
    index.client.close()


def test_a_parent_that_went_between_the_requests_is_left_out(built, monkeypatch):
    index = built["small_to_big"]
    retriever = index.retriever()
    gone = retriever.search("mark3x2", 1)[0].chunk_id
    ask = index.client.retrieve
    monkeypatch.setattr(
        index.client, "retrieve", lambda name, ids, **more: ask(name, [each for each in ids if each != gone], **more)
    )
    found = retriever.search("mark3x2", 5)
    assert found
    assert gone not in {result.chunk_id for result in found}


def test_no_result_of_several_sizes_lies_mostly_inside_a_better_one(built):
    retriever = built["multi_size"].retriever()
    for fusion in ("convex", "rrf"):
        found = retriever.search("mark3x2 river silver", 40, fusion=fusion)
        assert {result.payload["size"] for result in found} == {64, 16}
        for place, result in enumerate(found):
            for better in found[:place]:
                if better.document_id == result.document_id:
                    shared = min(result.end, better.end) - max(result.start, better.start)
                    assert shared * 2 <= result.end - result.start


def test_half_of_a_result_may_be_known_already():
    def candidate(start, end, document="a"):
        payload = {"start": start, "end": end, "document_id": document}
        return Candidate("x", Scores(fused=1), payload, ((start, end),), None)

    some = [
        candidate(0, 10),
        candidate(5, 15),
        candidate(4, 14),
        candidate(0, 30),
        candidate(2, 8),
        candidate(2, 8, "b"),
    ]
    kept = [
        (each.payload["start"], each.payload["end"], each.payload["document_id"]) for each in without_repetition(some)
    ]
    assert kept == [(0, 10, "a"), (5, 15, "a"), (0, 30, "a"), (2, 8, "b")]


def test_a_reranker_reads_the_best_candidates_and_decides(any_index):
    asked = []

    def shortest_first(query, texts):
        asked.append((query, texts))
        return [-len(text) for text in texts]

    retriever = any_index.retriever()
    found = retriever.search("mark3x2 river", 4, reranker=shortest_first)
    ((query, texts),) = asked
    assert query == "mark3x2 river"
    assert len(texts) == min(50, len(retriever.search("mark3x2 river", 50)))
    assert [len(result.text) for result in found] == sorted(map(len, texts))[:4]
    for result in found:
        assert result.score == result.scores.reranked == -len(result.text)
        assert 0 <= result.scores.fused <= 1


def test_a_reranker_that_does_not_score_every_text_is_refused(any_index):
    with pytest.raises(ConfigurationError, match=r"gave 1 scores for \d+ texts"):
        any_index.retriever().search("mark3x2 river", reranker=lambda query, texts: [0.5])


def test_the_least_score_is_that_of_the_fusion_without_a_reranker(any_index):
    retriever = any_index.retriever()
    everything = retriever.search("mark3x2 river", 30)
    threshold = (everything[4].score + everything[5].score) / 2
    assert names([retriever.search("mark3x2 river", 30, min_score=threshold)]) == names([everything[:5]])


def test_the_least_score_is_that_of_the_reranker_where_there_is_one(any_index):
    retriever = any_index.retriever()
    found = retriever.search("mark3x2 river", 50, reranker=lambda query, texts: range(len(texts)), min_score=10)
    assert min(result.score for result in found) == 10
    assert retriever.search("river", reranker=lambda query, texts: [0.0] * len(texts), min_score=0.5) == []


@pytest.mark.parametrize("fusion", ["convex", "rrf"])
def test_diversity_asks_for_vectors_and_takes_other_results(any_index, fusion):
    retriever = any_index.retriever()
    by_score = retriever.search("mark3x2 river", 6, fusion=fusion)
    assert not any(request.with_vector for request in any_index.client.asked)
    different = retriever.search("mark3x2 river", 6, fusion=fusion, diversity=1.0)
    assert different[0].chunk_id == by_score[0].chunk_id
    assert {result.chunk_id for result in different} != {result.chunk_id for result in by_score}
    assert len({result.chunk_id for result in different}) == 6


def test_an_empty_index_finds_nothing(tmp_path):
    for strategy in CHUNKING:
        index = Index(tmp_path / strategy, strategy, documents=[])
        retriever = index.retriever()
        for fusion in ("convex", "rrf"):
            assert retriever.search("river", fusion=fusion, diversity=0.5, neighbours=1) == []
            assert retriever.context("river", 50, fusion=fusion, neighbours=1).text == ""
        index.client.close()


def test_quantised_vectors_are_scored_again_on_a_server_only(built, monkeypatch):
    index = built["sliding_window"]
    metadata = read_metadata(index.client, index.collection)
    server = ServerConfig(quantization=QuantizationConfig(kind="scalar", oversampling=3.0))
    write_metadata(index.client, index.collection, metadata.model_copy(update={"server": server}))
    try:
        retriever = index.retriever()
        index.client.asked.clear()
        retriever.search("river")
        assert all(request.params is None for request in index.client.asked)
        monkeypatch.setattr("inference.candidates.is_local", lambda client: False)
        monkeypatch.setattr(index.client, "query_batch_points", lambda name, requests: asked.extend(requests) or [])
        asked = []
        with pytest.raises(StopIteration):
            retriever.search("river")
        by_list = {request.using: request.params for request in asked}
        assert by_list["bm25"] is None
        assert (by_list["dense"].quantization.rescore, by_list["dense"].quantization.oversampling) == (True, 3.0)
    finally:
        write_metadata(index.client, index.collection, metadata)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"alpha": -0.1}, "alpha is -0.1"),
        ({"fusion": "dbsf"}, "fusion is 'dbsf'"),
        ({"fusion": "rrf", "alpha": 0.5}, "no alpha"),
        ({"diversity": 2}, "diversity is 2"),
        ({"neighbours": -1}, "neighbours is -1"),
    ],
    ids=str,
)
def test_options_that_mean_nothing_are_refused(built, options, complaint):
    retriever = built["sliding_window"].retriever()
    for search in (retriever.search, retriever.context):
        with pytest.raises(ConfigurationError, match=complaint):
            search("river", **options)
