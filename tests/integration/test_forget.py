"""Forgetting: after it no byte of the document is left, and everything else is as if it had never been there."""

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from click.testing import Result
from pymongo.database import Database
from typer.testing import CliRunner

import commands.forget
from feature_store import lock
from feature_store.config import PipelineConfig, RunOptions, validate_parameters
from feature_store.errors import ConfigurationError, LockedError, TerminalError
from feature_store.exports import MEMBERS, ExportedFile, ExportRecord, list_exports, read_members, save_export
from feature_store.files import write_json_atomically
from feature_store.ids import document_id
from feature_store.index import Lease, collection_names, open_qdrant, read_metadata, write_metadata
from feature_store.index_record import IndexRecord
from feature_store.journal import erasure_path, read_erasure
from feature_store.settings import Settings
from feature_store.suppression import read_suppressed
from feature_store.traces import Traces
from feature_store.training import TrainingConfig
from feature_store.versions import now, version_numbers
from pipelines.artifacts import ArtifactChanges
from pipelines.forget import Receipt, _Forgetting, forget, identify, resume
from pipelines.plan import make_plan
from steps.export.apply import export_training_set
from steps.preflight.checks import check_feature_store
from tests.application import MODES, Application, DrainingFlow
from tests.comparison import differences, misplaced_duplicates, read_state
from tests.faults.faults import before_every_durable_step
from tests.flow import CATEGORY, note
from tests.stand_in import HashEncoder
from tests.support import WORDS, write_config
from warehouse.connection import open_warehouse

PERSON = "person-MARKER0ID"
PERSON_ID = document_id("notes", PERSON)
SHARED = "The same text in several notes. It is about a river and a bridge."
MARKERS = [b"MARKER0ID", b"MARKER1", b"MARKER2", b"MARKER3", b"MARKER4", b"MARKER5", b"MARKER6", PERSON_ID.encode()]


class DiedError(Exception):
    """Stands for the death of the process."""


def configuration(window: int = 48, mode: str = "hash") -> PipelineConfig:
    encoder = {"model": "stand-in", "precision": "float32", "batch_size": 64}
    indexes = [
        {"name": name, "categories": ["notes"], "chunking": {"window": size, "overlap": 8}, "encoder": encoder}
        for name, size in (("fine", 32), ("coarse", window))
    ]
    category = {**CATEGORY, "format": "markdown", "capture": MODES[mode]}
    cleaning = {"max_rejected_share": 0.5, "rejected_share_minimum": 1}
    return validate_parameters({"categories": [category], "indexes": indexes, "cleaning": cleaning}, "a test")


def paragraphs(marker: str, count: int) -> str:
    return "\n\n".join(f"{marker} paragraph {number}. {' '.join(WORDS)}." for number in range(count))


class Installation:
    """A data folder with its own embedded warehouse and embedded Qdrant, opened and closed for each run."""

    def __init__(self, folder: Path, mode: str = "hash") -> None:
        self.settings = Settings(data_dir=folder / "data", _env_file=None)
        self.mode = mode
        self.config = configuration(mode=mode)
        self.encoder = HashEncoder()
        self.runs = itertools.count()

    @contextmanager
    def opened(self) -> Iterator[tuple[DrainingFlow, Database[dict[str, Any]]]]:
        with open_warehouse(self.settings) as database, open_qdrant(self.settings) as client:
            flow = DrainingFlow(self.settings.data_dir, self.config, client)
            flow.load_encoder = lambda config: self.encoder
            flow._runs = self.runs
            yield flow, database

    def run(self):
        with self.opened() as (flow, database):
            return flow.run(database)

    def application(self, database: Database[dict[str, Any]]) -> Application:
        return Application(database, "notes")

    def forget(self, *names: str, from_warehouse: bool = False) -> Receipt:
        named = identify(self.settings, self.config, names, from_warehouse=from_warehouse)
        return forget(self.settings, self.config, named, from_warehouse=from_warehouse)


