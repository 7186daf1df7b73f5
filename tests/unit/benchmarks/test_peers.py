"""Whether the comparison with other systems sees what is wrong with an index."""

import json
import random
import sqlite3
import subprocess
import sys
from argparse import Namespace
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.peers.checking import Contents, _compare
from benchmarks.peers.common import Document
from benchmarks.peers.corpus import change
from benchmarks.peers.run import Row, judge
from benchmarks.peers.table import describe
from benchmarks.report import Results
from tests.support import REPOSITORY

TEXT = "onetwothree" * 10
FIRST, SECOND = TEXT[:60], TEXT[60:]


@pytest.mark.parametrize(
    ("chunks", "lacking", "too_many"),
    [
        pytest.param([FIRST, SECOND], False, 0, id="whole"),
        pytest.param([FIRST], True, 0, id="a chunk is missing"),
        pytest.param([], True, 0, id="nothing is there"),
        pytest.param([FIRST, SECOND, SECOND], False, 1, id="a chunk is there twice"),
        pytest.param([FIRST, SECOND, "as it was before"], False, 1, id="a stale chunk"),
        pytest.param([FIRST, FIRST], True, 1, id="one chunk twice, the other missing"),
        pytest.param([FIRST, SECOND[:-1]], False, 0, id="a splitter leaves out a sign at the border"),
    ],
)
def test_what_is_wrong_with_the_chunks_of_a_document_is_seen(chunks, lacking, too_many):
    assert _compare(TEXT, Counter(chunks)) == (lacking, too_many)


def test_an_index_without_faults_has_no_problem_and_each_fault_is_named():
    def contents(**faults):
        none = {"incomplete": 0, "surplus": 0, "foreign": 0, "misplaced": 0}
        return Contents(points=1, tokens=1, cut_tokens=0, chunks={}, **{**none, **faults})

    assert not contents().problem()
    assert contents(incomplete=2, foreign=1).problem() == "2 documents incomplete, 1 points of deleted documents"


def test_the_changes_touch_different_documents():
    before = [Document(str(number), f"text {number}\n\nmore") for number in range(50)]
    added = [Document("new", "a new text"), Document("newer", "another")]
    changed = change(before, added, random.Random(1))
    after = {document.id: document.text for document in changed.after}
    assert set(after) == ({document.id for document in before} - set(changed.deleted)) | {"new", "newer"}
    assert len(changed.deleted) == len(changed.edited) == 2
    assert all(after[document.id] == document.text != f"text {document.id}\n\nmore" for document in changed.edited)


PROGRAM = """
import sqlite3
from benchmarks.peers import common
work = common.begin()
connection = sqlite3.connect(work.state / "points.sqlite")
connection.execute("CREATE TABLE points (id TEXT, point BLOB)")
for number in range(5):
    work.embed(["a", "b"])
    with connection:
        connection.execute("INSERT OR REPLACE INTO points VALUES (?, ?)", (str(number), b""))
work.opened()
work.finish()
"""


@pytest.mark.parametrize(
    ("trap", "written", "embedded"),
    [
        pytest.param(["--dies-after-points", "3"], 3, 8, id="while writing"),
        pytest.param(["--dies-after-texts", "3"], 1, 3, id="while embedding"),
        pytest.param([], 5, 10, id="not at all"),
    ],
)
def test_a_system_dies_in_the_middle_of_its_work(trap: list[str], written: int, embedded: int, tmp_path: Path):
    result = tmp_path / "result.json"
    command = [sys.executable, "-c", PROGRAM, "--documents", "none", "--state", str(tmp_path), "--result", str(result)]
    ended = subprocess.run([*command, *trap], cwd=REPOSITORY, check=False)
    assert ended.returncode == (-9 if trap else 0)
    assert json.loads(result.read_text())["embedded"] == embedded
    with closing(sqlite3.connect(tmp_path / "points.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM points").fetchone() == (written,)


def test_the_table_shows_what_was_measured_and_what_was_not():
    row = {
        "round": 1, "seconds": 2.0, "wall_seconds": 5.0, "memory_mb": 300, "embedded": 40, "embedded_twice": None,
        "points": 40, "tokens": 900, "cut_tokens": 100, "problem": "", "timed_out": False,
    }  # fmt: skip
    rows = [
        {**row, "system": "ours", "phase": "first load"},
        {**row, "system": "peer", "phase": "first load", "seconds": 4.0, "problem": "1 points stale or double"},
        {**row, "system": "ours", "phase": "no change", "seconds": 0.5},
        {**row, "system": "peer", "phase": "no change", "seconds": None, "timed_out": True},
    ]
    report = {
        "measured_at": "2026-11-22T00:00:00", "bf16_in_hardware": False, "documents_with_model": 4,
        "documents_killed": 5, "machine": {"processors": 2, "architecture": "x86_64", "python": "3.11.7"},
        "corpus": {"documents": 10, "characters": 1_000_000}, "rows": rows,
        "checks": [{"name": "speed", "value": 2, "goal": "below 4", "holds": True, "decides": False}],
    }  # fmt: skip
    made = describe(report)
    assert "| first load: documents/s | 5.0 | 2.5 |" in made
    assert "| first load: tokens never seen | 10.0% | 10.0% |" in made
    assert "| no change: seconds (wall) | 0.50 (5) | given up |" in made
    assert "| 1 % changed: index | – | – |" in made
    assert "- speed: 2 (below 4), reached" in made


def measured(system, phase, seconds, **figures):
    known = {"opening_seconds": 1.0, "wall_seconds": 9.0, "memory_mb": 300, "embedded": 4, "points": 4, "tokens": 90}
    return Row(system=system, phase=phase, round=1, seconds=seconds, **{**known, "problem": "", **figures})


def test_only_a_wrong_index_of_this_project_decides(capsys):
    results = Results()
    results.rows += [
        measured("ours", "no change", 9.0),
        measured("ours", "1 % changed", 9.0, problem="2 documents incomplete"),
        measured("CocoIndex", "no change", 1.0),
        measured("CocoIndex", "1 % changed", 1.0, problem="1 points stale or double"),
    ]
    judge(results, Namespace(model_rounds=0))
    missed = {check.name: check.decides for check in results.checks if not check.holds}
    assert missed == {
        "ours, 1 % changed, round 1": True,
        "ours, no change: seconds beside CocoIndex": False,
        "ours, 1 % changed: seconds beside CocoIndex": False,
        "no change: peak memory beside the leanest": False,
        "1 % changed: peak memory beside the leanest": False,
    }


def test_the_fastest_peer_of_each_round_is_the_one_to_compare_with(capsys):
    results = Results()
    for number, (ours, one, other) in enumerate([(1.0, 4.0, 6.0), (2.0, 12.0, 9.0), (1.0, 9.0, None)], start=1):
        for system, seconds in (("ours", ours), ("LangChain", one), ("Haystack", other)):
            row = measured(system, "first load, real model", seconds)
            row.round = number
            results.rows.append(row)
    judge(results, Namespace(model_rounds=3))
    ratio = next(check for check in results.checks if "fastest peer" in check.name)
    assert ratio.value == 4.5
