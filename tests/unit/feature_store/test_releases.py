"""The register of releases, and the digests that they are compared by."""

import uuid

import lance
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store import schema
from feature_store.digests import SetDigest, file_digest, points_digest
from feature_store.errors import TerminalError
from feature_store.index_record import IndexRecord
from feature_store.names import find_version
from feature_store.points import pack
from feature_store.releases import Release, delete_release, list_releases, read_release, save_release
from feature_store.versions import Version, now, publish_version

MEMBERS = st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=6)), max_size=8)


def digest_of(members) -> str:
    digest = SetDigest()
    for member in members:
        digest.add(*member)
    return digest.hexdigest()


def a_release(name: str, version: int = 3) -> Release:
    return Release(
        name=name,
        created_at=now(),
        store_id="store",
        version=version,
        version_run_id="run",
        config_fingerprint="0" * 12,
        documents=1,
        documents_digest="0" * 32,
    )


@given(MEMBERS, st.randoms())
def test_a_digest_does_not_depend_on_the_order(members, chance):
    shuffled = list(members)
    chance.shuffle(shuffled)
    assert digest_of(shuffled) == digest_of(members)


@given(MEMBERS, MEMBERS)
def test_different_members_have_different_digests(first, second):
    assert (digest_of(first) == digest_of(second)) == (sorted(first) == sorted(second))


def test_the_border_between_parts_counts():
    assert digest_of([(b"ab", b"c")]) != digest_of([(b"a", b"bc")])


def test_a_member_twice_is_not_the_member_once():
    assert digest_of([(b"a",), (b"a",)]) not in {digest_of([(b"a",)]), digest_of([])}


def test_a_digest_has_32_characters_and_counts():
    digest = SetDigest()
    assert digest.hexdigest() == "0" * 32
    digest.add(b"a")
    assert (len(digest.hexdigest()), digest.count) == (32, 1)


def test_points_are_digested_as_the_record_has_them(tmp_path):
    points = {uuid.UUID(int=number).bytes: bytes([number] * 8) for number in range(1, 5)}
    ids = list(points)
    documents = [{key: points[key] for key in some} for some in (ids[:3], ids[3:], [])]
    rows = [
        {
            "document_id": str(number),
            "chunks": len(some),
            **dict(zip(("chunk_ids", "payload_hashes"), pack(some), strict=True)),
        }
        for number, some in enumerate(documents)
    ]
    record = IndexRecord(tmp_path, "index__fingerprint")
    written = lance.write_dataset(pa.Table.from_pylist(rows, schema=schema.INDEX_RECORD), str(record.table_path))
    digest = points_digest(record, written.version)
    assert digest.count == 4
    assert digest.hexdigest() == digest_of(points.items())


def test_the_digest_of_a_file_is_its_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert file_digest(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_releases_are_kept_by_name(tmp_path):
    for name in ("b", "a.1"):
        save_release(tmp_path, a_release(name))
    assert list_releases(tmp_path) == ["a.1", "b"]
    assert read_release(tmp_path, "b") == a_release("b").model_copy(
        update={"created_at": read_release(tmp_path, "b").created_at}
    )


def test_what_a_later_release_of_the_code_adds_is_ignored(tmp_path):
    path = tmp_path / "releases" / "a.json"
    path.parent.mkdir()
    path.write_text(a_release("a").model_dump_json()[:-1] + ', "later": 1}')
    assert read_release(tmp_path, "a").version == 3


def test_an_unknown_release_is_told_with_those_that_are_there(tmp_path):
    save_release(tmp_path, a_release("spring"))
    for action in (read_release, delete_release):
        with pytest.raises(TerminalError, match=r"no release 'autumn'.*spring"):
            action(tmp_path, "autumn")


def test_a_removed_release_names_nothing(tmp_path):
    save_release(tmp_path, a_release("spring"))
    delete_release(tmp_path, "spring")
    assert list_releases(tmp_path) == []


def test_a_release_stands_for_its_version(tmp_path):
    version = Version(
        number=3,
        created_at=now(),
        run_id="run",
        store_id="store",
        documents_version=1,
        rejects_version=1,
        config_fingerprint="0" * 12,
        counts={},
    )
    publish_version(tmp_path, version)
    save_release(tmp_path, a_release("spring"))
    assert find_version(tmp_path, "spring") == version
