"""A release is given back: the same documents, training sets and indexes, whatever happened since."""

import json
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
from qdrant_client import models

from feature_store import lock
from feature_store.config import PipelineConfig
from feature_store.digests import documents_digest, file_digest
from feature_store.errors import ConfigurationError, LockedError, ReconciliationError, TerminalError
from feature_store.exports import ExportedFile, ExportRecord, list_exports, read_export, save_export
from feature_store.index import (
    Lease,
    collections_of,
    open_qdrant,
    read_metadata,
    serving_collection,
    write_metadata,
)
from feature_store.index_record import IndexRecord
from feature_store.journal import Erasure, erasure_path
from feature_store.names import add_tag
from feature_store.references import find_references
from feature_store.releases import list_releases, read_release
from feature_store.store import IS_LIVE
from feature_store.training import TrainingConfig
from feature_store.versions import now
from inference.retriever import Retriever
from pipelines import rebuild as rebuilding
from pipelines.rebuild import rebuild_release
from pipelines.release import describe_release, make_release, remove_release
from pipelines.status import describe_status
from steps.export.apply import export_training_set
from tests.flow import Flow, note, notes_config
from tests.stand_in import HashEncoder
from tests.support import WORDS, fill_warehouse

INDEX = "notes_index"
BFLOAT16_TOLERANCE = 2e-3


class Installation:
    """A data folder with an embedded Qdrant, an encoder that stands in, and documents to play with."""

    def __init__(self, settings, monkeypatch) -> None:
        self.settings = settings
        self.monkeypatch = monkeypatch
        self.flow = Flow(settings.data_dir, notes_config())
        self.encoder = HashEncoder()
        self.flow.load_encoder = lambda config: self.encoder
        for module in ("pipelines.release", "pipelines.rebuild", "inference.retriever"):
            monkeypatch.setattr(f"{module}.load_encoder", lambda config: self.encoder)

    @property
    def config(self) -> PipelineConfig:
        return self.flow.config

    @property
    def store(self):
        return self.flow.store

    def run(self, documents) -> None:
        with open_qdrant(self.settings) as client:
            self.flow.client = client
            self.flow.run(documents)

    def release(self, name="spring", **options):
        return make_release(self.settings, self.config, name, **options)

    def rebuild(self, name="spring", **options):
        return rebuild_release(self.settings, self.config, name, **options)

    def parts(self, name="spring"):
        return {part.part: part.state for part in describe_release(self.settings, name).parts}

    def points(self, index=INDEX):
        """Return payload and vectors of every point of the index or alias."""
        with open_qdrant(self.settings) as client:
            self.flow.client = client
            return self.flow.points(serving_collection(client, index))

    def aliases(self):
        with open_qdrant(self.settings) as client:
            return {alias.alias_name: alias.collection_name for alias in client.get_aliases().aliases}


@pytest.fixture
def installation(settings, monkeypatch):
    return Installation(settings, monkeypatch)


def body(seed: int, words: int = 120) -> str:
    chosen = random.Random(seed)
    return " ".join(chosen.choice(WORDS) + ("." if place % 9 == 8 else "") for place in range(words))


def corpus(numbers=range(12)):
    return {number: note(number, body(number), title=f"Note {number}", topic="words") for number in numbers}


def edited(documents, step: int):
    """Return documents after one more run: an edit, one that is gone, a new one, new metadata."""
    changed = dict(documents)
    numbers = sorted(changed)
    changed[numbers[step % len(numbers)]] = note(numbers[step % len(numbers)], body(1000 + step), title="Edited")
    changed.pop(numbers[(step * 5 + 1) % len(numbers)], None)
    changed[2000 + step] = note(2000 + step, body(2000 + step))
    kept = min(changed)
    changed[kept] = {**changed[kept], "topic": f"topic {step}"}
    return changed


def with_window(config: PipelineConfig, window: int) -> PipelineConfig:
    index = config.indexes[0].model_dump() | {"chunking": {"window": window, "overlap": 8}}
    return notes_config(indexes=[index])


def live_rows(installation, version):
    return sorted(installation.flow.live(version).values(), key=lambda row: row["document_id"])


