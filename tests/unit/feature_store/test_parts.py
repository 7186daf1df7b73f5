"""Part files are there whole or not at all, locally and on shared storage; fsspec's memory stands for a bucket."""

import json
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest
from upath import UPath

from feature_store.errors import ConfigurationError, TerminalError, TransientError
from feature_store.files import write_json_atomically
from feature_store.handles import Chunks, Embeddings, RawDocuments
from feature_store.parts import (
    as_folder,
    count_rows,
    first_rows,
    folders_in,
    list_parts,
    part_number,
    probe,
    read_part,
    remove_folder,
    write_part,
)
from feature_store.settings import Settings, load_settings
from steps.preflight.checks import CHECKS
from steps.runtime import remove_other_runs
from tests.flow import Flow, note, notes_config
from tests.stand_in import HashEncoder

MARK = "Geheimnis"


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    if request.param == "local":
        yield tmp_path / "run"
        return
    bucket = f"memory://{uuid4().hex}"
    yield as_folder(f"{bucket}/run")
    remove_folder(as_folder(bucket))


def table(*values):
    return pa.table({"value": list(values), "other": ["x"] * len(values)})


def test_parts_are_written_listed_in_order_counted_and_read(folder):
    for number in (10, 2, 1_000_000, 0):
        write_part(folder, "raw", number, table(*range(number % 7)))
    write_part(folder, "rawer", 0, table(1))
    write_part(folder / "deeper", "raw", 0, table(1))
    parts = list_parts(folder, "raw")
    assert [part_number(part) for part in parts] == [0, 2, 10, 1_000_000]
    assert [read_part(part).num_rows for part in parts] == [0, 2, 3, 1]
    assert count_rows(parts) == 6
    assert read_part(parts[1], ["other"]).to_pydict() == {"other": ["x", "x"]}
    assert first_rows(parts[2], 2, ["value"]).to_pydict() == {"value": [0, 1]}
    assert first_rows(parts[0], 2, ["value"]).num_rows == 0


def test_a_part_is_replaced_whole(folder):
    write_part(folder, "raw", 0, table(1, 2))
    assert read_part(write_part(folder, "raw", 0, table(3))).column("value").to_pylist() == [3]
    assert len(folders_in(folder)) == 1


def test_a_part_that_cannot_be_written_leaves_the_one_before(folder):
    part = write_part(folder, "raw", 0, table(1))
    impossible = pa.table({"value": pa.nulls(1, pa.run_end_encoded(pa.int32(), pa.int8()))})
    with pytest.raises(pa.ArrowNotImplementedError):
        write_part(folder, "raw", 0, impossible)
    assert read_part(part).column("value").to_pylist() == [1]


def test_a_part_that_was_not_finished_is_not_listed(tmp_path):
    whole = write_part(tmp_path, "raw", 0, table(1))
    (tmp_path / "raw-000001.unfinished").write_bytes(whole.read_bytes()[:20])
    assert list_parts(tmp_path, "raw") == [whole]


def test_folders_that_are_not_there_have_no_parts_and_can_be_removed(folder):
    assert (list_parts(folder, "raw"), folders_in(folder)) == ([], [])
    write_part(folder / "one", "raw", 0, table(1))
    write_part(folder / "two", "raw", 0, table(1))
    assert sorted(folders_in(folder), key=str) == [folder / "one", folder / "two"]
    for _ in range(2):
        remove_folder(folder / "one")
        assert folders_in(folder) == [folder / "two"]


def test_a_probe_leaves_nothing_behind(folder):
    probe(folder)
    assert folders_in(folder) == []


