"""Who needs a version: names, exports and indexes."""

from pathlib import Path

import pytest
from qdrant_client import QdrantClient, models

from feature_store.errors import ConfigurationError, TerminalError
from feature_store.exports import ExportRecord, save_export
from feature_store.index import VersionName, read_metadata, write_metadata
from feature_store.index_record import IndexRecord
from feature_store.names import add_tag, read_tags
from feature_store.references import find_references, tag_version
from feature_store.releases import Release, ReleasedIndex, save_release
from feature_store.versions import now
from tests.flow import Flow, note, notes_config
from tests.stand_in import HashEncoder

INDEX = {"name": "notes_index", "categories": ["notes"], "chunking": {"window": 32, "overlap": 8}}


@pytest.fixture
def flow(tmp_path):
    """An installation with four versions; its one index is at the second."""
    flow = Flow(tmp_path / "data", notes_config())
    flow.load_encoder = lambda config: HashEncoder()
    for number in range(4):
        documents = [note("a", f"alpha {number}")]
        if number == 1:
            flow.run(documents)
        else:
            flow.commit(documents)
    return flow


def needs(flow, client=None):
    """Return the reasons by version, but for that one is the newest."""
    found = find_references(flow.store.folder, flow.settings.indexes_folder, client)
    return {
        number: [reference.why for reference in some if reference.kind != "newest"]
        for number, some in found.items()
        if any(reference.kind != "newest" for reference in some)
    }


def collection_of(flow):
    (collection,) = flow.client.get_collections().collections
    return collection.name


def change_metadata(flow, **changes):
    collection = collection_of(flow)
    metadata = read_metadata(flow.client, collection)
    write_metadata(flow.client, collection, metadata.model_copy(update=changes))


def export_of(version, since=None):
    return ExportRecord(
        export_id=f"e{version}", created_at=now(), version=version, version_run_id="r", store_id="s", since=since,
        format="jsonl", folder=Path("out"), options={},
    )  # fmt: skip


def release_of(version, indexes=()):
    return Release(
        name="spring", created_at=now(), store_id="s", version=version, version_run_id="r", config_fingerprint="f",
        documents=1, documents_digest="d", indexes=list(indexes),
    )  # fmt: skip


def released_index(version):
    return ReleasedIndex(
        index="notes_index", collection="notes_index__0", fingerprint="0", version=version, points=1, digest="d",
        config={}, metadata={},
    )  # fmt: skip


def test_nobody_needs_a_version_of_an_empty_store(tmp_path):
    assert find_references(tmp_path / "store", tmp_path / "indexes") == {}


def test_the_newest_version_is_needed_as_such(flow):
    found = find_references(flow.store.folder, flow.settings.indexes_folder)
    assert [(reference.kind, reference.why) for reference in found[4]] == [("newest", "the newest version")]
    assert {reference.kind for number, some in found.items() for reference in some if number != 4} == {"index"}


def test_a_tag_needs_its_version(flow):
    add_tag(flow.store.folder, flow.store.version(1), "gold")
    assert needs(flow)[1] == ["tag gold"]


def test_a_release_needs_its_version_and_those_of_its_indexes(flow):
    save_release(flow.store.folder, release_of(3, [released_index(1), released_index(3)]))
    found = needs(flow)
    assert found[3] == ["release spring"]
    assert found[1] == ["release spring: its index notes_index"]


def test_an_export_needs_its_version_and_the_one_that_it_starts_from(flow):
    save_export(flow.store.folder, export_of(3, since=1))
    found = needs(flow)
    assert (found[3], found[1]) == (["export e3"], ["export e3: changes since this version"])


def test_an_index_needs_the_version_of_its_record_even_where_qdrant_does_not_answer(flow):
    assert needs(flow) == {2: [f"index {collection_of(flow)}"]}


def test_an_index_that_another_machine_loaded_is_known_by_its_collection(flow):
    change_metadata(flow, version=3, version_run_id=flow.store.version(3).run_id)
    name = collection_of(flow)
    assert needs(flow, flow.client) == {2: [f"index {name}"], 3: [f"index {name}"]}
    IndexRecord(flow.settings.indexes_folder, name).forget()
    assert needs(flow, flow.client) == {3: [f"index {name}"]}


def test_an_index_that_does_not_serve_needs_its_version_too(flow):
    collection = collection_of(flow)
    remove = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="notes_index"))
    flow.client.update_collection_aliases(change_aliases_operations=[remove])
    IndexRecord(flow.settings.indexes_folder, collection).forget()
    assert needs(flow, flow.client) == {2: [f"index {collection}"]}


def test_a_load_that_did_not_end_needs_the_version_that_it_was_on_its_way_to(flow):
    collection = collection_of(flow)
    record = IndexRecord(flow.settings.indexes_folder, collection)
    record.begin(VersionName.of(flow.store.version(2)), VersionName.of(flow.store.version(3)), "token")
    assert needs(flow) == {2: [f"index {collection}"], 3: [f"index {collection}: a load that did not end"]}


def test_a_collection_of_another_store_needs_nothing_of_this_one(flow):
    IndexRecord(flow.settings.indexes_folder, collection_of(flow)).forget()
    change_metadata(flow, store_id="another")
    assert needs(flow, flow.client) == {}


def test_a_version_of_another_history_is_not_taken_for_one_of_ours(flow):
    IndexRecord(flow.settings.indexes_folder, collection_of(flow)).forget()
    change_metadata(flow, version_run_id="a run that this folder never saw")
    assert needs(flow, flow.client) == {}


def test_a_collection_that_somebody_else_made_is_none_of_our_business(flow):
    flow.client.create_collection("theirs", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    assert list(needs(flow, flow.client)) == [2]


def test_a_version_that_is_gone_is_needed_by_nobody(flow):
    add_tag(flow.store.folder, flow.store.version(1), "gold")
    (flow.store.folder / "versions" / "00000001.json").unlink()
    assert 1 not in find_references(flow.store.folder, flow.settings.indexes_folder)


def test_two_collections_are_told_apart(tmp_path):
    other = {**INDEX, "name": "other_index"}
    flow = Flow(tmp_path / "data", notes_config(indexes=[INDEX, other]), QdrantClient(":memory:"))
    flow.load_encoder = lambda config: HashEncoder()
    flow.run([note("a", "alpha")])
    assert [why.split("__")[0] for why in needs(flow, flow.client)[1]] == ["index notes_index", "index other_index"]


def test_a_tag_is_given_by_name(flow):
    made = tag_version(flow.store.folder, flow.store.version(1), "gold")
    assert read_tags(flow.store.folder) == {"gold": made}
    with pytest.raises(ConfigurationError, match="names a version already"):
        tag_version(flow.store.folder, flow.store.version(2), "gold")


def test_a_version_that_was_pruned_a_moment_ago_gets_no_tag(flow):
    version = flow.store.version(1)
    (flow.store.folder / "versions" / "00000001.json").unlink()
    with pytest.raises(TerminalError, match="no version 1"):
        tag_version(flow.store.folder, version, "gold")
    assert read_tags(flow.store.folder) == {}
