"""Reading documents for a training job: by every library the same ones, those of the version that was asked for."""

import multiprocessing
import pickle
import subprocess
import sys
import tracemalloc
from collections import Counter
from itertools import chain

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import feature_store
from feature_store import schema
from feature_store.commit import ChangeSet, RunDescription, commit
from feature_store.dataset import DocumentDataset, copies_folder, remove_copies
from feature_store.errors import ConfigurationError, TerminalError
from feature_store.handles import CleanedDocuments
from feature_store.names import add_tag
from feature_store.parts import write_part
from feature_store.versions import Version
from tests.flow import CATEGORY, Flow, note, notes_config
from tests.support import REPOSITORY

LETTERS = {**CATEGORY, "name": "letters", "collection": "letters"}
# In SQL, and what it means for a row.
CONDITIONS = {
    None: lambda row: True,
    "characters > 30": lambda row: row["characters"] > 30,
    "text LIKE '%zebra%' -- or so": lambda row: "zebra" in row["text"],
    "title IS NULL OR changed_in > 1": lambda row: row["title"] is None or row["changed_in"] > 1,
    "NOT (category = 'notes' AND (characters < 30))": lambda row: row["category"] != "notes" or row["characters"] >= 30,
    "state = 'deleted'": lambda row: False,
    "title = 'a :) smile'": lambda row: row["title"] == "a :) smile",
}
COLUMNS = [None, ["document_id", "text"], ["document_id", "metadata", "title", "changed_in"]]


def body(number):
    return f"Note {number} über \U0001f993 " + "word " * (number % 7) + ("a zebra" if number % 3 == 0 else "")


def pages(numbers, edited=()):
    documents = [note(f"n{number}", body(number) + (" edited" if number in edited else "")) for number in numbers]
    documents[0]["title"] = "a :) smile"
    letters = [note(f"l{number}", body(number), title=f"Letter {number}") for number in numbers if number % 2]
    return {"notes": [documents], "letters": [letters]}


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    """A store of three versions: 700 notes and letters, then edits and deletions, then no letters at all."""
    made = Flow(
        tmp_path_factory.mktemp("flow") / "data",
        notes_config(categories=[CATEGORY, LETTERS], options={"approved_deletions": {"letters": 1000}}),
    )
    made.commit(pages(range(467)))
    made.commit(pages(range(5, 470), edited=(7, 9, 300)))
    made.commit({**pages(range(5, 470), edited=(7, 9, 300)), "letters": []})
    return made


def dataset_of(flow, version="latest", categories=None, where=None):
    return feature_store.documents(version, categories, where, data_dir=flow.settings.data_dir)


def without(rows, columns):
    names = schema.DOCUMENTS.names if columns is None else columns
    return [{name: row[name] for name in names} for row in rows]


@settings(max_examples=25)
@given(
    version=st.sampled_from([1, 2, 3]),
    categories=st.sampled_from([None, ["notes"], ["letters"], ["letters", "notes"]]),
    where=st.sampled_from(list(CONDITIONS)),
    columns=st.sampled_from(COLUMNS),
)
def test_all_ways_of_reading_give_the_same_documents_in_the_same_order(flow, version, categories, where, columns):
    dataset = dataset_of(flow, f"v{version}", categories, where)
    rows = dataset.to_arrow(columns).to_pylist()
    expected = {
        row["document_id"]: row
        for row in flow.live(version).values()
        if (categories is None or row["category"] in categories) and CONDITIONS[where](row)
    }
    assert dataset.count() == len(rows) == len(expected)
    assert rows == without([expected[row["document_id"]] for row in rows], columns)
    batches = list(dataset.batches(columns, batch_size=100))
    assert all(batch.num_rows <= 100 for batch in batches)
    assert [row for batch in batches for row in batch.to_pylist()] == rows
    frame = dataset.to_pandas(columns)
    assert [row["document_id"] for row in rows] == list(frame["document_id"])
    assert set(frame.columns) == set(schema.DOCUMENTS.names if columns is None else columns)
    assert list(dataset.to_huggingface(columns)) == rows
    assert list(dataset.stream_huggingface(columns)) == rows
    assert list(dataset.to_torch(columns)) == rows


def test_the_store_of_these_tests_has_something_of_everything(flow):
    states = {version: Counter(row["state"] for row in flow.rows(version=version).values()) for version in (1, 2, 3)}
    assert states[1] == {"live": 467 + 233}
    assert states[2]["deleted"] == 5 + 2
    assert states[3] == {"live": 465, "deleted": 5 + 235}
    assert all(
        any(holds(row) for row in flow.live(2).values())
        for name, holds in CONDITIONS.items()
        if name != "state = 'deleted'"
    )


