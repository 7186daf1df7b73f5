"""Contexts of real indexes: sizes vote, parents and chunks are taken in their order, the budget holds."""

import pytest

from feature_store.errors import ConfigurationError
from feature_store.index import read_metadata, write_metadata
from inference import voting
from tests.flow import note
from tests.searching import CHUNKING, Index, body

QUERY = "mark3x2 river mark5x6"


def check(index, context):
    """Check that a context quotes the documents, in reading order, and counts its tokens."""
    texts = index.texts()
    assert context.tokens == len(index.encoder.token_spans(context.text))
    assert context.text == "\n\n".join(result.text for result in context.results)
    for result in context.results:
        assert result.text.split() == texts[result.document_id][result.start : result.end].split()
        assert result.spans
        assert all(result.start <= start < end <= result.end for start, end in result.spans)
    for one, other in zip(context.results, context.results[1:], strict=False):
        assert one.document_id != other.document_id or one.end < other.start
    documents = [result.document_id for result in context.results]
    assert len([place for place, name in enumerate(documents) if documents[:place][-1:] != [name]]) == len(
        set(documents)
    )


@pytest.mark.parametrize("budget", [1, 7, 40, 150, 100_000])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"fusion": "rrf"},
        {"neighbours": 1},
        {"diversity": 0.5},
        {"alpha": 0.0},
        {"threshold": 0.0},
        {"reranker": lambda query, texts: [-len(text) for text in texts]},
    ],
    ids=lambda options: next(iter(options), "plain"),
)
def test_a_context_quotes_its_documents_in_reading_order_within_its_budget(any_index, budget, options):
    context = any_index.retriever().context(QUERY, budget, **options)
    assert 0 < context.tokens <= budget
    check(any_index, context)


def test_a_context_is_filled_with_as_many_results_as_fit(built):
    for strategy in ("sliding_window", "small_to_big"):
        retriever, count = built[strategy].retriever(), built[strategy].encoder.token_spans
        ranked = retriever.search(QUERY, 40)
        context = retriever.context(QUERY, 200)
        quoted = {(result.document_id, span) for result in context.results for span in result.spans}
        inside = [(result.document_id, result.spans[0]) in quoted for result in ranked]
        head = inside.index(False)
        assert head >= 2
        more = retriever.context(QUERY, 200 + len(count(ranked[head].text)))
        assert (ranked[head].document_id, ranked[head].spans[0]) in {
            (result.document_id, span) for result in more.results for span in result.spans
        }


def test_without_a_budget_the_indexes_own_holds(any_index):
    retriever = any_index.retriever()
    own = retriever.context(QUERY, threshold=0)
    assert own.text == retriever.context(QUERY, retriever.metadata.retrieval.budget, threshold=0).text
    assert own.tokens < retriever.context(QUERY, 5000, threshold=0).tokens


def test_sizes_vote_for_the_sentence_that_answers(built):
    index = built["multi_size"]
    context = index.retriever().context("mark3x2", 60, alpha=0.0)
    assert "mark3x2" in context.text
    (best, *_) = sorted(context.results, key=lambda result: -result.score)
    assert "mark3x2" in best.text
    sizes = {payload["size"] for payload in index.points().values()}
    assert sizes == {64, 16}
    large = [payload for payload in index.points().values() if payload["size"] == 64 and "mark3x2" in payload["text"]]
    assert best.end - best.start < max(payload["end"] - payload["start"] for payload in large)


def test_a_sentence_that_is_longer_than_the_budget_is_cut_without_trying_every_smaller_one(built, monkeypatch):
    retriever = built["multi_size"].retriever()
    tried = []
    vote = voting.vote
    monkeypatch.setattr(voting, "vote", lambda voters, options: tried.append(options) or vote(voters, options))
    for budget in range(1, 60):
        tried.clear()
        assert 0 < retriever.context("mark3x2", budget).tokens <= budget
        assert len(tried) <= 4


