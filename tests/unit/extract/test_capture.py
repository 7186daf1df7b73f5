"""Capture: every document is compared with the store, and only what differs goes on."""

import datetime

import pytest
from bson import Decimal128, ObjectId
from bson.datetime_ms import DatetimeMS

from feature_store.config import CaptureConfig
from feature_store.extended_json import from_extended_json
from feature_store.handles import CaptureCounts
from feature_store.ids import document_id
from feature_store.parts import list_parts, read_part
from steps.clean.rules import CLEANING_VERSION
from steps.extract import compare
from steps.extract.apply import CapturePolicy, capture_pages
from tests.flow import Flow, ignore, note, notes_config

DATED = {"name": "notes", "collection": "notes", "text": "body", "published_at": "at", "metadata": {"topic": "topic"}}


@pytest.fixture
def flow(tmp_path):
    return Flow(tmp_path / "data", notes_config(categories=[DATED]))


def raw_rows(raw):
    return [row for part in list_parts(raw.folder, "raw") for row in read_part(part).to_pylist()]


def test_everything_is_new_to_an_empty_store(flow):
    raw = flow.extract([note("a", "alpha", topic="x", views=5), note("b", "beta")])
    assert raw.categories == {"notes": CaptureCounts(read=2, added=2)}
    first, second = raw_rows(raw)
    assert (first["document_id"], first["category"], first["source_id"]) == (document_id("notes", "a"), "notes", "a")
    assert from_extended_json(first["fields"]) == {"body": "alpha", "topic": "x"}
    assert from_extended_json(second["fields"]) == {"body": "beta"}
    assert first["problem"] is None


def test_each_document_is_counted_by_what_became_of_it(flow):
    flow.commit(
        [note("same", "text"), note("edited", "text"), note("gone", "text"), note("bad", None), note("poor", None)]
    )
    flow.commit(
        [note("same", "text"), note("edited", "text"), note("gone", "text"), note("bad", None), note("poor", None)]
    )
    raw = flow.extract(
        [note("same", "text"), note("edited", "new"), note("bad", None), note("poor", "good"), note("new", "x")]
    )
    assert raw.categories == {
        "notes": CaptureCounts(read=5, added=1, changed=2, unchanged=1, rejected=1, deleted=1),
    }
    assert [row["source_id"] for row in raw_rows(raw)] == ["edited", "poor", "new"]
    (removed,) = list_parts(raw.folder, "removed")
    assert read_part(removed).to_pylist() == [{"document_id": document_id("notes", "gone"), "category": "notes"}]


def test_a_rejected_document_that_vanished_counts_as_deleted(flow):
    flow.commit([note("a", "alpha"), note("bad", None)])
    raw = flow.extract([note("a", "alpha")])
    assert raw.categories["notes"] == CaptureCounts(read=1, unchanged=1, deleted=1)


def test_a_deleted_document_that_is_back_counts_as_added(flow):
    flow.commit([note("a", "alpha"), note("b", "beta")])
    flow.commit([note("a", "alpha")])
    assert flow.extract([note("a", "alpha"), note("b", "beta")]).categories["notes"].added == 1


def test_fields_that_are_not_mapped_make_no_change(flow):
    flow.commit([note("a", "alpha", views=1)])
    assert flow.extract([note("a", "alpha", views=2)]).categories["notes"].unchanged == 1


