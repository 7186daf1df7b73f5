"""What a person sees of a whole run: its promises with their figures, seconds and rows of every stage."""

from typing import Any

from feature_store.handles import RunReport, StageFigures
from feature_store.views import charts
from feature_store.views.page import cards, heading, html_table, page, sentence, side_by_side


def view_run_report(handle: RunReport) -> dict[str, str]:
    """Return the report in words, and as a page; with charts where the run changed something."""
    promises = [[item.name, item.holds, item.figures] for item in handle.promises]
    drawn = page(
        "Run report",
        sentence(handle.headline),
        cards(_figures(handle)),
        _charts(handle) if handle.changed else "",
        heading("Promises"),
        html_table(["promise", "holds", "figures"], promises),
        heading("Stages"),
        html_table(["stage", "seconds", "rows", "", "rows a second"], [_row(stage) for stage in handle.stages]),
    )
    return {"summary.md": handle.markdown, "report.html": drawn}


def describe_run_report(handle: RunReport) -> dict[str, Any]:
    """Return figures for the metadata."""
    stages = {f"seconds_{_name(stage).replace(' ', '_')}": round(stage.seconds, 3) for stage in handle.stages}
    return {
        "run_id": handle.run_id,
        "version": handle.version,
        "version_before": handle.version_before,
        "changed": handle.changed,
        **handle.counts,
        "promises": len(handle.promises),
        "promises_kept": sum(item.holds for item in handle.promises),
        "seconds": round(sum(stage.seconds for stage in handle.stages), 3),
        **stages,
    }


def _figures(handle: RunReport) -> dict[str, object]:
    told = {name.replace("_", " "): count for name, count in handle.counts.items() if count}
    return {"version": handle.version, **told, "seconds": sum(stage.seconds for stage in handle.stages)}


def _charts(handle: RunReport) -> str:
    seconds = {_name(stage): stage.seconds for stage in handle.stages}
    rows = {f"{_name(stage)}, {stage.unit}s": stage.rows for stage in handle.stages}
    return side_by_side(charts.bars("Seconds by stage", seconds, "second"), charts.bars("Rows by stage", rows, "row"))


def _row(stage: StageFigures) -> list[object]:
    rate = f"{stage.rows / stage.seconds:,.0f}" if stage.rows and stage.seconds else "-"
    return [_name(stage), stage.seconds, stage.rows, f"{stage.unit}s", rate]


def _name(stage: StageFigures) -> str:
    return f"{stage.stage} {stage.index}".strip()
