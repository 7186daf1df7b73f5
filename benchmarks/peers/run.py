"""The same documents through this project and through what people use instead: time, memory, and whether it is right.

Run by ``make bench-peers``; writes ``benchmarks/results/peers.json`` and ``peers.svg``. docs/benchmarks.md says what is
compared, and how each system is configured. Each start of a system is a process of its own; the systems take turns.

1. First load with the real model, of a few documents.
2. First load of all documents, with a hash of the text in place of the model: what everything else costs. In rounds.
3. On copies of that: a run with nothing changed, and one after 1 % of the documents were edited, 1 % added and 1 %
   deleted.
4. kill -9 in the middle of embedding, and in the middle of writing points; then the next run.

After each phase the index is compared with the documents. The exit code is 1 if a result of this project is wrong; a
goal of speed or size that is missed is reported, with exit code 0.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.peers import warehouse
from benchmarks.peers.checking import Contents, examine
from benchmarks.peers.common import Document
from benchmarks.peers.corpus import Corpus, make_corpus, part, write_lines
from benchmarks.peers.drawing import draw
from benchmarks.peers.starting import Outcome, copied, start
from benchmarks.peers.systems import COCOINDEX, OURS, OURS_LOG, PLAIN, SYSTEMS, System
from benchmarks.report import Results, finish
from feature_store.settings import Settings
from warehouse.embedded import embedded_server

FIRST_MODEL = "first load, real model"
FIRST = "first load"
NO_CHANGE = "no change"
CHANGE = "1 % changed"
AFTER_EMBEDDING = "after kill -9 while embedding"
AFTER_WRITING = "after kill -9 while writing"
DEFAULT_OUTPUT = Path(__file__).parents[1] / "results" / "peers.json"
KILLED = -9
LONG = 600  # seconds that a first load may take
SHORT = 60  # seconds that a run after it may take
SPEED_GOALS = {True: 3.0, False: 1.3}  # times the fastest peer, with AMX and without
LIBRARIES = ("qdrant-client", "sentence-transformers", "torch", "tokenizers", "pylance", "nx-27017")


@dataclass
class Row:
    """One run of a system. ``problem`` is what is wrong with its index, None where nobody looked."""

    system: str
    phase: str
    round: int
    seconds: float | None
    opening_seconds: float | None
    wall_seconds: float
    memory_mb: int
    embedded: int
    embedded_twice: int | None = None
    points: int | None = None
    tokens: int | None = None
    cut_tokens: int | None = None
    problem: str | None = None
    timed_out: bool = False


@dataclass(frozen=True)
class Sources:
    """Documents as each kind of system reads them. The ``served`` warehouse has a server that is always there."""

    lines: Path
    warehouse: Path
    served: Path | None = None

    def of(self, system: System) -> Path:
        if system.follows_log and self.served is not None:
            return self.served
        return self.warehouse if system.ours else self.lines


def main() -> int:
    """Measure, write the results, and say whether ours are right."""
    arguments = _arguments()
    results = Results()
    corpus = make_corpus(arguments.documents, arguments.characters)
    print(corpus.describe(), flush=True)
    with tempfile.TemporaryDirectory(prefix="peers-", dir=arguments.folder) as folder:
        measurement = Measurement(Path(folder), corpus, arguments, results)
        measurement.run()
    judge(results, arguments)
    show(results.rows)
    if not arguments.systems:
        loads = {FIRST_MODEL: arguments.model_documents, FIRST: arguments.documents}
        draw(results.rows, loads, arguments.output.with_suffix(".svg"))
    return finish(
        results,
        arguments.output,
        LIBRARIES,
        peers=pinned(),
        bf16_in_hardware=bf16_in_hardware(),
        corpus=corpus.describe(),
        documents_with_model=arguments.model_documents,
        documents_killed=arguments.killed_documents,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure this project beside what people use instead.")
    parser.add_argument("--peers-python", type=Path, required=True, help="the interpreter that has the peers")
    parser.add_argument("--documents", type=int, default=1500, help="without the model (1500)")
    parser.add_argument("--characters", type=int, default=8_500_000, help="of all documents together (8500000)")
    parser.add_argument("--model-documents", type=int, default=200, help="with the real model (200)")
    parser.add_argument("--killed-documents", type=int, default=100, help="for the runs that are killed (100)")
    parser.add_argument("--rounds", type=int, default=3, help="of all runs without the model (3)")
    parser.add_argument("--model-rounds", type=int, default=2, help="of first loads with the real model (2)")
    parser.add_argument("--systems", nargs="*", choices=list(SYSTEMS), default=[], help="only these")
    parser.add_argument("--folder", type=Path, default=None, help="where there is room (the temporary folder)")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    return parser.parse_args()


class Measurement:
    """All phases, in one folder."""

    def __init__(self, folder: Path, corpus: Corpus, arguments: argparse.Namespace, results: Results) -> None:
        self.folder = folder
        self.corpus = corpus
        self.arguments = arguments
        self.results = results
        self.systems = [SYSTEMS[name] for name in arguments.systems or SYSTEMS]
        self.too_slow: set[str] = set()
        self.failed: set[str] = set()
        self.chunks: dict[str, Mapping[str, int]] = {}

    def run(self) -> None:
        """Go through the phases."""
        if self.arguments.model_rounds:
            self.first_loads_with_model()
        with ExitStack() as stack:
            self.first_loads(stack)
            self.later_runs(NO_CHANGE, self.before, self.corpus.before, "--imports-late")
            warehouse.apply_changes(self.served, self.corpus)
            self.later_runs(CHANGE, self.after, self.corpus.after)
        self.kills()

    def first_loads_with_model(self) -> None:
        """Load a few documents with the real model, in turns."""
        some = part(self.corpus, self.arguments.model_documents)
        sources = self.sources("model", some)
        for number in range(1, self.arguments.model_rounds + 1):
            for system in self.in_turn(number):
                if system.name == OURS_LOG:  # reads the same on a first load
                    continue
                state = self.folder / "model" / system.slug
                outcome = self.start(system, sources, state, LONG, stand_in=False)
                self.note(system, FIRST_MODEL, number, outcome, state, some.before, stand_in=False)
                shutil.rmtree(state, ignore_errors=True)

    def first_loads(self, stack: ExitStack) -> None:
        """Load all documents without the model; the folders stay, as ``base``. ``stack`` keeps a warehouse served."""
        self.served = warehouse.fill(self.folder / "served", self.corpus.before)
        stack.enter_context(embedded_server(Settings(data_dir=self.served, _env_file=None)))
        self.before = replace(self.sources("before", self.corpus), served=self.served)
        self.after = Sources(
            write_lines(self.folder / "after.jsonl", self.corpus.after),
            warehouse.apply_changes(copied(self.before.warehouse, self.folder / "after"), self.corpus),
            self.served,
        )
        for number in range(1, self.arguments.rounds + 1):
            for system in self.in_turn(number):
                state = self.folder / "base" / system.slug
                shutil.rmtree(state, ignore_errors=True)
                outcome = self.start(system, self.before, state, LONG)
                found = self.note(system, FIRST, number, outcome, state, self.corpus.before)
                self.chunks[system.name] = found.chunks if found else {}

    def later_runs(self, phase: str, sources: Sources, documents: Sequence[Document], *options: str) -> None:
        """Run all systems in turns, each on a copy of its first load."""
        for number in range(1, self.arguments.rounds + 1):
            for system in self.in_turn(number):
                if system.name in self.too_slow or (system.embeds_everything and number > 1):
                    continue
                state = copied(self.folder / "base" / system.slug, self.folder / "copy")
                limit = LONG if system.embeds_everything else SHORT
                outcome = self.start(system, sources, state, limit, *options)
                if outcome.timed_out:
                    self.too_slow.add(system.name)
                    self.results.add(row_of(system, phase, number, outcome))
                else:
                    self.note(system, phase, number, outcome, state, documents if number == 1 else None)

    def kills(self) -> None:
        """Kill each system twice, in the middle of its work, and run it again."""
        some = part(self.corpus, self.arguments.killed_documents)
        sources = self.sources("killed", some)
        for system in self.working():
            if system.name == OURS_LOG:
                continue
            chunks = sum(self.chunks[system.name].get(document.id, 0) for document in some.before)
            for phase, trap in ((AFTER_EMBEDDING, "--dies-after-texts"), (AFTER_WRITING, "--dies-after-points")):
                state = self.folder / "killed-copy"
                shutil.rmtree(state, ignore_errors=True)
                died = self.start(system, sources, state, LONG, trap, str(chunks // 2))
                if not died.died:
                    self.fail(system, f"was to die ({phase}) and ended with code {died.exit_code}")
                    continue
                outcome = self.start(system, sources, state, LONG)
                twice = max(0, died.embedded + outcome.embedded - chunks)
                self.note(system, phase, 1, outcome, state, some.before, embedded_twice=twice)

    def sources(self, name: str, corpus: Corpus) -> Sources:
        """Write the documents before the changes as each kind of system reads them."""
        lines = write_lines(self.folder / f"{name}.jsonl", corpus.before)
        return Sources(lines, warehouse.fill(self.folder / name, corpus.before))

    def start(
        self, system: System, sources: Sources, state: Path, limit: float, *options: str, stand_in: bool = True
    ) -> Outcome:
        """Start a system on the documents, with nothing left to be written of what came before."""
        state.parent.mkdir(parents=True, exist_ok=True)
        result, log = self.folder / "result.json", self.folder / f"{system.slug}.log"
        command = [
            *system.command(self.arguments.peers_python.absolute()),
            *("--documents", str(sources.of(system)), "--state", str(state), "--result", str(result)),
            *(["--stand-in"] if stand_in else []),
            *options,
        ]
        os.sync()
        outcome = start(command, result, log, limit)
        was_killed = outcome.exit_code == KILLED and (outcome.timed_out or outcome.died)
        if outcome.exit_code and not was_killed:
            self.fail(system, log.read_text(encoding="utf-8", errors="replace")[-3000:])
        return outcome

    def working(self) -> list[System]:
        """Return the systems that have not failed so far."""
        return [system for system in self.systems if system.name not in self.failed]

    def in_turn(self, number: int) -> list[System]:
        """Return the same for a round: each one begins with the system after that which began the last one."""
        turn = deque(self.working())
        turn.rotate(1 - number)
        return list(turn)

    def fail(self, system: System, reason: str) -> None:
        """Go on without a peer that failed; without this project there is nothing to measure."""
        if system.ours:
            raise SystemExit(f"{system.name}: {reason}")
        print(f"{system.name} is left out from here: {reason}", flush=True)
        self.failed.add(system.name)

    def note(
        self,
        system: System,
        phase: str,
        number: int,
        outcome: Outcome,
        state: Path,
        documents: Any,
        *,
        stand_in: bool = True,
        embedded_twice: int | None = None,
    ) -> Contents | None:
        """Note a run, and what its index holds where ``documents`` say what it should."""
        if system.name in self.failed:
            return None
        row, found = row_of(system, phase, number, outcome), None
        row.embedded_twice = embedded_twice
        if documents is not None:
            found = examine(state, system, documents, stand_in=stand_in)
            row.points, row.tokens, row.cut_tokens = found.points, found.tokens, found.cut_tokens
            row.problem = found.problem()
        self.results.add(row)
        return found


def row_of(system: System, phase: str, number: int, outcome: Outcome) -> Row:
    """Return a row without what the index holds."""
    return Row(
        system=system.name,
        phase=phase,
        round=number,
        seconds=outcome.seconds,
        opening_seconds=outcome.opening_seconds,
        wall_seconds=outcome.wall_seconds,
        memory_mb=outcome.memory_mb,
        embedded=outcome.embedded,
        timed_out=outcome.timed_out,
    )


# What it means


def judge(results: Results, arguments: argparse.Namespace) -> None:
    """Require that our results are right; set our figures beside the peers'."""
    rows: list[Row] = results.rows
    for row in rows:
        if row.system in {OURS, OURS_LOG} and row.problem is not None:
            results.require(f"{row.system}, {row.phase}, round {row.round}", row.problem)
    names = {row.system for row in rows}
    peers = sorted(names - {OURS, OURS_LOG})
    if OURS not in names or not peers:
        return
    if arguments.model_rounds:
        _judge_speed(results, peers)
    _compare_seconds(results, OURS, FIRST, PLAIN)
    for name in (OURS, OURS_LOG):
        _compare_seconds(results, name, NO_CHANGE, COCOINDEX)
        _compare_seconds(results, name, CHANGE, COCOINDEX)
    for phase in (FIRST_MODEL, FIRST, NO_CHANGE, CHANGE):
        held = [memory(rows, peer, phase) for peer in peers if of(rows, peer, phase)]
        if held and of(rows, OURS, phase):
            results.hope(f"{phase}: peak memory beside the leanest", memory(rows, OURS, phase), min(held), "MB")


