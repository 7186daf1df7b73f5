"""The embedded Qdrant that loads its collections late: it answers as the plain one does, whatever it is asked."""

import gc
import shutil
import sqlite3
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import models
from qdrant_client.local.local_collection import LocalCollection
from qdrant_client.local.persistence import CollectionPersistence

from feature_store import local_collection, local_qdrant
from feature_store.local_collection import LazyCollection
from feature_store.local_qdrant import open_local_qdrant
from steps.load.local_storage import flushed_once
from tests.two_qdrants import (
    ABSENT,
    IDS,
    C,
    aliased,
    answer,
    create,
    delete,
    filtered,
    make,
    open_plain,
    overwrite,
    overwritten,
    point,
    retrieve,
    rows,
    scroll,
    told,
    upsert,
)

PAYLOADS = [True, False, ["number", "of.id"], models.PayloadSelectorExclude(exclude=["text"])]
some_ids = st.lists(st.sampled_from([*IDS, ABSENT, IDS[0].upper()]), max_size=5)
contents = (st.sampled_from(PAYLOADS), st.sampled_from([True, False, ["dense"], ["bm25"]]))
LIGHT = [
    lambda client: client.count(C),
    lambda client: client.count("alias", exact=True),
    lambda client: client.get_collection(C),
    lambda client: client.get_collections(),
    lambda client: client.get_aliases(),
    lambda client: client.collection_exists("alias"),
    lambda client: client.update_collection(C, metadata={"version": 2, "encoder": {"model": None}}),
    lambda client: client.update_collection_aliases([aliased("more", C)]),
    lambda client: client.delete_collection("other"),
    lambda client: client.create_payload_index(C, "text", models.TextIndexParams(type="text", scoring=True)),
    retrieve(IDS[:3], True, True),
    retrieve([ABSENT, IDS[1], IDS[1]], ["number"], ["bm25"]),
    retrieve([IDS[1], ABSENT, IDS[0].upper(), IDS[1]], False, False),
    retrieve(IDS[:3], False, True),
    scroll(3, None, True, True),
    scroll(3, None, False, True),
    scroll(2, IDS[1], False, False),
    scroll(2, IDS[1].upper(), ["number"], False),
    scroll(9, 7, False, False),  # a number comes before every other id
    scroll(3, None, "text", False),
]
WRITES = [
    upsert([0, 5, 30]),
    upsert([1, 2, 3]),  # one point, three times
    delete([IDS[0], ABSENT]),
    delete(models.PointIdsList(points=[IDS[1].upper(), IDS[2]])),
    delete([]),
    overwrite(([IDS[0]], {"number": 77, "of": {"id": [7]}}), ([IDS[1], IDS[0]], {"new": [1.5, None]})),
    overwrite(([IDS[0], ABSENT, IDS[1]], {"number": 78}), ([IDS[2]], {"never": "reached"})),
]
HEAVY = [
    lambda client: client.count(C, count_filter=filtered(2)),
    lambda client: client.scroll(C, filtered(1), offset=IDS[0]),
    lambda client: client.query_points(C, query=[0.1, 0.2, 0.3], using="dense", limit=8).points,
    lambda client: client.query_points(
        "alias", query=models.SparseVector(indices=[1, 2, 50], values=[1, 1, 1]), using="bm25"
    ).points,
    lambda client: client.query_points_groups(C, "even", query=[1, 0, 0], using="dense", group_size=8).groups,
    lambda client: client.facet(C, "number"),
    lambda client: client.scroll(C, order_by="number"),
    lambda client: client.delete(C, filtered(3)),
    lambda client: client.overwrite_payload(C, {"new": 1}, filtered(4)),
    lambda client: client.batch_update_points(
        C, [overwritten([IDS[0]], {"new": 2}), models.DeleteOperation(delete=models.PointIdsList(points=[IDS[1]]))]
    ),
    upsert([1, 8, 31], update_mode=models.UpdateMode.INSERT_ONLY),
    upsert([2, 9], update_filter=filtered(0)),
]  # fmt: skip
operations = st.one_of(
    st.sampled_from(LIGHT),
    st.sampled_from(HEAVY),
    st.sampled_from(WRITES),
    st.builds(retrieve, some_ids, *contents),
    st.builds(scroll, st.integers(1, 5), st.sampled_from([None, 0, ABSENT, *IDS]), *contents),
    st.builds(delete, some_ids),
    st.builds(upsert, st.lists(st.integers(0, 31), min_size=1, max_size=6)),
    st.builds(overwrite, st.tuples(some_ids.filter(bool), st.fixed_dictionaries({"number": st.integers(0, 3)}))),
    st.none(),  # close and open again
)


def kind_of(client, collection=C):
    return type(client._client.collections[collection])


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "qdrant"
    make(place)
    with closing(open_plain(place)) as client:
        upsert([0, 5, 10, 15, 16])(client)
    return place


@pytest.fixture
def lazy(folder):
    with closing(open_local_qdrant(folder)) as client:
        yield client


