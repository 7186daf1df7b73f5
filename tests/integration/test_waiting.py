"""Whether a run would have something to do: said without starting one, and never no where there is."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from feature_store.config import PipelineConfig, RunOptions
from feature_store.index import open_qdrant
from feature_store.settings import Settings
from feature_store.versions import now
from pipelines.waiting import first_reason_to_run
from steps.report.summary import RunSummary
from tests.flow import Flow, note, notes_config
from warehouse.connection import open_warehouse

DOCUMENTS = [note("a", "alpha beta gamma"), note("b", "delta"), note("bad", None)]


@contextmanager
def opened(settings: Settings, config: PipelineConfig) -> Iterator[tuple[Flow, object]]:
    with open_warehouse(settings) as database, open_qdrant(settings) as client:
        flow = Flow(settings.data_dir, config, client)
        flow._runs = count(time.time_ns())  # folders of its own
        yield flow, database


def write_report(settings: Settings, config: PipelineConfig, version: int) -> None:
    empty = {"categories": {}, "captures": {}, "duplicates": 0, "indexes": [], "invariants": [], "seconds": {}}
    made = {"run_id": f"run-{version}", "finished_at": now(), "version_before": None, "version": version}
    summary = RunSummary(**made, **empty, config_fingerprint=config.fingerprint())
    settings.reports_folder.mkdir(parents=True, exist_ok=True)
    path = settings.reports_folder / f"{summary.run_id}.json"
    path.write_text(json.dumps(summary.model_dump(mode="json")), encoding="utf-8")


@pytest.fixture
def config(tiny_model) -> PipelineConfig:
    return notes_config(tiny_model)


@pytest.fixture
def up_to_date(settings, config) -> Settings:
    """An installation whose last run has come to its end, with its report."""
    with opened(settings, config) as (flow, database):
        database["notes"].insert_many(DOCUMENTS)
        flow.run(database)
    write_report(settings, config, 1)
    return settings


def change(settings: Settings, config: PipelineConfig, changes) -> str | None:
    with open_warehouse(settings) as database:
        changes(database["notes"])
    return first_reason_to_run(settings, config)


def test_nothing_waits_after_a_run(up_to_date, config):
    assert first_reason_to_run(up_to_date, config) is None


def test_before_the_first_run_everything_does(settings, config):
    assert "no version yet" in first_reason_to_run(settings, config)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(lambda notes: notes.insert_one(note("c", "epsilon")), id="added"),
        pytest.param(lambda notes: notes.update_one({"_id": "a"}, {"$set": {"body": "other"}}), id="edited"),
        pytest.param(lambda notes: notes.delete_one({"_id": "b"}), id="deleted"),
        pytest.param(lambda notes: notes.update_one({"_id": "bad"}, {"$set": {"body": "good"}}), id="mended"),
    ],
)
def test_a_change_of_the_warehouse_waits(up_to_date, config, changes):
    assert change(up_to_date, config, changes) == "Changes of notes wait in the warehouse."


def test_a_field_that_is_not_mapped_is_no_change(up_to_date, config):
    assert change(up_to_date, config, lambda notes: notes.update_one({"_id": "a"}, {"$set": {"views": 7}})) is None


def test_a_version_whose_run_did_not_come_to_its_end_waits_to_be_loaded(up_to_date, config):
    with opened(up_to_date, config) as (flow, database):
        database["notes"].insert_one(note("c", "epsilon"))
        flow.clean(flow.extract(database))
    assert "come to its end at version 2" in first_reason_to_run(up_to_date, config)


def test_an_index_that_lags_or_lost_a_point_is_a_reason(up_to_date, config):
    with opened(up_to_date, config) as (flow, database):
        database["notes"].insert_one(note("c", "epsilon"))
        flow.clean(flow.extract(database))
    write_report(up_to_date, config, 2)
    assert first_reason_to_run(up_to_date, config) == "Index notes_index lacks the changes of 1 documents."
    with opened(up_to_date, config) as (flow, database):
        flow.run(database)
    assert first_reason_to_run(up_to_date, config) is None
    with open_qdrant(up_to_date) as client:
        (point, *_), _ = client.scroll("notes_index")
        client.delete("notes_index", points_selector=[point.id])
    assert "holds 2 points, and must hold 3" in first_reason_to_run(up_to_date, config)


def test_another_configuration_is_a_reason_until_a_run_with_it_has_ended(up_to_date, config, tiny_model):
    guarded = notes_config(tiny_model, deletions={"max_documents": 5})
    assert "No run with this configuration" in first_reason_to_run(up_to_date, guarded)
    write_report(up_to_date, guarded, 1)
    assert first_reason_to_run(up_to_date, guarded) is None


def test_an_index_that_is_not_built_is_a_reason(up_to_date, config, tiny_model):
    larger = config.indexes[0].model_dump() | {"chunking": {"window": 64, "overlap": 8}}
    wanted = notes_config(tiny_model, indexes=[larger])
    write_report(up_to_date, wanted, 1)
    assert "is not served by the collection" in first_reason_to_run(up_to_date, wanted)


def test_rejects_that_are_to_be_tried_again_are_a_reason(up_to_date, config):
    wanted = config.model_copy(update={"options": RunOptions(retry_rejects=["all"])})
    assert "are to be cleaned again" in first_reason_to_run(up_to_date, wanted)


def test_a_report_of_another_release_says_nothing(up_to_date, config):
    (report,) = up_to_date.reports_folder.iterdir()
    content = json.loads(report.read_text(encoding="utf-8"))
    report.write_text(json.dumps({**content, "of_another_release": 1}), encoding="utf-8")
    assert "No run with this configuration" in first_reason_to_run(up_to_date, config)
