"""What ZenML is told of a handle."""

import pytest

from feature_store.handles import CaptureCounts, RawDocuments
from feature_store.materializers import HandleMaterializer
from feature_store.views import figures_of


@pytest.fixture
def handle(tmp_path):
    return RawDocuments(folder=tmp_path, categories={"notes": CaptureCounts(read=7, added=0, unchanged=7)})


def test_the_metadata_are_the_figures_that_are_not_zero(handle, tmp_path):
    figures = figures_of(handle)
    assert figures["added"] == 0
    metadata = HandleMaterializer(str(tmp_path)).extract_metadata(handle)
    assert metadata["read"] == 7
    assert "added" not in metadata
    assert metadata == {name: value for name, value in figures.items() if value}