def _compare_seconds(results: Results, ours: str, phase: str, peer: str) -> None:
    if of(results.rows, ours, phase) and of(results.rows, peer, phase):
        best = seconds(results.rows, peer, phase)
        results.hope(f"{ours}, {phase}: seconds beside {peer}", seconds(results.rows, ours, phase), best, "s")


def _judge_speed(results: Results, peers: Sequence[str]) -> None:
    # Round by round: what slows the machine down for a while slows all of a round down.
    ratios = []
    for number in sorted({row.round for row in results.rows if row.phase == FIRST_MODEL}):
        taken = {row.system: row.seconds for row in results.rows if (row.phase, row.round) == (FIRST_MODEL, number)}
        fastest = min((taken[peer] for peer in peers if taken.get(peer)), default=None)
        if fastest and taken.get(OURS):
            ratios.append(fastest / taken[OURS])
    if not ratios:
        return
    ratio, goal = round(statistics.median(ratios), 2), SPEED_GOALS[has_amx()]
    name = "first load with the real model: times the documents/s of the fastest peer"
    results.check(name, ratio, f"at least {goal}", holds=ratio >= goal, decides=False)


def of(rows: Iterable[Row], system: str, phase: str) -> list[Row]:
    """Return the rows of a system and phase that came to their end."""
    return [row for row in rows if (row.system, row.phase) == (system, phase) and row.seconds is not None]