def test_a_higher_threshold_gives_a_shorter_context(any_index):
    retriever = any_index.retriever()
    lengths = [retriever.context(QUERY, 5000, threshold=threshold).tokens for threshold in (0.0, 0.5, 0.9, 1.0)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > lengths[1] > lengths[3] > 0


def test_a_context_keeps_to_filters_and_the_least_score(any_index):
    retriever = any_index.retriever()
    context = retriever.context(QUERY, 300, filters={"topic": "t1"})
    assert context.results
    assert {result.payload["metadata"]["topic"] for result in context.results} == {"t1"}
    assert retriever.context(QUERY, 300, min_score=1.1).results == []
    assert retriever.context(QUERY, 300, filters={"topic": "none"}).text == ""


def test_several_contexts_are_one_request(built):
    for strategy in ("sliding_window", "multi_size"):
        index = built[strategy]
        retriever = index.retriever()
        index.client.requests.clear()
        both = retriever.context_batch([QUERY, "silver forest"], 100)
        assert dict(index.client.requests) == {"query_batch_points": 1}
        assert [each.text for each in both] == [
            retriever.context(query, 100).text for query in (QUERY, "silver forest")
        ]


@pytest.mark.parametrize("budget", [0, -5])
def test_a_budget_without_a_token_is_refused(built, budget):
    with pytest.raises(ConfigurationError, match=f"budget is {budget}"):
        built["sliding_window"].retriever().context(QUERY, budget)


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_a_threshold_that_is_no_share_is_refused(built, threshold):
    with pytest.raises(ConfigurationError, match=f"threshold is {threshold}"):
        built["multi_size"].retriever().context(QUERY, 100, threshold=threshold)


@pytest.mark.parametrize("strategy", CHUNKING)
def test_a_text_of_two_documents_is_quoted_once_from_the_better_one(tmp_path, strategy):
    documents = [note("a", body(1) + "\n\n" + body(2)), note("b", body(1) + "\n\n" + body(3))]
    index = Index(tmp_path, strategy, documents)
    retriever = index.retriever()
    query = "mark3x7 mark1x1 mark1x2"
    found = retriever.search(query, 20, alpha=0)
    assert {each.payload["source_id"] for each in found if "mark1x1" in each.text} == {"a", "b"}
    for options in ({"alpha": 0}, {}, {"fusion": "rrf"}):
        context = retriever.context(query, 5000, threshold=0, **options)
        assert context.text.count("mark1x1") == context.text.count("mark1x2") == 1
    context = retriever.context(query, 5000, threshold=0, alpha=0)
    assert {each.document_id for each in context.results if "mark1x" in each.text} == {found[0].document_id}
    index.client.close()


def test_a_text_that_a_document_has_twice_stays_in_both_places(tmp_path):
    index = Index(tmp_path, "multi_size", [note("a", "\n\n".join([body(1), body(2), body(1)]))])
    assert index.retriever().context("mark1x1", 5000, threshold=0).text.count("mark1x1") == 2
    index.client.close()


def test_a_search_refuses_a_threshold_which_only_a_context_has(any_index):
    with pytest.raises(ConfigurationError, match="Only a context has a threshold"):
        any_index.retriever().search(QUERY, threshold=0.5)


def test_without_a_threshold_sizes_vote_by_the_indexes_own(built):
    index = built["multi_size"].clone()
    metadata = read_metadata(index.client, index.collection)
    for threshold in (0.2, 0.95):
        own = metadata.retrieval.model_copy(update={"threshold": threshold})
        write_metadata(index.client, index.collection, metadata.model_copy(update={"retrieval": own}))
        retriever = index.retriever()
        assert retriever.context(QUERY, 5000).text == retriever.context(QUERY, 5000, threshold=threshold).text
    assert retriever.context(QUERY, 5000).tokens < retriever.context(QUERY, 5000, threshold=0.2).tokens
    index.client.close()