def live_through(installation: Installation, *, with_person: bool) -> None:
    """Five runs; the person's note is written, edited, duplicated, rejected and brought back."""

    def change(body: Any, **fields: Any) -> None:
        if with_person:
            with installation.opened() as (_, database):
                installation.application(database).change(PERSON, body=body, **fields)

    with installation.opened() as (_, database):
        application = installation.application(database)
        if with_person:
            application.insert([note(PERSON, SHARED, title="Title MARKER1", topic="topic-MARKER2")])
        application.insert([note("other", paragraphs("Other", 6)), note("twin", SHARED), note("triplet", SHARED)])
        application.insert([note("bad", None)])
    installation.run()
    change(paragraphs("MARKER3 text", 8), title="Title MARKER1 again")
    edit(installation, "other", paragraphs("Other, edited", 6))
    installation.run()
    change("\x01\x02\x03" * 20 + "MARKER4 of a binary text")
    edit(installation, "other", paragraphs("Other, edited again", 5))
    installation.run()
    change(SHARED, topic="topic-MARKER5")
    edit(installation, "other", paragraphs("Other, at last", 4))
    installation.run()
    installation.config = configuration(window=64, mode=installation.mode)  # retires a collection
    change(paragraphs("MARKER6 text", 9))
    edit(installation, "triplet", f"{SHARED} And more.")
    installation.run()


def edit(installation: Installation, name: str, body: str) -> None:
    with installation.opened() as (_, database):
        installation.application(database).change(name, body=body)


def register_export(installation: Installation, name: str, folder: Path) -> None:
    store_folder = installation.settings.feature_store_folder
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text(f'{{"id": "{PERSON_ID}", "text": "MARKER6 text"}}\n')
    ids = [PERSON_ID, document_id("notes", "other")]
    record = ExportRecord(
        export_id=name,
        created_at=now(),
        version=5,
        version_run_id="run",
        store_id="store",
        format="jsonl",
        folder=folder,
        options={},
        files=[ExportedFile(name="train.jsonl", bytes=1, sha256="0")],
    )
    members = pa.RecordBatch.from_pylist([{"document_id": name, "split": "train"} for name in ids], schema=MEMBERS)
    save_export(store_folder, record, [members])


def holders(folder: Path) -> dict[str, list[str]]:
    """Return the files that hold a marker, as bytes or as values of a table."""
    found: dict[str, list[str]] = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "suppressed.json" and path.parent.name != "receipts":
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content += repr(pq.read_table(path).to_pylist()).encode()
            found[str(path)] = [marker.decode() for marker in MARKERS if marker in content]
        if path.suffix == ".lance" and path.is_dir():
            table = lance.dataset(str(path))
            for version in table.versions():
                rows = lance.dataset(str(path), version=version["version"]).to_table().to_pylist()
                found[f"{path}@{version['version']}"] = [
                    marker.decode() for marker in MARKERS if marker in repr(rows).encode()
                ]
    return {name: markers for name, markers in found.items() if markers}


def versions_of(flow: DrainingFlow) -> list[Any]:
    """Return what every version holds, but for run ids and what depends on when it was made."""
    history = []
    for number in version_numbers(flow.store.folder):
        version = flow.store.version(number)
        documents = sorted(flow.store.documents(version).to_table().to_pylist(), key=lambda row: row["document_id"])
        rejects = sorted(flow.store.rejects(version).to_table().to_pylist(), key=lambda row: row["document_id"])
        history.append((number, documents, rejects))
    return history


@pytest.fixture(autouse=True)
def without_zenml(monkeypatch: pytest.MonkeyPatch) -> None:
    """Artifacts are a matter of the end-to-end test: nothing here is a ZenML run."""
    monkeypatch.setattr("pipelines.forget.erase_from_artifacts", lambda traces: ArtifactChanges())
    monkeypatch.setattr("pipelines.forget.search_artifacts", lambda traces: ArtifactChanges())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An installation in which the person's note has left every kind of trace; only to be copied."""
    made = Installation(tmp_path_factory.mktemp("prepared"))
    live_through(made, with_person=True)
    data = made.settings.data_dir
    register_export(made, "inside", data / "training" / "inside")
    register_export(made, "outside", data.parent / "outside")
    leftover = data / "runs" / "dead" / "raw"
    leftover.mkdir(parents=True)
    pq.write_table(pa.table({"fields": ["MARKER6 text"]}), leftover / "raw-000000.parquet")
    write_json_atomically(data / "reports" / "dead.json", {"reason": f"an event names {PERSON!r}"})
    return made


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An installation that the person's note was never in, which lived through the same."""
    made = Installation(tmp_path_factory.mktemp("without"))
    live_through(made, with_person=False)
    return made