def test_a_rebuilt_index_does_not_disturb_status_and_the_next_run(installation):
    documents = corpus()
    installation.run(documents.values())
    installation.release()
    documents = edited(documents, 1)
    installation.run(documents.values())
    before = describe_status(installation.settings, installation.config)
    installation.rebuild()
    assert describe_status(installation.settings, installation.config) == before
    copy = installation.points(f"{INDEX}@spring")
    installation.run(edited(documents, 2).values())
    (index,) = describe_status(installation.settings, installation.config).indexes
    assert (index.serving, index.configured, index.lag, index.version) == (True, True, 0, 3)
    assert installation.points(f"{INDEX}@spring").keys() == copy.keys()
    assert installation.parts() == {"documents of version 1": "unchanged", f"index {INDEX}": "moved on"}


def test_a_retriever_opens_the_rebuilt_index_by_its_name(installation):
    installation.run([note("a", "the old harbour"), note("b", "a bridge of stone")])
    installation.release()
    installation.run([note("a", "a new engine"), note("b", "a bridge of stone")])
    installation.rebuild()
    with open_qdrant(installation.settings) as client:
        old = Retriever.from_index(f"{INDEX}@spring", client).search("harbour", k=5)
        new = Retriever.from_index(INDEX, client).search("harbour", k=5)
    assert "the old harbour" in {result.text for result in old}
    assert "the old harbour" not in {result.text for result in new}


def test_rebuilding_again_writes_and_embeds_nothing(installation, monkeypatch):
    installation.run(corpus().values())
    installation.release()
    first = installation.rebuild()
    installation.encoder.texts.clear()
    monkeypatch.setattr("steps.load.apply.upsert_part", None)
    assert installation.rebuild() == first
    assert installation.encoder.texts == []


def test_a_rebuild_that_died_in_the_load_can_be_repeated(installation, monkeypatch):
    installation.run(corpus().values())
    release, _ = installation.release()
    died = RuntimeError("killed")

    def die(*arguments):
        raise died

    with monkeypatch.context() as patch:
        patch.setattr("steps.load.apply.reconcile", die)
        with pytest.raises(RuntimeError, match="killed"):
            installation.rebuild()
    assert f"{INDEX}@spring" not in installation.aliases()
    assert installation.rebuild().differing == []
    assert len(installation.points(f"{INDEX}@spring")) == release.indexes[0].points


def test_vectors_that_were_lost_are_made_again(installation):
    installation.run(corpus().values())
    installation.release()
    points = installation.points()
    shutil.rmtree(installation.settings.vectors_folder)
    installation.rebuild()
    again = installation.points(f"{INDEX}@spring")
    assert {point: payload for point, (payload, _) in again.items()} == {
        point: payload for point, (payload, _) in points.items()
    }
    assert all(np.allclose(again[point][1]["dense"], points[point][1]["dense"], atol=1e-6) for point in points)


def test_a_point_that_somebody_changed_is_found_and_written_again(installation):
    installation.run(corpus().values())
    installation.release()
    installation.rebuild()
    with open_qdrant(installation.settings) as client:
        collection = serving_collection(client, f"{INDEX}@spring")
        (point,), _ = client.scroll(collection, limit=1)
        client.set_payload(collection, payload={"title": "forged"}, points=[point.id])
    (differing,) = installation.rebuild().differing
    assert differing.part == f"index {INDEX}"
    assert "written anew" in differing.reason
    assert installation.rebuild().differing == []


def test_a_point_that_somebody_put_in_place_of_another_is_found_and_removed(installation):
    installation.run(corpus().values())
    installation.release()
    installation.rebuild()
    with open_qdrant(installation.settings) as client:
        collection = serving_collection(client, f"{INDEX}@spring")
        (point,), _ = client.scroll(collection, limit=1)
        client.delete(collection, points_selector=[point.id])
        client.upsert(collection, points=[models.PointStruct(id=7, vector={}, payload=point.payload)])
    (differing,) = installation.rebuild().differing
    assert "written anew" in differing.reason
    assert installation.rebuild().differing == []


def test_a_rebuild_of_documents_alone_leaves_qdrant_alone(installation):
    installation.run(corpus().values())
    installation.release()
    rebuilt = installation.rebuild(indexes=[])
    assert (rebuilt.differing, rebuilt.indexes) == ([], {})
    assert f"{INDEX}@spring" not in installation.aliases()


