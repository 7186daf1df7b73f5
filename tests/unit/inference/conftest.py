"""One index of every strategy for all tests of the retriever."""

import pytest

from tests.searching import CHUNKING, Index


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Indexes by strategy, to be read only."""
    made = {strategy: Index(tmp_path_factory.mktemp(strategy), strategy) for strategy in CHUNKING}
    yield made
    for index in made.values():
        index.client.close()


@pytest.fixture(params=CHUNKING)
def any_index(request, built):
    """An index of each strategy, to be read only; its counts begin at 0."""
    made = built[request.param]
    made.client.requests.clear()
    made.client.asked.clear()
    return made
