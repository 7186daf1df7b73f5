from contextlib import contextmanager, nullcontext

from feature_store.config import DeletionGuard, RunOptions
from feature_store.handles import RawDocuments
from feature_store.settings import Settings
from steps.extract import step
from warehouse.keeping import keep, kept_between_steps


def test_after_the_warehouse_was_read_its_server_is_let_go(monkeypatch, tmp_path):
    users = []

    @contextmanager
    def used_server():
        users.append("run")
        yield
        users.remove("run")

    raw = RawDocuments(folder=tmp_path)
    monkeypatch.setattr(step, "start_stage", lambda: (Settings(_env_file=None, data_dir=tmp_path), tmp_path))
    monkeypatch.setattr(step, "open_warehouse", lambda _settings: nullcontext())
    monkeypatch.setattr(step, "capture_categories", lambda *_: raw)
    with kept_between_steps():
        keep(used_server())
        assert users == ["run"]
        step.extract.entrypoint([], "rules", DeletionGuard(), RunOptions())
        assert users == []
