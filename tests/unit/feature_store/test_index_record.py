"""The record of an index: what it says it holds, and when it may be believed."""

import shutil

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store import index_record, schema
from feature_store.index import NOTHING, EncoderDescription, IndexMetadata, Lease, VersionName
from feature_store.index_config import EncoderConfig
from feature_store.index_record import IndexRecord, StartingPoint, starting_point
from feature_store.parts import write_part
from feature_store.points import pack, unpack
from feature_store.store import open_feature_store
from feature_store.versions import Version, now, publish_version

POINTS = {b"a" * 16: b"1" * 8, b"b" * 16: b"2" * 8}


def name(number, run_id=None):
    return VersionName(number=number, run_id=run_id or f"run {number}")


@pytest.fixture
def store(tmp_path):
    """A feature store of three versions."""
    for number in (1, 2, 3):
        version = Version(
            number=number, created_at=now(), run_id=f"run {number}", store_id="s", documents_version=1,
            rejects_version=1, config_fingerprint="", counts={},
        )  # fmt: skip
        publish_version(tmp_path / "store", version)
    return open_feature_store(tmp_path / "store")


@pytest.fixture
def record(tmp_path):
    return IndexRecord(tmp_path / "indexes", "c__0")


def rows_part(folder, documents, number=0):
    rows = []
    for document, points in documents.items():
        chunk_ids, hashes = pack(points)
        rows.append({"document_id": document, "chunks": len(points), "chunk_ids": chunk_ids, "payload_hashes": hashes})
    return write_part(folder, "documents", number, pa.Table.from_pylist(rows, schema=schema.INDEX_RECORD))


def keep():
    """Keep no lease."""


def load(record, folder, since, version, documents):
    record.begin(since, version, f"token {version.number}")
    points = record.write([rows_part(folder, documents)] if documents else [], keep)
    record.publish(version)
    return points


def metadata(version=NOTHING, loading=None):
    encoder = EncoderDescription(
        model="m", fingerprint="f", dimension=1, token_limit=1, document_prompt="", query_prompt="", normalised=True,
        similarity="cosine",
    )  # fmt: skip
    lease = Lease(holder="h:1", token="t", expires_at=now(), loading=loading) if loading else None
    return IndexMetadata(
        index="c", fingerprint="0", store_id="s", version=version.number, version_run_id=version.run_id, categories=[],
        encoder=encoder, encoder_config=EncoderConfig(model="m"), chunking={}, sparse={}, created_at=now(),
        updated_at=now(), lease=lease,
    )  # fmt: skip


def test_a_record_gives_the_points_of_the_documents_it_is_asked_for(record, tmp_path):
    assert load(record, tmp_path, NOTHING, name(1), {"a": POINTS, "b": {b"c" * 16: b"3" * 8}, "c": {}}) == 3
    known = record.known_points(record.read_note().table)
    assert known(["a", "c", "unknown"]) == {"a": POINTS, "c": {}}
    assert record.count_points() == 3


def test_a_later_load_replaces_the_rows_of_its_documents_and_keeps_the_others(record, tmp_path):
    load(record, tmp_path, NOTHING, name(1), {"a": POINTS, "b": POINTS})
    assert load(record, tmp_path, name(1), name(2), {"a": {}, "d": {b"d" * 16: b"4" * 8}}) == 3
    known = record.known_points(record.read_note().table)
    assert known(["a", "b", "d"]) == {"a": {}, "b": POINTS, "d": {b"d" * 16: b"4" * 8}}


def test_a_load_from_nothing_forgets_what_was_recorded(record, tmp_path):
    load(record, tmp_path, NOTHING, name(1), {"a": POINTS})
    assert load(record, tmp_path, NOTHING, name(1), {"b": {b"d" * 16: b"4" * 8}}) == 1
    assert record.known_points(record.read_note().table)(["a"]) == {}


def test_a_version_that_changes_no_document_of_the_index_is_recorded_too(record, tmp_path):
    load(record, tmp_path, NOTHING, name(1), {"a": POINTS})
    assert load(record, tmp_path, name(1), name(2), {}) == 2
    assert record.read_note().version == name(2)


def test_until_it_is_published_a_load_is_not_seen(record, tmp_path):
    load(record, tmp_path, NOTHING, name(1), {"a": POINTS})
    before = record.read_note()
    record.begin(name(1), name(2), "token")
    assert record.write([rows_part(tmp_path, {"a": {}})], keep) == 0
    assert record.count_points() == 2
    assert record.known_points(before.table)(["a"]) == {"a": POINTS}
    assert record.read_note().loading == name(2)
    assert record.read_note().version == name(1)


def test_before_the_first_load_nothing_is_expected(record):
    assert record.read_note() is None
    assert record.count_points() == 0
    record.begin(NOTHING, name(1), "token")
    assert record.count_points() == 0


def truncate_newest_manifest(record):
    newest = min((record.table_path / "_versions").glob("*.manifest"))  # named after 2^64 less the version
    newest.write_bytes(newest.read_bytes()[:20])


def test_a_table_whose_newest_manifest_is_damaged_is_made_anew(record, tmp_path):
    load(record, tmp_path, NOTHING, name(1), {"a": POINTS})
    truncate_newest_manifest(record)
    assert record.read_note() is None
    assert record.lease_token() == "token 1"
    assert load(record, tmp_path, NOTHING, name(1), {"b": POINTS}) == 2
    assert record.read_note().version == name(1)
    assert record.known_points(record.read_note().table)(["a", "b"]) == {"b": POINTS}


