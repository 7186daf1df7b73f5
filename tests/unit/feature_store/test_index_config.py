"""The configuration of an index: every mistake is named with field, value and remedy."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.config import load_config, validate_parameters
from feature_store.defaults import REPOSITORY
from feature_store.errors import ConfigurationError
from feature_store.index import CHUNKING, sizes_of, vector_names
from feature_store.index_config import (
    STRATEGIES,
    IndexConfig,
    MultiSizeConfig,
    ServerConfig,
    SlidingWindowConfig,
    SmallToBigConfig,
    WindowSize,
)

CATEGORIES = [
    {
        "name": "notes",
        "collection": "notes",
        "text": "body",
        "metadata": {"customer": "customer", "year": "year"},
        "metadata_types": {"year": "integer"},
    },
    {"name": "mails", "collection": "mails", "text": "body", "metadata": {"sender": "from"}},
]


def configured(**index):
    indexes = [{"name": "small", "categories": ["notes"], **index}]
    return validate_parameters({"categories": CATEGORIES, "indexes": indexes}, "notes.yaml").indexes[0]


def refusal(**index):
    with pytest.raises(ConfigurationError) as caught:
        configured(**index)
    return str(caught.value)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        pytest.param(
            {"chunking": {"strategy": "semantic"}},
            ["indexes.0.chunking: ", "sliding_window, small_to_big or multi_size", "'strategy': 'semantic'"],
            id="strategy",
        ),
        pytest.param({"chunking": 200}, ["indexes.0.chunking: ", "a mapping is needed", "given: 200"], id="no mapping"),
        pytest.param(
            {"chunking": {"strategy": "small_to_big", "window": 64}},
            ["indexes.0.chunking.window: ", "given: 64", "remove it"],
            id="a key of another strategy",
        ),
        pytest.param(
            {"chunking": {"strategy": "small_to_big", "child": {"window": 300}, "parent": {"window": 200}}},
            ["indexes.0.chunking: ", "child.window 300 is more than parent.window 200", "exchange them"],
            id="child larger than parent",
        ),
        pytest.param(
            {"chunking": {"strategy": "small_to_big", "child": {"window": 64, "overlap": 33}}},
            ["indexes.0.chunking.child: ", "overlap 33 is more than half of window 64", "smaller overlap"],
            id="overlap of a child",
        ),
        pytest.param(
            {"chunking": {"strategy": "small_to_big", "parent": {"unit": "page"}}},
            ["indexes.0.chunking.parent.unit: ", "'window' or 'section'", "'page'"],
            id="unit of a parent",
        ),
        pytest.param(
            {"chunking": {"strategy": "multi_size", "sizes": [{"window": 48}, {"window": 48, "overlap": 8}]}},
            ["indexes.0.chunking: ", "names a window twice: [48, 48]", "give each size once"],
            id="a size twice",
        ),
        pytest.param(
            {"chunking": {"strategy": "multi_size", "sizes": [{"window": 48}]}},
            ["indexes.0.chunking.sizes: ", "at least 2", "48"],
            id="one size",
        ),
        pytest.param(
            {"chunking": {"strategy": "multi_size", "sizes": [{"window": 48}, {"overlap": 1}]}},
            ["indexes.0.chunking.sizes.1.window: ", "required"],
            id="a size without window",
        ),
        pytest.param(
            {"server": {"hnsw": {"m": 16}}}, ["indexes.0.server.hnsw.m: ", "given: 16", "remove it"], id="qdrant's name"
        ),
        pytest.param(
            {"server": {"hnsw": {"build_candidates": 3}}},
            ["indexes.0.server.hnsw.build_candidates: ", "greater than or equal to 4", "given: 3"],
            id="graph",
        ),
        pytest.param(
            {"server": {"shards": 0}}, ["indexes.0.server.shards: ", "greater than or equal to 1", "0"], id="shards"
        ),
        pytest.param(
            {"server": {"replicas": 2, "write_consistency": 3}},
            ["indexes.0.server: ", "write_consistency 3 is more than replicas 2", "choose at most 2"],
            id="write consistency",
        ),
        pytest.param(
            {"server": {"quantization": {"kind": "product"}}},
            ["indexes.0.server.quantization.kind: ", "'scalar' or 'binary'", "'product'"],
            id="kind of quantisation",
        ),
        pytest.param(
            {"server": {"quantization": {"kind": "binary", "quantile": 0.99}}},
            ["indexes.0.server.quantization: ", "`quantile` means nothing to binary", "remove it"],
            id="quantile of binary",
        ),
        pytest.param(
            {"server": {"quantization": {"kind": "scalar", "oversampling": 0.5}}},
            ["indexes.0.server.quantization.oversampling: ", "greater than or equal to 1", "0.5"],
            id="oversampling",
        ),
        pytest.param(
            {"server": {"tenant": "metadata.sender"}},
            ["index small: `server.tenant` metadata.sender", "choose one of ", "author", "metadata.customer"],
            id="tenant of another category",
        ),
        pytest.param(
            {"server": {"tenant": "metadata.year"}},
            ["index small: `server.tenant` metadata.year is no keyword"],
            id="tenant that is a number",
        ),
        pytest.param({"server": {"tenant": "text"}}, ["`server.tenant` text is no keyword"], id="tenant not indexed"),
        pytest.param(
            {"retrieval": {"alpha": 1.5}}, ["indexes.0.retrieval.alpha: ", "less than or equal to 1", "1.5"], id="alpha"
        ),
        pytest.param(
            {"promotion": {"mode": "never"}},
            ["indexes.0.promotion.mode: ", "'automatic' or 'manual'", "'never'"],
            id="promotion",
        ),
    ],
)
def test_a_mistake_is_named_with_field_value_and_remedy(index, expected):
    message = refusal(**index)
    for part in expected:
        assert part in message
    assert not any(f".{strategy}." in message for strategy in STRATEGIES)  # no key of the file is called so


@pytest.mark.parametrize("tenant", ["author", "category", "metadata.customer"])
def test_a_keyword_of_the_payload_may_be_the_tenant(tenant):
    assert configured(server={"tenant": tenant}).server.tenant == tenant


def test_chunks_are_sliding_windows_where_no_strategy_is_named():
    assert configured(chunking={"window": 100, "overlap": 10}).chunking == SlidingWindowConfig(window=100, overlap=10)


def test_only_what_is_not_left_at_its_default_counts_as_given():
    assert ServerConfig().given() == []
    server = ServerConfig(shards=2, hnsw={"edges": 8}, payload_on_disk=True, quantization={"kind": "scalar"})
    assert server.given() == ["hnsw.edges", "quantization.kind", "shards"]


@pytest.mark.parametrize("name", ["feature.yaml", "production.yaml"])
def test_a_configuration_that_comes_along_is_valid(name):
    assert load_config(REPOSITORY / "configs" / name).indexes


sizes = st.integers(8, 4000).flatmap(
    lambda window: st.builds(WindowSize, window=st.just(window), overlap=st.integers(0, window // 2))
)
strategies = st.one_of(
    sizes.map(lambda size: SlidingWindowConfig(window=size.window, overlap=size.overlap)),
    st.tuples(sizes, st.integers(0, 4000)).map(
        lambda pair: SmallToBigConfig(
            strategy="small_to_big", child=pair[0], parent={"window": pair[0].window + pair[1]}
        )
    ),
    st.lists(sizes, min_size=2, max_size=8, unique_by=lambda size: size.window).map(
        lambda several: MultiSizeConfig(strategy="multi_size", sizes=several)
    ),
)


@given(strategies)
def test_what_a_collection_says_of_its_chunking_is_read_back_as_it_was(chunking):
    said = json.loads(json.dumps(chunking.model_dump(mode="json")))
    assert CHUNKING.validate_python(said) == chunking
    assert IndexConfig(name="small", categories=["notes"], chunking=said).chunking == chunking


@given(strategies)
def test_every_size_has_vectors_of_its_own_name(chunking):
    names = [name for size in sizes_of(chunking) for name in vector_names(size)]
    assert len(set(names)) == len(names) == 2 * len(sizes_of(chunking))
    assert (names == ["dense", "bm25"]) == (not isinstance(chunking, MultiSizeConfig))
