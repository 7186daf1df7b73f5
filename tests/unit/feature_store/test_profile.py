"""What a stage costs: measured around it, and told as a table."""

import os
import subprocess
import sys
import threading
import time

import pytest

from feature_store import profile
from feature_store.defaults import REPOSITORY
from feature_store.handles import Embeddings, ResourceUse, StageFigures
from feature_store.profile import Meter
from feature_store.views.profile import PROFILE_HEADER, describe_profile, megabytes, profile_rows

BUSY = (
    "import time; data = bytearray(60_000_000); end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
)
# In a process that has no other children: those of earlier tests would count too.
STARTING = f"""
import subprocess, sys
from feature_store import profile
profile.SECONDS_BETWEEN_LOOKS = 0.02
meter = profile.Meter()
subprocess.run([sys.executable, "-c", {BUSY!r}], check=True)
use = meter.read()["use"]
print(use.processor_seconds, use.children_memory)
"""
LIVING = f"""
import subprocess, sys
from feature_store import profile
child = subprocess.Popen([sys.executable, "-c", {BUSY!r} + "\\nprint(flush=True); input()"], stdin=-1, stdout=-1)
meter = profile.Meter()
child.stdout.readline()
first = meter.read()["use"].processor_seconds
meter = profile.Meter()
child.communicate(b"\\n")
print(first, meter.read()["use"].processor_seconds)
"""
FORKING = """
import os, time
from feature_store import profile
profile.SECONDS_BETWEEN_LOOKS = 0.01
ballast = b"x" * 300_000_000
meter = profile.Meter()
child = os.fork()
if not child:
    time.sleep(0.3)
    os.execvp("sleep", ["sleep", "0.3"])
os.waitpid(child, 0)
print(meter.read()["use"].children_memory)
"""


def embedding(**changes):
    values = {
        "stage": "embed", "index": "notes", "seconds": 2.0, "rows": 5000, "unit": "text", "tokens": 30_000,
        "operations": 3e12, "gemm_speed": 6e12,
        "use": ResourceUse(processor_seconds=3.0, peak_memory=812_000_000, children_memory=90_000_000),
    }  # fmt: skip
    return StageFigures(**{**values, **changes})


def test_a_meter_counts_processor_time_and_memory_of_this_process():
    meter = Meter()
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    read = meter.read()
    assert read["seconds"] >= read["use"].processor_seconds * 0.5 > 0.04
    assert read["use"].peak_memory > 10_000_000


def printed_by(script):
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return [float(figure) for figure in done.stdout.split()]


def test_a_meter_counts_children_that_have_ended():
    processor_seconds, memory = printed_by(STARTING)
    assert processor_seconds >= 0.2
    assert 60_000_000 < memory < 150_000_000


def test_a_child_that_outlives_a_meter_counts_for_the_time_that_both_were_there():
    first, second = printed_by(LIVING)
    assert first >= 0.2
    assert second < 0.15


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_the_memory_of_a_child_is_its_own_program_s_not_that_of_whoever_forked_it():
    (memory,) = printed_by(FORKING)
    assert 0 < memory < 50_000_000


def test_a_meter_that_is_never_read_does_not_watch_for_ever(monkeypatch):
    monkeypatch.setattr(profile, "SECONDS_BETWEEN_LOOKS", 0.01)
    before = set(threading.enumerate())
    meter = Meter()
    (watching,) = set(threading.enumerate()) - before
    watching.join(0.1)
    assert watching.is_alive()
    del meter
    watching.join(10)
    assert not watching.is_alive()


def test_what_a_meter_reads_are_fields_of_a_handle():
    made = Embeddings(
        folder="f", index="i", collection="c", since=0, version=1, model="m", encoder_fingerprint="e", dimension=4
    )
    made = made.model_copy(update=Meter().read())
    assert made.use.peak_memory > 0
    assert Embeddings.model_validate_json(made.model_dump_json()) == made


def test_a_stage_has_rates_cores_and_its_share_of_the_gemm_speed():
    stage = embedding()
    assert (stage.rate, stage.token_rate, stage.cores, stage.gemm_share) == (2500.0, 15_000.0, 1.5, 0.25)


@pytest.mark.parametrize("nothing", [{"seconds": 0.0}, {"rows": 0, "tokens": 0, "operations": 0.0, "use": {}}])
def test_what_is_not_known_is_none(nothing):
    stage = embedding(**nothing)
    assert (stage.rate, stage.token_rate, stage.cores, stage.gemm_share) == (None, None, None, None)


def test_rates_are_in_the_json_of_a_stage_and_do_not_hinder_reading_it():
    stage = embedding()
    written = stage.model_dump(mode="json")
    assert (written["token_rate"], written["gemm_share"]) == (15_000.0, 0.25)
    assert StageFigures.model_validate(written) == stage


def test_the_table_tells_every_stage_and_all_else():
    rows = profile_rows([StageFigures(stage="extract", seconds=1.0, rows=0, unit="document"), embedding()], 5.0)
    assert rows == [
        ["extract", "1.0", "20%", "0", "documents", "-", "-", "-", "-", "-"],
        ["embed notes", "2.0", "40%", "5,000", "texts", "2,500", "15,000", "25%", "1.5", "812 MB"],
        ["all else", "2.0", "40%", "-", "", *["-"] * 5],
    ]
    assert {len(row) for row in rows} == {len(PROFILE_HEADER)}


def test_where_the_time_of_the_run_is_unknown_shares_are_of_the_stages():
    assert [row[2] for row in profile_rows([embedding(), embedding(index="mails")], 0.0)] == ["50%", "50%"]
    assert profile_rows([], 0.0) == []


def test_sentences_tell_the_speed_of_the_model_and_the_memory():
    assert describe_profile([embedding()]) == [
        "embed notes: 15,000 tokens/s, 25% of this machine's GEMM speed (6.00 TFLOP/s).",
        "The process had at most 812 MB in memory, its children at most 90 MB together.",
    ]
    assert describe_profile([embedding(gemm_speed=0.0, use={})]) == ["embed notes: 15,000 tokens/s."]
    assert describe_profile([]) == []


def test_megabytes_are_of_a_million_bytes():
    assert (megabytes(0), megabytes(1_234_567_890)) == ("-", "1,235 MB")
