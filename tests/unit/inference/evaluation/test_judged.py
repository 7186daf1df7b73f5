"""From the names in judgements to the documents of a collection."""

import pytest
from qdrant_client import QdrantClient, models

from feature_store.errors import ConfigurationError
from inference.evaluation.golden import GoldenQuery
from inference.evaluation.judged import CORPUS_FIELDS, find_judged


@pytest.fixture
def client():
    client = QdrantClient(":memory:")
    client.create_collection("index", vectors_config={})
    yield client
    client.close()


def fill(client, *documents):
    """Insert two chunks for each document: id, source id, and an external id where there is one."""
    points = [
        models.PointStruct(
            id=2 * number + position,
            vector={},
            payload={
                "document_id": document,
                "source_id": source,
                "position": position,
                **({"external_id": external[0]} if external else {}),
            },
        )
        for number, (document, source, *external) in enumerate(documents)
        for position in range(2)
    ]
    client.upsert("index", points)


def test_documents_that_are_in_the_index_are_told_from_those_that_are_missing(client):
    fill(client, ("here", "1"), ("also", "2"))
    queries = [GoldenQuery("q", "?", {"here": 2, "gone": 1})]
    judged = find_judged(client, "index", queries)
    assert judged.queries == queries
    assert judged.missing == ["gone"]


def test_ids_of_a_corpus_are_source_ids_or_external_ids(client):
    fill(client, ("one", "d1"), ("two", "mongo", "d2"))
    judged = find_judged(client, "index", [GoldenQuery("q", "?", {"d1": 2, "d2": 0, "d3": 1})], CORPUS_FIELDS)
    assert judged.queries == [GoldenQuery("q", "?", {"one": 2, "two": 0, "d3": 1})]
    assert judged.missing == ["d3"]


def test_more_names_than_fit_a_request_are_all_found(client):
    names = [f"d{number}" for number in range(1300)]
    fill(client, *((f"document {name}", name) for name in names))
    judged = find_judged(client, "index", [GoldenQuery("q", "?", dict.fromkeys(names, 1))], CORPUS_FIELDS)
    assert judged.missing == []
    assert judged.queries[0].relevant == {f"document {name}": 1 for name in names}


def test_a_name_that_stands_for_two_documents_is_refused(client):
    fill(client, ("one", "d1"), ("two", "mongo", "d1"))
    with pytest.raises(ConfigurationError, match="'d1' stands for several documents of index: one, two"):
        find_judged(client, "index", [GoldenQuery("q", "?", {"d1": 1})], CORPUS_FIELDS)


def test_judgements_of_another_corpus_are_refused(client):
    fill(client, ("one", "1"))
    with pytest.raises(ConfigurationError, match=r"none of the 2 documents that were judged, such as 'x'.*document_id"):
        find_judged(client, "index", [GoldenQuery("q", "?", {"x": 1, "y": 1})])
