"""What a collection says of itself follows the configuration, whoever loads it meanwhile."""

from datetime import timedelta

import pytest

from feature_store.config import CategoryConfig
from feature_store.index import CHUNKER_VERSION, Lease, VersionName, read_metadata, write_metadata
from feature_store.index_config import IndexConfig, RetrievalConfig
from feature_store.payload_schema import indexed_fields
from feature_store.versions import now
from steps.load.collection import ensure_collection
from tests.fake_qdrant import FakeServer
from tests.unit.load.test_settings import COLLECTION, ENCODER

NOTES = CategoryConfig(name="notes", collection="notes", text=["body"], metadata={"topic": "topic", "year": "year"})
MAILS = CategoryConfig(name="mails", collection="mails", text=["body"], metadata={"sender": "from"})


def index(**changes):
    return IndexConfig(**{"name": "notes_index", "categories": ["notes"], **changes})


@pytest.fixture
def server():
    return FakeServer()


@pytest.fixture
def client(server):
    return server.client()


def ensure(client, wanted, categories=(NOTES, MAILS)):
    return ensure_collection(client, COLLECTION, wanted, categories, ENCODER, "store")


def test_a_new_collection_says_by_what_it_may_be_filtered_and_how_it_is_searched(client):
    wanted = index(retrieval={"alpha": 0.7}, server={"vectors_on_disk": True})
    said = ensure(client, wanted)
    assert said == read_metadata(client, COLLECTION)
    assert (said.retrieval, said.server, said.chunker_version) == (wanted.retrieval, wanted.server, CHUNKER_VERSION)
    assert said.payload_indexes == indexed_fields([NOTES])
    assert "metadata.sender" not in said.payload_indexes


def test_every_field_that_it_names_has_an_index_of_that_kind(server, client):
    said = ensure(client, index(), [NOTES.model_copy(update={"metadata_types": {"year": "integer"}})])
    assert said.payload_indexes["metadata.year"] == "integer"
    assert {name: kept["data_type"] for name, kept in server.indexes[COLLECTION].items()} == said.payload_indexes


def test_a_changed_configuration_reaches_a_collection_without_a_new_version(server, client):
    first = ensure(client, index())
    write_metadata(client, COLLECTION, first.model_copy(update={"version": 7, "chunker_version": 0, "points": 12}))
    typed = NOTES.model_copy(update={"metadata_types": {"year": "integer"}})
    server.requests.clear()
    wanted = index(retrieval={"alpha": 0.9, "candidates": 50}, server={"strict_mode": True})
    ensure(client, wanted, [typed])
    said = read_metadata(client, COLLECTION)
    assert (said.retrieval, said.server) == (wanted.retrieval, wanted.server)
    assert said.payload_indexes["metadata.year"] == "integer"
    assert (said.version, said.points, said.chunker_version) == (7, 12, 0)
    assert said.updated_at == first.updated_at
    (made,) = server.bodies("PUT", "/index")
    assert made == {"field_name": "metadata.year", "field_schema": "integer"}


def test_fields_of_a_category_that_is_configured_no_more_can_be_filtered_as_before(client):
    both = index(categories=["notes", "mails"])
    fields = ensure(client, both).payload_indexes
    assert "metadata.sender" in fields
    assert ensure(client, both, [NOTES]).payload_indexes == fields
    fewer = NOTES.model_copy(update={"metadata": {"topic": "topic"}})
    assert "metadata.year" not in ensure(client, both, [fewer, MAILS]).payload_indexes


def test_the_lease_of_a_load_that_is_at_work_survives_a_change_of_the_configuration(server, client):
    ensure(client, index())
    lease = Lease(holder="h:1", token="t", expires_at=now() + timedelta(minutes=5), loading=VersionName(number=3))

    def taken_meanwhile(asked):
        if asked.method == "PATCH" and "retrieval" in asked.body["metadata"]:
            server.configs[COLLECTION]["metadata"]["lease"] = lease.model_dump(mode="json")

    server.before = taken_meanwhile
    ensure(client, index(retrieval=RetrievalConfig(alpha=0.1)))
    said = read_metadata(client, COLLECTION)
    assert (said.lease, said.retrieval.alpha) == (lease, 0.1)


def test_a_collection_that_is_as_configured_is_only_read(server, client):
    ensure(client, index())
    server.requests.clear()
    ensure(client, index())
    assert {asked.method for asked in server.requests} == {"GET"}