@settings(max_examples=120, deadline=None)
@given(numbers=st.lists(st.integers(0, 31), max_size=10), sequence=st.lists(operations, min_size=1, max_size=9))
def test_it_answers_as_the_plain_client_does(tmp_path_factory, numbers, sequence):
    first = tmp_path_factory.mktemp("plain")
    make(first)
    if numbers:
        with closing(open_plain(first)) as client:
            upsert(numbers)(client)
    second = tmp_path_factory.mktemp("lazy")
    shutil.copytree(first, second, dirs_exist_ok=True)
    plain, lazy = open_plain(first), open_local_qdrant(second)
    try:
        for operation in sequence:
            if operation is None:
                plain.close(), lazy.close()
                assert told(rows(second)) == told(rows(first))
                plain, lazy = open_plain(first), open_local_qdrant(second)
            else:
                assert answer(operation, lazy) == answer(operation, plain)
        for operation in (LIGHT[0], scroll(9, None, True, True), *HEAVY[2:4]):
            assert answer(operation, lazy) == answer(operation, plain)
    finally:
        plain.close(), lazy.close()
    assert (second / "meta.json").read_text() == (first / "meta.json").read_text()
    assert told(rows(second)) == told(rows(first))


@pytest.mark.parametrize("operation", [*LIGHT, *WRITES])
def test_what_a_load_asks_loads_no_points(lazy, operation):
    answer(operation, lazy)
    assert kind_of(lazy) is LazyCollection


@pytest.mark.parametrize("operation", LIGHT)
def test_each_question_of_a_load_is_answered_as_by_the_plain_client(folder, tmp_path, operation):
    shutil.copytree(folder, tmp_path / "copy")
    with closing(open_plain(folder)) as plain, closing(open_local_qdrant(tmp_path / "copy")) as lazy:
        assert answer(operation, lazy) == answer(operation, plain)


def test_pages_of_points_that_are_not_loaded_follow_each_other_in_the_order_of_ids(lazy):
    ids = sorted([*(str(uuid.UUID(int=number**25)) for number in range(2, 30)), *IDS[:5]])
    lazy.upsert(C, [models.PointStruct(id=one, vector={}, payload={}) for one in ids])
    pages, offset = [], None
    while not pages or offset is not None:
        records, offset = lazy.scroll(C, limit=7, offset=offset)
        pages.append([record.id for record in records])
    assert pages == [ids[start : start + 7] for start in range(0, len(ids), 7)]
    assert kind_of(lazy) is LazyCollection


@pytest.mark.parametrize("operation", HEAVY)
def test_what_needs_all_points_makes_it_a_collection_like_any_other(lazy, operation):
    operation(lazy)
    assert kind_of(lazy) is LocalCollection
    assert kind_of(lazy, "other") is LazyCollection


def test_more_ids_than_are_worth_single_reads_load_the_collection(lazy, monkeypatch):
    monkeypatch.setattr(local_collection, "IDS_FROM_ROWS", 2)
    lazy.retrieve(C, IDS[:2])
    lazy.scroll(C, limit=2)
    lazy.scroll(C, limit=3, with_payload=False)  # ids alone, as many as there are
    lazy.batch_update_points(C, [overwritten(IDS[:2], {})])
    assert kind_of(lazy) is LazyCollection
    assert [record.id for record in lazy.retrieve(C, IDS[:3])] == IDS[:3]
    assert kind_of(lazy) is LocalCollection


def test_a_page_larger_than_is_worth_single_reads_loads_the_collection(lazy, monkeypatch):
    monkeypatch.setattr(local_collection, "IDS_FROM_ROWS", 2)
    assert [record.id for record in lazy.scroll(C, limit=3)[0]] == IDS[:3]
    assert kind_of(lazy) is LocalCollection


def test_more_payloads_than_are_worth_single_reads_load_the_collection(lazy, monkeypatch):
    monkeypatch.setattr(local_collection, "IDS_FROM_ROWS", 2)
    lazy.batch_update_points(C, [overwritten([one], {"a": 1}) for one in IDS[:3]])
    assert kind_of(lazy) is LocalCollection
    assert [record.payload for record in lazy.scroll(C, limit=3)[0]] == [{"a": 1}] * 3


def test_metadata_written_before_the_points_are_loaded_are_kept_when_they_are(lazy, folder):
    lazy.update_collection(C, metadata={"version": 7})
    lazy.facet(C, "number")
    assert lazy.get_collection(C).config.metadata["version"] == 7
    lazy.close()
    with closing(open_plain(folder)) as client:
        assert client.get_collection(C).config.metadata["version"] == 7


def test_points_written_through_it_are_on_disk(lazy, folder):
    with flushed_once(lazy, C):
        lazy.upsert(C, [point(31)])
    lazy.close()
    with closing(open_plain(folder)) as client:
        assert client.count(C).count == 6


