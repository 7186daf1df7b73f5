"""The table of strategies, the configurations that come with the project, and what must never change by itself."""

from types import SimpleNamespace
from typing import get_args

import pytest
from pydantic import TypeAdapter

from feature_store.config import load_config
from feature_store.defaults import REPOSITORY
from feature_store.errors import TerminalError
from feature_store.ids import text_hash
from feature_store.index import CHUNKER_VERSION, PAYLOAD_VERSION, index_fingerprint
from feature_store.index_config import ChunkingConfig, IndexConfig, SlidingWindowConfig
from feature_store.points import payload_hash
from feature_store.records import CleanedDocument
from steps.chunk.payload import make_payload
from steps.chunk.strategies import CHUNKERS, check_chunks, window_of

CHUNKING = TypeAdapter(ChunkingConfig)
TEXT = (
    "# Rivers\n\nA river runs to the sea. It bends where the stone is hard.\n\n"
    "## Bridges\n\nA bridge spans it. A bridge spans it."
)
SMALL = {
    "sliding_window": {"window": 12, "overlap": 4, "categories": {"posts": {"window": 20}}},
    "small_to_big": {"child": {"window": 8}, "parent": {"window": 24}},
    "multi_size": {"sizes": [{"window": 20, "overlap": 8}, {"window": 9}]},
}


def configured(strategy):
    return CHUNKING.validate_python({"strategy": strategy, **SMALL[strategy]})


@pytest.fixture
def document():
    named = {"title": "Water", "metadata": {"topic": "rivers"}}
    return CleanedDocument("document-1", "notes", "source-1", "hash-1", TEXT, "markdown", **named)


def test_every_strategy_of_the_configuration_has_its_chunker():
    union = get_args(get_args(ChunkingConfig)[0])
    names = {get_args(get_args(member)[0].model_fields["strategy"].annotation)[0] for member in union}
    assert names == CHUNKERS.keys() == SMALL.keys()


@pytest.mark.parametrize("strategy", CHUNKERS)
def test_what_a_strategy_cuts_passes_its_check_and_a_piece_of_it_does_not(strategy, document, words):
    chunks = CHUNKERS[strategy](document, configured(strategy), words, 40)
    check_chunks(document, chunks, configured(strategy), 40)
    with pytest.raises(TerminalError, match="document-1"):
        check_chunks(document, chunks[:-1], configured(strategy), 40)


@pytest.mark.parametrize(
    ("strategy", "category", "windows"),
    [
        ("sliding_window", "notes", {12}),
        ("sliding_window", "posts", {20}),
        ("small_to_big", "notes", {8}),
        ("multi_size", "notes", {20, 9}),
    ],
)
def test_the_window_of_a_chunk_is_the_one_that_it_was_cut_for(strategy, category, windows, document, words):
    chunks = [chunk for chunk in CHUNKERS[strategy](document, configured(strategy), words, 40) if not chunk.is_parent]
    assert {window_of(chunk, configured(strategy), category) for chunk in chunks} == windows


def test_payloads_tell_sizes_and_families_apart(document, words):
    def further(strategy):
        chunks = CHUNKERS[strategy](document, configured(strategy), words, 40)
        plain = make_payload(
            document, CHUNKERS["sliding_window"](document, configured("sliding_window"), words, 40)[0], ""
        )
        payloads = [make_payload(document, chunk, text_hash(chunk.text)) for chunk in chunks]
        return chunks, [{name: value for name, value in payload.items() if name not in plain} for payload in payloads]

    assert further("sliding_window")[1] == [{}] * 4
    chunks, payloads = further("multi_size")
    assert payloads == [{"size": chunk.size} for chunk in chunks]
    chunks, payloads = further("small_to_big")
    assert {"role": "parent"} in payloads
    assert payloads == [{"role": "parent"} if chunk.is_parent else {"parent_id": chunk.parent_id} for chunk in chunks]


# What earlier releases wrote. Other ids or payloads would embed and write every existing index anew.
GOLDEN = {
    False: [
        ("5b5a6dd5-d221-570d-8b7a-dcb370616c0d", 0, 34, "cdae97f01e9574dc"),
        ("98292b58-6252-5761-a510-10ab06625dd3", 23, 68, "3c833d635037fc99"),
        ("91bbe123-144a-5487-a1ee-3a8bcb9d739c", 70, 100, "d698545cd0669b48"),
        ("57f8361d-69ff-5a39-9789-66f557154edf", 84, 119, "9c6d356981c43a95"),
    ],
    True: [
        ("c4e88513-3abb-5e5c-8cb5-be9db52efbe0", 0, 34, "a3806dad54555898"),
        ("c5330343-3483-5c9f-8030-9633c934b20c", 23, 68, "4269e6d148b9f28f"),
        ("26c23300-4766-5a1e-bf29-114b60d56c0c", 70, 100, "817ec5b701c9a023"),
        ("d8c952fe-d3ef-5905-a57b-3fe9a7585907", 84, 119, "e4b30d79305d6e3c"),
    ],
}


@pytest.mark.parametrize("prefix", GOLDEN, ids=["plain", "heading prefix"])
def test_sliding_windows_keep_the_ids_and_payloads_of_earlier_releases(document, words, prefix):
    chunking = SlidingWindowConfig(window=12, overlap=4, heading_prefix=prefix)
    chunks = CHUNKERS["sliding_window"](document, chunking, words, 40)
    hashes = [payload_hash(make_payload(document, chunk, text_hash(chunk.embedded_text))).hex() for chunk in chunks]
    found = [(chunk.chunk_id, chunk.start, chunk.end) for chunk in chunks]
    assert [(*where, digest) for where, digest in zip(found, hashes, strict=True)] == GOLDEN[prefix]


@pytest.mark.parametrize(
    ("chunking", "expected"),
    [
        ({}, "93760dc6f744"),
        (
            {"window": 120, "overlap": 20, "heading_prefix": True, "categories": {"notes": {"window": 64}}},
            "568315bbd8d0",
        ),
    ],
    ids=["the default", "with categories"],
)
def test_sliding_window_indexes_keep_the_fingerprint_of_earlier_releases(chunking, expected):
    index = IndexConfig(name="i", categories=["notes"], chunking=chunking)
    assert (CHUNKER_VERSION, PAYLOAD_VERSION) == (1, 3)
    assert index_fingerprint(index, SimpleNamespace(fingerprint="e"), CHUNKER_VERSION, "s") == expected


@pytest.mark.parametrize("strategy", CHUNKERS)
def test_a_ready_made_configuration_has_one_index_of_its_strategy(strategy):
    config = load_config(REPOSITORY / "configs" / f"{strategy}.yaml")
    default = load_config(REPOSITORY / "configs" / "feature.yaml")
    (index,) = config.indexes
    assert (index.name, index.chunking.strategy) == (f"documents_{strategy}", strategy)
    assert index.categories == default.indexes[0].categories
    assert config.model_copy(update={"indexes": default.indexes}) == default
    assert max(index.chunking.windows()) <= 254  # the limit of MiniLM


@pytest.mark.parametrize(
    ("name", "strategy"),
    [("sliding_window", "sliding_window"), ("small_to_big", "small_to_big"), ("feature", "multi_size")],
)
def test_ready_made_configurations_are_those_that_the_code_has_as_default(name, strategy):
    (index,) = load_config(REPOSITORY / "configs" / f"{name}.yaml").indexes
    assert index.chunking == CHUNKING.validate_python({"strategy": strategy})
