"""Searching with the real model through all strategies, and while the index is built anew and takes over."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest

from feature_store.index import serving_collection
from inference.retriever import Retriever
from tests.flow import CATEGORY, Flow, note, notes_config
from tests.searching import CHUNKING, INDEX

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
FIELDS = {
    "title": "title", "url": "link", "author": "by", "published_at": "date", "format": "markdown",
    "metadata": {"topic": "topic", "stars": "stars"}, "metadata_types": {"stars": "integer"},
}  # fmt: skip
TEXTS = {
    "Cooking": (
        "Simmer the onions in butter until they turn golden. Add stock and let the soup boil for half an hour.",
        "A sharp knife is safer than a blunt one. Keep it dry.",
    ),
    "Sailing": (
        "When the wind shifts, ease the sheet and fall off. A reefed mainsail keeps the boat upright in a gale.",
        "Moor with two lines. The harbour master collects the fee at seven o'clock.",
    ),
    "Astronomy": (
        "The telescope gathers light from distant galaxies. Its mirror has to be cooled against thermal noise.",
        "The code X7-Q names a comet that comes back every ninety years.",
    ),
}
DOCUMENTS = [
    note(
        name, f"# {name}\n\n{first}\n\n## More\n\n{second}", title=name, link=f"https://example.org/{name}",
        by="Ada", date=f"2024-0{number}-01T00:00:00Z", topic=name.lower(), stars=number,
    )
    for number, (name, (first, second)) in enumerate(TEXTS.items(), start=1)
]  # fmt: skip


def configured(strategy):
    index = notes_config().indexes[0].model_dump()
    index |= {"chunking": CHUNKING[strategy], "encoder": {"model": MODEL, "precision": "float32"}}
    return notes_config(categories=[CATEGORY | FIELDS], indexes=[index])


@pytest.fixture(scope="module", params=CHUNKING)
def retriever(request, tmp_path_factory):
    flow = Flow(tmp_path_factory.mktemp("data"), configured(request.param))
    flow.run(DOCUMENTS)
    yield Retriever.from_index(INDEX, flow.client)
    flow.client.close()


@pytest.mark.parametrize(
    ("query", "alpha", "title"),
    [
        ("how to make dinner from vegetables", 1.0, "Cooking"),
        ("what to do on a ship in a storm", 1.0, "Sailing"),
        ("X7-Q", 0.0, "Astronomy"),
        ("how is an observatory's optics kept cold", None, "Astronomy"),
        ("fee of the harbour", None, "Sailing"),
    ],
    ids=["meaning", "other words", "a code", "hybrid", "hybrid with keywords"],
)
@pytest.mark.parametrize("ask", ["search", "context"])
def test_the_right_document_is_found_by_meaning_and_by_word(retriever, query, alpha, title, ask):
    results = (
        retriever.search(query, 1, alpha=alpha)
        if ask == "search"
        else retriever.context(query, 40, alpha=alpha).results
    )
    best, *_ = results
    assert (best.title, best.url, best.author) == (title, f"https://example.org/{title}", "Ada")
    assert best.published_at.startswith("2024-0")
    assert best.heading_path[:1] == [title]


@pytest.mark.parametrize(
    ("filters", "titles"),
    [
        ({"published_at": {"gte": date(2024, 2, 1)}}, {"Sailing", "Astronomy"}),
        ({"topic": ["cooking", "sailing"], "stars": {"lt": 2}}, {"Cooking"}),
        ({"author": {"not": "Ada"}}, set()),
        ({"external_id": {"exists": False}, "title": "Astronomy"}, {"Astronomy"}),
    ],
    ids=["a range of dates", "any of and a number", "not", "missing"],
)
@pytest.mark.parametrize("fusion", ["convex", "rrf"])
def test_filters_name_every_mapped_field(retriever, filters, titles, fusion):
    found = retriever.search("the harbour, the soup and the comet", 20, filters=filters, fusion=fusion)
    assert {result.title for result in found} == titles


def test_searches_go_on_while_an_index_is_built_anew_and_takes_over(tmp_path):
    flow = Flow(tmp_path, configured("sliding_window"))
    flow.run(DOCUMENTS)
    first = serving_collection(flow.client, INDEX)
    retriever = Retriever.from_index(INDEX, flow.client, refresh_seconds=0.05)
    over = threading.Event()

    def keep_searching():
        seen = set()
        while not over.is_set():
            results = retriever.search("what to do on a ship in a storm", 2)
            assert results
            kinds = {("size" in result.payload, "role" in result.payload) for result in results}
            assert len(kinds) == 1
            seen |= kinds
        return seen

    with ThreadPoolExecutor(2) as pool:
        searches = [pool.submit(keep_searching) for _ in range(2)]
        try:
            for strategy in ("small_to_big", "multi_size"):
                flow.config = configured(strategy)
                flow.run(DOCUMENTS)
            flow.client.delete_collection(first)
        finally:
            over.set()
        seen = set.union(*(search.result(timeout=120) for search in searches))
    assert seen <= {(False, False), (False, True), (True, False)}
    retriever.refresh()
    assert "size" in retriever.search("storm", 1)[0].payload
