"""Reading the embedded warehouse: every document once, whatever its id."""

import datetime
import uuid

import pytest
from bson import Binary, ObjectId

from feature_store.ids import source_id
from feature_store.settings import Settings
from steps.extract import read as reading
from steps.extract.read import read_in_pages, read_pages
from warehouse.connection import open_warehouse


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    with open_warehouse(Settings(data_dir=tmp_path_factory.mktemp("warehouse"), _env_file=None)) as opened:
        yield opened


@pytest.fixture
def collection(database, request):
    made = database[f"c{uuid.uuid4().hex}"]
    yield made
    made.drop()


def read(database, collection, paths=("body",), page_size=500):
    return list(read_pages(database, collection.name, paths, page_size))


def ids_of(pages):
    return [document["_id"] for page in pages for document in page]


def test_a_collection_without_documents_gives_no_pages(database, collection):
    assert read(database, collection) == []


@pytest.mark.parametrize("page_size", [1, 7, 40, 500])
def test_ids_of_mixed_types_are_read_exactly_once(database, collection, page_size):
    ids = [
        make(number)
        for number in range(10)
        for make in (lambda n: ObjectId(), lambda n: uuid.uuid4(), int, "s{}".format)
    ]
    collection.insert_many([{"_id": raw, "body": source_id(raw)} for raw in ids])
    pages = read(database, collection, page_size=page_size)
    found = ids_of(pages)
    assert len(found) == len(ids)
    assert {source_id(raw) for raw in found} == {source_id(raw) for raw in ids}
    assert all(document["body"] == source_id(document["_id"]) for page in pages for document in page)
    assert {len(page) for page in pages[:-1]} <= {page_size}


def test_an_id_and_the_string_that_looks_like_it_are_two_documents(database, collection):
    value = uuid.uuid4()  # the embedded server itself takes an ObjectId and its text for one id
    ids = [value, str(value)]
    collection.insert_many([{"_id": raw, "body": source_id(raw)} for raw in ids])
    documents = [document for page in read(database, collection, page_size=1) for document in page]
    assert sorted(document["body"] for document in documents) == sorted(source_id(raw) for raw in ids)
    assert all(document["body"] == source_id(document["_id"]) for document in documents)


def test_ids_of_unsupported_types_are_read_too(database, collection):
    ids = [1.5, {"a": 1, "b": 2}, Binary(b"abc", 0), datetime.datetime(2024, 7, 29, tzinfo=datetime.UTC)]
    collection.insert_many([{"_id": raw, "body": "x"} for raw in ids])
    assert len(ids_of(read(database, collection))) == len(ids)


def test_only_the_fields_that_are_asked_for_come_along(database, collection):
    collection.insert_one({"_id": 1, "body": "x", "content": {"Title": "t", "big": "b"}, "views": 5})
    (page,) = read(database, collection, ["body", "content.Title", "missing.path"])
    assert page == [{"_id": 1, "body": "x", "content": {"Title": "t", "big": "b"}}]


def test_a_document_that_is_deleted_while_reading_is_left_out(database, collection):
    collection.insert_many([{"_id": number, "body": "x"} for number in range(10)])
    pages = read_pages(database, collection.name, ["body"], 5)
    first = next(pages)
    collection.delete_one({"_id": 7})
    assert ids_of([first, *pages]) == [0, 1, 2, 3, 4, 5, 6, 8, 9]


def test_pages_come_in_the_order_of_ids(database, collection):
    collection.insert_many([{"_id": f"{number:03d}", "body": "x"} for number in reversed(range(23))])
    assert ids_of(read(database, collection, page_size=5)) == [f"{number:03d}" for number in range(23)]


def test_large_documents_make_small_pages_and_none_is_lost(database, collection, monkeypatch):
    monkeypatch.setattr(reading, "PAGE_CHARACTERS", 1000)
    sizes = [10, 2000, 400, 400, 400, 10, 3000]
    collection.insert_many([{"_id": number, "body": ["x" * size]} for number, size in enumerate(sizes)])
    pages = read(database, collection)
    assert ids_of(pages) == list(range(len(sizes)))
    assert [len(page) for page in pages] == [2, 3, 2]


def test_an_id_without_a_document_is_reported_once_whatever_the_pages(database, collection, monkeypatch):
    monkeypatch.setattr(reading, "PAGE_CHARACTERS", 10)
    collection.insert_many([{"_id": number, "body": "x" * 20} for number in (1, 3, 5)])
    pages = list(read_in_pages(collection, range(7), ["body"]))
    assert [document["_id"] for found, _ in pages for document in found] == [1, 3, 5]
    assert [raw_id for _, missing in pages for raw_id in missing] == [0, 2, 4, 6]
