"""The plot of the comparison."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plots import Panel, draw_panels

COLOURS = {"ours": "#1f77b4", "peer": "#999999", "index wrong": "#d62728"}


def draw(rows: Sequence[Any], documents: dict[str, int], path: Path) -> None:
    """Draw speed, memory and what a small change costs; ``documents`` are those of each phase of loading."""
    panels = [
        _panel(rows, phase, f"{phase}: documents/s", "documents/s", lambda row, n=count: n / row.seconds)
        for phase, count in documents.items()
    ]
    panels += [
        _panel(rows, phase, f"{phase}: seconds", "s", lambda row: row.seconds, logarithmic=True)
        for phase in ("no change", "1 % changed")
    ]
    panels.append(_panel(rows, "first load", "first load: peak memory", "MB", lambda row: row.memory_mb))
    wrong = [row for row in rows if row.phase.startswith("after kill")]
    if wrong:
        panels.append(_after_kills(wrong))
    title = "The same documents, model and machine: this project and what people use instead"
    draw_panels([panel for panel in panels if panel.values], title, COLOURS, path)


def _panel(rows: Sequence[Any], phase: str, title: str, unit: str, value: Any, **options: Any) -> Panel:
    here = [row for row in rows if row.phase == phase and row.seconds is not None]
    values = [
        (name, statistics.median(value(row) for row in here if row.system == name), _kind(name, here))
        for name in dict.fromkeys(row.system for row in here)
    ]
    return Panel(title, unit, values, **options)


def _after_kills(rows: Sequence[Any]) -> Panel:
    values = [
        (name, sum(row.embedded_twice or 0 for row in rows if row.system == name), _kind(name, rows))
        for name in dict.fromkeys(row.system for row in rows)
    ]
    return Panel("after two kills: chunks embedded again", "chunks", values)


def _kind(name: str, rows: Iterable[Any]) -> str:
    if any(row.problem for row in rows if row.system == name):
        return "index wrong"
    return "ours" if name.startswith("ours") else "peer"
