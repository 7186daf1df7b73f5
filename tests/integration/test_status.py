"""The status tells the truth, also when things are not as they should be."""

import shutil

import pytest

from feature_store.config import PipelineConfig
from feature_store.index import open_qdrant
from feature_store.settings import Settings
from pipelines.status import describe_status
from tests.flow import Flow, note, notes_config

DOCUMENTS = [note("a", "alpha beta gamma"), note("b", "delta"), note("bad", None)]


@pytest.fixture
def config(tiny_model):
    return notes_config(tiny_model)


def bring(settings: Settings, config: PipelineConfig, documents) -> None:
    with open_qdrant(settings) as client:
        Flow(settings.data_dir, config, client).run(documents)


def test_an_index_that_was_brought_up_to_date_has_no_lag(settings, config):
    bring(settings, config, DOCUMENTS)
    status = describe_status(settings, config)
    store = status.feature_store
    assert (store.version, store.documents, store.rejects, store.categories) == (1, 2, 1, {"notes": 2})
    (index,) = status.indexes
    assert index.serving
    assert index.configured
    assert (index.version, index.lag) == (1, 0)
    assert index.points == index.expected_points == 2


def test_the_lag_counts_documents_that_changed_since(settings, config):
    bring(settings, config, DOCUMENTS)
    Flow(settings.data_dir, config).commit([note("a", "alpha, edited"), note("new", "epsilon")])
    (index,) = describe_status(settings, config).indexes
    assert (index.version, index.lag) == (1, 3)  # edited, new, and one that is gone


def test_an_index_of_another_configuration_is_not_taken_for_the_one_asked_for(settings, config, tiny_model):
    bring(settings, config, DOCUMENTS)
    larger = config.indexes[0].model_dump() | {"chunking": {"window": 64, "overlap": 8}}
    serving, wanted = describe_status(settings, notes_config(tiny_model, indexes=[larger])).indexes
    assert serving.serving
    assert not serving.configured
    assert (wanted.collection, wanted.configured, wanted.lag) == (None, True, 2)


def test_a_collection_of_somebody_else_is_none_of_the_index(settings, config):
    bring(settings, config, DOCUMENTS)
    with open_qdrant(settings) as client:
        client.create_collection(f"{config.indexes[0].name}__of_somebody_else", vectors_config={})
    (index,) = describe_status(settings, config).indexes
    assert index.serving


def test_an_index_of_a_feature_store_that_is_gone_lags_by_everything(settings, config):
    bring(settings, config, DOCUMENTS)
    shutil.rmtree(settings.feature_store_folder)
    Flow(settings.data_dir, config).commit(DOCUMENTS)
    old, wanted = describe_status(settings, config).indexes
    assert (old.serving, old.configured, old.lag) == (True, False, 2)
    assert (wanted.collection, wanted.lag) == (None, 2)


def test_before_the_first_run_everything_waits(settings, config):
    status = describe_status(settings, config)
    assert status.feature_store.version is None
    (index,) = status.indexes
    assert (index.collection, index.lag, index.serving) == (None, 0, False)
