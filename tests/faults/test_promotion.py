"""kill -9 at every step of a promotion and of a rollback: the next run finds what it needs to make it good."""

import signal

import pytest

from feature_store.index import collection_names, read_metadata, serving_collection
from tests.faults.faults import Fault
from tests.faults.promotion import DOCUMENTS, INDEX, opened, roll_back_and_die, run_and_die

CHILD_SECONDS = 60
# Each note and the move of the alias is one replacement of the file that holds both.
STEPS = {
    "before the alias": Fault("feature_store.serving:move_alias"),
    "while the alias moves": Fault("qdrant_client.local.qdrant_local:QdrantLocal.update_collection_aliases"),
    "after the alias": Fault("feature_store.serving:move_alias", when="after"),
    "after the note of the new one": Fault("feature_store.serving:note_promotion", 2),
    "after all notes": Fault("feature_store.serving:settle", when="after"),
}


@pytest.fixture
def in_child(children):
    def call(function, *arguments):
        process = children.Process(target=function, args=arguments)
        process.start()
        process.join(CHILD_SECONDS)
        assert process.exitcode is not None, "the child hangs"
        return process.exitcode

    return call


def built(folder, window):
    with opened(folder, window) as flow:
        run = flow.run(DOCUMENTS)
        return run.index.report.collection, run.serving.indexes[0]


def claims(client):
    """Return which collections say that they serve."""
    said = {name: read_metadata(client, name).promotion for name in collection_names(client)}
    return [name for name, promotion in said.items() if promotion.promoted_at and not promotion.retired_at]


@pytest.mark.parametrize("step", STEPS)
def test_a_run_after_a_promotion_that_was_killed_makes_it_good(in_child, tmp_path, step):
    old, _ = built(tmp_path, 32)
    assert in_child(run_and_die, tmp_path, 64, STEPS[step]) == -signal.SIGKILL, f"{step} was never reached"
    with opened(tmp_path, 64) as flow:
        assert serving_collection(flow.client, INDEX) in collection_names(flow.client)
    new, served = built(tmp_path, 64)
    assert served.collection == new
    with opened(tmp_path, 64) as flow:
        assert serving_collection(flow.client, INDEX) == new
        assert claims(flow.client) == [new]
        assert read_metadata(flow.client, new).promotion.previous == old


@pytest.mark.parametrize("step", ["before the alias", "while the alias moves", "after the alias", "after all notes"])
def test_a_rollback_that_was_killed_is_done_or_not_begun(in_child, tmp_path, step):
    old, _ = built(tmp_path, 32)
    new, _ = built(tmp_path, 64)
    assert in_child(roll_back_and_die, tmp_path, STEPS[step]) == -signal.SIGKILL, f"{step} was never reached"
    with opened(tmp_path, 64) as flow:
        moved = serving_collection(flow.client, INDEX) == old
    assert moved == step.startswith("after")
    _, served = built(tmp_path, 64)
    assert (served.collection, served.outcome) == ((old, "held") if moved else (new, "serves"))
    with opened(tmp_path, 64) as flow:
        assert claims(flow.client) == [served.collection]
