"""Forgetting as a user does it: the command itself, on embedded services and a ZenML store of its own."""

import json
from pathlib import Path
from typing import Any

import lance
import pyarrow.parquet as pq
import pytest

from feature_store.ids import document_id
from tests.e2e.installation import Installation
from tests.support import fill_warehouse, make_notes, make_parameters, write_config

FORGET = ("feature-pipeline", "forget")
PERSON = "person-MARKER0ID"
PERSON_ID = document_id("notes", PERSON)
MARKERS = [b"MARKER0ID", b"MARKER1", b"MARKER2", b"MARKER3", b"MARKER4", b"MARKER5", PERSON_ID.encode()]
NOTES = make_notes(12)


def person(body: str | None, marker: str) -> dict[str, Any]:
    link = "https://example.org/MARKER3/person"
    return {"_id": PERSON, "title": f"A person {marker}", "link": link, "topic": "topic-MARKER4", "body": body}


def holders(folder: Path) -> dict[str, list[str]]:
    """Return the files under an installation that hold a marker, as bytes or as values of a table."""
    found: dict[str, list[str]] = {}
    for path in folder.rglob("*"):
        if path.name == "suppressed.json" or path.parent.name == "receipts":
            continue
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content += repr(pq.read_table(path).to_pylist()).encode()
        elif path.suffix == ".lance":
            versions = [version["version"] for version in lance.dataset(str(path)).versions()]
            rows = [lance.dataset(str(path), version=version).to_table().to_pylist() for version in versions]
            content = repr(rows).encode()
        else:
            continue
        if any(marker in content for marker in MARKERS):
            found[str(path.relative_to(folder))] = [marker.decode() for marker in MARKERS if marker in content]
    return found


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Installation:
    """An installation in which a note about a person was written, edited, rejected, brought back and indexed anew."""
    made = Installation(tmp_path_factory.mktemp("installation"), tiny_model, cleaning={"max_rejected_share": 0.5})
    # Few other notes: the samples of the views show this one.
    run(made, [person("# MARKER1\n\nMARKER1 has said much about the river and the bridge.", "MARKER2"), *NOTES])
    run(made, [person("# MARKER5\n\nMARKER5 was said later, about the forest.", "MARKER2"), *NOTES])
    run(made, [person(None, "MARKER2"), *NOTES])
    parameters = make_parameters(tiny_model, cleaning={"max_rejected_share": 0.5})
    parameters["indexes"][0]["chunking"] = {"window": 48, "overlap": 8}
    write_config(made.config, parameters)
    run(made, [person("# MARKER5\n\nMARKER5 came back, with <b>MARKER1</b>.", "MARKER2"), *NOTES])
    return made


def run(installation: Installation, documents: list[dict[str, Any]]) -> str:
    fill_warehouse(installation.settings, documents)
    code, output = installation.execute("feature-pipeline", "run", "-c", str(installation.config))
    assert code == 0, output
    return output


def forget(installation: Installation, *arguments: str) -> tuple[int, str]:
    return installation.execute(*FORGET, *arguments, "-c", str(installation.config))


def test_asking_for_json_or_nothing_at_all_is_a_usage_error(installation: Installation) -> None:
    assert forget(installation)[0] == 2
    assert forget(installation, PERSON_ID, "--json")[0] == 2
    assert forget(installation, PERSON_ID, "--resume")[0] == 2
    assert holders(installation.folder)


def test_no_byte_of_the_note_is_left_anywhere(installation: Installation) -> None:
    before = holders(installation.folder)
    places = {Path(name).parts[0] for name in before}
    assert places == {"data", "stores"}
    code, output = forget(installation, f"notes:{PERSON}", "--from-warehouse", "--yes", "--json")
    assert code == 0, output
    receipt = json.loads(output[output.index("\n{\n") + 1 if "\n{\n" in output else output.index("{") :])
    assert receipt["document_ids"] == [PERSON_ID]
    assert receipt["found"] == {}
    assert receipt["erased"]["documents"] == 4
    assert receipt["erased"]["artifacts: views"] > 0
    assert holders(installation.folder) == {}


def test_the_pipeline_goes_on_as_before(installation: Installation) -> None:
    output = run(installation, NOTES)
    assert "up to date at version 4" in output
    status = installation.status()
    assert status["feature_store"]["documents"] == len(NOTES)
    assert all(index["points"] == index["expected_points"] for index in status["indexes"] if index["serving"])
    code, output = installation.execute("python", "tests/e2e/read_artifacts.py")
    assert code == 0, output


def test_it_stays_gone_though_it_comes_back_to_the_warehouse(installation: Installation) -> None:
    run(installation, [person("# MARKER1\n\nMARKER1 is here again.", "MARKER2"), *NOTES])
    left = {name: found for name, found in holders(installation.folder).items() if "warehouse" not in name}
    assert {marker for found in left.values() for marker in found} <= {PERSON_ID}
    assert installation.status()["feature_store"]["documents"] == len(NOTES)
