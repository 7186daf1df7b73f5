"""Positions move with the version that reflects them, or after it where no document changed; never before."""

import pytest

from feature_store.commit import ChangeSet, RunDescription, commit
from feature_store.store import open_feature_store
from feature_store.versions import Position


def position(value: str, mode: str = "log") -> Position:
    return Position(mode=mode, rules="rules", source="warehouse.notes", value=value)


def run(identifier: str, **positions: str) -> RunDescription:
    return RunDescription(identifier, "configuration", positions={name: position(at) for name, at in positions.items()})


def values(store) -> dict[str, str | None]:
    return {name: reached.value for name, reached in store.positions().items()}


@pytest.fixture
def store(tmp_path):
    return open_feature_store(tmp_path / "store")


@pytest.fixture
def tombstones(tmp_path):
    """A change that writes a version: the removal of a document that nobody knows."""
    import pyarrow as pa

    from feature_store import schema
    from feature_store.parts import write_part

    table = pa.table([["unknown"], ["notes"]], schema=schema.DOCUMENT_IDS)
    return ChangeSet(removed=[write_part(tmp_path, "removed", 0, table)])


def test_before_the_first_version_there_is_no_position(store):
    assert store.positions() == {}


def test_a_version_carries_the_positions_that_it_reflects(store):
    version = commit(store, ChangeSet(), run("first", notes="token 1", mails="token 7"))
    assert values(store) == {"notes": "token 1", "mails": "token 7"}
    assert version.positions == store.positions()


def test_a_category_that_says_nothing_keeps_its_position(store, tombstones):
    commit(store, ChangeSet(), run("first", notes="token 1", mails="token 7"))
    commit(store, tombstones, run("second", notes="token 2"))
    assert values(store) == {"notes": "token 2", "mails": "token 7"}


def test_positions_move_without_a_version_where_nothing_changed(store):
    first = commit(store, ChangeSet(), run("first", notes="token 1"))
    assert commit(store, ChangeSet(), run("second", notes="token 2")) == first
    assert values(store) == {"notes": "token 2"}
    assert store.newest().positions["notes"].value == "token 1"


def test_where_neither_documents_nor_positions_changed_nothing_is_written(store):
    commit(store, ChangeSet(), run("first", notes="token 1"))
    before = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")}
    commit(store, ChangeSet(), run("second", notes="token 1"))
    assert {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")} == before


def test_a_new_version_starts_from_positions_that_moved_without_one(store, tombstones):
    commit(store, ChangeSet(), run("first", notes="token 1", mails="token 7"))
    commit(store, ChangeSet(), run("second", mails="token 8"))
    assert commit(store, tombstones, run("third", notes="token 2")).positions == store.positions()
    assert values(store) == {"notes": "token 2", "mails": "token 8"}


def test_positions_of_another_time_do_not_count(store, tombstones):
    commit(store, ChangeSet(), run("first", notes="token 1"))
    commit(store, ChangeSet(), run("second", notes="token 2"))
    late = (store.folder / "positions.json").read_bytes()
    commit(store, tombstones, run("third", notes="token 3"))
    (store.folder / "positions.json").write_bytes(late)
    assert values(store) == {"notes": "token 3"}


def test_a_store_that_was_restored_to_an_earlier_version_forgets_the_later_positions(store, tombstones):
    commit(store, ChangeSet(), run("first", notes="token 1"))
    commit(store, tombstones, run("second", notes="token 2"))
    commit(store, ChangeSet(), run("third", notes="token 3"))
    (store.folder / "versions" / "00000002.json").unlink()
    assert values(store) == {"notes": "token 1"}


def test_a_version_of_an_earlier_release_has_no_positions(store):
    commit(store, ChangeSet(), run("first", notes="token 1"))
    path = store.folder / "versions" / "00000001.json"
    path.write_text(store.newest().model_dump_json(exclude={"positions"}))
    assert store.positions() == {}


def test_a_crash_before_the_version_is_published_leaves_the_position(store, tombstones):
    commit(store, ChangeSet(), run("first", notes="token 1"))

    def die(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        commit(store, tombstones, run("second", notes="token 2"), die)
    assert values(store) == {"notes": "token 1"}
