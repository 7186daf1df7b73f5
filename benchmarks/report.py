"""What every benchmark reports: rows, and goals that were reached or missed, as JSON."""

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

Row = TypeVar("Row")


@dataclass
class Check:
    """A goal; ``decides`` says that the benchmark fails when it is missed."""

    name: str
    value: float | int | str | list[str]
    goal: str
    holds: bool
    decides: bool


@dataclass
class Results:
    """What was measured so far; a row is a dataclass of the benchmark's own."""

    rows: list[Any] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def add(self, row: Row, hidden: Sequence[str] = ()) -> Row:
        """Note a row, and show its fields but for the ``hidden`` ones."""
        self.rows.append(row)
        shown = {name: value for name, value in vars(row).items() if value is not None and name not in hidden}
        print(", ".join(f"{name} {value}" for name, value in shown.items()), flush=True)
        return row

    def check(self, name: str, value: Any, goal: str, *, holds: bool, decides: bool = True) -> None:
        """Note whether a goal was reached, and show it."""
        self.checks.append(Check(name, value, goal, holds, decides))
        print(f"  {'holds ' if holds else 'MISSED'} {name}: {value} (goal: {goal})", flush=True)

    def require(self, name: str, problem: str) -> None:
        """Note a result that has to be right: there is no ``problem``."""
        self.check(name, problem or "right", "right", holds=not problem)

    def hope(self, name: str, value: float, goal: float, unit: str) -> None:
        """Note a goal of speed or size."""
        self.check(name, value, f"below {goal} {unit}", holds=value < goal, decides=False)


def finish(results: Results, output: Path, libraries: Sequence[str], **details: Any) -> int:
    """Write the results to ``output``; return the exit code: 1 if a check that decides was missed."""
    report = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processors": os.cpu_count(),
            "architecture": platform.machine(),
            "python": platform.python_version(),
        },
        "versions": {name: version(name) for name in libraries},
        **details,
        "seconds": round(time.perf_counter() - results.started, 1),
        "rows": [asdict(row) for row in results.rows],
        "checks": [asdict(check) for check in results.checks],
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    missed = [check for check in results.checks if not check.holds]
    print(f"{len(results.checks) - len(missed)} of {len(results.checks)} goals reached; {output}")
    return 1 if any(check.decides for check in missed) else 0
