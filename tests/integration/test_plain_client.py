"""A service without our library finds what the retriever finds: by the examples, and by the requests in the docs."""

import ast
import asyncio
import functools
import importlib
import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from qdrant_client import QdrantClient, models
from sentence_transformers import SentenceTransformer

from feature_store.encoders import packaged_model
from feature_store.index import EncoderDescription, IndexMetadata, serving_collection
from feature_store.index_config import RetrievalConfig
from inference.retriever import Retriever
from tests.flow import CATEGORY, Flow, note, notes_config
from tests.support import REPOSITORY

STRATEGIES = {
    "articles": {"strategy": "sliding_window", "window": 64, "overlap": 16},
    "articles_multi_size": {"strategy": "multi_size"},
    "articles_small_to_big": {"strategy": "small_to_big", "child": {"window": 32}, "parent": {"window": 96}},
}
QUESTION = "what happens when a run is killed?"
QUERIES = [
    QUESTION,
    "how are deletions held back",
    "Which exit code says that the plan is outdated?",
    "erase one person's documents everywhere",
]
EXAMPLES = ["plain_client", "plain_client_one_request"]
PAGE = (REPOSITORY / "docs" / "inference.md").read_text(encoding="utf-8")
REQUEST = re.compile(
    r"curl -s \S+/collections/(?P<collection>\w+)/points/(?P<path>[\w/]+) [^\n]*-d '\n(?P<body>.*?)'\n```", re.DOTALL
)


def real_texts():
    """Return what is under the second-level headings of the documentation; the introductions have no date."""
    for path in sorted((REPOSITORY / "docs").glob("*.md")):
        for number, section in enumerate(re.split(r"(?m)^## ", path.read_text(encoding="utf-8"))[:4]):
            date = {"at": datetime(2018 + number, 1, 1, tzinfo=UTC)} if number else {}  # 2019, 2020, 2021
            yield note(f"{path.stem}-{number}", section[:1000], title=path.stem, topic=path.stem, **date)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    model = packaged_model()
    shared = notes_config(model).indexes[0].model_dump()
    indexes = [{**shared, "name": name, "chunking": chunking} for name, chunking in STRATEGIES.items()]
    categories = [{**CATEGORY, "published_at": "at"}]
    client = QdrantClient(":memory:")
    Flow(tmp_path_factory.mktemp("data"), notes_config(model, indexes=indexes, categories=categories), client).run(
        list(real_texts())[:24]
    )
    yield client
    client.close()


@pytest.fixture(scope="module")
def retrievers(client):
    return {name: Retriever.from_index(name, client) for name in STRATEGIES}


@pytest.fixture(scope="module")
def load_model():
    return functools.cache(SentenceTransformer)


@pytest.fixture
def example(monkeypatch, load_model) -> Callable[[str], object]:
    """Give an example's module by its name; the model is loaded once only."""
    monkeypatch.syspath_prepend(REPOSITORY / "examples")

    def load(name):
        module = importlib.import_module(name)
        monkeypatch.setattr(module, "SentenceTransformer", load_model)
        return module

    return load


def ids(results):
    return [str(getattr(result, "chunk_id", None) or result.id) for result in results]


@pytest.mark.parametrize("index", ["articles", "articles_multi_size"])
def test_the_plain_client_finds_what_the_retriever_finds(client, retrievers, example, index):
    plain = example("plain_client")
    for query in QUERIES:
        assert ids(plain.search(client, index, query)) == ids(retrievers[index].search(query)), query


@pytest.mark.parametrize("index", STRATEGIES)
def test_one_request_finds_what_the_retriever_finds_by_rank(client, retrievers, example, index):
    plain = example("plain_client_one_request")
    for query in QUERIES:
        expected = retrievers[index].search(query, fusion="rrf")
        assert ids(plain.search(client, index, query)) == ids(expected), query


