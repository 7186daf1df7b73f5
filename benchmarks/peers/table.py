"""The results as a Markdown table: ``python -m benchmarks.peers.table --into docs/benchmarks.md``."""

import argparse
import json
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results" / "peers.json"
MARKED = re.compile(r"(<!-- peers: begin -->\n).*?(<!-- peers: end -->)", re.DOTALL)
NOTHING = "–"
FIRST_MODEL, FIRST, NO_CHANGE, CHANGE = "first load, real model", "first load", "no change", "1 % changed"
AFTER_EMBEDDING, AFTER_WRITING = "after kill -9 while embedding", "after kill -9 while writing"

Rows = list[dict[str, Any]]


def main() -> None:
    """Print the table, or put it between the marks of a document."""
    parser = argparse.ArgumentParser(description="Show the results of make bench-peers as a Markdown table.")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--into", type=Path, help="a document with the marks <!-- peers: begin --> and end")
    arguments = parser.parse_args()
    made = describe(json.loads(arguments.results.read_text(encoding="utf-8")))
    if arguments.into is None:
        print(made)
        return
    text = arguments.into.read_text(encoding="utf-8")
    arguments.into.write_text(MARKED.sub(lambda marks: marks[1] + made + marks[2], text), encoding="utf-8")


def describe(report: dict[str, Any]) -> str:
    """Return what was run, and a table with a column for each system."""
    rows: Rows = report["rows"]
    machine, corpus = report["machine"], report["corpus"]
    bf16 = "with" if report["bf16_in_hardware"] else "without"
    loads = {FIRST_MODEL: report["documents_with_model"], FIRST: corpus["documents"]}
    where = f"{machine['processors']} cores ({machine['architecture']}, {bf16} bf16 in hardware)"
    what = f"{corpus['documents']:,} documents of {corpus['characters'] / 1e6:.1f} million characters"
    parts = f"{report['documents_with_model']} of them with the real model, {report['documents_killed']} killed"
    lines = [
        f"Measured on {report['measured_at'][:10]}: {where}, Python {machine['python']};\n{what}, {parts}.",
        "",
        *_table(rows, loads),
        "",
        "Goals:",
        "",
        *(_goal(check) for check in report["checks"] if not check["decides"]),
        "",
    ]
    return "\n".join(lines)


def _table(rows: Rows, loads: dict[str, int]) -> list[str]:
    systems = list(dict.fromkeys(row["system"] for row in rows))
    lines = [["", *systems], ["---"] * (len(systems) + 1)]
    for phase, documents in loads.items():
        lines += [
            [f"{phase}: documents/s", *_each(rows, systems, phase, lambda some, n=documents: _rate(n, some))],
            [f"{phase}: chunks/s", *_each(rows, systems, phase, lambda some: _rate(some[0]["points"], some))],
            [f"{phase}: tokens/s", *_each(rows, systems, phase, lambda some: _rate(some[0]["tokens"], some))],
            [f"{phase}: tokens never seen", *_each(rows, systems, phase, _unseen)],
            [f"{phase}: seconds (wall)", *_each(rows, systems, phase, _seconds)],
            [f"{phase}: peak memory, MB", *_each(rows, systems, phase, _memory)],
        ]
    for phase in (NO_CHANGE, CHANGE):
        lines += [
            [f"{phase}: seconds (wall)", *_each(rows, systems, phase, _seconds)],
            [f"{phase}: peak memory, MB", *_each(rows, systems, phase, _memory)],
            [f"{phase}: texts embedded", *_each(rows, systems, phase, lambda some: f"{some[0]['embedded']:,}")],
            [f"{phase}: index", *_each(rows, systems, phase, _right)],
        ]
    for phase in (AFTER_EMBEDDING, AFTER_WRITING):
        lines += [
            [f"{phase}: embedded again", *_each(rows, systems, phase, lambda some: f"{some[0]['embedded_twice']:,}")],
            [f"{phase}: index", *_each(rows, systems, phase, _right)],
        ]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _each(rows: Rows, systems: Sequence[str], phase: str, show: Callable[[Rows], str]) -> list[str]:
    shown = []
    for system in systems:
        here = [row for row in rows if (row["system"], row["phase"]) == (system, phase)]
        if any(row["timed_out"] for row in here):
            shown.append("given up")
        else:
            shown.append(show(here) if here else NOTHING)
    return shown


def _rate(amount: int, rows: Rows) -> str:
    rate = amount / statistics.median(row["seconds"] for row in rows)
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:,.1f}"  # noqa: PLR2004


def _seconds(rows: Rows) -> str:
    taken, wall = (statistics.median(row[name] for row in rows) for name in ("seconds", "wall_seconds"))
    return f"{taken:,.2f} ({wall:,.0f})"


def _memory(rows: Rows) -> str:
    return f"{max(row['memory_mb'] for row in rows):,}"


def _unseen(rows: Rows) -> str:
    return f"{rows[0]['cut_tokens'] / (rows[0]['tokens'] + rows[0]['cut_tokens']):.1%}"


def _right(rows: Rows) -> str:
    problem = next((row["problem"] for row in rows if row["problem"]), "")
    return f"**{problem}**" if problem else "right"


def _goal(check: dict[str, Any]) -> str:
    return f"- {check['name']}: {check['value']} ({check['goal']}), {'reached' if check['holds'] else '**missed**'}"


if __name__ == "__main__":
    main()
