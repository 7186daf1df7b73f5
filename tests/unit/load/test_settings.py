"""Settings of a server: what is sent to make a collection, and to change one, through the real client's REST."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loguru import logger
from qdrant_client import QdrantClient, models

from feature_store.config import CategoryConfig
from feature_store.index_config import HnswConfig, IndexConfig, QuantizationConfig, ServerConfig
from steps.load.collection import ensure_collection
from steps.load.settings import required_changes
from tests.fake_qdrant import FakeServer

COLLECTION = "notes_index__0123456789ab"
CATEGORIES = [CategoryConfig(name="notes", collection="notes", text=["body"], metadata={"customer": "customer"})]
ENCODER = SimpleNamespace(
    name="m", fingerprint="f", dimension=384, token_limit=254, document_prompt="", query_prompt="", normalised=True,
    similarity="cosine",
)  # fmt: skip
TWO_SIZES = {"strategy": "multi_size", "sizes": [{"window": 200, "overlap": 100}, {"window": 48}]}


def index(chunking=None, **server):
    return IndexConfig(name="notes_index", categories=["notes"], chunking=chunking or {}, server=ServerConfig(**server))


def ensure(client, wanted):
    return ensure_collection(client, COLLECTION, wanted, CATEGORIES, ENCODER, "store")


@pytest.fixture
def server():
    return FakeServer()


@pytest.fixture
def client(server):
    return server.client()


@pytest.fixture
def logged():
    messages = []
    sink = logger.add(lambda message: messages.append((message.record["level"].name, message.record["message"])))
    yield messages
    logger.remove(sink)


def warnings_of(logged):
    return [message for level, message in logged if level == "WARNING"]


def created(server):
    (body,) = server.bodies("PUT", COLLECTION)
    return {name: value for name, value in body.items() if name != "metadata" and value is not None}


def test_a_collection_is_made_with_what_the_configuration_leaves_open_left_to_the_server(server, client):
    ensure(client, index())
    assert created(server) == {
        "vectors": {"dense": {"size": 384, "distance": "Cosine", "on_disk": False}},
        "sparse_vectors": {"bm25": {"modifier": "idf", "index": {"on_disk": False}}},
        "on_disk_payload": True,
    }


def test_every_size_of_chunks_has_vectors_of_its_own(server, client):
    ensure(client, index(TWO_SIZES))
    assert list(created(server)["vectors"]) == ["dense_200", "dense_48"]
    sparse = created(server)["sparse_vectors"]
    assert {name: kept["modifier"] for name, kept in sparse.items()} == {"bm25_200": "idf", "bm25_48": "idf"}


@pytest.mark.parametrize(
    ("given_settings", "expected"),
    [
        pytest.param({"shards": 4}, {"shard_number": 4}, id="shards"),
        pytest.param(
            {"replicas": 3, "write_consistency": 2},
            {"replication_factor": 3, "write_consistency_factor": 2},
            id="replicas",
        ),
        pytest.param(
            {"vectors_on_disk": True},
            {
                "vectors": {"dense": {"size": 384, "distance": "Cosine", "on_disk": True}},
                "sparse_vectors": {"bm25": {"modifier": "idf", "index": {"on_disk": True}}},
            },
            id="vectors on disk",
        ),
        pytest.param({"payload_on_disk": False}, {"on_disk_payload": False}, id="payload in memory"),
        pytest.param(
            {"hnsw": {"edges": 32, "build_candidates": 200, "on_disk": True}},
            {"hnsw_config": {"m": 32, "ef_construct": 200, "on_disk": True}},
            id="graph",
        ),
        pytest.param(
            {"quantization": {"kind": "scalar", "quantile": 0.99}},
            {"quantization_config": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}}},
            id="scalar",
        ),
        pytest.param(
            {"quantization": {"kind": "binary", "always_in_memory": False}},
            {"quantization_config": {"binary": {"always_ram": False}}},
            id="binary",
        ),
        pytest.param(
            {"strict_mode": True},
            {
                "strict_mode_config": {
                    "enabled": True, "unindexed_filtering_retrieve": False, "unindexed_filtering_update": False,
                }
            },
            id="strict mode",
        ),
        pytest.param({"tenant": "author"}, {"hnsw_config": {"m": 0, "payload_m": 16}}, id="tenant"),
        pytest.param(
            {"tenant": "author", "hnsw": {"edges": 24}}, {"hnsw_config": {"m": 0, "payload_m": 24}}, id="tenant, edges"
        ),
    ],
)  # fmt: skip
def test_a_setting_is_sent_in_qdrants_own_words(server, client, given_settings, expected):
    ensure(client, index())
    plain = created(server)
    other = FakeServer()
    ensure(other.client(), index(**given_settings))
    assert created(other) == plain | expected


def test_the_field_of_the_tenant_and_no_other_has_an_index_for_tenants(server, client):
    ensure(client, index(tenant="metadata.customer"))
    schemas = {body["field_name"]: body["field_schema"] for body in server.bodies("PUT", "/index")}
    assert schemas.pop("metadata.customer") == {"type": "keyword", "is_tenant": True}
    assert schemas["published_at"] == "datetime"
    assert all(isinstance(schema, str) for schema in schemas.values())


def test_nothing_is_sent_for_a_collection_that_is_as_configured(server, client):
    wanted = index(
        TWO_SIZES, vectors_on_disk=True, payload_on_disk=False, strict_mode=True, tenant="author", shards=2, replicas=2,
        write_consistency=2, hnsw={"build_candidates": 64, "on_disk": False},
        quantization={"kind": "scalar", "always_in_memory": False},
    )  # fmt: skip
    ensure(client, wanted)
    server.requests.clear()
    ensure(client, wanted)
    assert [asked for asked in server.requests if asked.method != "GET"] == []


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(
            {}, {"hnsw": {"edges": 32}}, {"hnsw_config": {"m": 32}}, id="a denser graph"
        ),
        pytest.param(
            {"hnsw": {"edges": 32}}, {"hnsw": {"edges": 32, "build_candidates": 300}},
            {"hnsw_config": {"m": 32, "ef_construct": 300}}, id="another setting of the graph",
        ),
        pytest.param({"hnsw": {"edges": 32}}, {}, None, id="what is left open stays"),
        pytest.param(
            {}, {"quantization": {"kind": "scalar"}},
            {"quantization_config": {"scalar": {"type": "int8", "always_ram": True}}}, id="quantisation on",
        ),
        pytest.param(
            {"quantization": {"kind": "scalar"}}, {"quantization": {"kind": "binary"}},
            {"quantization_config": {"binary": {"always_ram": True}}}, id="another quantisation",
        ),
        pytest.param(
            {"quantization": {"kind": "scalar"}}, {}, {"quantization_config": "Disabled"}, id="quantisation off"
        ),
        pytest.param(
            {}, {"vectors_on_disk": True},
            {
                "vectors": {"dense": {"on_disk": True}},
                "sparse_vectors": {"bm25": {"modifier": "idf", "index": {"on_disk": True}}},
            },
            id="vectors to disk",
        ),
        pytest.param(
            {"vectors_on_disk": True}, {},
            {
                "vectors": {"dense": {"on_disk": False}},
                "sparse_vectors": {"bm25": {"modifier": "idf", "index": {"on_disk": False}}},
            },
            id="vectors to memory",
        ),
        pytest.param({}, {"payload_on_disk": False}, {"params": {"on_disk_payload": False}}, id="payload to memory"),
        pytest.param(
            {"replicas": 2}, {"replicas": 2, "write_consistency": 2},
            {"params": {"write_consistency_factor": 2}}, id="consistency",
        ),
        pytest.param(
            {}, {"strict_mode": True},
            {
                "strict_mode_config": {
                    "enabled": True, "unindexed_filtering_retrieve": False, "unindexed_filtering_update": False,
                }
            },
            id="strict mode on",
        ),
        pytest.param({"strict_mode": True}, {}, {"strict_mode_config": {"enabled": False}}, id="strict mode off"),
        pytest.param({}, {"tenant": "author"}, {"hnsw_config": {"m": 0, "payload_m": 16}}, id="tenants"),
        pytest.param(
            {"tenant": "author"}, {}, {"hnsw_config": {"m": 16, "payload_m": 16}}, id="no tenants any more"
        ),
        pytest.param({}, {"bulk_load_from": 7, "snapshot_after_promotion": True}, None, id="settings of ours"),
    ],
)  # fmt: skip
def test_a_collection_gets_the_setting_that_changed_and_no_other(server, client, before, after, expected):
    ensure(client, index(**before))
    ensure(client, index(**after))
    changes = [{name: value for name, value in body.items() if value is not None} for body in server.changes()]
    assert changes == ([] if expected is None else [expected])
    ensure(client, index(**after))
    assert len(server.changes()) == len(changes)


def test_the_index_of_a_tenant_is_made_anew_when_the_tenant_changes(server, client):
    ensure(client, index(tenant="author"))
    server.requests.clear()
    ensure(client, index(tenant="category"))
    made = {body["field_name"]: body["field_schema"] for body in server.bodies("PUT", "/index")}
    assert made == {"author": "keyword", "category": {"type": "keyword", "is_tenant": True}}


def test_what_somebody_else_has_set_stays_where_the_configuration_is_silent(server, client):
    ensure(client, index())
    quantization = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8))
    client.update_collection(
        COLLECTION, quantization_config=quantization, hnsw_config=models.HnswConfigDiff(m=64),
        strict_mode_config=models.StrictModeConfig(enabled=True),
    )  # fmt: skip
    server.requests.clear()
    ensure(client, index())
    assert server.changes() == []


@pytest.mark.parametrize(
    ("setting", "is_there"), [({"shards": 4}, 1), ({"replicas": 2}, 1)], ids=["shards", "replicas"]
)
def test_what_a_server_cannot_change_is_said_with_the_remedy(server, client, logged, setting, is_there):
    ensure(client, index())
    assert warnings_of(logged) == []
    ensure(client, index(**setting))
    (message,) = warnings_of(logged)
    ((name, wanted),) = setting.items()
    assert f"server.{name} is {wanted}, but {COLLECTION} was made with {is_there}" in message
    assert "make a new collection" in message
    assert server.changes() == []


def test_a_collection_of_an_earlier_release_is_kept_on_disk_where_a_server_calls_that_memory(server, client):
    ensure(client, index(vectors_on_disk=True))
    params = server.configs[COLLECTION]["params"]
    params["vectors"]["dense"] = {"size": 384, "distance": "Cosine", "memory": "cold"}
    params["sparse_vectors"]["bm25"] = {"modifier": "idf", "index": {"memory": "cold"}}
    server.requests.clear()
    ensure(client, index(vectors_on_disk=True))
    assert server.changes() == []


def test_an_embedded_qdrant_takes_all_settings_and_says_in_one_line_that_they_have_no_effect(logged):
    embedded = QdrantClient(":memory:")
    wanted = index(shards=3, hnsw={"edges": 8}, quantization={"kind": "scalar"}, tenant="author", strict_mode=True)
    ensure(embedded, wanted)
    (line,) = [message for _, message in logged if "without effect" in message]
    assert line == (
        "notes_index: without effect in the embedded Qdrant, kept for a server: server.hnsw.edges, "
        "server.quantization.kind, server.shards, server.strict_mode, server.tenant"
    )
    assert warnings_of(logged) == []
    embedded.close()


def test_an_embedded_qdrant_with_the_defaults_has_nothing_to_say(logged):
    embedded = QdrantClient(":memory:")
    ensure(embedded, index())
    assert logged == []
    embedded.close()


flags = st.none() | st.booleans()
servers = st.builds(
    ServerConfig,
    replicas=st.none() | st.integers(2, 4),
    write_consistency=st.none() | st.integers(1, 2),
    vectors_on_disk=st.booleans(),
    payload_on_disk=st.booleans(),
    hnsw=st.builds(
        HnswConfig,
        edges=st.none() | st.integers(1, 64),
        build_candidates=st.none() | st.integers(4, 500),
        on_disk=flags,
    ),
    quantization=st.none()
    | st.builds(QuantizationConfig, kind=st.just("binary"), always_in_memory=st.booleans())
    | st.builds(
        QuantizationConfig,
        kind=st.just("scalar"),
        quantile=st.none() | st.floats(0.5, 1),
        always_in_memory=st.booleans(),
    ),
    tenant=st.sampled_from([None, "author", "category"]),
    strict_mode=st.booleans(),
)


@settings(max_examples=30)
@given(servers, servers)
def test_after_one_change_there_is_nothing_left_to_change(before, after):
    server = FakeServer()
    client = server.client()
    for each in (before, after):
        wanted = index().model_copy(update={"server": each})
        ensure(client, wanted)
        config = client.get_collection(COLLECTION).config
        assert required_changes(config, wanted, each) == {}
    client.close()
