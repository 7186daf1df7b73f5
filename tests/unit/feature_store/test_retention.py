"""Pruning: what stays, what goes from the disk, and what a crash or an old index finds afterwards."""

import contextlib
import copy
import multiprocessing
import shutil
from datetime import timedelta
from functools import partial

import lance
import pyarrow as pa
import pytest
from qdrant_client import QdrantClient

from feature_store import lock, retention, tables, versions
from feature_store.dataset import DocumentDataset
from feature_store.errors import LockedError, TerminalError, TransientError
from feature_store.files import write_json_atomically
from feature_store.names import add_tag
from feature_store.references import find_references
from feature_store.retention import (
    lance_tag,
    made_since,
    newest_ones,
    plan_pruning,
    prune,
    prune_store,
    remove_unpublished,
    size_of_tables,
)
from feature_store.settings import Settings
from tests.comparison import differences, read_state
from tests.flow import Flow, ModelCrashedError, note, notes_config
from tests.stand_in import HashEncoder


@pytest.fixture
def flow(tmp_path):
    flow = Flow(tmp_path / "data", notes_config())
    flow.load_encoder = lambda config: HashEncoder()
    return flow


def body(number, name):
    return " ".join(f"{name}{number}word{place}" for place in range(120))


def documents(number, size=6):
    """Return documents of which two change with each number."""
    changed = {number % size, (number + 1) % size}
    return [note(f"{name}", body(number if name in changed else 0, name), topic=number % 2) for name in range(size)]


def commit_versions(flow, count):
    for number in range(1, count + 1):
        flow.commit(documents(number))


def pruned(flow, count, *why):
    plan = plan_pruning(flow.store, newest(flow, count), *why)
    return prune(flow.store, plan)


def newest(flow, count):
    return newest_ones([flow.store.version(number) for number in numbers(flow)], count)


def numbers(flow):
    return versions.version_numbers(flow.store.folder)


def lance_versions(flow):
    return [
        {known["version"] for known in lance.dataset(str(path)).versions()}
        for path in (flow.store.documents_path, flow.store.rejects_path)
    ]


# What stays


def test_the_newest_versions_stay_and_the_others_go(flow):
    commit_versions(flow, 5)
    done = pruned(flow, 2)
    assert (done.removed, [kept.number for kept in done.kept]) == ([1, 2, 3], [4, 5])
    assert numbers(flow) == [4, 5]


def test_every_version_that_is_needed_stays_and_says_why(flow):
    commit_versions(flow, 5)
    done = pruned(flow, 1, {2: ["tag gold", "index i"], 5: ["the newest version"]})
    assert {kept.number: kept.reasons for kept in done.kept} == {2: ["tag gold", "index i"], 5: ["the newest version"]}
    assert numbers(flow) == [2, 5]


def test_the_newest_version_stays_whatever_the_window_says(flow):
    commit_versions(flow, 2)
    plan = plan_pruning(flow.store, {})
    assert (plan.removed, [kept.number for kept in plan.kept]) == ([1], [2])


def test_a_window_of_time_keeps_what_was_made_since(flow):
    commit_versions(flow, 3)
    published = [flow.store.version(number) for number in (1, 2, 3)]
    moment = published[0].created_at
    aged = [published[0].model_copy(update={"created_at": moment - timedelta(days=2)}), *published[1:]]
    assert list(made_since(aged, moment - timedelta(days=1))) == [2, 3]
    assert list(made_since(aged, aged[0].created_at)) == [1, 2, 3]


def test_an_empty_store_has_nothing_to_prune(flow):
    done = prune(flow.store, plan_pruning(flow.store))
    assert (done.removed, done.kept, done.bytes_before, done.bytes_after) == ([], [], 0, 0)


# What goes


def test_the_versions_that_stay_read_as_before_and_the_others_are_unknown(flow):
    commit_versions(flow, 6)
    before = {number: flow.rows(version=number) for number in (3, 6)}
    pruned(flow, 1, {3: ["tag gold"]})
    assert {number: flow.rows(version=number) for number in (3, 6)} == before
    with pytest.raises(TerminalError, match="There is no version 4"):
        flow.store.version(4)


def test_the_disk_gets_back_what_only_pruned_versions_needed(flow):
    commit_versions(flow, 12)
    before = size_of_tables(flow.store)
    done = pruned(flow, 1)
    assert (done.bytes_before, done.bytes_after) == (before, size_of_tables(flow.store))
    assert done.bytes_after < before / 2
    assert [len(each) for each in lance_versions(flow)] == [1, 1]


