"""The time of a run is estimated from what the last ones needed."""

import os

import pytest

from feature_store.handles import CleanCounts
from feature_store.versions import now
from pipelines.throughput import read_throughput
from steps.report.summary import Branch, RunSummary


def write_report(folder, name, seconds, read=0, added=0, **branch) -> None:
    counts = {"documents": 0, "chunks": 0, "unchanged": 0, "moved": 0, "embedded": 0, "reused": 0}
    counts |= {"written": 0, "updated": 0, "removed": 0, "points": 0, **branch}
    summary = RunSummary(
        run_id=name,
        finished_at=now(),
        version_before=1,
        version=2,
        categories={"notes": CleanCounts(read=read, added=added)},
        captures={},
        duplicates=0,
        indexes=[
            Branch(index="a", collection="a__1", version_before=1, version=2, precisions=[], seconds={}, **counts)
        ],
        invariants=[],
        seconds=seconds,
    )
    path = folder / f"{name}.json"
    path.write_text(summary.model_dump_json(), encoding="utf-8")
    moment = len(list(folder.iterdir()))
    os.utime(path, (moment, moment))


def test_without_a_report_nothing_is_known(tmp_path):
    assert read_throughput(tmp_path) == {}


def test_each_stage_is_measured_by_its_own_units(tmp_path):
    seconds = {"extract": 2.0, "clean": 4.0, "chunk": 5.0, "embed": 10.0, "load": 1.0}
    write_report(tmp_path, "one", seconds, read=100, added=20, chunks=50, embedded=30, written=6, updated=3, removed=1)
    assert read_throughput(tmp_path) == {"extract": 50.0, "clean": 5.0, "chunk": 10.0, "embed": 3.0, "load": 10.0}


def test_runs_are_taken_together_by_their_size(tmp_path):
    write_report(tmp_path, "small", {"embed": 10.0}, embedded=10)
    write_report(tmp_path, "large", {"embed": 90.0}, embedded=290)
    assert read_throughput(tmp_path)["embed"] == pytest.approx(3.0)


def test_a_run_that_had_nothing_to_do_says_nothing_of_the_speed(tmp_path):
    write_report(tmp_path, "idle", {"extract": 1.0, "embed": 3.0}, read=10)
    write_report(tmp_path, "busy", {"embed": 5.0}, embedded=10)
    assert read_throughput(tmp_path) == {"extract": 10.0, "embed": 2.0}


def test_only_the_last_runs_count(tmp_path):
    write_report(tmp_path, "old", {"embed": 100.0}, embedded=1)
    write_report(tmp_path, "new", {"embed": 1.0}, embedded=10)
    assert read_throughput(tmp_path, runs=1) == {"embed": 10.0}


def test_reports_of_another_release_are_left_out(tmp_path):
    (tmp_path / "strange.json").write_text('{"run_id": "x"}')
    write_report(tmp_path, "new", {"embed": 1.0}, embedded=10)
    assert read_throughput(tmp_path) == {"embed": 10.0}