def test_another_model_under_the_same_name_is_refused(installation):
    installation.run(corpus().values())
    installation.release()
    installation.encoder = replace(installation.encoder, fingerprint="another00000")
    with pytest.raises(ConfigurationError, match="is not the model that made index notes_index"):
        installation.rebuild()
    assert f"{INDEX}@spring" not in installation.aliases()


def test_another_chunker_is_refused(installation, monkeypatch):
    installation.run(corpus().values())
    installation.release()
    monkeypatch.setattr(rebuilding, "CHUNKER_VERSION", 99)
    with pytest.raises(ConfigurationError, match="chunker 99 and payload 3, the release chunker 1"):
        installation.rebuild()


def test_documents_that_differ_are_told(installation):
    """What an erasure leaves: the version is there, with other tables."""
    installation.run(corpus().values())
    release, _ = installation.release()
    path = installation.store.folder / "releases" / "spring.json"
    said = json.loads(path.read_text()) | {"documents": release.documents + 1, "documents_digest": "0" * 32}
    path.write_text(json.dumps(said | {"generation": 1}))
    (differing,) = installation.rebuild().differing
    assert "1 erased since" in differing.reason
    assert installation.parts()["documents of version 1"] == "changed"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what ZenML imports
def test_documents_that_were_erased_are_named_as_the_reason(installation, real_export, tmp_path):
    from pipelines.forget import forget, identify

    fill_warehouse(installation.settings, corpus().values())
    installation.run(corpus().values())
    record = real_export("jsonl")
    installation.release()
    installation.rebuild(indexes=[])
    wanted = identify(installation.settings, installation.config, ["notes:3"], from_warehouse=False)
    forget(installation.settings, installation.config, wanted, from_warehouse=False)
    rebuilt = installation.rebuild(output=tmp_path / "again")
    assert [comparison.part for comparison in rebuilt.differing] == [
        "documents of version 1",
        f"export {record.export_id}",
        f"index {INDEX}",
    ]
    assert "1 erased since" in rebuilt.differing[0].reason
    assert all("erased since" in comparison.reason for comparison in rebuilt.differing)
    assert len(live_rows(installation, 1)) == 11


def test_an_interrupted_erasure_comes_first(installation):
    installation.run(corpus().values())
    installation.release()
    erasure_path(installation.store.folder).write_text(Erasure(started_at=now(), documents={}).model_dump_json())
    with pytest.raises(TerminalError, match="erasure"):
        installation.release("autumn")
    with pytest.raises(TerminalError, match="erasure"):
        installation.rebuild()


def test_a_rebuild_takes_the_lock(installation, monkeypatch):
    installation.run(corpus().values())
    installation.release()

    def refuse(data_dir, purpose):
        raise LockedError(f"{purpose} has to wait")

    monkeypatch.setattr(lock, "acquire", refuse)
    with pytest.raises(LockedError, match="rebuild --as-of spring has to wait"):
        installation.rebuild()
    with pytest.raises(LockedError, match="release autumn has to wait"):
        installation.release("autumn")


# What a release pins, and when it is refused.


def test_a_release_pins_the_version_and_the_points(installation):
    installation.run(corpus().values())
    release, _ = installation.release(message="first")
    version = installation.store.newest()
    (index,) = release.indexes
    assert (release.version, release.version_run_id, release.store_id) == (1, version.run_id, version.store_id)
    assert (release.positions, release.config_fingerprint) == (version.positions, version.config_fingerprint)
    assert (release.documents, release.documents_digest) == (
        12,
        documents_digest(installation.store, version).hexdigest(),
    )
    assert (index.index, index.version, index.points) == (INDEX, 1, len(installation.points()))
    assert index.collection == installation.aliases()[INDEX]
    assert {"chunker", "payload", "cleaning", "pylance"} <= release.code.keys()
    assert read_release(installation.store.folder, "spring") == release


def test_a_release_holds_no_text_of_a_document(installation):
    installation.run([note("a", "a rare unicornword here", title="Titleword")])
    installation.release()
    stored = (installation.store.folder / "releases" / "spring.json").read_text()
    assert "unicornword" not in stored
    assert "Titleword" not in stored