def test_the_files_that_a_dead_run_left_go_too(flow):
    commit_versions(flow, 2)
    stray = flow.store.documents_path / "data" / "0101010101010101010101010101010101.lance"
    shutil.copy(next((flow.store.documents_path / "data").glob("*.lance")), stray)
    pruned(flow, 2)
    assert not stray.exists()


def test_the_profiles_of_pruned_versions_go_with_them(flow):
    commit_versions(flow, 3)
    for number in (1, 2, 3):
        write_json_atomically(flow.store.folder / "profiles" / f"{number}.json", {})
    pruned(flow, 1)
    assert [path.name for path in (flow.store.folder / "profiles").iterdir()] == ["3.json"]


def test_the_next_commit_goes_on_from_the_newest_number(flow):
    commit_versions(flow, 4)
    pruned(flow, 1)
    _, cleaned = flow.commit(documents(5))
    assert (cleaned.version, cleaned.previous_version, numbers(flow)) == (5, 4, [4, 5])
    assert set(flow.texts().values()) == {each["body"] for each in documents(5)}


def test_published_versions_are_tagged_and_the_records_of_tagged_ones_are_not_read(flow, monkeypatch):
    commit_versions(flow, 5)
    tags = set(lance.dataset(str(flow.store.documents_path)).tags.list())
    assert tags == {lance_tag(number) for number in range(1, 6)}
    read, original = [], versions.read_version
    monkeypatch.setattr(versions, "read_version", lambda *given: read.append(given[1]) or original(*given))
    remove_unpublished(flow.store)
    assert set(read) == {5}


def test_a_tag_that_is_missing_is_made_from_the_record(flow):
    commit_versions(flow, 3)
    before = flow.rows(version=2)
    lance.dataset(str(flow.store.documents_path)).tags.delete("v2")
    remove_unpublished(flow.store)
    assert flow.rows(version=2) == before
    assert lance.dataset(str(flow.store.documents_path)).tags.list()["v2"]["version"] == (
        flow.store.version(2).documents_version
    )


def test_a_version_in_tables_of_another_generation_is_left_to_those(flow):
    commit_versions(flow, 3)
    other = flow.store.version(2).model_copy(update={"generation": 7, "documents_version": 999})
    (flow.store.folder / "versions" / "00000002.json").write_text(other.model_dump_json())
    lance.dataset(str(flow.store.documents_path)).tags.delete("v2")
    remove_unpublished(flow.store)
    assert set(lance.dataset(str(flow.store.documents_path)).tags.list()) == {"v1", "v3"}


# Reading meanwhile


def test_a_reader_of_a_version_that_stays_is_not_disturbed(flow):
    flow.commit(documents(1, size=1500))
    flow.commit(documents(2, size=1500))
    flow.commit(documents(3, size=1500))
    expected = sorted(flow.texts(2).values())
    batches = DocumentDataset(flow.store, flow.store.version(2)).batches(["text"], batch_size=100)
    read = next(batches).column("text").to_pylist()
    pruned(flow, 1, {2: ["tag gold"]})
    flow.commit(documents(4, size=1500))
    read += [text for batch in batches for text in batch.column("text").to_pylist()]
    assert sorted(read) == expected


# Crashes

