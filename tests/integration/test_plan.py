"""A plan says what a run then does, and leaves no trace."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pymongo.database import Database

from feature_store.config import PlanReference, RunOptions
from feature_store.errors import ConfigurationError, PlanOutdatedError
from feature_store.index import open_qdrant
from feature_store.parts import remove_folder
from feature_store.settings import Settings
from pipelines.plan import Plan, make_plan, options_of_plan
from steps.clean.resolve import Piece
from tests.flow import Flow, Run, note, notes_config
from tests.support import make_notes
from warehouse.connection import open_warehouse

NOTES = 20


class Installation:
    """A data folder with an embedded warehouse and an embedded Qdrant, which is closed between two runs."""

    def __init__(self, settings: Settings, model) -> None:
        self.settings = settings
        self.model = model
        self.config = notes_config(model)

    @contextmanager
    def warehouse(self) -> Iterator[Database]:
        with open_warehouse(self.settings) as database:
            yield database

    @contextmanager
    def flow(self) -> Iterator[Flow]:
        remove_folder(self.settings.runs_folder)  # as a run does at its start
        with open_qdrant(self.settings) as client:
            yield Flow(self.settings.data_dir, self.config, client)

    def run(self) -> Run:
        with self.warehouse() as database, self.flow() as flow:
            return flow.run(database)

    def plan(self) -> Plan:
        return make_plan(self.settings, self.config)

    def files(self) -> dict:
        """Return every file but those of the embedded warehouse, with its time."""
        paths = (path for path in self.settings.data_dir.rglob("*") if path.is_file())
        mine = (path for path in paths if not path.relative_to(self.settings.data_dir).parts[0].startswith("warehouse"))
        return {path: path.stat().st_mtime_ns for path in mine}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The warehouse, kept running: a server is slow to start."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("plan"), _env_file=None)
    with open_warehouse(settings) as database:
        yield database


@pytest.fixture
def installation(tmp_path, tiny_model, server, monkeypatch):
    server.notes.delete_many({})
    server.notes.insert_many(make_notes(NOTES))

    @contextmanager
    def same_server(settings):
        yield server

    for user in ("pipelines.plan", "steps.preflight.checks"):
        monkeypatch.setattr(f"{user}.open_warehouse", same_server)
    made = Installation(Settings(data_dir=tmp_path / "data", _env_file=None), tiny_model)
    monkeypatch.setattr(made, "warehouse", lambda: same_server(None))
    return made


def add(notes):
    notes.insert_many(make_notes(3, start=100))


def edit_a_paragraph(notes):
    text = notes.find_one({"_id": "note-00004"})["body"]
    notes.update_one({"_id": "note-00004"}, {"$set": {"body": text.replace("Paragraph 2", "A zebra in paragraph 2")}})


def change_metadata(notes):
    notes.update_one({"_id": "note-00005"}, {"$set": {"topic": "zoology"}})


def delete(notes):
    notes.delete_many({"_id": {"$in": ["note-00001", "note-00002"]}})


def spoil(notes):
    notes.update_one({"_id": "note-00006"}, {"$set": {"body": None}})


def repeat(notes):
    text = notes.find_one({"_id": "note-00007"})["body"]
    notes.insert_one(note("twin", text))


def touch_an_unmapped_field(notes):
    notes.update_one({"_id": "note-00008"}, {"$set": {"views": 7}})


def everything(notes):
    for change in (add, edit_a_paragraph, change_metadata, delete, spoil, repeat, touch_an_unmapped_field):
        change(notes)


CHANGES = [add, edit_a_paragraph, change_metadata, delete, spoil, repeat, touch_an_unmapped_field, everything]


def require_as_planned(plan: Plan, done: Run) -> None:
    """Compare every figure of a plan with what the run did."""
    (category,), (index,) = plan.categories, plan.indexes
    counts = done.cleaned.categories["notes"]
    for name in ("read", "added", "changed", "metadata_changed", "deleted", "held_back", "unchanged", "rejected"):
        assert getattr(category, name) == getattr(counts, name), name
    assert category.digest == done.raw.captures["notes"].digest
    chunks, embeddings, report = done.index.chunks, done.index.embeddings, done.index.report
    assert (index.documents, index.chunks, index.unchanged) == (chunks.documents, chunks.chunks, chunks.unchanged)
    assert (index.write, index.update) == (report.written, report.updated)
    assert (index.embed, index.reuse) == (embeddings.embedded, embeddings.reused)
    assert index.remove == report.removed


def test_a_plan_of_the_first_run_knows_everything_but_the_name_of_the_collection(installation):
    plan = installation.plan()
    assert not installation.settings.feature_store_folder.exists()
    assert not installation.settings.qdrant_folder.exists()
    assert (plan.version, plan.indexes[0].collection, plan.indexes[0].serving) == (0, None, None)
    assert plan.categories[0].added == NOTES
    assert "The feature store is empty" in plan.configuration[0]
    assert plan.seconds == {}
    require_as_planned(plan, installation.run())


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_run_does_what_the_plan_said(installation, server, change):
    installation.run()
    change(server.notes)
    before = installation.files()
    plan = installation.plan()
    assert installation.files() == before
    require_as_planned(plan, installation.run())


def retrying(installation, *reasons):
    options = RunOptions(retry_rejects=list(reasons))
    installation.config = installation.config.model_copy(update={"options": options})


def test_a_run_tries_the_rejects_again_that_the_plan_said(installation, server, monkeypatch):
    spoil(server.notes)
    server.notes.insert_one(note("blank", " "))
    installation.run()
    retrying(installation, "missing_text")
    plan = installation.plan()
    assert (plan.categories[0].added, plan.categories[0].rejected, plan.indexes[0].documents) == (0, 2, 0)
    require_as_planned(plan, installation.run())
    monkeypatch.setattr("steps.clean.clean._checked_pieces", lambda *arguments: [Piece("mended")])
    plan = installation.plan()
    assert (plan.categories[0].added, plan.categories[0].rejected, plan.indexes[0].documents) == (1, 1, 1)
    require_as_planned(plan, installation.run())


def test_where_nothing_changed_the_plan_is_to_do_nothing(installation):
    installation.run()
    plan = installation.plan()
    assert (plan.configuration, plan.categories[0].unchanged) == ([], NOTES)
    (index,) = plan.indexes
    assert (index.documents, index.embed, index.write, index.update, index.remove) == (0, 0, 0, 0, 0)


def test_what_an_index_lags_behind_is_part_of_the_plan(installation, server):
    installation.run()
    everything(server.notes)
    with installation.flow() as flow:
        flow.commit(server)
    add_more = make_notes(2, start=300)
    server.notes.insert_many(add_more)
    server.notes.delete_one({"_id": "note-00100"})  # committed a moment ago, in no index yet
    plan = installation.plan()
    assert (plan.categories[0].added, plan.categories[0].deleted) == (2, 1)
    require_as_planned(plan, installation.run())


def test_another_window_fills_a_collection_beside_the_serving_one(installation):
    installation.run()
    index = installation.config.indexes[0]
    wider = index.model_copy(update={"chunking": index.chunking.model_copy(update={"window": 64})})
    installation.config = installation.config.model_copy(update={"indexes": [wider]})
    plan = installation.plan()
    (planned,) = plan.indexes
    assert planned.collection != planned.serving
    assert (planned.version_before, planned.documents, planned.unchanged) == (0, NOTES, 0)
    assert "another than that of version 1" in plan.configuration[0]
    assert f"{planned.serving} serves until its gate opens" in plan.configuration[-1]
    require_as_planned(plan, installation.run())


def test_a_plan_that_still_fits_is_applied_and_one_that_does_not_is_refused(installation, server, tmp_path):
    installation.run()
    everything(server.notes)
    path = tmp_path / "plan.json"
    path.write_text(installation.plan().model_dump_json(), encoding="utf-8")
    installation.config = installation.config.model_copy(update={"options": options_of_plan(path)})
    server.notes.update_one({"_id": "note-00009"}, {"$set": {"topic": "another"}})
    with pytest.raises(PlanOutdatedError, match="category notes"):
        refusing_run(installation, server)
    server.notes.update_one({"_id": "note-00009"}, {"$set": {"topic": make_notes(10)[9]["topic"]}})
    refusing_run(installation, server)
    installation.config = installation.config.model_copy(update={"options": RunOptions()})
    installation.run()
    installation.config = installation.config.model_copy(update={"options": options_of_plan(path)})
    with pytest.raises(PlanOutdatedError, match="the feature store is at version 2, the plan was made at 1"):
        refusing_run(installation, server)


def refusing_run(installation, server) -> None:
    """Capture as the step does, which is where an outdated plan is refused."""
    from steps.clean.rules import CLEANING_VERSION
    from steps.extract.apply import CapturePolicy, capture_categories

    config = installation.config
    policy = CapturePolicy(config.cleaning.fingerprint(CLEANING_VERSION), config.deletions, config.options)
    with installation.flow() as flow:
        folder = installation.settings.runs_folder / "refusing"
        capture_categories(server, flow.store, config.categories, policy, folder)


def test_the_options_of_a_plan_are_those_of_the_run(installation, tmp_path):
    installation.config = installation.config.model_copy(
        update={"options": RunOptions(capture="hash", approved_deletions={"notes": 7})}
    )
    plan = installation.plan()
    path = tmp_path / "plan.json"
    path.write_text(plan.model_dump_json(), encoding="utf-8")
    options = options_of_plan(path)
    assert (options.capture, options.approved_deletions) == ("hash", {"notes": 7})
    digests = {"notes": plan.categories[0].digest}
    expected = PlanReference(version=0, config_fingerprint=installation.config.fingerprint(), digests=digests)
    assert options.plan == expected


@pytest.mark.parametrize("content", ["", "{}", '{"version": 1}'])
def test_a_file_that_is_no_plan_is_refused(tmp_path, content):
    path = tmp_path / "plan.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match="is no plan of this release"):
        options_of_plan(path)
