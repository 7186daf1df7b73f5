"""Asking an index judged queries: real chunks, a local Qdrant, and a hash in the place of the model."""

import json

import pytest

from feature_store.errors import ConfigurationError
from feature_store.ids import document_id
from feature_store.index import serving_collection
from inference.evaluation.evaluate import CHUNKS, evaluate_index, rank_documents
from inference.evaluation.metrics import Metrics
from tests.flow import Flow, note, notes_config
from tests.stand_in import HashEncoder

TEXTS = {"tea": "Green tea is steeped briefly.", "rust": "Iron rusts in the rain.", "snow": "Snow melts in spring."}


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    flow = Flow(tmp_path_factory.mktemp("flow"), notes_config())
    flow.load_encoder = lambda config: HashEncoder()
    long = " ".join(f"Sentence {number} about green tea." for number in range(40))
    flow.run([note(name, text) for name, text in TEXTS.items()] + [note("long", long)])
    yield flow
    flow.client.close()


@pytest.fixture(autouse=True)
def _hashes_for_models(monkeypatch):
    monkeypatch.setattr("inference.retriever.load_encoder", lambda config: HashEncoder())


def golden(tmp_path, relevant):
    path = tmp_path / "golden.jsonl"
    path.write_text("".join(json.dumps({"query": query, "relevant": ids}) + "\n" for query, ids in relevant.items()))
    return path


def of(name):
    return document_id("notes", name)


def test_the_best_document_is_that_of_the_best_chunk(flow, tmp_path):
    path = golden(tmp_path, {"iron rusts rain": ["notes:rust"], "snow melts": [of("snow"), "notes:gone"]})
    evaluated = evaluate_index(flow.client, "notes_index", path, "golden")
    rust, snow = evaluated.evaluation.queries
    assert evaluated.collection == serving_collection(flow.client, "notes_index")
    assert evaluated.metadata.version == 1
    assert rust.ranking[0] == of("rust")
    assert rust.scores.ndcg_at_10 == 1
    assert snow.scores.recall_at_100 == 0.5
    assert evaluated.evaluation.missing == [of("gone")]
    assert evaluated.evaluation.metrics.queries == 2
    assert evaluated.evaluation.metrics.mrr == 1


def test_a_collection_in_beirs_layout_is_judged_by_source_ids(flow, tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "iron rusts rain"}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\trust\t1\n")
    evaluated = evaluate_index(flow.client, "notes_index", tmp_path, "beir")
    assert evaluated.evaluation.metrics == Metrics(1.0, 1.0, 1.0, 1.0, 1)


def test_a_document_of_many_chunks_is_ranked_once(flow):
    from inference.retriever import Retriever

    retriever = Retriever.from_index("notes_index", client=flow.client)
    queries = ["green tea", "snow"] * 40  # more than fit a request
    rankings = rank_documents(retriever, queries)
    assert len(rankings) == 80
    assert rankings[::2] == [rankings[0]] * 40
    for ranking in rankings:
        assert sorted(ranking) == sorted(set(ranking))
    results = retriever.search("green tea", k=CHUNKS)
    assert len(results) > len(rankings[0])
    assert rankings[0] == list(dict.fromkeys(result.document_id for result in results))


def test_what_cannot_be_evaluated_is_said(flow, tmp_path):
    path = golden(tmp_path, {"snow": ["notes:snow"]})
    with pytest.raises(ConfigurationError, match=r"There is no format 'trec'\. Formats are: golden, beir"):
        evaluate_index(flow.client, "notes_index", path, "trec")
    with pytest.raises(ConfigurationError, match="There is no index 'other' that serves"):
        evaluate_index(flow.client, "other", path, "golden")