def copied(prepared: Installation, folder: Path) -> Installation:
    shutil.copytree(prepared.settings.data_dir, folder / "data")
    made = Installation(folder, prepared.mode)
    for record in list_exports(made.settings.feature_store_folder):
        if record.folder.is_relative_to(prepared.settings.data_dir):
            moved = folder / "data" / record.folder.relative_to(prepared.settings.data_dir)
            save_export(made.settings.feature_store_folder, record.model_copy(update={"folder": moved}))
    made.config = prepared.config
    made.runs = itertools.count(100)
    return made


@pytest.fixture
def installation(prepared: Installation, tmp_path: Path) -> Installation:
    return copied(prepared, tmp_path)


def test_the_note_has_left_every_kind_of_trace(prepared: Installation) -> None:
    found = holders(prepared.settings.data_dir)
    places = {Path(name).relative_to(prepared.settings.data_dir).parts[0] for name in found}
    assert places == {"feature_store", "indexes", "qdrant", "reports", "runs", "training", "warehouse"}
    assert {marker for markers in found.values() for marker in markers} == {marker.decode() for marker in MARKERS}
    with prepared.opened() as (flow, _):
        assert len(collection_names(flow.client)) == 3


def test_no_byte_is_left_and_the_rest_is_as_if_it_had_never_been(
    installation: Installation, without: Installation
) -> None:
    receipt = installation.forget(PERSON_ID, from_warehouse=True)
    assert holders(installation.settings.data_dir) == {}
    assert receipt.found == {}
    assert receipt.unknown == []
    assert receipt.erased["documents"] == 5
    assert receipt.erased["rejects"] == 1
    assert receipt.erased["warehouse"] == 1
    assert receipt.erased["points"] == receipt.erased["points in records"] > 10
    assert receipt.erased["vectors"] > 0
    assert receipt.erased["export members"] == 2
    with installation.opened() as (flow, _), without.opened() as (fresh, _):
        assert differences(read_state(flow), read_state(fresh)) == []
        assert misplaced_duplicates(flow) == []
        ours, theirs = versions_of(flow), versions_of(fresh)
        assert [number for number, _, _ in ours] == [number for number, _, _ in theirs]
        for (_, documents, rejects), (_, other_documents, other_rejects) in zip(ours, theirs, strict=True):
            history = {"changed_in", "added_in"}  # a duplicate of it counted as changed when it came and went
            assert without_columns(documents, history) == without_columns(other_documents, history)
            assert rejects == other_rejects
        for name in collection_names(flow.client):
            metadata = read_metadata(flow.client, name)
            assert metadata is not None
            assert metadata.lease is None
            assert metadata.points == flow.client.count(name).count
            assert metadata.points == IndexRecord(installation.settings.indexes_folder, name).count_points()


def without_columns(rows: list[dict[str, Any]], names: set[str]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in names} for row in rows]


def test_a_further_run_finds_everything_up_to_date(installation: Installation) -> None:
    installation.forget(PERSON_ID, from_warehouse=True)
    embedded = len(installation.encoder.texts)
    again = installation.run()
    assert again.cleaned.version == again.cleaned.previous_version
    assert [index.report.written + index.report.removed for index in again.indexes] == [0, 0]
    assert [index.report.points == index.report.expected_points for index in again.indexes] == [True, True]
    edit(installation, "other", paragraphs("Edited after it", 3))
    edited = installation.run()
    assert edited.raw.categories["notes"].changed == 1
    assert edited.cleaned.version == again.cleaned.version + 1
    assert len(installation.encoder.texts) == len(set(installation.encoder.texts)) > embedded