def test_an_empty_store_has_nothing_to_release(installation):
    with pytest.raises(TerminalError, match="no version yet"):
        installation.release()


@pytest.mark.parametrize("name", ["latest", "v12", "12", "", "a b", "../x"])
def test_a_name_that_cannot_name_a_version_is_refused(installation, name):
    installation.run(corpus().values())
    with pytest.raises(ConfigurationError, match="cannot name a version"):
        installation.release(name)


def test_a_name_is_taken_once(installation):
    installation.run(corpus().values())
    add_tag(installation.store.folder, installation.store.newest(), "stable")
    installation.release()
    for name in ("spring", "stable"):
        with pytest.raises(ConfigurationError, match="names a version already"):
            installation.release(name)


def test_an_index_that_lags_is_not_released(installation):
    documents = corpus()
    installation.run(documents.values())
    installation.flow.commit(edited(documents, 1).values())
    with pytest.raises(TerminalError, match=r"notes_index is at version 1, not at version 2.*feature-pipeline run"):
        installation.release()
    assert list_releases(installation.store.folder) == []


def test_an_index_that_is_not_built_is_not_released(installation):
    installation.flow.commit(corpus().values())
    with pytest.raises(TerminalError, match=r"notes_index is not built.*feature-pipeline run"):
        installation.release()


def test_an_index_of_another_configuration_is_not_released(installation):
    installation.run(corpus().values())
    installation.flow.config = with_window(installation.config, 48)
    with pytest.raises(TerminalError, match="not as configured now"):
        installation.release()


def test_an_index_without_its_record_is_not_released(installation):
    installation.run(corpus().values())
    IndexRecord(installation.settings.indexes_folder, installation.aliases()[INDEX]).forget()
    with pytest.raises(TerminalError, match="no complete record"):
        installation.release()


def test_an_index_whose_load_died_is_not_released(installation):
    installation.run(corpus().values())
    with open_qdrant(installation.settings) as client:
        collection = serving_collection(client, INDEX)
        metadata = read_metadata(client, collection)
        lease = Lease(holder="here:1", token="t", expires_at=now(), loading=metadata.reflects)
        write_metadata(client, collection, metadata.model_copy(update={"lease": lease}))
    with pytest.raises(TerminalError, match="has not ended"):
        installation.release()


def test_a_collection_that_lacks_a_point_is_not_released(installation):
    installation.run(corpus().values())
    with open_qdrant(installation.settings) as client:
        collection = serving_collection(client, INDEX)
        (point,), _ = client.scroll(collection, limit=1)
        client.delete(collection, points_selector=[point.id])
    with pytest.raises(ReconciliationError, match="its record"):
        installation.release()


def test_an_older_version_is_released_without_the_indexes_that_moved_on(installation):
    documents = corpus()
    installation.run(documents.values())
    installation.run(edited(documents, 1).values())
    release, notes = installation.release(version_name="v1")
    assert (release.version, release.documents, release.indexes) == (1, 12, [])
    assert notes == [
        "Index notes_index is at version 2, not at version 1 of the documents. It is not part of the release."
    ]
    assert installation.rebuild().differing == []


# Training sets. The stand-in for the export writes what it is given, as the real one does.


@pytest.fixture
def export(installation, monkeypatch, tmp_path):
    """Make and register an export of the newest version in which every byte follows from documents and options."""
    suffix = {"end": ""}

    def export_training_set(store, version, training, output_format, folder, since=None, register=save_export):
        texts = sorted(
            store.documents(version).scanner(columns=["text"], filter=IS_LIVE).to_table()["text"].to_pylist()
        )
        folder.mkdir(parents=True)
        (folder / "train.jsonl").write_text("\n".join(texts) + suffix["end"])
        (folder / "README.md").write_text(f"{len(texts)} documents since {since.number if since else 0}")
        files = [
            ExportedFile(name=path.name, bytes=path.stat().st_size, sha256=file_digest(path))
            for path in sorted(folder.iterdir())
        ]
        record = ExportRecord(
            export_id=f"set{version.number}",
            created_at=now(),
            version=version.number,
            version_run_id=version.run_id,
            store_id=version.store_id,
            since=since.number if since else None,
            format=output_format,
            folder=folder,
            options=training.model_dump(mode="json"),
            files=files,
            libraries={"pyarrow": "26"},
        )
        register(store.folder, record, None)
        return record

    def export_newest(since=None):
        store = installation.store
        return export_training_set(store, store.newest(), TrainingConfig(), "jsonl", tmp_path / "exported", since)

    monkeypatch.setattr("steps.export.apply.export_training_set", export_training_set)
    export_newest.suffix = suffix
    return export_newest