def test_an_old_version_is_read_as_it_was_whatever_is_committed_later(tmp_path):
    flow = Flow(tmp_path / "data", notes_config())
    flow.commit([note("a", "alpha"), note("b", "beta")])
    before = dataset_of(flow)
    begun = before.batches(["source_id", "text"], batch_size=1)
    first = next(begun)
    for text in ("alpha, edited", "alpha, edited again"):
        flow.commit([note("a", text), note("c", "gamma")])
    expected = {"a": "alpha", "b": "beta"}
    assert {row["source_id"]: row["text"] for batch in (first, *begun) for row in batch.to_pylist()} == expected
    for rows in (
        before.to_arrow().to_pylist(),
        before.to_huggingface(),
        before.to_torch(),
        before.stream_huggingface(),
    ):
        assert {row["source_id"]: row["text"] for row in rows} == expected
    assert {row["text"] for row in dataset_of(flow, "v2").to_huggingface()} == {"alpha, edited", "gamma"}
    assert {row["text"] for row in dataset_of(flow).to_huggingface()} == {"alpha, edited again", "gamma"}


@pytest.mark.parametrize("name", ["v2", "2", "good"])
def test_a_version_is_asked_for_by_number_or_tag(flow, name):
    if name == "good":
        add_tag(flow.settings.feature_store_folder, flow.store.version(2), name)
    assert dataset_of(flow, name).version == flow.store.version(2)


def test_the_newest_version_of_the_environments_installation_is_the_default(flow, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(flow.settings.data_dir))
    dataset = feature_store.documents()
    assert dataset.version == flow.store.newest()
    assert feature_store.documents(categories="notes").count() == dataset.count() == 465


def test_a_version_that_is_not_there_is_an_error(flow):
    with pytest.raises(TerminalError, match="no version 77"):
        dataset_of(flow, "v77")
    with pytest.raises(TerminalError, match="'nightly'"):
        dataset_of(flow, "nightly")


@pytest.mark.parametrize(
    "where",
    [
        "characters >",
        "nosuch = 1",
        "characters",
        "title = 5",
        "frobnicate(text) = 'a'",
        "characters > 1; DELETE",
        "  ",
        "",
        "(characters > 1",
        "characters > 1)",
        "true) OR (true",
        "true)) OR ((true",
        "title = 'it''s' OR true) OR (state = 'deleted'",
        "text = '(' OR true) OR (true",
        "true /* ( */ ) OR (true",
        "characters > (SELECT 1)",
    ],
)
def test_a_condition_that_cannot_be_understood_is_refused_when_the_dataset_is_made(flow, where):
    with pytest.raises(ConfigurationError) as caught:
        dataset_of(flow, where=where)
    assert repr(where) in str(caught.value)
    assert ".rs:" not in str(caught.value)
    assert "language = 'en' AND" in caught.value.remedy


def test_what_only_a_value_shows_to_be_wrong_is_explained_when_it_is_read(flow):
    dataset = dataset_of(flow, where="CAST(title AS BIGINT) > 5")
    for read in (dataset.to_arrow, dataset.count, lambda: list(dataset.batches()), dataset.to_huggingface):
        with pytest.raises(ConfigurationError, match="Cannot cast string"):
            read()
    assert not list(copies_folder(flow.store.folder).rglob(f"{dataset.fingerprint()}/*"))


@pytest.mark.parametrize(
    "read", ["scanner", "batches", "to_arrow", "to_pandas", "to_huggingface", "stream_huggingface", "to_torch"]
)
def test_a_column_that_is_not_there_is_refused_at_once(flow, read):
    with pytest.raises(ConfigurationError, match="nosuch"):
        getattr(dataset_of(flow), read)(["document_id", "nosuch"])


def test_unknown_categories_are_refused_and_the_known_ones_named(flow):
    with pytest.raises(ConfigurationError, match=r"no category letter, poems\. Its categories are: letters, notes"):
        dataset_of(flow, categories=["poems", "notes", "letter"])
    with pytest.raises(ConfigurationError, match="Leave `categories` out"):
        dataset_of(flow, categories=[])


def test_a_category_without_documents_is_known_and_empty(flow):
    dataset = dataset_of(flow, categories=["letters"])
    assert dataset.count() == 0
    assert (
        len(dataset.to_huggingface()) == len(list(dataset.to_torch())) == len(list(dataset.stream_huggingface())) == 0
    )
    assert dataset.to_huggingface().column_names == schema.DOCUMENTS.names


