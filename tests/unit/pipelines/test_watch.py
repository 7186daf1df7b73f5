"""One attempt after the other: what was committed but not loaded is not left behind."""

from contextlib import contextmanager

import pytest

from feature_store.errors import TransientError
from feature_store.settings import Settings
from pipelines import waiting, watch
from tests.flow import notes_config


@pytest.fixture
def batch(tmp_path, monkeypatch):
    """A batch whose runs and looks end as the lists say, the last entry for ever."""

    @contextmanager
    def no_warehouse(settings):
        yield None

    def run(*arguments):
        outcome = made.runs.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(watch, "open_warehouse", no_warehouse)
    monkeypatch.setattr(watch, "run_feature_pipeline", run)
    monkeypatch.setattr(waiting, "find_waiting", lambda *arguments: made.waiting.pop(0))
    made = watch._Batch(tmp_path / "c.yaml", notes_config(), Settings(data_dir=tmp_path, _env_file=None))
    return made


def test_the_first_batch_runs_whatever_waits(batch):
    batch.runs, batch.waiting = ["first"], [False]
    assert batch.run() == "first"
    assert batch.run() is None


def test_a_batch_runs_where_something_waits(batch):
    batch.runs, batch.waiting = ["first", "second"], [True]
    assert [batch.run(), batch.run()] == ["first", "second"]


def test_after_a_failure_the_next_batch_runs_though_nothing_waits_in_the_source(batch):
    batch.runs, batch.waiting = ["first", TransientError("Qdrant is away."), "third"], [True, False]
    assert batch.run() == "first"
    with pytest.raises(TransientError):
        batch.run()
    assert batch.run() == "third"
    assert batch.run() is None