STEPS = [
    "feature_store.retention.remove_versions",
    "feature_store.retention.tables.tag_versions",
    "feature_store.retention.tables.forget_old_versions",
    "feature_store.retention.versions.os.fsync",
    "feature_store.retention.Path.unlink",
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("occurrence", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize("step", STEPS, ids=[step.rsplit(".", 1)[1] for step in STEPS])
def test_a_store_works_whatever_step_of_pruning_its_process_died_at(flow, monkeypatch, step, occurrence, after):
    commit_versions(flow, 6)
    kept = {number: flow.rows(version=number) for number in (2, 5, 6)}
    with monkeypatch.context() as patch:
        die_at(patch, step, occurrence, after)
        with contextlib.suppress(ModelCrashedError):
            pruned(flow, 2, {2: ["tag gold"]})
    assert {number: flow.rows(version=number) for number in kept} == kept
    for number in numbers(flow):
        assert len(flow.rows(version=number)) == 6
    flow.commit(documents(7))
    assert set(flow.texts().values()) == {each["body"] for each in documents(7)}
    again = pruned(flow, 1, {2: ["tag gold"]})
    assert numbers(flow) == [2, 7]
    assert [len(each) for each in lance_versions(flow)] == [2, 1]
    assert flow.rows(version=2) == kept[2]
    assert again.bytes_after == size_of_tables(flow.store)


def die_at(patch, step, occurrence, after):
    """Let the process die before or after a call of a function; ``occurrence`` says which call, from 0."""
    owner_name, attribute = step.rsplit(".", 1)
    owner = retention
    for part in owner_name.split(".")[2:]:
        owner = getattr(owner, part) if hasattr(owner, part) else vars(retention)[part]
    original, calls = getattr(owner, attribute), []

    def dying(*arguments, **options):
        calls.append(arguments)
        if len(calls) == occurrence + 1 and not after:
            raise ModelCrashedError
        result = original(*arguments, **options)
        if len(calls) == occurrence + 1:
            raise ModelCrashedError
        return result

    patch.setattr(owner, attribute, dying)


# Indexes


def prune_of(flow, count):
    plan = plan_pruning(
        flow.store,
        newest(flow, count),
        {
            number: [reference.why for reference in some]
            for number, some in find_references(flow.store.folder, flow.settings.indexes_folder, flow.client).items()
        },
    )
    return prune(flow.store, plan)


@pytest.mark.parametrize("knows", ["record and collection", "collection alone", "record alone"])
def test_pruning_never_makes_an_index_be_rebuilt(flow, tmp_path, knows):
    flow.run(documents(1))
    flow.run(documents(2))
    (index,) = flow.config.indexes
    for number in (3, 4, 5, 6):
        _, cleaned = flow.commit(documents(number))
    if knows == "collection alone":
        shutil.rmtree(flow.settings.indexes_folder)
    elif knows == "record alone":
        flow.client = QdrantClient(":memory:")
    done = prune_of(flow, 1)
    assert (done.removed, [kept.number for kept in done.kept]) == ([1, 3, 4, 5], [2, 6])
    brought = flow.bring(cleaned, index)
    if knows == "record and collection":
        assert (brought.report.version_before, brought.chunks.record is not None) == (2, True)
        assert brought.report.written < brought.report.points
    fresh = Flow(tmp_path / "fresh", flow.config)
    fresh.load_encoder = flow.load_encoder
    fresh.run(documents(6))
    assert differences(read_state(flow), read_state(fresh)) == []


def test_an_index_catches_up_after_pruning_exactly_as_without(flow, tmp_path):
    flow.run(documents(1))
    (index,) = flow.config.indexes
    for number in (2, 3, 4):
        _, cleaned = flow.commit(documents(number))
    shutil.copytree(flow.settings.data_dir, tmp_path / "copy")
    same = Flow(tmp_path / "copy", flow.config, copy.deepcopy(flow.client))
    same.load_encoder = flow.load_encoder
    prune_of(flow, 1)
    counts = [
        each.bring(cleaned_of(each, cleaned), index).report.model_dump(exclude={"seconds"}) for each in (flow, same)
    ]
    assert counts[0] == counts[1]
    assert counts[0]["version_before"] == 1
    collection = counts[0]["collection"]
    assert points_of(flow, collection) == points_of(same, collection)


def cleaned_of(flow, cleaned):
    return cleaned.model_copy(update={"folder": flow.store.folder})


def points_of(flow, collection):
    return {name: (payload, repr(vectors)) for name, (payload, vectors) in flow.points(collection).items()}


# The whole of it


@pytest.fixture
def installation(settings: Settings):
    """Three versions beside an empty embedded Qdrant."""
    flow = Flow(settings.data_dir, notes_config())
    commit_versions(flow, 3)
    return flow


def test_pruning_a_store_takes_the_lock_and_gives_it_back(installation, monkeypatch):
    held = []
    original = retention.prune
    monkeypatch.setattr(
        retention, "prune", lambda *given: held.append(installation.settings.data_dir in lock._held) or original(*given)
    )
    done = prune_store(installation.settings, partial(newest_ones, count=1))
    assert (held, done.removed) == ([True], [1, 2])
    assert installation.settings.data_dir not in lock._held


def _hold(data_dir, taken, done):
    lock.acquire(data_dir, "a run")
    taken.set()
    done.wait(60)


def test_a_store_is_not_pruned_while_a_run_is_at_work(installation):
    context = multiprocessing.get_context("spawn")
    taken, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(installation.settings.data_dir, taken, done))
    process.start()
    try:
        assert taken.wait(60)
        with pytest.raises(LockedError, match="Another run is working"):
            prune_store(installation.settings, partial(newest_ones, count=1))
    finally:
        done.set()
        process.join()
    assert numbers(installation) == [1, 2, 3]


def test_nothing_is_pruned_where_qdrant_does_not_answer(installation):
    unreachable = Settings(data_dir=installation.settings.data_dir, qdrant_url="http://127.0.0.1:9", _env_file=None)
    with pytest.raises(TransientError, match="does not answer"):
        prune_store(unreachable, partial(newest_ones, count=1))
    assert numbers(installation) == [1, 2, 3]


def test_a_tag_keeps_its_version_through_the_whole_of_it(installation):
    add_tag(installation.store.folder, installation.store.version(1), "gold")
    done = prune_store(installation.settings, partial(newest_ones, count=1))
    assert {kept.number: kept.reasons for kept in done.kept} == {
        1: ["tag gold"],
        3: ["the newest version"],
    }


# Upkeep of the tables


def table_of(path, rows):
    lance.write_dataset(pa.table({"key": [f"{number:06d}" for number in range(rows)], "value": [0] * rows}), str(path))
    tables.ensure_indexed(path, ["key"])
    return path


def change(path, keys, value):
    rows = pa.table({"key": [f"{key:06d}" for key in keys], "value": [value] * len(keys)})
    tables.upsert(lance.dataset(str(path)), "key", rows)
    tables.maintain(lance.dataset(str(path)))


def values(path):
    table = lance.dataset(str(path)).to_table()
    return dict(zip(table.column("key").to_pylist(), table.column("value").to_pylist(), strict=True))


def test_many_small_changes_leave_few_fragments_and_the_right_rows(tmp_path):
    path = table_of(tmp_path / "t.lance", 3000)
    for number in range(1, 80):
        change(path, [number, number + 1], number)
    fragments = lance.dataset(str(path)).get_fragments()
    assert len(fragments) < 30
    expected = {f"{key:06d}": 0 for key in range(3000)}
    for number in range(1, 80):
        expected |= {f"{number:06d}": number, f"{number + 1:06d}": number}
    assert values(path) == expected


def test_a_small_change_rewrites_little_of_a_large_table(tmp_path):
    path = table_of(tmp_path / "t.lance", 50_000)
    tables.maintain(lance.dataset(str(path)))
    rewritten = []
    for number in range(1, 40):
        before = {fragment.fragment_id for fragment in lance.dataset(str(path)).get_fragments()}
        change(path, range(number * 200, number * 200 + 200), number)
        after = lance.dataset(str(path)).get_fragments()
        rewritten.append(sum(each.physical_rows for each in after if each.fragment_id not in before))
    assert max(rewritten) <= 200 + 4 * 512
    assert sum(rewritten) < 39 * 200 * 5


def test_rows_that_are_dead_are_left_behind_once_they_are_as_many_as_the_live_ones(tmp_path):
    path = table_of(tmp_path / "t.lance", 4000)
    for number in range(1, 10):
        change(path, range(0, 4000, 4), number)
        fragments = lance.dataset(str(path)).get_fragments()
        assert sum(fragment.num_deletions for fragment in fragments) <= 4000
    change(path, range(4000), 99)
    assert set(values(path).values()) == {99}


def test_indexes_cover_all_but_a_few_rows_and_stay_in_few_parts(tmp_path):
    path = table_of(tmp_path / "t.lance", 20_000)
    for number in range(1, 25):
        change(path, range(number * 700, number * 700 + 1100), number)
        statistics = lance.dataset(str(path)).stats.index_stats("key_idx")
        assert statistics["num_unindexed_rows"] <= 1000
        assert statistics["num_indices"] <= 17
    found = list(tables.look_up(lance.dataset(str(path)), "key", ["000700", "017000", "019999"], ["key", "value"]))
    assert {row["key"]: row["value"] for row in found} == {"000700": 1, "017000": 24, "019999": 0}


def test_a_first_load_of_many_parts_is_merged_at_once(tmp_path):
    path = tmp_path / "t.lance"
    tables.create(
        path, pa.schema([pa.field("key", pa.string(), nullable=False), pa.field("value", pa.int64())]), ["key"]
    )
    for start in range(0, 20_000, 200):
        keys = [f"{number:06d}" for number in range(start, start + 200)]
        tables.upsert(lance.dataset(str(path)), "key", pa.table({"key": keys, "value": [0] * 200}))
    tables.maintain(lance.dataset(str(path)))
    assert len(lance.dataset(str(path)).get_fragments()) <= 40
    assert len(values(path)) == 20_000
