"""The pipeline as a user runs it: the `zenml` command itself, and our own, on embedded services."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt

from feature_store.settings import Settings
from tests.e2e.installation import Installation
from tests.support import fill_warehouse, make_notes

NOTES = 120


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Installation:
    """An installation whose first run is done, by the verbatim command."""
    made = Installation(tmp_path_factory.mktemp("installation"), tiny_model)
    fill_warehouse(made.settings, make_notes(NOTES))
    code, output = made.execute("zenml", "pipeline", "run", "feature_pipeline", "-c", str(made.config))
    assert code == 0, output
    assert "zenml init" not in output
    return made


def test_the_first_run_brings_every_document_into_table_and_index(installation: Installation) -> None:
    status = installation.status()
    assert status["feature_store"]["documents"] == NOTES
    (index,) = status["indexes"]
    assert index["serving"]
    assert index["lag"] == 0
    assert index["points"] == index["expected_points"] > NOTES
    report = json.loads(min(installation.settings.reports_folder.glob("*.json")).read_text(encoding="utf-8"))
    assert report["categories"]["notes"]["added"] == NOTES
    assert all(invariant["holds"] for invariant in report["invariants"])


def test_part_files_are_gone_after_a_run(installation: Installation) -> None:
    assert list(installation.settings.runs_folder.iterdir()) == []


def test_a_search_finds_the_note_that_was_asked_for(installation: Installation) -> None:
    code, output = installation.execute(
        "feature-pipeline", "search", "Paragraph 2 of note 17", "-k", "3", "--json", "-c", str(installation.config)
    )
    assert code == 0, output
    results = json.loads(output[output.index("[") :])
    assert len(results) == 3
    assert "Note 17" in [result["title"] for result in results]
    assert all(result["url"].startswith("https://example.org/notes/") for result in results)


def test_every_artifact_has_views_that_render(installation: Installation) -> None:
    code, output = installation.execute("python", "tests/e2e/read_artifacts.py")
    assert code == 0, output
    artifacts = json.loads(output[output.index("{") :])
    assert artifacts["documents"] == NOTES
    views = {
        f"{name}/{view['name']}": view
        for name in ("raw_documents", "cleaned_documents", "chunks", "embeddings", "index_report", "run_report")
        for view in artifacts[name]["views"]
    }
    assert set(views) >= {
        "raw_documents/summary.md",
        "cleaned_documents/summary.md",
        "cleaned_documents/charts.html",
        "cleaned_documents/samples.html",
        "chunks/chunks.html",
        "embeddings/summary.md",
        "index_report/summary.md",
    }
    for name, view in views.items():
        assert len(view["content"]) < 1_000_000
        if view["type"] == "markdown":
            tokens = [token.type for token in MarkdownIt().enable("table").parse(view["content"])]
            assert "heading_open" in tokens, name
            assert "table_open" in tokens, name
        if view["type"] == "html":
            page = BeautifulSoup(view["content"], "html.parser")
            assert page.find("h1") is not None, name
            assert page.find("script") is None, name
    samples = BeautifulSoup(views["cleaned_documents/samples.html"]["content"], "html.parser")
    assert len(samples.find_all("pre")) == 10
    charts = BeautifulSoup(views["cleaned_documents/charts.html"]["content"], "html.parser")
    assert charts.select("figure svg title")
    assert f"{NOTES} documents" in views["cleaned_documents/summary.md"]["content"]


def test_a_second_run_changes_nothing(installation: Installation) -> None:
    before = installation.status()
    code, output = installation.execute("zenml", "pipeline", "run", "feature_pipeline", "-c", str(installation.config))
    assert code == 0, output
    assert installation.status() == before
    report = installation.last_report()
    assert report["version"] == report["version_before"]
    assert report["categories"]["notes"]["unchanged"] == NOTES
    assert [report["indexes"][0][name] for name in ("chunks", "embedded", "written", "removed")] == [0, 0, 0, 0]


def test_edits_additions_and_deletions_arrive(installation: Installation) -> None:
    notes = make_notes(NOTES + 5)[3:]  # three gone, five new
    notes[0]["body"] += "\n\nA zebra crossed the river."
    notes[1]["topic"] = "zoology"
    fill_warehouse(installation.settings, notes)
    code, output = installation.execute("feature-pipeline", "run", "-c", str(installation.config))
    assert code == 0, output
    counts = installation.last_report()["categories"]["notes"]
    assert {name: counts[name] for name in ("added", "changed", "metadata_changed", "deleted", "unchanged")} == {
        "added": 5,
        "changed": 1,
        "metadata_changed": 1,
        "deleted": 3,
        "unchanged": NOTES - 5,
    }
    status = installation.status()
    assert status["feature_store"]["documents"] == NOTES + 2
    (index,) = status["indexes"]
    assert index["points"] == index["expected_points"]
    assert index["lag"] == 0
    code, output = installation.execute(
        "feature-pipeline", "search", "zebra crossed", "-k", "3", "--json", "-c", str(installation.config)
    )
    results = json.loads(output[output.index("[") :])
    assert any("A zebra crossed the river." in result["text"] for result in results)


def test_a_killed_first_run_is_made_good_by_the_next(tmp_path: Path, tiny_model: Path) -> None:
    killed = Installation(tmp_path, tiny_model)
    fill_warehouse(killed.settings, make_notes(400, paragraphs=12))
    process = killed.start("feature-pipeline", "run", "-c", str(killed.config))
    assert process.stdout is not None
    for line in process.stdout:
        if "preflight" in line and "finished" in line:
            break
    time.sleep(3)  # somewhere between reading and loading; tests/faults kill at every single point
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    stored = _stored_vectors(killed.settings)

    code, output = killed.execute("feature-pipeline", "run", "-c", str(killed.config))
    assert code == 0, output
    status = killed.status()
    assert status["feature_store"]["documents"] == 400
    (index,) = status["indexes"]
    assert index["lag"] == 0
    assert index["points"] == index["expected_points"]
    vectors = _stored_vectors(killed.settings)
    assert len(vectors) == len(set(vectors))
    report = killed.last_report()["indexes"][0]
    assert report["embedded"] == len(vectors) - len(stored)  # what was stored is never embedded again


def test_a_second_run_at_the_same_time_says_so_and_exits(installation: Installation) -> None:
    from feature_store import lock

    lock.acquire(installation.settings.data_dir, "a test")
    try:
        code, output = installation.execute("feature-pipeline", "run", "-c", str(installation.config))
    finally:
        lock.release(installation.settings.data_dir)
    assert code == 4
    assert "Another run is working on" in output
    assert str(os.getpid()) in output


def test_a_misspelt_key_stops_the_zenml_command_before_any_work(tmp_path: Path, tiny_model: Path) -> None:
    broken = Installation(tmp_path, tiny_model, indxes=[])
    code, output = broken.execute("zenml", "pipeline", "run", "feature_pipeline", "-c", str(broken.config))
    assert code != 0
    assert "indxes" in output
    assert not broken.settings.data_dir.exists()


def test_everything_that_is_wrong_is_reported_at_once(tmp_path: Path, tiny_model: Path) -> None:
    broken = Installation(tmp_path, tiny_model)
    code, output = broken.execute(
        "feature-pipeline",
        "doctor",
        "-c",
        str(broken.config),
        MONGO_URI="mongodb://somebody:s3cret-word@127.0.0.1:1/?serverSelectionTimeoutMS=200",
        QDRANT_URL="http://127.0.0.1:1",
        MINIMUM_FREE_DISK_MB="999999999",
    )
    assert code == 3
    for expected in ("does not answer", "QDRANT_URL", "MINIMUM_FREE_DISK_MB"):
        assert expected in output
    assert "s3cret-word" not in output


def _stored_vectors(settings: Settings) -> list[str]:
    import lance

    texts: list[str] = []
    for path in settings.vectors_folder.glob("*.lance"):
        if (path / "_versions").is_dir() and any((path / "_versions").iterdir()):
            texts += lance.dataset(str(path)).to_table(columns=["text_hash"]).column("text_hash").to_pylist()
    return texts
