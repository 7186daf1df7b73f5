"""Plan, guard and watch as a user meets them: real commands on embedded services."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from feature_store.store import open_feature_store
from tests.e2e.installation import Installation
from tests.support import fill_warehouse, make_notes
from warehouse.connection import open_warehouse

NOTES = 60


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Installation:
    """An installation whose first run is done; more than ten deletions, of more than a tenth, need an approval."""
    folder = tmp_path_factory.mktemp("installation")
    made = Installation(folder, tiny_model, deletions={"max_documents": 10, "max_share": 0.1})
    fill_warehouse(made.settings, make_notes(NOTES))
    code, output = made.execute("feature-pipeline", "run", "-c", str(made.config))
    assert code == 0, output
    return made


def run_json(installation: Installation, *command: str) -> tuple[int, dict]:
    code, output = installation.execute("feature-pipeline", *command, "--json", "-c", str(installation.config))
    assert "{" in output, output
    return code, json.loads(output[output.index("\n{\n") + 1 if "\n{\n" in output else output.index("{") :])


def files(installation: Installation) -> dict[Path, int]:
    """Return size and time of what must not change while something only looks."""
    folders = ("feature_store", "vectors", "indexes", "reports")
    data = installation.settings.data_dir
    return {path: path.stat().st_mtime_ns for name in folders for path in (data / name).rglob("*")}


def test_a_plan_says_what_a_run_would_do_and_the_run_does_exactly_that_or_refuses(installation: Installation) -> None:
    notes = make_notes(NOTES + 3)[2:]  # two gone, three new
    notes[0]["body"] += "\n\nA zebra crossed the river."
    notes[1]["topic"] = "zoology"
    fill_warehouse(installation.settings, notes)
    before = files(installation)
    code, planned = run_json(installation, "plan")
    assert code == 0
    assert files(installation) == before
    (category,), (index,) = planned["categories"], planned["indexes"]
    counts = {name: category[name] for name in ("added", "changed", "metadata_changed", "deleted", "unchanged")}
    assert counts == {"added": 3, "changed": 1, "metadata_changed": 1, "deleted": 2, "unchanged": NOTES - 4}
    assert planned["seconds"]["embed"] > 0

    path = installation.folder / "plan.json"
    path.write_text(json.dumps(planned), encoding="utf-8")
    fill_warehouse(installation.settings, [*notes, *make_notes(1, start=500)])
    code, output = installation.execute(
        "feature-pipeline", "run", "--from-plan", str(path), "-c", str(installation.config)
    )
    assert code == 8, output
    assert "notes" in output
    assert version(installation) == 1

    fill_warehouse(installation.settings, notes)
    code, summary = run_json(installation, "run", "--from-plan", str(path))
    assert code == 0
    (branch,) = summary["indexes"]
    assert (branch["embedded"], branch["reused"]) == (index["embed"], index["reuse"])
    assert (branch["written"], branch["updated"], branch["removed"]) == (
        index["write"],
        index["update"],
        index["remove"],
    )


def test_a_mass_deletion_waits_for_an_approval_and_the_rest_goes_through(installation: Installation) -> None:
    before = version(installation)
    fill_warehouse(installation.settings, make_notes(NOTES + 5)[32:])  # thirty more gone, two more new
    code, output = installation.execute("feature-pipeline", "run", "-c", str(installation.config))
    assert code == 7, output
    assert "--approve-deletions notes=30" in " ".join(output.split())
    assert (version(installation), count_live(installation)) == (before + 1, NOTES + 3)
    approved = ("--approve-deletions", "notes=30")
    code, output = installation.execute("feature-pipeline", "run", "-c", str(installation.config), *approved)
    assert code == 0, output
    assert (version(installation), count_live(installation)) == (before + 2, NOTES - 27)


def test_a_watch_follows_the_warehouse_until_it_is_told_to_stop(installation: Installation) -> None:
    before = reports(installation)
    process = installation.start("feature-pipeline", "watch", "--every", "0.5", "-c", str(installation.config))
    try:
        wait_for(lambda: reports(installation) > before)
        with open_warehouse(installation.settings) as database:
            database.notes.insert_one({"_id": "late", "body": "# Late\n\nA zebra crossed the river.", "title": "Late"})
            database.notes.delete_one({"_id": "note-00050"})
        wait_for(lambda: any(last_counts(installation)[name] for name in ("added", "deleted")))
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "Stopped after" in output
    assert installation.status()["indexes"][0]["lag"] == 0


def version(installation: Installation) -> int:
    newest = open_feature_store(installation.settings.feature_store_folder).newest()
    return newest.number if newest else 0


def count_live(installation: Installation) -> int:
    store = open_feature_store(installation.settings.feature_store_folder)
    newest = store.newest()
    return store.count_documents(newest) if newest else 0


def reports(installation: Installation) -> int:
    return len(list(installation.settings.reports_folder.glob("*.json")))


def last_counts(installation: Installation) -> dict[str, int]:
    counts: dict[str, int] = installation.last_report()["categories"]["notes"]
    return counts


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)