def test_a_training_set_is_given_back_byte_for_byte(installation, export, tmp_path):
    documents = corpus()
    installation.run(documents.values())
    installation.run(edited(documents, 3).values())
    record = export(since=installation.store.version(1))
    release, _ = installation.release()
    assert release.exports == {"set2": {file.name: file.sha256 for file in record.files}}
    installation.run(edited(documents, 7).values())
    rebuilt = installation.rebuild(output=tmp_path / "again", indexes=[])
    assert rebuilt.differing == []
    assert rebuilt.exports == {"set2": tmp_path / "again" / "set2"}
    for file in record.files:
        assert (tmp_path / "again" / "set2" / file.name).read_bytes() == (record.folder / file.name).read_bytes()
    assert read_export(installation.store.folder, "set2") == record
    assert [path.name for path in (tmp_path / "again").iterdir()] == ["set2"]


def test_a_training_set_that_is_there_already_is_not_made_again(installation, export, monkeypatch, tmp_path):
    installation.run(corpus().values())
    export()
    installation.release()
    first = installation.rebuild(output=tmp_path / "again")
    monkeypatch.setattr("steps.export.apply.export_training_set", None)
    second = installation.rebuild(output=tmp_path / "again")
    assert second.exports == first.exports == {"set1": tmp_path / "again" / "set1"}
    assert second.differing == []


def test_without_a_folder_a_training_set_is_compared_and_nothing_stays(installation, export):
    installation.run(corpus().values())
    record = export()
    shutil.rmtree(record.folder)
    installation.release()
    rebuilt = installation.rebuild()
    assert (rebuilt.differing, rebuilt.exports) == ([], {})
    assert list(installation.settings.data_dir.rglob("train.jsonl")) == []
    assert read_export(installation.store.folder, "set1") == record


def test_a_rebuilt_training_set_takes_the_place_of_one_that_is_gone(installation, export, tmp_path):
    installation.run(corpus().values())
    shutil.rmtree(export().folder)
    installation.release()
    assert installation.parts()["export set1"] == "gone"
    installation.rebuild(output=tmp_path / "again")
    assert read_export(installation.store.folder, "set1").folder == tmp_path / "again" / "set1"
    assert installation.parts()["export set1"] == "unchanged"


def test_a_training_set_that_comes_out_otherwise_does_not_pass_for_the_released_one(installation, export, tmp_path):
    installation.run(corpus().values())
    export()
    installation.release()
    export.suffix["end"] = "of another library"
    for _ in range(2):
        (differing,) = installation.rebuild(output=tmp_path / "again").differing
        assert (differing.part, differing.found) == ("export set1", "1 equal files of 2")
        assert "train.jsonl; it was made with pyarrow 26" in differing.reason
        assert [record.export_id for record in list_exports(installation.store.folder)] == ["set1"]
        assert [path.name for path in (tmp_path / "again").iterdir()] == ["set1.differs"]


