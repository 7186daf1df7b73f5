import pytest

from tests.unit.export.corpus import Corpus


@pytest.fixture
def corpus(tmp_path):
    return Corpus(tmp_path / "data")