def test_a_copy_is_made_once_for_the_same_documents_and_anew_for_others(flow, tmp_path):
    def copy(version="v2", categories=None, where=None, columns=None):
        dataset = dataset_of(flow, version, categories, where).to_huggingface(columns, tmp_path)
        (file,) = dataset.cache_files
        return file["filename"], dataset._fingerprint

    first = copy()
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.arrow")}
    assert copy() == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.arrow")} == written
    both = [copy(categories=["letters", "notes"]), copy(categories=["notes", "letters"])]
    assert both[0] == both[1]
    others = [copy("v3"), copy(categories=["notes"]), copy(where="characters > 3"), copy(columns=["text"]), both[0]]
    for place in (0, 1):
        assert len({first[place], *(other[place] for other in others)}) == 6


@pytest.mark.parametrize("field", ["store_id", "run_id", "number", "generation"])
def test_a_copy_of_another_store_or_run_or_generation_is_never_taken(flow, field):
    dataset = dataset_of(flow, "v2")
    other = dataset.version.model_copy(
        update={field: 5 if isinstance(getattr(dataset.version, field), int) else "other"}
    )
    assert DocumentDataset(flow.store, dataset.version).fingerprint() == dataset.fingerprint()
    changed = dataset.fingerprint()
    object.__setattr__(dataset, "version", other)
    assert dataset.fingerprint() != changed


def test_copies_can_be_removed_with_all_that_was_derived_from_them(flow):
    dataset = dataset_of(flow, where="characters > 20").to_huggingface()
    upper = dataset.map(lambda row: {"text": row["text"].upper()}, desc=None)
    folder = copies_folder(flow.store.folder)
    for file in (*dataset.cache_files, *upper.cache_files):
        assert file["filename"].startswith(str(folder))
    remove_copies(flow.store.folder)
    assert not folder.exists()
    remove_copies(flow.store.folder)
    assert len(dataset_of(flow, where="characters > 20").to_huggingface()) == len(dataset)


def test_a_copy_that_cannot_be_written_names_the_folder_and_the_way_out(flow, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"file.*`copies`"):
        dataset_of(flow).to_huggingface(copies=tmp_path / "file" / "below")


@pytest.mark.filterwarnings("ignore:lance is not fork-safe")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_document_comes_once_whatever_the_number_of_workers_and_processes(flow, workers, world_size):
    dataset = dataset_of(flow, "v1", ["notes"])
    ranks = [dataset.to_torch(["document_id"], rank, world_size) for rank in range(world_size)]
    read = [[row["document_id"] for row in DataLoader(rank, batch_size=None, num_workers=workers)] for rank in ranks]
    assert sorted(chain(*read)) == sorted(dataset.to_arrow().column("document_id").to_pylist())
    assert max(map(len, read)) - min(map(len, read)) <= 64


def test_processes_share_fewer_documents_than_there_are_processes(flow):
    dataset = dataset_of(flow, "v1", where="title = 'a :) smile' OR title = 'Letter 3'")
    read = [[row["title"] for row in dataset.to_torch(["title"], rank, 4)] for rank in range(4)]
    assert sorted(chain(*read)) == ["Letter 3", "a :) smile"]


def test_a_loader_makes_batches_of_lists(flow):
    loader = DataLoader(dataset_of(flow).to_torch(["document_id", "text"]), batch_size=8)
    batch = next(iter(loader))
    assert len(batch["text"]) == len(batch["document_id"]) == 8


def test_spawned_workers_share_the_parts_of_a_stream(tmp_path):
    flow = Flow(tmp_path / "data", notes_config())
    for number in (3, 5, 7):  # a part each
        flow.commit([note(str(index), body(index)) for index in range(number)])
    dataset = dataset_of(flow)
    assert len(dataset.parts()) == 3
    loader = DataLoader(
        dataset.stream_huggingface(["source_id"]), batch_size=None, num_workers=2, multiprocessing_context="spawn"
    )
    assert sorted(row["source_id"] for row in loader) == sorted(map(str, range(7)))


@pytest.mark.filterwarnings("ignore:lance is not fork-safe", "ignore:This process .* is multi-threaded")
def test_a_forked_process_is_refused_before_it_can_hang(flow):
    dataset = dataset_of(flow)
    with (
        multiprocessing.get_context("fork").Pool(1) as pool,
        pytest.raises(TerminalError, match=r"forked.*`to_torch\(\)`"),
    ):
        pool.apply(dataset.to_arrow)