def test_exports_are_cleaned_where_they_are_ours_and_named_where_not(installation: Installation) -> None:
    (outside,) = (
        record.folder
        for record in list_exports(installation.settings.feature_store_folder)
        if record.export_id == "outside"
    )
    receipt = installation.forget(PERSON_ID)
    folder = installation.settings.feature_store_folder
    assert {record.export_id: record.forgotten for record in list_exports(folder)} == {"inside": 1, "outside": 1}
    for name in ("inside", "outside"):
        members = [row["document_id"] for batch in read_members(folder, name) for row in batch.to_pylist()]
        assert members == [document_id("notes", "other")]
    assert not (installation.settings.data_dir / "training" / "inside").exists()
    assert any(str(record.folder) in line for record in list_exports(folder) for line in receipt.left)
    assert (outside / "train.jsonl").exists()  # of the prepared installation: beyond our reach
    again = installation.forget(PERSON_ID)
    assert any("outside" in line for line in again.left)


@pytest.mark.parametrize("mode", sorted(MODES))
def test_it_stays_gone_though_the_warehouse_has_it(mode: str, tmp_path: Path) -> None:
    from steps.clean.rules import CLEANING_VERSION
    from steps.extract.apply import CapturePolicy, find_waiting

    installation = Installation(tmp_path, mode)
    with installation.opened() as (flow, database):
        installation.application(database).insert([note(PERSON, SHARED, title="MARKER1"), note("other", SHARED)])
        flow.run(database)
    installation.forget(f"notes:{PERSON}")
    with installation.opened() as (flow, database):
        application = installation.application(database)
        application.change(PERSON, body=paragraphs("MARKER3", 3))
        first = flow.run(database)
        assert set(flow.live()) == {"other"}
        assert first.raw.categories["notes"].added == 1
        (rejected,) = flow.rejects().values()
        assert rejected["document_id"] == PERSON_ID
        values = {key: value for key, value in rejected.items() if key not in {"document_id", "rejected_in"}}
        assert values == {
            "category": "notes",
            "source_id": "(forgotten)",
            "source_hash": "forgotten",
            "reason": "forgotten",
            "detail": "",
            "excerpt": "",
        }
        again = flow.run(database)
        assert again.cleaned.version == first.cleaned.version
        policy = CapturePolicy(flow.config.cleaning.fingerprint(CLEANING_VERSION))
        if mode != "timestamp":  # reads what is less than a second old once more
            assert not find_waiting(database, flow.store, flow.config.categories[0], policy)
        application.change(PERSON, title="MARKER1 again")
        application.change("other", topic="another")
        third = flow.run(database)
        assert third.raw.categories["notes"].changed == 1
        assert set(flow.live()) == {"other"}
        application.delete([PERSON])
        fourth = flow.run(database)
        assert fourth.raw.categories["notes"].deleted == 1
        assert flow.rejects() == {}
    tables = {name: found for name, found in holders(installation.settings.data_dir).items() if "warehouse" not in name}
    # Its id, no more: the rejects name it as long as the source had it.
    assert {marker for found in tables.values() for marker in found} <= {PERSON_ID}