def test_other_rules_make_every_document_a_change(flow):
    flow.commit([note("a", "alpha"), note("b", None)])
    pages = [[note("a", "alpha"), note("b", None)]]
    folder = flow.settings.runs_folder / "x"
    counts, _ = capture_pages(flow.store, flow.config.categories[0], pages, CapturePolicy("other"), folder, ignore)
    assert counts == CaptureCounts(read=2, changed=2)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"optional": True}, "unchanged"),
        ({"deleted_field": "gone"}, "unchanged"),
        ({"capture": CaptureConfig(mode="hash")}, "unchanged"),
        ({"title": "topic"}, "changed"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_a_change_of_the_mapping_reads_documents_anew(flow, change, outcome):
    flow.commit([note("a", "alpha")])
    category = flow.config.categories[0].model_copy(update=change)
    rules = flow.config.cleaning.fingerprint(CLEANING_VERSION)
    folder = flow.settings.runs_folder / "x"
    counts, _ = capture_pages(flow.store, category, [[note("a", "alpha")]], CapturePolicy(rules), folder, ignore)
    assert getattr(counts, outcome) == 1


@pytest.mark.parametrize("pages", [[], [[]]], ids=["no page", "an empty page"])
@pytest.mark.parametrize("body", ["alpha", None], ids=["live", "rejected"])
def test_an_empty_source_does_not_delete_what_the_store_holds(flow, body, pages):
    flow.commit([note("a", body)])
    folder = flow.settings.runs_folder / "x"
    policy = CapturePolicy("rules")
    counts, capture = capture_pages(flow.store, flow.config.categories[0], pages, policy, folder, ignore)
    assert counts == CaptureCounts(held_back=1)
    assert "the source is empty" in capture.reason
    assert list_parts(folder, "removed") == []


def test_an_empty_source_is_fine_where_the_store_is_empty_or_holds_tombstones_only(flow):
    assert flow.extract([]).categories["notes"] == CaptureCounts()
    flow.commit([note("a", None), note("b", None)])
    assert flow.extract([note("b", None)]).categories["notes"].deleted == 1


def test_documents_with_an_unsupported_id_become_rows_with_a_problem(flow):
    raw = flow.extract(
        [
            note(1.5, "one"),
            note({"k": 1}, "two"),
            note(None, "three"),
            note(Decimal128("2"), "four"),
            note("a", "alpha"),
        ]
    )
    rows = raw_rows(raw)
    assert len({row["document_id"] for row in rows}) == 5
    assert [row["source_id"].startswith("unsupported:") for row in rows] == [True] * 4 + [False]
    assert "is of type float" in rows[0]["problem"]
    assert rows[4]["problem"] is None


def test_a_document_with_an_unsupported_id_is_rejected_once_and_known_from_then_on(flow):
    flow.commit([note(1.5, "one"), note("a", "alpha")])
    (reject,) = flow.rejects().values()
    assert reject["reason"] == "unsupported_id"
    assert flow.extract([note(1.5, "one"), note("a", "alpha")]).categories["notes"].rejected == 1


def test_a_string_id_cannot_pass_for_an_unsupported_one(flow):
    first = raw_rows(flow.extract([note(1.5, "one")]))[0]
    second = raw_rows(flow.extract([note(first["source_id"], "one")]))[0]
    assert first["document_id"] != second["document_id"]


def test_a_date_beyond_the_years_of_python_survives_with_its_neighbours(flow):
    far = DatetimeMS(10**15)
    near = datetime.datetime(2024, 7, 29, tzinfo=datetime.UTC)
    raw = flow.extract([note("a", "alpha", at=far, topic=near)])
    fields = from_extended_json(raw_rows(raw)[0]["fields"])
    assert int(fields["at"]) == 10**15
    assert fields["topic"] == near


def test_raw_values_keep_their_types(flow):
    identifier = ObjectId()
    fields = from_extended_json(raw_rows(flow.extract([note("a", b"\x00\xff", topic=identifier)]))[0]["fields"])
    assert (fields["body"], fields["topic"]) == (b"\x00\xff", identifier)


def test_a_lone_surrogate_in_an_id_or_a_text_stops_nothing(flow):
    raw = flow.extract([note("a", "broken \ud800 text"), note("b", "beta")])
    assert len(raw_rows(raw)) == 2


def test_parts_are_cut_by_rows_and_by_size(flow, monkeypatch):
    monkeypatch.setattr(compare, "ROWS_PER_PART", 4)
    monkeypatch.setattr(compare, "BYTES_PER_PART", 1000)
    documents = [note(f"small-{number}", "text") for number in range(9)] + [
        note("big", "x" * 2000),
        note("last", "text"),
    ]
    raw = flow.extract(documents)
    sizes = [read_part(part).num_rows for part in list_parts(raw.folder, "raw")]
    assert sizes == [4, 4, 1, 1, 1]
    assert [row["source_id"] for row in raw_rows(raw)] == [document["_id"] for document in documents]


def test_categories_share_a_folder_without_overwriting_each_other(tmp_path):
    flow = Flow(tmp_path, notes_config(categories=[DATED, {"name": "posts", "collection": "posts", "text": "body"}]))
    both = {"notes": [[note("a", "alpha"), note("b", "beta")]], "posts": [[note("a", "alpha"), note("c", "gamma")]]}
    assert len(raw_rows(flow.extract(both))) == 4
    flow.commit(both)
    raw = flow.extract({"notes": [[note("a", "alpha")]], "posts": [[note("a", "alpha")]]})
    removed = [row for part in list_parts(raw.folder, "removed") for row in read_part(part).to_pylist()]
    assert {(row["document_id"], row["category"]) for row in removed} == {
        (document_id("notes", "b"), "notes"),
        (document_id("posts", "c"), "posts"),
    }


def test_progress_counts_every_document(flow):
    units = []
    pages = [[note(f"{page}-{number}", "x") for number in range(page)] for page in (3, 1, 2)]
    folder = flow.settings.runs_folder / "x"
    capture_pages(flow.store, flow.config.categories[0], pages, CapturePolicy("r"), folder, units.append)
    assert units == [3, 1, 2]