@pytest.fixture
def real_export(installation, tmp_path):
    """Make and register a real export, with evaluation texts and near-duplicates."""
    evaluation = tmp_path / "evaluation.txt"
    evaluation.write_text(" ".join(body(3).split()[:20]), encoding="utf-8")
    training = TrainingConfig.model_validate(
        {"decontamination": {"files": [str(evaluation)]}, "splits": {"train": 0.6, "validation": 0.2, "test": 0.2}}
    )

    def export_newest(output_format, since=None):
        store = installation.store
        folder = tmp_path / "exported" / f"{output_format}{since.number if since else ''}"
        return export_training_set(store, store.newest(), training, output_format, folder, since)

    export_newest.evaluation = evaluation
    return export_newest


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_everything_is_given_back_after_ten_more_runs(installation, real_export, tmp_path):
    documents = corpus(range(40))
    documents[900] = note(900, body(1) + " And one word more.", title="Nearly note 1")
    installation.run(documents.values())
    documents = edited(documents, 50)
    installation.run(documents.values())
    records = [real_export(name) for name in ("parquet", "jsonl", "huggingface")]
    records.append(real_export("parquet", since=installation.store.version(1)))
    release, notes = installation.release()
    exported = {record.export_id: files_of(record.folder) for record in records}
    rows, points = live_rows(installation, release.version), installation.points()
    assert notes == []
    assert len(release.exports) == 4
    assert records[0].counts["excluded_contaminated"] == 1
    for step in range(10):
        documents = edited(documents, step)
        if step == 5:
            installation.flow.config = with_window(installation.config, 48)
        installation.run(documents.values())
    for record in records:
        shutil.rmtree(record.folder)
    assert installation.store.newest().number == release.version + 10
    serving, points_now = installation.aliases()[INDEX], installation.points()
    assert serving != release.indexes[0].collection

    rebuilt = installation.rebuild(output=tmp_path / "again")

    assert rebuilt.differing == []
    assert len(rebuilt.comparisons) == 6
    assert live_rows(installation, release.version) == rows
    assert {name: files_of(folder) for name, folder in rebuilt.exports.items()} == exported
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == sorted(exported)
    again = installation.points(f"{INDEX}@spring")
    assert {point: payload for point, (payload, _) in again.items()} == {
        point: payload for point, (payload, _) in points.items()
    }
    for point, (_, vectors) in points.items():
        assert np.allclose(again[point][1]["dense"], vectors["dense"], atol=BFLOAT16_TOLERANCE)
        assert again[point][1]["bm25"] == vectors["bm25"]
    assert installation.aliases()[INDEX] == serving
    assert set(installation.points()) == set(points_now)
    for record in list_exports(installation.store.folder):
        (before,) = [one for one in records if one.export_id == record.export_id]
        assert record == before.model_copy(update={"folder": tmp_path / "again" / record.export_id})
    assert installation.rebuild(output=tmp_path / "again").differing == []


def test_a_rebuild_that_is_killed_leaves_the_register_as_it_was(installation, real_export, monkeypatch, tmp_path):
    installation.run(corpus().values())
    record = real_export("jsonl")
    installation.release()
    seen = []

    def look(files, folder, replaced):
        seen.append(list_exports(installation.store.folder))

    monkeypatch.setattr("steps.export.apply.publish", look)
    with pytest.raises(FileNotFoundError):
        installation.rebuild(output=tmp_path / "again", indexes=[])
    assert seen == [[record]]


def test_evaluation_texts_that_changed_are_told_and_register_nothing(installation, real_export, tmp_path):
    installation.run(corpus().values())
    record = real_export("jsonl")
    installation.release()
    shutil.rmtree(record.folder)
    real_export.evaluation.write_text(" ".join(body(4).split()[:20]), encoding="utf-8")
    (differing,) = installation.rebuild(output=tmp_path / "again", indexes=[]).differing
    assert differing.part == f"export {record.export_id}"
    assert list_exports(installation.store.folder) == [record]
    real_export.evaluation.unlink()
    (differing,) = installation.rebuild(output=tmp_path / "again", indexes=[]).differing
    assert differing.found == "nothing"
    assert "evaluation.txt" in differing.reason


def test_an_export_that_left_the_register_cannot_be_made_again(installation, export):
    installation.run(corpus().values())
    export()
    installation.release()
    (installation.store.folder / "exports" / "set1.json").unlink()
    (differing,) = installation.rebuild(indexes=[]).differing
    assert "options are not known" in differing.reason
    assert installation.parts()["export set1"] == "gone"


def test_an_export_with_erased_documents_is_left_out_and_said(installation, export):
    installation.run(corpus().values())
    save_export(installation.store.folder, export().model_copy(update={"forgotten": 2}))
    release, notes = installation.release()
    assert release.exports == {}
    assert "2 documents that were erased" in notes[0]


def test_an_export_of_another_version_is_not_part_of_a_release(installation, export):
    documents = corpus()
    installation.run(documents.values())
    export()
    installation.run(edited(documents, 1).values())
    assert installation.release()[0].exports == {}


