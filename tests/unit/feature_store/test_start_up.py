"""Each in a process of its own: what was imported once cannot be imported again."""

import subprocess
import sys

from feature_store.index import open_qdrant
from feature_store.settings import Settings

STARTED = """
import gc
from pydantic import BaseModel
from feature_store.start_up import build_qdrant_models, collect_rarely, import_qdrant_client

def built():
    everything = vars(models).values()
    ours = [model for model in everything if isinstance(model, type) and issubclass(model, BaseModel)]
    return sum(model.__pydantic_complete__ for model in ours) / len(ours)

plain = vars(BaseModel)["model_rebuild"]
import_qdrant_client()
from qdrant_client.http.models import models
"""


def executed(lines: str, start: str = STARTED) -> str:
    done = subprocess.run([sys.executable, "-c", start + lines], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_import_builds_few_models_and_leaves_pydantic_as_it_was() -> None:
    print_both = "print(built() < 0.5, models.Filter.__pydantic_complete__, vars(BaseModel)['model_rebuild'] is plain)"
    assert executed(print_both) == "True False True"


def test_a_model_that_was_not_built_works_from_its_first_use_on() -> None:
    lines = """
given = {"must": [{"key": "language", "match": {"value": "en"}}]}
print(models.Filter.model_validate(given).model_dump(exclude_none=True) == given)
"""
    assert executed(lines) == "True"


def without_pandas(lines: str) -> str:
    return executed(lines, "import sys; from feature_store.start_up import spare_pandas; spare_pandas(); ")


def test_lance_and_arrow_work_without_importing_pandas() -> None:
    values = "import lance, pyarrow as pa; pa.Table.from_pylist([{'a': 1}]).to_pylist(); print('pandas' in sys.modules)"
    assert without_pandas(values) == "False"


def test_whoever_asks_for_a_data_frame_gets_one() -> None:
    assert without_pandas("import pyarrow as pa; print(pa.table({'a': [1, 2]}).to_pandas()['a'].sum())") == "3"
    frame = "import pandas as pd, pyarrow as pa; frame = pd.DataFrame({'a': [1.5, None]}); "
    assert without_pandas(frame + "print(pa.Table.from_pandas(frame)['a'].null_count)") == "1"


def test_nothing_is_hidden_afterwards() -> None:
    assert without_pandas("import importlib.util; print(importlib.util.find_spec('pandas') is not None)") == "True"


def test_all_models_are_built_when_that_is_asked_for() -> None:
    assert executed("build_qdrant_models(); print(built() > 0.99)") == "True"


def test_a_client_that_is_there_already_is_not_imported_again() -> None:
    assert executed("module = models; import_qdrant_client(); print(module is models)") == "True"


def test_garbage_is_looked_for_seldom() -> None:
    assert executed("collect_rarely(); print(gc.get_threshold()[0])") == "50000"


def test_models_are_built_before_a_server_is_asked_anything(monkeypatch, tmp_path) -> None:
    class AskedError(Exception):
        pass

    calls = []
    monkeypatch.setattr("feature_store.index.build_qdrant_models", lambda: calls.append("built"))

    def client(**_options):
        calls.append("client")
        raise AskedError

    monkeypatch.setattr("feature_store.index.QdrantClient", client)
    settings = Settings(_env_file=None, data_dir=tmp_path, qdrant_url="http://127.0.0.1:1")
    try:
        with open_qdrant(settings):
            pass
    except AskedError:
        pass
    assert calls == ["built", "client"]
