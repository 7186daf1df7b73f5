"""What a person sees of a whole run: where its time went, and its promises with their figures."""

from typing import Any

from feature_store.handles import RunReport
from feature_store.views import charts
from feature_store.views.page import cards, heading, html_table, note, page, sentence, side_by_side
from feature_store.views.profile import PROFILE_HEADER, describe_profile, profile_rows


def view_run_report(handle: RunReport) -> dict[str, str]:
    """Return the report in words, and as a page; with charts where the run changed something."""
    promises = [[item.name, item.holds, item.figures] for item in handle.promises]
    drawn = page(
        "Run report",
        sentence(handle.headline),
        cards(_figures(handle)),
        heading("Where the time went"),
        _charts(handle) if handle.changed else "",
        html_table(PROFILE_HEADER, profile_rows(handle.stages, handle.seconds)) if handle.stages else "",
        *(note(line) for line in describe_profile(handle.stages)),
        heading("Promises"),
        html_table(["promise", "holds", "figures"], promises),
    )
    return {"summary.md": handle.markdown, "report.html": drawn}


def describe_run_report(handle: RunReport) -> dict[str, Any]:
    """Return figures for the metadata."""
    stages = {f"seconds_{stage.name.replace(' ', '_')}": round(stage.seconds, 3) for stage in handle.stages}
    peak = max((stage.use.peak_memory for stage in handle.stages), default=0)
    tokens = sum(stage.tokens for stage in handle.stages)
    return {
        "run_id": handle.run_id,
        "version": handle.version,
        "version_before": handle.version_before,
        "changed": handle.changed,
        **handle.counts,
        "promises": len(handle.promises),
        "promises_kept": sum(item.holds for item in handle.promises),
        "seconds": round(sum(stage.seconds for stage in handle.stages), 3),
        "run_seconds": round(handle.seconds, 3) or None,
        "tokens": tokens or None,
        "peak_memory_mb": round(peak / 1e6) or None,
        **stages,
    }


def _figures(handle: RunReport) -> dict[str, object]:
    told = {name.replace("_", " "): count for name, count in handle.counts.items() if count}
    measured = sum(stage.seconds for stage in handle.stages)
    return {"version": handle.version, **told, "seconds": max(handle.seconds, measured)}


def _charts(handle: RunReport) -> str:
    seconds = {stage.name: stage.seconds for stage in handle.stages}
    rest = handle.seconds - sum(seconds.values())
    if rest > 0:
        seconds["all else"] = rest
    rates = {f"{stage.name}, {stage.unit}s": stage.rate for stage in handle.stages if stage.rate is not None}
    return side_by_side(charts.bars("Seconds by stage", seconds, "second"), charts.bars("Rows a second", rates, "row"))
