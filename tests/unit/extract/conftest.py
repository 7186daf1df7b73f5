"""A warehouse for the tests of capture."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from feature_store.settings import Settings
from tests.application import DrainingFlow
from tests.fake_change_stream import FakeReplicaSet
from tests.unit.extract.support import Writer, empty_database, make_flow
from warehouse.connection import open_warehouse


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with open_warehouse(Settings(data_dir=tmp_path_factory.mktemp("warehouse"), _env_file=None)) as database:
        yield database


@pytest.fixture
def database(server):
    made = empty_database(server)
    yield made
    made.client.drop_database(made.name)


@pytest.fixture
def writer(database):
    return Writer(database)


@pytest.fixture
def replica_set(database):
    return FakeReplicaSet(database)


@pytest.fixture
def flow_for(tmp_path) -> Callable[..., DrainingFlow]:
    """Return a function that makes an installation whose notes are captured by a mode."""
    return lambda mode, **changes: make_flow(tmp_path / "data", mode, **changes)