def test_a_forgotten_document_is_no_reason_to_refuse_a_run(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    with installation.opened() as (flow, database):
        names = [f"note-{number}" for number in range(4)]
        installation.application(database).insert(note(name, f"The text of {name}.") for name in names)
        flow.run(database)
    installation.forget(*(f"notes:{name}" for name in names[:3]))
    done = installation.run()  # three of four: more than max_rejected_share
    assert done.cleaned.categories["notes"].rejected == 3


def test_retrying_rejects_takes_a_forgotten_document_for_what_it_is(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    with installation.opened() as (flow, database):
        installation.application(database).insert([note("a", "alpha"), note("b", "beta")])
        flow.run(database)
    installation.forget("notes:a")
    version = installation.run().cleaned.version
    installation.config = installation.config.model_copy(update={"options": RunOptions(retry_rejects=["all"])})
    assert installation.run().cleaned.version == version


def test_interrupted_anywhere_it_is_refused_until_it_is_resumed_and_then_complete(
    prepared: Installation, without: Installation, tmp_path: Path
) -> None:
    with without.opened() as (fresh, _):
        expected = read_state(fresh)
    steps: list[str] = []
    with before_every_durable_step(lambda number, target: steps.append(target)):
        copied(prepared, tmp_path / "counted").forget(PERSON_ID, from_warehouse=True)
    for fatal in range(3, len(steps), len(steps) // 9):

        def act(number: int, target: str, fatal: int = fatal) -> None:
            if number == fatal:
                raise DiedError

        installation = copied(prepared, tmp_path / str(fatal))
        with pytest.raises(DiedError), before_every_durable_step(act):
            installation.forget(PERSON_ID, from_warehouse=True)
        if erasure_path(installation.settings.feature_store_folder).exists():
            with pytest.raises(TerminalError, match="--resume"):
                list(check_feature_store(installation.settings, installation.config))
            with pytest.raises(TerminalError, match="--resume"):
                installation.forget(PERSON_ID)
            receipt = resume(installation.settings, installation.config)
        else:  # it died before anything was begun
            receipt = installation.forget(PERSON_ID, from_warehouse=True)
        assert receipt.found == {}, fatal
        assert holders(installation.settings.data_dir) == {}, fatal
        assert list(check_feature_store(installation.settings, installation.config))
        with installation.opened() as (flow, database):
            assert differences(read_state(flow), expected) == [], fatal
            assert flow.run(database).cleaned.version == 5
        shutil.rmtree(tmp_path / str(fatal))


def test_what_a_dead_process_was_writing_is_removed(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = installation.settings.feature_store_folder
    (folder / ".erasure.json.4194305").write_text(f'{{"documents": {{"{PERSON_ID}": "{PERSON}"')
    place = installation.settings.data_dir / "training" / ".killed.unfinished"
    place.mkdir(parents=True)
    pq.write_table(pa.table({"text": ["MARKER6 text"]}), place / "train.parquet", compression="zstd")
    members = folder / "exports" / "killed.unfinished"
    pq.write_table(pa.table({"document_id": [PERSON_ID]}), members, compression="zstd")
    assert installation.forget(PERSON_ID, from_warehouse=True).found == {}
    assert holders(installation.settings.data_dir) == {}
    assert not place.exists()
    assert not members.exists()


@pytest.mark.parametrize("step", ["_erase_from_files", "_erase_from_artifacts"])
def test_after_an_interruption_a_quotation_is_still_recognised(
    step: str, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(forgetting: _Forgetting) -> None:
        raise DiedError

    def note_traces(traces: Traces) -> ArtifactChanges:
        seen.append(traces)
        return ArtifactChanges()

    seen: list[Traces] = []
    with monkeypatch.context() as patch:
        patch.setattr(_Forgetting, step, die)
        with pytest.raises(DiedError):
            installation.forget(PERSON_ID)
    write_json_atomically(
        installation.settings.data_dir / "reports" / "late.json", {"line": "It is: Title MARKER1 again"}
    )
    monkeypatch.setattr("pipelines.forget.erase_from_artifacts", note_traces)
    assert resume(installation.settings, installation.config).found == {}
    assert "MARKER1" not in (installation.settings.data_dir / "reports" / "late.json").read_text()
    assert seen[0].are_in("It is: Title MARKER1 again")


def exported_twice(tmp_path: Path, since: int | None, output_format: str) -> tuple[Installation, list[Path]]:
    """Two versions, the person's note only in the first, and the same export in two folders."""
    installation = Installation(tmp_path)
    data = installation.settings.data_dir
    folders = [data / "training" / "first", data / "elsewhere" / "second"]
    rest = [note(f"note-{number}", paragraphs(f"Note {number}", 2)) for number in range(6)]
    with installation.opened() as (flow, _):
        flow.commit([note(PERSON, paragraphs("MARKER3 text", 8)), *rest])
        if since is not None:
            flow.commit([*rest, note("new", paragraphs("New", 2))])
        store, newest = flow.store, flow.store.newest()
        assert newest is not None
        before = store.version(since) if since is not None else None
        for folder in folders:
            export_training_set(store, newest, TrainingConfig(), output_format, folder, before)
    return installation, folders


@pytest.mark.parametrize("output_format", ["jsonl", "parquet", "huggingface"])
@pytest.mark.parametrize("since", [1, None], ids=["listed as deleted", "in it"])
def test_wherever_an_export_was_made_its_files_go(since: int | None, output_format: str, tmp_path: Path) -> None:
    installation, folders = exported_twice(tmp_path, since, output_format)
    receipt = installation.forget(PERSON_ID)
    assert not any(folder.exists() for folder in folders)
    assert receipt.found == {}
    (record,) = list_exports(installation.settings.feature_store_folder)
    assert (record.files, record.forgotten) == ([], 1)


def test_an_export_that_took_the_folder_of_another_one_stays(tmp_path: Path) -> None:
    installation, (_, folder) = exported_twice(tmp_path, None, "jsonl")
    with installation.opened() as (flow, _):
        newest = flow.store.newest()
        assert newest is not None
        without_it = TrainingConfig(where=f"document_id != '{PERSON_ID}'")
        kept = export_training_set(flow.store, newest, without_it, "jsonl", folder, overwrite=True)
    installation.forget(PERSON_ID)
    assert {file.name for file in kept.files} == {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("name", ["generation", "documents"])
def test_a_document_that_is_called_like_a_field_is_forgotten_as_any_other(name: str, tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    with installation.opened() as (flow, database):
        installation.application(database).insert([note(name, SHARED, title="text_hash"), note("other", SHARED)])
        flow.run(database)
    assert installation.forget(f"notes:{name}").found == {}
    assert installation.forget("notes:other").found == {}  # what the first has written into a new generation is found
    assert installation.run().cleaned.version == 2


def test_resuming_needs_an_interruption(installation: Installation) -> None:
    with pytest.raises(TerminalError, match="nothing to resume"):
        resume(installation.settings, installation.config)


def test_a_document_that_nobody_knows_is_kept_out(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    receipt = installation.forget(f"notes:{PERSON}")
    assert receipt.found == {}
    assert read_suppressed(installation.settings.feature_store_folder) == {PERSON_ID}
    with installation.opened() as (flow, database):
        installation.application(database).insert([note(PERSON, SHARED), note("other", SHARED)])
        flow.run(database)
        assert set(flow.live()) == {"other"}


def test_an_id_alone_finds_the_document_in_the_warehouse(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    with installation.opened() as (_, database):
        installation.application(database).insert([note(PERSON, SHARED), note("other", SHARED)])
    receipt = installation.forget(PERSON_ID, from_warehouse=True)
    assert receipt.erased["warehouse"] == 1
    with installation.opened() as (_, database):
        assert [document["_id"] for document in database["notes"].find()] == ["other"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [("no document", "names no document"), ("notes:", "names no document"), ("notess:a", "no category")],
)
def test_a_name_that_is_none_is_refused(name: str, problem: str, tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    with pytest.raises(ConfigurationError, match=problem):
        installation.forget(name)
    assert read_suppressed(installation.settings.feature_store_folder) == set()


def test_a_typed_id_is_found_by_its_text(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    with installation.opened() as (flow, database):
        installation.application(database).insert([note(7, "seven"), note("8", "eight")])
        flow.run(database)
    assert set(identify(installation.settings, installation.config, ["notes:7"], from_warehouse=False)) == {
        document_id("notes", "int:7")
    }
    assert set(identify(installation.settings, installation.config, ["notes:8"], from_warehouse=False)) == {
        document_id("notes", "8")
    }


def test_the_receipt_is_kept_and_tells_nothing_of_the_document(installation: Installation) -> None:
    receipt = installation.forget(PERSON_ID)
    (path,) = (installation.settings.data_dir / "receipts").glob("*.json")
    assert Receipt.model_validate_json(path.read_bytes()) == receipt
    assert not any(marker in path.read_bytes() for marker in MARKERS if marker != PERSON_ID.encode())


def test_nothing_begins_while_a_run_is_at_work(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    lock.acquire(installation.settings.data_dir, "a run")
    held = dict(lock._held)
    lock._held.clear()
    try:
        with pytest.raises(LockedError):
            installation.forget(PERSON_ID)
    finally:
        lock._held.update(held)
        lock.release(installation.settings.data_dir)
    assert read_erasure(installation.settings.feature_store_folder) is None


def test_the_lease_of_a_load_that_died_stays_as_its_mark(installation: Installation) -> None:
    with installation.opened() as (flow, _):
        collection = next(name for name in collection_names(flow.client) if name.startswith("fine"))
        metadata = read_metadata(flow.client, collection)
        assert metadata is not None
        loading = metadata.reflects.model_copy(update={"number": 4, "run_id": flow.store.version(4).run_id})
        lease = Lease(holder="another:1", token="t", expires_at=now() - timedelta(hours=1), loading=loading)
        write_metadata(flow.client, collection, metadata.model_copy(update={"lease": lease}))
    receipt = installation.forget(PERSON_ID)
    assert receipt.found == {}
    with installation.opened() as (flow, _):
        metadata = read_metadata(flow.client, collection)
        assert metadata is not None
        assert metadata.lease is not None
        assert metadata.lease.loading == loading
        assert metadata.lease.expires_at <= now()


@pytest.mark.parametrize("mode", ["hash", "log"])
def test_a_plan_has_nothing_to_do_for_it(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = Installation(tmp_path, mode)
    monkeypatch.setattr("pipelines.plan.load_encoder", lambda config: installation.encoder)
    with installation.opened() as (flow, database):
        installation.application(database).insert([note(PERSON, SHARED), note("other", SHARED)])
        flow.run(database)
    installation.forget(PERSON_ID)
    (category,) = make_plan(installation.settings, installation.config).categories
    assert (category.added, category.changed, category.deleted, category.rejected) == (0, 0, 0, 1)
    left = [Path(name) for name in holders(installation.settings.data_dir)]
    assert left
    assert all(path.parent == installation.settings.warehouse_folder for path in left)
    installation.run()
    (category,) = make_plan(installation.settings, installation.config).categories
    assert (category.added, category.changed, category.deleted) == (0, 0, 0)
    assert category.digest == "0" * 32


def command(installation: Installation, monkeypatch: pytest.MonkeyPatch, *options: str, answer: str = "") -> Result:
    """Run `feature-pipeline forget` for the person's note in this process."""
    monkeypatch.setenv("DATA_DIR", str(installation.settings.data_dir))
    parameters = installation.config.model_dump(mode="json", exclude_unset=True)
    config = write_config(installation.settings.data_dir.parent / "notes.yaml", parameters)
    application = typer.Typer()
    application.command("forget")(commands.forget.forget)
    application.callback()(lambda: None)
    return CliRunner().invoke(application, ["forget", PERSON_ID, *options, "-c", str(config)], input=answer)


def test_what_the_search_finds_is_told_with_a_code_of_its_own(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = installation.settings.data_dir / "a copy that somebody made"
    copy.write_text(paragraphs("MARKER6 text", 9))
    done = command(installation, monkeypatch, "--yes", "--json")
    assert done.exit_code == 6, done.output
    receipt = Receipt.model_validate_json(done.stdout)
    assert receipt.found == {"files": 1}
    assert read_erasure(installation.settings.feature_store_folder) is None
    copy.unlink()
    done = command(installation, monkeypatch, answer="y\n")
    assert done.exit_code == 0, done.output
    assert "This cannot be undone" in done.stdout
    assert "found nothing" in done.stdout


def test_a_name_that_nobody_knows_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = command(Installation(tmp_path), monkeypatch, "--yes")
    assert done.exit_code == 0, done.output
    assert f"does not know {PERSON_ID}" in done.stdout
    assert "Nothing of them was there" in done.stdout


def test_without_a_yes_nothing_happens(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    done = command(installation, monkeypatch, answer="n\n")
    assert done.exit_code == 1
    assert read_suppressed(installation.settings.feature_store_folder) == set()
    assert holders(installation.settings.data_dir)