def test_a_record_names_the_lease_of_the_latest_load_whatever_became_of_it(record, tmp_path):
    assert record.lease_token() is None
    record.begin(NOTHING, name(1), "first")
    assert record.lease_token() == "first"
    load(record, tmp_path, NOTHING, name(2), {"a": POINTS})
    assert record.lease_token() == "token 2"
    record.forget()
    assert record.lease_token() is None
    record.forget()


def test_while_a_record_is_written_the_lease_is_kept(record, tmp_path):
    kept = []
    record.begin(NOTHING, name(1), "token")
    record.write([rows_part(tmp_path, {"a": POINTS})], lambda: kept.append(record.count_points()))
    assert len(kept) == 3


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_however_many_rows_are_written_at_once_the_record_is_the_same(record, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(index_record, "_ROWS_AT_ONCE", at_once)
    old = [rows_part(tmp_path / "1", {document: POINTS}, number) for number, document in enumerate(["old", "gone"])]
    record.begin(NOTHING, name(1), "token")
    assert record.write(old, keep) == 4
    record.publish(name(1))
    parts = [
        rows_part(tmp_path / "2", {"a": POINTS, "old": {}}, 0),
        rows_part(tmp_path / "2", {"b": {b"c" * 16: b"3" * 8}}, 1),
        rows_part(tmp_path / "2", {"gone": {b"d" * 16: b"4" * 8}, "c": POINTS, "d": POINTS}, 2),
    ]
    record.begin(name(1), name(2), "token")
    assert record.write(parts, keep) == 2 + 1 + 1 + 2 + 2
    record.publish(name(2))
    known = record.known_points(record.read_note().table)(["a", "b", "c", "d", "old", "gone"])
    expected = {"a": POINTS, "b": {b"c" * 16: b"3" * 8}, "c": POINTS, "d": POINTS, "old": {}}
    assert known == {**expected, "gone": {b"d" * 16: b"4" * 8}}


@pytest.mark.parametrize("damage", ["table", "version", "note", "half a note", "manifest", "forgotten"])
def test_a_damaged_record_counts_as_lost(record, tmp_path, store, damage):
    load(record, tmp_path, NOTHING, name(1), {"a": POINTS})
    match damage:
        case "table":
            shutil.rmtree(record.table_path)
        case "version":
            note = record.read_note()
            record.note_path.write_text(note.model_copy(update={"table": 99}).model_dump_json())
        case "note":
            record.note_path.unlink()
        case "manifest":
            truncate_newest_manifest(record)
        case "forgotten":
            record.forget()
        case _:
            record.note_path.write_bytes(record.note_path.read_bytes()[:20])
    assert record.read_note() is None
    assert record.count_points() == 0
    assert starting_point(metadata(name(1)), record, store, store.version(3)) == StartingPoint(NOTHING)


def test_a_record_and_a_collection_at_the_same_version_are_believed(record, tmp_path, store):
    load(record, tmp_path, NOTHING, name(2), {"a": POINTS})
    start = starting_point(metadata(name(2)), record, store, store.version(3))
    assert start == StartingPoint(name(2), record.read_note().table)


def test_a_collection_that_does_not_exist_starts_from_nothing(record, tmp_path, store):
    load(record, tmp_path, NOTHING, name(2), {"a": POINTS})
    assert starting_point(None, record, store, store.version(3)) == StartingPoint(NOTHING)


@pytest.mark.parametrize(("recorded", "claimed"), [(1, 2), (2, 1), (1, 3), (3, 1)])
def test_of_two_versions_the_older_counts_and_nothing_is_believed(record, tmp_path, store, recorded, claimed):
    load(record, tmp_path, NOTHING, name(recorded), {"a": POINTS})
    start = starting_point(metadata(name(claimed)), record, store, store.version(3))
    assert start == StartingPoint(name(1))


def test_a_load_that_the_record_says_began_is_not_believed(record, tmp_path, store):
    load(record, tmp_path, NOTHING, name(1), {"a": POINTS})
    record.begin(name(1), name(2), "token")
    assert starting_point(metadata(name(1)), record, store, store.version(3)) == StartingPoint(name(1))


def test_a_load_that_the_collection_says_began_is_not_believed(record, tmp_path, store):
    load(record, tmp_path, NOTHING, name(1), {"a": POINTS})
    start = starting_point(metadata(name(1), loading=name(2)), record, store, store.version(3))
    assert start == StartingPoint(name(1))


@pytest.mark.parametrize("foreign", [name(2, "of another history"), name(4), name(9)], ids=str)
@pytest.mark.parametrize("where", ["collection", "record", "load of the record", "load of the collection"])
def test_a_version_of_another_history_means_that_everything_is_unknown(record, tmp_path, store, where, foreign):
    load(record, tmp_path, NOTHING, foreign if where == "record" else name(1), {"a": POINTS})
    if where == "load of the record":
        record.begin(name(1), foreign, "token")
    claimed = metadata(
        foreign if where == "collection" else name(1), foreign if where == "load of the collection" else None
    )
    assert starting_point(claimed, record, store, store.version(3)) == StartingPoint(NOTHING)


def test_a_version_whose_file_is_gone_cannot_be_believed(record, tmp_path, store):
    load(record, tmp_path, NOTHING, name(2), {"a": POINTS})
    (tmp_path / "store" / "versions" / "00000002.json").unlink()
    assert starting_point(metadata(name(2)), record, store, store.version(3)) == StartingPoint(NOTHING)


@given(st.dictionaries(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), max_size=20))
def test_what_is_packed_is_unpacked(points):
    assert unpack(*pack(points)) == points