def test_neither_keywords_nor_alpha_nor_repetition_could_be_left_out(client, retrievers, example, monkeypatch):
    """Otherwise the tests above would let a simpler recipe pass."""
    by_alpha = [[ids(retrievers["articles"].search(query, alpha=alpha)) for query in QUERIES] for alpha in (0, 0.5, 1)]
    assert by_alpha[0] != by_alpha[1] != by_alpha[2]
    plain = example("plain_client")
    found = [ids(plain.search(client, "articles_multi_size", query)) for query in QUERIES]
    monkeypatch.setattr(plain, "repeats", lambda one, better: False)
    assert found != [ids(plain.search(client, "articles_multi_size", query)) for query in QUERIES]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_at_most_30_lines_and_has_nothing_of_ours(name):
    source = (REPOSITORY / "examples" / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    documented = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.FunctionDef)]
    docstrings = {
        line for node in documented if ast.get_docstring(node)
        for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)
    }  # fmt: skip
    code = [line for number, line in enumerate(source.splitlines(), 1) if line.strip() and number not in docstrings]
    assert len(code) <= 30
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= {"qdrant_client", "qdrant_edge", "sentence_transformers", "plain_client"}


def vectors_of(metadata, load_model):
    """Return the question as the vectors that the page shortens: dense, and BM25."""
    from qdrant_edge import Bm25, Bm25Config

    words = Bm25(Bm25Config(language=metadata["sparse"]["language"])).embed_query(QUESTION)
    dense = load_model(metadata["encoder"]["model"]).encode_query(QUESTION).tolist()
    return {"dense": dense, "bm25": {"indices": words.indices, "values": words.values}}


def filled_in(body, collection, vectors):
    """Return a body with true vectors and names in place of those that are examples."""
    if isinstance(body, list):
        return [filled_in(item, collection, vectors) for item in body]
    if not isinstance(body, dict):
        return re.sub(r"^articles\w*__[0-9a-f]{12}$", collection, body) if isinstance(body, str) else body
    filled = {key: filled_in(value, collection, vectors) for key, value in body.items()}
    if "using" in body:
        filled["query"] = vectors[body["using"].split("_")[0]]
    return filled


def requests_on_the_page():
    return [
        (found["collection"].split("__")[0], found["path"], json.loads(found["body"]))
        for found in REQUEST.finditer(PAGE)
    ]


@pytest.fixture
def ask(client, load_model):
    """Send the request of that place on the page to the embedded Qdrant, as the REST API would be asked."""

    def asked(place):
        index, path, body = requests_on_the_page()[place]
        collection = serving_collection(client, index)
        metadata = client.get_collection(collection).config.metadata
        body = filled_in(body, collection, vectors_of(metadata, load_model))
        if path == "query":
            request = models.QueryRequest.model_validate(body)
            return client.query_batch_points(collection, [request])[0].points
        if path == "query/batch":
            batch = models.QueryRequestBatch.model_validate(body)
            return [answer.points for answer in client.query_batch_points(collection, batch.searches)]
        request = models.QueryGroupsRequest.model_validate(body)
        sent = {name: getattr(request, name) for name in request.model_fields_set}
        return client.query_points_groups(collection, **sent).groups

    return asked


def test_every_request_on_the_page_is_one_that_a_server_knows():
    kinds = {
        "query": models.QueryRequest,
        "query/batch": models.QueryRequestBatch,
        "query/groups": models.QueryGroupsRequest,
    }
    paths = [path for _, path, _ in requests_on_the_page()]
    assert paths == ["query", "query", "query", "query/batch", "query", "query/groups"]
    assert PAGE.count("-d '") == len(paths)
    for _, path, body in requests_on_the_page():
        sent = kinds[path].model_validate(body).model_dump(mode="json", exclude_none=True)
        assert sent == body  # nothing is misspelt and so left out


def test_the_request_for_vectors_alone(ask, retrievers):
    assert ids(ask(0)) == ids(retrievers["articles"].search(QUESTION, alpha=1))


def test_the_request_for_keywords_alone_asks_the_bm25_of_the_index(ask, retrievers):
    _, _, body = requests_on_the_page()[1]
    assert body["query"]["text"] == QUESTION
    assert body["query"]["options"]["language"] == retrievers["articles"].metadata.sparse["language"]
    assert ids(ask(1)) == ids(retrievers["articles"].search(QUESTION, alpha=0))


def test_the_request_that_joins_by_rank_with_a_filter(ask, retrievers):
    filters = {"category": "notes", "published_at": {"gte": "2020-01-01"}}
    found = ask(2)
    assert ids(found) == ids(retrievers["articles"].search(QUESTION, fusion="rrf", filters=filters))
    assert all(point.payload["published_at"] >= "2020" for point in found)
    anything = retrievers["articles"].search(QUESTION, 10, fusion="rrf")
    assert any((result.published_at or "") < "2020" for result in anything)