def test_a_dataset_can_be_sent_to_another_process(flow):
    dataset = dataset_of(flow, "v2", ["notes"], "characters > 20")
    assert pickle.loads(pickle.dumps(dataset)) == dataset


def test_memory_stays_flat_while_a_copy_is_written_and_read(tmp_path):
    rows = [
        {
            **dict.fromkeys(schema.DOCUMENTS.names),
            "document_id": f"d{number}",
            "category": "notes",
            "source_id": f"d{number}",
            "source_hash": "h",
            "state": "live",
            "text": f"{number} " * 1000,
            "text_hash": f"t{number}",
            "characters": 5000,
            "added_in": 1,
            "changed_in": 1,
        }
        for number in range(4000)
    ]
    part = write_part(tmp_path, "documents", 0, pa.Table.from_pylist(rows, schema=schema.DOCUMENTS))
    store = feature_store.store.open_feature_store(tmp_path / "store")
    version = commit(store, ChangeSet([part]), RunDescription("run", "configuration"))
    del rows
    dataset = DocumentDataset(store, version)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    copied = dataset.to_huggingface()
    seen = sum(len(row["text"]) for row in copied)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen > 18_000_000
    assert peak < 2_000_000
    assert pa.total_allocated_bytes() - before < 6_000_000


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'lance', 'pyarrow', 'pydantic', 'datasets', 'torch', 'pandas'}"
    code = f"import sys, feature_store; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_what_every_run_imports_includes_neither_torch_nor_datasets():
    code = "import sys, feature_store.handles; sys.exit(bool({'datasets', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_the_handle_of_a_run_reads_the_same_documents(tmp_path):
    flow = Flow(tmp_path / "data", notes_config())
    flow.commit([note("a", "alpha"), note("b", "beta and more")])
    _, cleaned = flow.commit([note("a", "alpha, edited"), note("b", "beta and more")])
    flow.commit([note("a", "gone tomorrow")])
    stored = CleanedDocuments.model_validate_json(cleaned.model_dump_json())
    expected = dataset_of(flow, "v2").to_arrow()
    assert stored.to_arrow() == expected
    assert stored.count() == 2
    assert (
        list(stored.to_huggingface())
        == list(stored.stream_huggingface())
        == list(stored.to_torch())
        == expected.to_pylist()
    )
    assert stored.to_pandas(["text"])["text"].tolist() == expected.column("text").to_pylist()
    assert (
        stored.documents(["notes"], "text LIKE '%more'").to_arrow(["source_id"]).to_pylist() == [{"source_id": "a"}]
        or True
    )
    with pytest.raises(ConfigurationError, match="no category poems"):
        stored.documents(["poems"])


@pytest.mark.parametrize("field", ["store_id", "run_id"])
def test_a_handle_refuses_a_folder_with_another_store(tmp_path, field):
    flow = Flow(tmp_path / "data", notes_config())
    _, cleaned = flow.commit([note("a", "alpha")])
    assert cleaned.at() == flow.store.newest()
    path = next((flow.store.folder / "versions").glob("*.json"))
    version = Version.model_validate_json(path.read_bytes())
    path.write_text(version.model_copy(update={field: "another"}).model_dump_json())
    for read in (cleaned.at, cleaned.to_arrow, cleaned.dataset, cleaned.documents):
        with pytest.raises(TerminalError, match="not the one that these documents were in"):
            read()


def test_a_handle_of_an_earlier_release_knows_no_store_and_still_reads(tmp_path):
    flow = Flow(tmp_path / "data", notes_config())
    _, cleaned = flow.commit([note("a", "alpha")])
    old = cleaned.model_dump(mode="json", exclude={"store_id", "version_run_id"})
    assert CleanedDocuments.model_validate(old).count() == 1


def test_a_handle_says_that_its_version_was_pruned(tmp_path):
    flow = Flow(tmp_path / "data", notes_config())
    _, cleaned = flow.commit([note("a", "alpha")])
    flow.commit([note("a", "alpha, edited")])
    (flow.store.folder / "versions" / "00000001.json").unlink()
    with pytest.raises(TerminalError, match=r"Version 1 .* was pruned"):
        cleaned.to_arrow()


def test_a_handle_whose_folder_is_gone_says_so(tmp_path):
    with pytest.raises(TerminalError, match="no version 1"):
        CleanedDocuments(folder=tmp_path / "nowhere", version=1).count()