def test_a_place_that_cannot_be_written_is_a_problem_that_names_it(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(TerminalError, match=f"cannot be written to, .* {tmp_path}/file/run: ") as caught:
        probe(tmp_path / "file" / "run")
    assert "PARTS_URI" in caught.value.remedy


def test_storage_that_fails_is_named_with_the_part(monkeypatch):
    folder = as_folder("memory://bucket/run")

    def refuse(*_, **__):
        raise ConnectionResetError("by peer")

    monkeypatch.setattr(type(folder.fs), "pipe_file", refuse)
    with pytest.raises(TransientError, match=r"memory://bucket/run/raw-000007\.parquet: ConnectionResetError: by peer"):
        write_part(folder, "raw", 7, table(1))
    with pytest.raises(TerminalError, match=r"memory://bucket/run: .*by peer"):
        probe(folder)


@pytest.mark.parametrize("address", ["/srv/data/runs/1/raw", "s3://bucket/prefix/1/raw", "memory://bucket/1"])
def test_a_handle_stores_its_folder_as_a_path_or_an_address(address):
    handles = [
        RawDocuments(folder=as_folder(address)),
        Chunks(folder=as_folder(address), index="i", collection="c", since=0, version=1),
        Embeddings(
            folder=as_folder(address), index="i", collection="c", since=0, version=1, model="m",
            encoder_fingerprint="f", dimension=1,
        ),
    ]  # fmt: skip
    for handle in handles:
        stored = handle.model_dump_json()
        assert json.loads(stored)["folder"] == address
        again = type(handle).model_validate_json(stored)
        assert again == handle
        assert isinstance(again.folder, Path if address.startswith("/") else UPath)
        assert again.folder / "x" == handle.folder / "x"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense://bucket", "s3://bucket/prefix"),
        (f"s3://key:{MARK}@bucket/prefix", "credentials from the environment"),
        (f"s3://bucket/prefix?secret={MARK}", "credentials from the environment"),
        (f"simplecache::s3://{MARK}/x", "s3://bucket/prefix"),
        ("s3://", "names no bucket"),
        ("dropbox://bucket/prefix", "pip install dropboxdrivefs"),
    ],
    ids=["protocol", "password", "options", "chain", "bucket", "package"],
)
def test_an_address_that_cannot_be_used_is_refused_without_being_shown(monkeypatch, tmp_path, address, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARTS_URI", address)
    with pytest.raises(ConfigurationError, match="PARTS_URI") as caught:
        load_settings()
    assert said in str(caught.value)
    assert MARK not in str(caught.value)


def test_without_the_package_for_s3_the_extra_is_named(monkeypatch):
    monkeypatch.setenv("PARTS_URI", "s3://bucket/prefix")
    monkeypatch.setattr("feature_store.parts.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"s3:// needs the package s3fs: pip install '\.\[s3\]'"):
        load_settings()


def test_every_installation_has_a_folder_of_its_own_on_shared_storage(tmp_path):
    shared = str(tmp_path / "shared")
    one, other = (Settings(data_dir=tmp_path / name, parts_uri=shared, _env_file=None) for name in ("one", "other"))
    again = Settings(data_dir=tmp_path / "one", parts_uri=shared, _env_file=None)
    assert one.runs_folder == again.runs_folder != other.runs_folder
    assert one.runs_folder.parent == other.runs_folder.parent == tmp_path / "shared"
    assert Settings(data_dir=tmp_path / "one", _env_file=None).runs_folder == tmp_path / "one" / "runs"


def test_runs_that_died_are_removed_and_what_is_not_ours_stays(tmp_path):
    shared = as_folder(f"memory://{uuid4().hex}")
    settings = Settings(data_dir=tmp_path, parts_uri=str(shared), _env_file=None)
    write_part(shared / "somebody else's", "raw", 0, table(1))
    for run in ("died", "current"):
        write_part(settings.runs_folder / run / "raw", "raw", 0, table(1))
    write_part(settings.work_folder / "before PARTS_URI was set", "raw", 0, table(1))
    remove_other_runs(settings, settings.runs_folder / "current")
    assert folders_in(settings.runs_folder) == [settings.runs_folder / "current"]
    assert folders_in(settings.work_folder) == []
    assert shared / "somebody else's" in folders_in(shared)


def test_preflight_tries_the_storage_for_parts(tmp_path):
    config = notes_config(executor={"workers": 1})
    assert list(CHECKS["part files"](Settings(data_dir=tmp_path, _env_file=None), config)) == []
    settings = Settings(data_dir=tmp_path, parts_uri="memory://bucket", _env_file=None)
    (finding,) = CHECKS["part files"](settings, config)
    assert finding.detail == str(settings.runs_folder)
    with pytest.raises(ConfigurationError, match="one process only"):
        list(CHECKS["part files"](settings, notes_config()))


def test_a_run_with_parts_on_shared_storage_gives_what_one_with_local_parts_gives(tmp_path):
    documents = [note(f"n{number}", f"# Note {number}\n\n" + "Some words about it. " * 30) for number in range(60)]
    changed = [*documents[5:], note("n0", "Another text."), note("new", "A new one.")]
    results = []
    for name, parts in (("local", None), ("shared", f"memory://{uuid4().hex}")):
        flow = Flow(tmp_path / name, notes_config())
        flow.settings = Settings(data_dir=tmp_path / name, parts_uri=parts, _env_file=None)
        flow.load_encoder = lambda _: HashEncoder()
        for source in (documents, changed):
            run = flow.run(source)
        assert str(run.index.chunks.folder).startswith(parts or "/")
        results.append((flow.texts(), flow.points(run.index.report.collection), run.index.report.points))
        assert (flow.settings.work_folder.exists()) == (parts is None)
    assert results[0] == results[1]


def test_json_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "reports" / "run.json"
    write_json_atomically(path, {"title": "Käse"})
    with pytest.raises(TypeError):
        write_json_atomically(path, {"first": "written", "second": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"title": "Käse"}
    write_json_atomically(path, [])
    assert json.loads(path.read_text(encoding="utf-8")) == []