def test_the_batch_for_alpha_holds_both_lists_and_enough_of_them(ask, retrievers):
    retriever = retrievers["articles"]
    _, _, body = requests_on_the_page()[3]
    assert [search["limit"] for search in body["searches"]] == [retriever.metadata.retrieval.candidates] * 2
    dense, keywords = ask(3)
    scores = {}
    for weight, points in ((0.4, dense), (0.6, keywords)):
        for point in points:
            share = (point.score - points[-1].score) / (points[0].score - points[-1].score)
            scores[str(point.id)] = scores.get(str(point.id), 0) + weight * share
    best = sorted(scores, key=lambda name: (-scores[name], name))[:3]
    assert best == ids(retriever.search(QUESTION, alpha=0.4))


def test_the_request_for_several_sizes(ask, retrievers, example):
    retriever = retrievers["articles_multi_size"]
    _, _, body = requests_on_the_page()[4]
    assert [f"_{size}" for size in retriever.metadata.sizes() for _ in "ab"] == [
        re.search(r"_\d+$", each["using"])[0] for each in body["prefetch"]
    ]
    repeats, kept = example("plain_client").repeats, []
    for point in ask(4):
        if not any(repeats(point.payload, better.payload) for better in kept):
            kept.append(point)
    assert ids(kept[:3]) == ids(retriever.search(QUESTION, fusion="rrf"))


def test_the_request_for_parents(ask, retrievers):
    groups, expected = ask(5), retrievers["articles_small_to_big"].search(QUESTION, fusion="rrf")
    assert ids(group.lookup for group in groups) == ids(expected)
    assert [group.lookup.payload["text"] for group in groups] == [result.text for result in expected]
    for group, result in zip(groups, expected, strict=True):
        spans = sorted((hit.payload["start"], hit.payload["end"]) for hit in group.hits)
        assert set(spans) <= set(result.spans)


def python_on_the_page():
    return re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_python_of_the_page_runs(client, monkeypatch, capsys):
    monkeypatch.setattr("inference.retriever.open_qdrant", lambda settings: nullcontext(client))
    lengths = lambda query, texts: [1 / (1 + len(text) / 1e4) for text in texts]  # noqa: E731
    monkeypatch.setattr("inference.reranking.Reranker.load", lambda model: lengths)
    names = {}
    for block in python_on_the_page():
        exec(block, names)
    assert "version 1" in capsys.readouterr().out
    assert len(names["results"]) == 5
    assert all(result.score == result.scores.reranked for result in names["results"])
    assert all(result.published_at >= "2020" for result in names["results"])
    assert asyncio.run(names["answer"](QUESTION)).startswith("[1] ")


def test_the_page_tells_another_model_from_the_right_one(client, load_model, tiny_model):
    names = {}
    exec(python_on_the_page()[-1], names)
    is_right_model = names["is_right_model"]
    right = load_model(str(packaged_model()))
    smaller = SentenceTransformer(str(tiny_model))
    other = SimpleNamespace(encode_document=lambda text: -right.encode_document(text))
    collections = {index: serving_collection(client, index) for index in STRATEGIES}
    assert is_right_model(client, collections["articles"], right)
    assert is_right_model(client, collections["articles_small_to_big"], right)
    assert is_right_model(client, collections["articles_multi_size"], right, "dense_48")
    assert not is_right_model(client, collections["articles"], smaller)
    assert not is_right_model(client, collections["articles"], other)


def test_the_page_names_all_fields_of_metadata_and_payload(client):
    named = set(re.findall(r"`([a-z_]+)", PAGE))
    payloads = [
        record.payload
        for index in STRATEGIES
        for record in client.scroll(serving_collection(client, index), limit=1000)[0]
    ]
    assert {field for payload in payloads for field in payload} <= named
    for described in (IndexMetadata, EncoderDescription, RetrievalConfig):
        assert set(described.model_fields) <= named
    indexed = Retriever.from_index("articles", client).metadata.payload_indexes
    assert {field.split(".")[0] for field in indexed} <= named