def test_ids_that_are_numbers_are_counted_right(folder):
    with closing(open_plain(folder)) as client:
        client.upsert(C, [models.PointStruct(id=7, vector={}, payload={"a": 1})])
    with closing(open_local_qdrant(folder)) as lazy:
        assert lazy.count(C).count == 6
        assert lazy.retrieve(C, [7])[0].payload == {"a": 1}


def test_a_point_that_an_older_release_wrote_twice_counts_once(folder):
    with closing(sqlite3.connect(folder / "collection" / C / "storage.sqlite")) as storage, storage:
        (row,) = storage.execute("SELECT point FROM points LIMIT 1").fetchone()
        key = CollectionPersistence.encode_key(IDS[0].upper().replace("0", "A"))
        storage.execute("INSERT INTO points VALUES (?, ?)", (key, row))
    with closing(open_local_qdrant(folder)) as lazy, pytest.warns(UserWarning, match="outdated copies"):
        assert lazy.count(C).count == 5


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the plain one leaves the lock open
@pytest.mark.parametrize("openers", [(open_local_qdrant, open_plain), (open_plain, open_local_qdrant)])
def test_the_folder_is_open_in_one_place_at_a_time(folder, openers):
    first, second = openers
    with closing(first(folder)), pytest.raises(RuntimeError, match="already accessed"):
        second(folder)
    with closing(second(folder)) as client:
        assert client.count(C).count == 5


def test_after_it_is_closed_it_answers_nothing(lazy):
    lazy.close()
    with pytest.raises(RuntimeError, match="closed"):
        lazy.count(C)


def test_threads_that_come_at_once_load_the_points_once(folder, monkeypatch):
    loads = []
    load = CollectionPersistence.load
    monkeypatch.setattr(CollectionPersistence, "load", lambda self: loads.append(self) or load(self))
    # Not its dense vectors: a search brings those to length 1 in place.
    asked = [*LIGHT[:3], retrieve(IDS, with_payload=True, with_vectors=["bm25"]), *HEAVY[2:6]]
    with closing(open_plain(folder)) as plain:
        expected = [answer(operation, plain) for operation in asked]
    for _ in range(5):
        loads.clear()
        together = Barrier(len(asked))

        def ask(operation, client, together=together):
            together.wait()
            return answer(operation, client)

        with closing(open_local_qdrant(folder)) as lazy, ThreadPoolExecutor(len(asked)) as pool:
            assert list(pool.map(ask, asked, [lazy] * len(asked))) == expected
        assert len(loads) == 1


def test_garbage_is_collected_again_after_a_load(lazy):
    lazy.facet(C, "number")
    assert gc.isenabled()


def test_a_release_that_it_was_not_tried_with_gets_the_plain_client(folder, monkeypatch):
    monkeypatch.setattr(local_qdrant, "TRIED", "0.")
    with closing(open_local_qdrant(folder)) as client:
        assert kind_of(client) is LocalCollection


def test_the_installed_release_is_one_that_it_was_tried_with(lazy):
    assert kind_of(lazy) is LazyCollection


def test_a_folder_that_is_not_there_is_made(tmp_path):
    with closing(open_local_qdrant(tmp_path / "new" / "qdrant")) as client:
        create(client)
        upsert([0, 5])(client)
        assert kind_of(client) is LazyCollection
        assert client.count(C).count == 2
    with closing(open_plain(tmp_path / "new" / "qdrant")) as client:
        assert client.count(C).count == 2


def test_a_collection_made_anew_holds_nothing_of_the_one_before(lazy):
    lazy.delete_collection(C)
    create(lazy)
    assert (kind_of(lazy), lazy.count(C).count) == (LazyCollection, 0)
    upsert([3])(lazy)
    assert [record.id for record in lazy.scroll(C)[0]] == IDS[:1]


def test_a_point_whose_id_is_a_number_makes_it_a_collection_like_any_other(lazy, folder):
    lazy.upsert(C, [point(28), models.PointStruct(id=7, vector={}, payload={"a": 1})])
    assert kind_of(lazy) is LocalCollection
    assert lazy.count(C).count == 7
    lazy.close()
    with closing(open_plain(folder)) as client:
        assert [record.id for record in client.scroll(C)[0]][:2] == [7, IDS[0]]


def test_points_that_one_thread_writes_while_others_search_are_all_there(lazy, folder):
    # One writes: a loaded collection gives its SQLite connection to every thread that writes, unguarded.
    writes = [upsert([number]) for number in range(0, 32, 4)] * 3 + [delete([ABSENT])]
    searches = [HEAVY[2], LIGHT[0]] * 3
    with ThreadPoolExecutor(1 + len(searches)) as pool:
        writing = pool.submit(lambda: [operation(lazy) for operation in writes])
        list(pool.map(lambda operation: operation(lazy), searches))
        writing.result()
    assert lazy.count(C).count == len(IDS)
    lazy.close()
    with closing(open_plain(folder)) as client:
        assert [record.id for record in client.scroll(C)[0]] == IDS