def seconds(rows: Iterable[Row], system: str, phase: str) -> float:
    """Return the median of the seconds of a phase."""
    return round(statistics.median(row.seconds for row in of(rows, system, phase)), 3)


def memory(rows: Iterable[Row], system: str, phase: str) -> int:
    """Return the most memory of a phase."""
    return max(row.memory_mb for row in of(rows, system, phase))


def show(rows: Sequence[Row]) -> None:
    """Print a line for each phase and system."""
    table = Table(
        "phase", "system", "seconds", "wall", "MB", "embedded", "chunks", "chunks/s", "tokens/s", "index", box=None
    )
    for phase, system in dict.fromkeys((row.phase, row.system) for row in rows):
        here = of(rows, system, phase)
        if not here:
            table.add_row(phase, system, f"over {SHORT}")
            continue
        taken, first = seconds(rows, system, phase), here[0]
        wall = statistics.median(row.wall_seconds for row in here)
        loads = phase in {FIRST, FIRST_MODEL}
        table.add_row(
            phase,
            system,
            f"{taken:,.2f}",
            f"{wall:,.1f}",
            str(memory(rows, system, phase)),
            f"{first.embedded:,}",
            f"{first.points:,}",
            f"{first.points / taken:,.0f}" if loads else "",
            f"{first.tokens / taken:,.0f}" if loads else "",
            first.problem or "right",
        )
    Console(width=200).print(table)


def bf16_in_hardware() -> bool:
    """Say whether the processor multiplies bfloat16 itself."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def has_amx() -> bool:
    """Say whether it has tiles of bfloat16 for that."""
    import torch

    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def pinned() -> dict[str, str]:
    """Return the versions of the peers."""
    lines = Path(__file__).with_name("requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = ("langchain", "llama-index", "haystack", "qdrant", "cocoindex", "sentence-transformers", "torch")
    return dict(line.split("==") for line in lines if line.startswith(wanted))


if __name__ == "__main__":
    sys.exit(main())