def test_exported_files_are_compared_with_the_release(installation, export):
    installation.run(corpus().values())
    folder = export().folder
    installation.release()
    assert installation.parts()["export set1"] == "unchanged"
    (folder / "README.md").write_text("another")
    assert installation.parts()["export set1"] == "changed"
    (folder / "README.md").unlink()
    part = describe_release(installation.settings, "spring").parts[-1]
    assert (part.state, part.detail) == ("changed", f"files in {folder}: 1 missing (README.md)")
    (folder / "train.jsonl").unlink()
    assert installation.parts()["export set1"] == "gone"


# What became of a release.


def test_all_parts_are_unchanged_right_after_the_release(installation):
    installation.run(corpus().values())
    installation.release()
    assert installation.parts() == {"documents of version 1": "unchanged", f"index {INDEX}": "unchanged"}


def test_a_collection_that_is_gone_is_told_with_the_remedy(installation):
    installation.run(corpus().values())
    installation.release()
    with open_qdrant(installation.settings) as client:
        client.delete_collection(serving_collection(client, INDEX))
    status = describe_release(installation.settings, "spring").parts[1]
    assert status.state == "gone"
    assert "rebuild --as-of spring" in status.detail
    installation.rebuild()
    assert "rebuilt as notes_index@spring" in describe_release(installation.settings, "spring").parts[1].detail


def test_a_collection_with_a_point_less_is_changed(installation):
    installation.run(corpus().values())
    installation.release()
    with open_qdrant(installation.settings) as client:
        collection = serving_collection(client, INDEX)
        (point,), _ = client.scroll(collection, limit=1)
        client.delete(collection, points_selector=[point.id])
    assert installation.parts()[f"index {INDEX}"] == "changed"


def test_a_collection_with_other_points_is_changed(installation):
    installation.run(corpus().values())
    installation.release()
    path = installation.store.folder / "releases" / "spring.json"
    said = json.loads(path.read_text())
    said["indexes"][0]["digest"] = "0" * 32
    path.write_text(json.dumps(said))
    assert installation.parts()[f"index {INDEX}"] == "changed"


def test_a_feature_store_of_another_life_does_not_pass_for_the_released_one(installation):
    installation.run(corpus().values())
    installation.release()
    path = installation.store.folder / "releases" / "spring.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version_run_id": "another"}))
    assert installation.parts()["documents of version 1"] == "gone"
    with pytest.raises(TerminalError, match="is not the one that the release 'spring' pins"):
        installation.rebuild()


def test_a_release_that_is_removed_takes_its_copies_along(installation):
    installation.run(corpus().values())
    installation.release()
    installation.rebuild()
    removed = remove_release(installation.settings, "spring")
    assert [name.partition("__")[0] for name in removed] == [f"{INDEX}@spring"]
    assert list_releases(installation.store.folder) == []
    assert set(installation.aliases()) == {INDEX}
    with open_qdrant(installation.settings) as client:
        assert collections_of(client, f"{INDEX}@spring") == []
    assert [path.name for path in installation.settings.indexes_folder.iterdir() if "@" in path.name] == []
    with pytest.raises(TerminalError, match="no release"):
        describe_release(installation.settings, "spring")


def test_removing_a_release_leaves_the_copies_of_one_whose_name_begins_alike(installation):
    installation.run(corpus().values())
    for name in ("spring", "spring__late"):
        installation.release(name)
        installation.rebuild(name)
    copy = installation.points(f"{INDEX}@spring__late")
    assert len(remove_release(installation.settings, "spring")) == 1
    assert set(installation.aliases()) == {INDEX, f"{INDEX}@spring__late"}
    assert installation.points(f"{INDEX}@spring__late").keys() == copy.keys()


def test_a_copy_that_somebody_dropped_keeps_no_version_once_its_release_is_removed(installation):
    installation.run(corpus().values())
    installation.release()
    installation.rebuild()
    with open_qdrant(installation.settings) as client:
        client.delete_collection(serving_collection(client, f"{INDEX}@spring"))
    installation.run(edited(corpus(), 1).values())
    assert remove_release(installation.settings, "spring") == []
    assert [path.name for path in installation.settings.indexes_folder.iterdir() if "@" in path.name] == []
    assert 1 not in find_references(installation.store.folder, installation.settings.indexes_folder)
