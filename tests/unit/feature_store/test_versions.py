"""The version log: a version is there whole, once, or not at all."""

import pytest

from feature_store.errors import TerminalError
from feature_store.versions import Version, newest_version, now, publish_version, read_version, version_numbers


def make_version(number, **changes):
    values = {
        "number": number,
        "created_at": now(),
        "run_id": f"run-{number}",
        "store_id": "store",
        "documents_version": 10 * number,
        "rejects_version": 5,
        "config_fingerprint": "abc",
        "counts": {"added": number},
    }
    return Version(**{**values, **changes})


def test_before_the_first_version_there_is_none(tmp_path):
    assert newest_version(tmp_path) is None
    assert version_numbers(tmp_path) == []
    with pytest.raises(TerminalError, match=r"no version 1 .* There is none yet"):
        read_version(tmp_path, 1)


def test_a_published_version_is_read_back_as_it_was(tmp_path):
    version = make_version(1)
    publish_version(tmp_path, version)
    assert read_version(tmp_path, 1) == newest_version(tmp_path) == version


def test_the_newest_version_is_that_of_the_highest_number(tmp_path):
    for number in (9, 10, 100, 11):
        publish_version(tmp_path, make_version(number))
    assert version_numbers(tmp_path) == [9, 10, 11, 100]
    assert newest_version(tmp_path).number == 100
    with pytest.raises(TerminalError, match=r"no version 12 .* 4 versions, from 9 to 100"):
        read_version(tmp_path, 12)


def test_publishing_a_number_again_is_refused_and_leaves_the_first(tmp_path):
    publish_version(tmp_path, make_version(1))
    with pytest.raises(TerminalError, match=r"Version 1 .* was published by another run"):
        publish_version(tmp_path, make_version(1, run_id="other"))
    assert newest_version(tmp_path).run_id == "run-1"
    assert [path.name for path in (tmp_path / "versions").iterdir()] == ["00000001.json"]


def test_a_half_written_version_is_invisible_and_in_nobodys_way(tmp_path):
    publish_version(tmp_path, make_version(1))
    (tmp_path / "versions" / ".00000002.json.4711").write_text('{"number": 2, "run_')
    assert newest_version(tmp_path).number == 1
    publish_version(tmp_path, make_version(2))
    assert newest_version(tmp_path).run_id == "run-2"


def test_nothing_but_the_version_is_left_of_publishing_it(tmp_path):
    publish_version(tmp_path, make_version(1))
    assert [path.name for path in (tmp_path / "versions").iterdir()] == ["00000001.json"]
