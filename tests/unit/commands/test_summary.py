"""What `run` prints of a run."""

from datetime import UTC, datetime

from commands.running import _print_summary
from feature_store.handles import CleanCounts, ResourceUse, StageFigures
from steps.report.summary import Branch, RunSummary


def summary(**changes):
    counts = ("documents", "chunks", "unchanged", "moved", "embedded", "reused", "written", "updated", "removed")
    branch = Branch(
        index="notes", collection="notes__0", version_before=1, version=2, points=3, precisions=[], seconds={},
        **dict.fromkeys(counts, 1),
    )  # fmt: skip
    values = {
        "run_id": "run-1",
        "finished_at": datetime(2024, 7, 29, 12, 30, tzinfo=UTC),
        "version_before": 1,
        "version": 2,
        "categories": {"notes": CleanCounts(read=2, added=2)},
        "captures": {},
        "duplicates": 0,
        "indexes": [branch],
        "invariants": [],
        "seconds": {"extract": 0.5, "embed": 2.0},
    }
    return RunSummary(**{**values, **changes})


def test_the_seconds_are_told_with_the_speed_of_the_model_and_the_memory(capsys):
    embed = StageFigures(
        stage="embed", index="notes", seconds=2.0, rows=20, unit="text", tokens=30_000,
        operations=3e12, gemm_speed=6e12, use=ResourceUse(peak_memory=812_000_000),
    )  # fmt: skip
    _print_summary(summary(stages=[embed]))
    assert (
        "Seconds: extract 0.5, embed 2.0. embed notes: 15,000 tokens/s, 25% of this machine's GEMM speed (6.00 "
        "TFLOP/s). The process had at most 812 MB in memory.\n"
    ) in capsys.readouterr().out


def test_what_is_not_known_of_a_run_is_not_told(capsys):
    _print_summary(summary())
    assert "Seconds: extract 0.5, embed 2.0.\n" in capsys.readouterr().out


def test_the_json_of_a_run_has_the_profile_of_every_stage():
    stage = StageFigures(stage="embed", index="notes", seconds=2.0, rows=20, unit="text", tokens=30_000)
    told = summary(stages=[stage], run_seconds=5.0).model_dump(mode="json")
    assert (told["stages"][0]["rate"], told["stages"][0]["token_rate"], told["run_seconds"]) == (10.0, 15_000.0, 5.0)
    assert RunSummary.model_validate(told).stages == [stage]
