"""The benchmark of the whole pipeline: what it makes of what a run says, and how it sees memory."""

import subprocess
import sys

import pytest

from benchmarks.incremental import Corpus
from benchmarks.pipeline import Finished, Measurement
from benchmarks.process_memory import MemoryWatch
from benchmarks.report import Results
from feature_store.defaults import DEFAULT_CONFIG

CHILD = "import time; data = bytearray(80_000_000); time.sleep(2)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


def stage(name, seconds, **more):
    told = {"stage": name, "index": "", "seconds": seconds, "rate": None, "cores": 1.5, "tokens": 0, "gemm_share": None}
    return {**told, **more}


def summary(**branch):
    counts = {"chunks": 30, "embedded": 20, "points": 30, "written": 30, "updated": 0, "removed": 0, **branch}
    embed = stage("embed", 4.0, index="documents", rate=5.0, tokens=1000, gemm_share=0.5)
    return {
        "stages": [stage("extract", 1.0), embed, stage("embed", 0.0, index="other")],
        "indexes": [counts],
        "categories": {"articles": {"read": 7}, "docstrings": {"read": 3}},
        "run_seconds": 8.0,
    }


@pytest.fixture
def measurement(tmp_path):
    made = Measurement(Corpus("large", {}, {}), tmp_path, DEFAULT_CONFIG, Results())
    made.bare = 3.0
    return made


def test_a_row_has_the_figures_of_a_run(measurement):
    row = measurement.note("first load", "hash", Finished(12.0, 900.0, ""), summary())
    assert (row.seconds, row.beyond_bare, row.run_seconds, row.stages_seconds) == (12.0, 9.0, 8.0, 5.0)
    assert (row.documents, row.embedded, row.touched, row.tokens_a_second, row.gemm_share) == (10, 20, 30, 250.0, 0.5)
    assert row.stages == {"extract": 1.0, "embed documents": 4.0, "embed other": 0.0}
    assert row.rates == {"embed documents": 5.0}


def test_a_run_without_changes_that_touches_points_fails_the_benchmark(measurement):
    first = measurement.note("first load", "hash", Finished(103.0, 0.0, ""), summary())
    idle = {"embedded": 0, "written": 0}
    measurement.judge_no_change(measurement.note("no change", "hash", Finished(4.0, 0.0, ""), summary(**idle)), first)
    assert [(check.holds, check.decides) for check in measurement.results.checks] == [
        (True, True),
        (True, False),
        (True, False),
    ]
    measurement.judge_no_change(measurement.note("no change", "hash", Finished(9.0, 0.0, ""), summary()), first)
    assert [check.holds for check in measurement.results.checks[3:]] == [False, False, False]
    assert measurement.results.checks[3].value == "30 points touched, 20 texts embedded"


def test_the_configuration_is_the_given_one_in_the_mode_of_the_installation(measurement):
    config = measurement.configuration("timestamp")
    assert [category.name for category in config.categories] == ["articles", "docstrings"]
    assert {category.capture.mode for category in config.categories} == {"timestamp"}
    assert {category.capture for category in measurement.configuration("fresh").categories} == {
        category.capture for category in measurement.configuration("hash").categories
    }
    assert [index.chunking.strategy for index in config.indexes] == ["multi_size"]


def test_memory_is_that_of_a_process_and_all_that_it_started():
    process = subprocess.Popen([sys.executable, "-c", PARENT])
    with MemoryWatch(process.pid) as watch:
        assert process.wait(60) == 0
    assert 80 < watch.peak_mb < 160
