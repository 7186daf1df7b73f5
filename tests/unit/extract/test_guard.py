"""The guard against mass deletion."""

import pytest

from feature_store.config import DeletionGuard
from steps.extract.guard import objection

GUARD = DeletionGuard(max_documents=10, max_share=0.2)


@pytest.mark.parametrize(
    ("deletions", "held", "held_back"),
    [
        pytest.param(0, 0, False, id="nothing to delete"),
        pytest.param(0, 100, False, id="nothing deleted"),
        pytest.param(10, 20, False, id="a large share, but few"),
        pytest.param(11, 55, False, id="many, but just the share"),
        pytest.param(11, 54, True, id="many and a large share"),
        pytest.param(1, 1, True, id="the only one"),
        pytest.param(3, 3, True, id="all of a few"),
    ],
)
def test_deletions_are_held_back_beyond_both_limits_or_when_nothing_remains(deletions, held, held_back):
    assert (objection(deletions, held, 0, GUARD) is not None) == held_back


def test_a_source_with_new_documents_is_not_empty():
    assert objection(3, 3, 1, GUARD) is None


@pytest.mark.parametrize(("approved", "held_back"), [(29, True), (30, False), (31, False)])
@pytest.mark.parametrize("held", [30, 60])
def test_an_approval_is_a_ceiling(approved, held, held_back):
    assert (objection(30, held, 0, GUARD, approved) is not None) == held_back


def test_the_objection_names_figures_and_limits():
    assert objection(30, 60, 5, GUARD) == (
        "30 of 60 documents are gone from the source, more than deletions.max_documents = 10 and deletions.max_share = "
        "0.2 allow"
    )
    assert objection(60, 60, 0, GUARD) == "the source is empty, but the feature store holds 60 documents of it"
