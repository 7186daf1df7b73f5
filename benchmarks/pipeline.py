"""What the whole pipeline costs, as a user runs it: real documents, the real model, the real command.

Run by ``make bench``; writes ``benchmarks/results/pipeline.json``. READMEs and docstrings of the packages on this
machine are put into an embedded warehouse. `feature-pipeline run --json` then loads them from nothing into an embedded
Qdrant, in a process of its own, with the indexes of the configuration (the default one: ``configs/feature.yaml``).
After that it runs with nothing changed, several times in turn with a process that only imports what the bare `zenml`
command imports, in each of the capture modes; and once after 1 % of the documents were edited, 1 % added and 1 %
deleted, in `hash` mode.

Memory is the peak of the sum over the process and all that it started, shared pages counted once (PSS). What the
collection holds in the end is compared, point by point, with what a fresh installation makes of the same warehouse; it
is given the vectors of the first one, for the model is not what is in question there. The exit code is 1 if a result is
wrong; a goal of speed that is missed is reported, with exit code 0.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.incremental import TEXT_FIELDS, Corpus, change, describe, fill, large_corpus
from benchmarks.process_memory import MemoryWatch
from benchmarks.report import Results, finish
from feature_store.config import PipelineConfig, load_config, validate_parameters
from feature_store.defaults import DEFAULT_CONFIG, REPOSITORY
from feature_store.index import open_qdrant
from feature_store.settings import Settings
from tests.application import MODES
from tests.comparison import State, differences, read_state
from tests.flow import Flow
from warehouse.connection import open_warehouse

CAPTURES = ("hash", "timestamp", "log")
ROUNDS = 3
DEFAULT_OUTPUT = Path(__file__).with_name("results") / "pipeline.json"
COMMAND = Path(sys.executable).with_name("feature-pipeline")
# What the bare command loads before it looks at its arguments.
BARE = (sys.executable, "-c", "import zenml.cli.cli")
START = (str(COMMAND.with_name("zenml")), "stack", "list")
# Services of whoever runs this are not touched.
_SERVICES = ("MONGO_URI", "MONGO_DATABASE", "QDRANT_URL", "QDRANT_API_KEY", "PARTS_URI", "RAY_ADDRESS")

NO_CHANGE_GOAL = 0.02  # of the first load, start-up aside
START_UP_GOAL = 2.0  # seconds of a run without changes beyond the bare command
UNSEEN_GOAL = 0.5  # seconds of all stages together: below what the start of a process varies by
CHANGE_GOAL = 0.05  # of the first load, start-up aside

Summary = dict[str, Any]


@dataclass
class Row:
    """One run: ``seconds`` of the whole command, ``beyond_bare`` those that the bare `zenml` command does not need.

    ``stages`` are the seconds of the stages, ``rates`` their rows a second; ``run_seconds`` those of ZenML's run.
    """

    phase: str
    mode: str
    seconds: float
    beyond_bare: float
    run_seconds: float
    stages_seconds: float
    stages: dict[str, float]
    rates: dict[str, float]
    cores: dict[str, float]
    documents: int
    chunks: int
    embedded: int
    points: int
    touched: int
    peak_mb: float
    documents_a_second: float | None = None
    tokens_a_second: float | None = None
    gemm_share: float | None = None


@dataclass(frozen=True)
class Finished:
    """A command that ended well: its seconds, its peak of memory, and what it printed."""

    seconds: float
    peak_mb: float
    output: str


def main() -> int:
    """Measure, write the results, and say whether they are right."""
    arguments = _arguments()
    results = Results()
    corpus = large_corpus(arguments.documents)
    with tempfile.TemporaryDirectory(prefix="pipeline-", dir=arguments.folder) as folder:
        measurement = Measurement(corpus, Path(folder), arguments.config, results)
        measurement.run()
    return finish(
        results,
        arguments.output,
        ("zenml", "pylance", "qdrant-client", "sentence-transformers", "torch", "nx-27017"),
        corpus=describe(corpus),
        indexes=[index.model_dump(mode="json") for index in measurement.configuration("hash").indexes],
        first_load=measurement.summary["stages"],
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what the whole pipeline costs.")
    parser.add_argument("--documents", type=int, default=5000, help="size of the first load (5000)")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="configuration whose indexes are built")
    parser.add_argument("--folder", type=Path, help="where to work; default: the system's temporary folder")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    return parser.parse_args()


class Measurement:
    """One corpus in an installation of its own below ``folder``, and copies of it."""

    def __init__(self, corpus: Corpus, folder: Path, config: Path, results: Results) -> None:
        self.corpus = corpus
        self.folder = folder
        self.config = config
        self.results = results
        self.summary: Summary = {}
        self.bare = 0.0

    def run(self) -> None:
        """Load, run without changes, change, run again, and compare with a fresh installation."""
        first = self.measure_first_load()
        self.measure_no_change(first)
        with open_warehouse(self.settings("hash")) as database:
            print(f"changes: {change(database, self.corpus)}", flush=True)
        self.measure_change(first)
        self.audit("after the changes")
        self.compare_with_fresh()

    def measure_first_load(self) -> Row:
        """Load everything into an empty installation."""
        with open_warehouse(self.settings("hash")) as database:
            fill(database, self.corpus)
        self.execute(START)  # makes ZenML's own database, which is there once for all
        self.bare = min(self.execute(BARE).seconds for _ in range(ROUNDS))
        finished, summary = self.pipeline("hash")
        row = self.note("first load", "hash", finished, summary)
        row.documents_a_second = round(self.corpus.size() / row.stages_seconds, 2)
        self.summary = summary
        read = sum(counts["added"] + counts["rejected"] for counts in summary["categories"].values())
        missing = self.corpus.size() - read
        self.results.require("first load: every document is in or rejected", f"{missing} missing" if missing else "")
        self.audit("after the first load")
        return row

    def measure_no_change(self, first: Row) -> None:
        """Run with nothing to do in each mode, in turn with the bare command; the quickest of each counts."""
        for mode in CAPTURES[1:]:
            shutil.copytree(self.place("hash"), self.place(mode))
            self.pipeline(mode)  # compares everything once, for the mode is another now
        best: dict[str, tuple[Finished, Summary]] = {}
        for _ in range(ROUNDS):
            self.bare = min(self.bare, self.execute(BARE).seconds)
            for mode in CAPTURES:
                finished, summary = self.pipeline(mode)
                if mode not in best or finished.seconds < best[mode][0].seconds:
                    best[mode] = finished, summary
        for mode, (finished, summary) in best.items():
            self.judge_no_change(self.note("no change", mode, finished, summary), first)

    def judge_no_change(self, row: Row, first: Row) -> None:
        """Hold a run without changes against the goals."""
        changed = f"{row.touched} points touched, {row.embedded} texts embedded" if row.touched or row.embedded else ""
        self.results.require(f"no change, {row.mode}: nothing is touched", changed)
        name = f"no change, {row.mode}: seconds beyond the bare `zenml` command"
        self.results.hope(name, row.beyond_bare, START_UP_GOAL, "s")
        if row.mode == "hash":
            share = round(row.beyond_bare / first.beyond_bare, 4)
            self.results.hope("no change, hash: share of the first load", share, NO_CHANGE_GOAL, "of it")
        else:
            self.results.hope(f"no change, {row.mode}: seconds of all stages", row.stages_seconds, UNSEEN_GOAL, "s")

    def measure_change(self, first: Row) -> None:
        """Run after the changes."""
        finished, summary = self.pipeline("hash")
        row = self.note("1 % changed", "hash", finished, summary)
        share = round(row.beyond_bare / first.beyond_bare, 4)
        self.results.hope("1 % changed: share of the first load", share, CHANGE_GOAL, "of it")

    def compare_with_fresh(self) -> None:
        """Load the changed warehouse into a fresh installation that has the vectors already; both must hold the same.

        Duplicates are told by the document that came first, and for a fresh installation others do: that is left out.
        """
        ours, fresh = self.settings("hash"), self.settings("fresh")
        shutil.copytree(ours.warehouse_folder, fresh.warehouse_folder)
        shutil.copytree(ours.vectors_folder, fresh.vectors_folder)
        self.pipeline("fresh")
        problem = "; ".join(differences(self.state("hash"), self.state("fresh")))
        self.results.require("1 % changed: the same as a fresh installation", problem[:1000])

    def audit(self, when: str) -> None:
        """Let the product look at every point itself."""
        done = subprocess.run(  # noqa: S603 - our own command
            [COMMAND, "audit", "--config", self.config_of("hash")],
            cwd=REPOSITORY, env=self.environment("hash"), capture_output=True, text=True, check=False,
        )  # fmt: skip
        problem = "" if done.returncode == 0 else f"exit code {done.returncode}: {done.stdout[-500:]}"
        self.results.require(f"{when}: every point is as it must be (audit)", problem)

    def note(self, phase: str, mode: str, finished: Finished, summary: Summary) -> Row:
        """Note the figures of a run."""
        stages, branches = summary["stages"], summary["indexes"]
        embedding = [stage for stage in stages if stage["tokens"] and stage["seconds"]]
        seconds = sum(stage["seconds"] for stage in embedding)
        gemm = next((stage["gemm_share"] for stage in embedding if stage["gemm_share"] is not None), None)
        row = Row(
            phase=phase,
            mode=mode,
            seconds=round(finished.seconds, 2),
            beyond_bare=round(finished.seconds - self.bare, 2),
            run_seconds=round(summary["run_seconds"], 2),
            stages_seconds=round(sum(stage["seconds"] for stage in stages), 2),
            stages={_name(stage): round(stage["seconds"], 2) for stage in stages},
            rates={_name(stage): round(stage["rate"], 1) for stage in stages if stage["rate"]},
            cores={_name(stage): round(stage["cores"], 2) for stage in stages if stage["cores"]},
            documents=sum(counts["read"] for counts in summary["categories"].values()),
            chunks=sum(branch["chunks"] for branch in branches),
            embedded=sum(branch["embedded"] for branch in branches),
            points=sum(branch["points"] for branch in branches),
            touched=sum(branch["written"] + branch["updated"] + branch["removed"] for branch in branches),
            peak_mb=finished.peak_mb,
            tokens_a_second=round(sum(stage["tokens"] for stage in embedding) / seconds, 1) if embedding else None,
            gemm_share=None if gemm is None else round(gemm, 3),
        )
        return self.results.add(row)

    # Installations and commands

    def pipeline(self, name: str) -> tuple[Finished, Summary]:
        """Run the pipeline on an installation, by the command; return what it says of the run."""
        finished = self.execute([str(COMMAND), "run", "--json", "--config", str(self.config_of(name))], name)
        summary: Summary = json.loads(finished.output)
        return finished, summary

    def execute(self, command: Sequence[str], name: str = "hash") -> Finished:
        """Run a command to its end and watch its memory."""
        log = self.folder / "log.txt"
        started = time.perf_counter()
        with log.open("w", encoding="utf-8") as errors:
            process = subprocess.Popen(  # noqa: S603 - our own commands
                command, cwd=REPOSITORY, env=self.environment(name), stdout=subprocess.PIPE, stderr=errors, text=True
            )
            with MemoryWatch(process.pid) as watch:
                output, _ = process.communicate()
        seconds = time.perf_counter() - started
        if process.returncode:
            raise SystemExit(f"{command} failed:\n{log.read_text(encoding='utf-8')[-3000:]}\n{output[-1000:]}")
        return Finished(seconds, watch.peak_mb, output)

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment of an installation: nothing outside of it is used."""
        return {
            **{key: value for key, value in os.environ.items() if key not in _SERVICES},
            "DATA_DIR": str(self.place(name)),
            "ENV_FILE": str(self.folder / "none.env"),
            "HF_HUB_OFFLINE": "1",
            "ZENML_ANALYTICS_OPT_IN": "false",
            "ZENML_CONFIG_PATH": str(self.folder / "zenml"),
            "ZENML_LOCAL_STORES_PATH": str(self.folder / "stores"),
            "ZENML_REPOSITORY_PATH": str(self.folder),
        }

    def state(self, name: str) -> State:
        """Return what an installation holds."""
        with open_qdrant(self.settings(name)) as client:
            return read_state(Flow(self.place(name), self.configuration(name), client))

    def settings(self, name: str) -> Settings:
        """Return the settings of an installation."""
        return Settings(data_dir=self.place(name), _env_file=None)

    def place(self, name: str) -> Path:
        """Return the data folder of an installation."""
        return self.folder / name

    def config_of(self, name: str) -> Path:
        """Return the configuration file of an installation."""
        path = self.folder / f"{name}.yaml"
        if not path.exists():
            parameters = self.configuration(name).model_dump(mode="json", exclude_unset=True)
            path.write_text(yaml.safe_dump({"parameters": parameters}), encoding="utf-8")
        return path

    def configuration(self, name: str) -> PipelineConfig:
        """Return the configuration, in the mode by which an installation is called, for what the corpus has."""
        given = load_config(self.config)
        parameters = given.model_dump(exclude_unset=True)
        capture = MODES.get(name, "hash")
        parameters["categories"] = [
            {**category, "capture": capture} for category in parameters["categories"] if category["name"] in TEXT_FIELDS
        ]
        parameters["indexes"] = [{**index, "categories": list(TEXT_FIELDS)} for index in parameters["indexes"]]
        return validate_parameters(parameters, "the benchmark")


def _name(stage: Summary) -> str:
    return f"{stage['stage']} {stage['index']}".strip()


if __name__ == "__main__":
    sys.exit(main())
