"""What each command takes before it does anything: help, status, and a run that finds nothing to do.

``run --if-changed`` sees that before it starts a run; the others are runs of ZenML.

Run by ``make bench-start-up``; writes ``benchmarks/results/start_up.json``. On an installation of its own with the
docstrings of one package, or on a copy of a data folder (``--data data``, as `make run` fills it) with the default
configuration. The commands take turns, so that a busy machine is busy for all of them; of each the quickest counts, and
beside its seconds those of the processor. Four rows are not ours: importing the `zenml` command, which every run does
first; listing the pipelines, which opens ZenML's store besides; and a pipeline of as many steps that do nothing, plain
and without ZenML's integrations, as ours are run: that is what ZenML itself takes. The goals are of speed: none decides
the exit code.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Results, finish
from feature_store.defaults import REPOSITORY

DEFAULT_OUTPUT = Path(__file__).with_name("results") / "start_up.json"
COMMANDS = Path(sys.executable).parent
SAMPLE = ("json", "email")  # packages of the standard library: real docstrings on every machine
HELP_GOAL = 0.5
STATUS_GOAL = 2.0
RUN_GOAL = 2.0  # beyond the import of the bare command

IMPORT = "import of zenml's command"
LIST = "zenml pipeline list"
EMPTY_STEPS = "zenml pipeline run, empty steps"
LIGHT_STEPS = "zenml pipeline run, empty steps without integrations"
HELP = "feature-pipeline --help"
RUN_HELP = "feature-pipeline run --help"
STATUS = "feature-pipeline status"
RUN = "feature-pipeline run"
IF_CHANGED = "feature-pipeline run --if-changed"
ZENML_RUN = "zenml pipeline run feature_pipeline"
EMPTY_PIPELINE = """
from pipelines.light import LightPipeline
from zenml import pipeline, step

@step(enable_cache=False)
def nothing() -> int:
    return 1

def run_steps() -> None:
    before = []
    for number in range(8):
        nothing(id=f"nothing_{number}", after=before)
        before = [f"nothing_{number}"]

empty = pipeline(name="empty", enable_cache=False)(run_steps)
light = LightPipeline(name="light", entrypoint=run_steps, enable_cache=False)
"""


@dataclass
class Start:
    """The quickest of several starts of a command; ``processor_seconds`` are those of all its processes together."""

    command: str
    seconds: float
    processor_seconds: float
    starts: int


@dataclass(frozen=True)
class Installation:
    """A data folder and a ZenML store of their own."""

    folder: Path

    def execute(self, *command: str, cwd: Path = REPOSITORY) -> tuple[float, float]:
        """Run a command of this environment; return its seconds and those of the processor."""
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(  # noqa: S603 - our own commands
            [str(COMMANDS / command[0]), *command[1:]],
            cwd=cwd,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
        return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DATA_DIR": str(self.folder / "data"),
            "HF_HUB_OFFLINE": "1",
            "ZENML_CONFIG_PATH": str(self.folder / "zenml"),
            "ZENML_LOCAL_STORES_PATH": str(self.folder / "stores"),
            "ZENML_REPOSITORY_PATH": str(self.folder),
            "ZENML_ANALYTICS_OPT_IN": "false",
        }


def main() -> int:
    """Measure, check and write the results."""
    arguments = _parser().parse_args()
    results = Results()
    with tempfile.TemporaryDirectory(prefix="start-up-") as folder:
        installation = make_installation(Path(folder), arguments.data)
        for start in measure(installation, arguments.starts).values():
            results.add(start)
    check(results)
    origin = "an installation of its own" if arguments.data is None else "a copy of a data folder"
    return finish(results, arguments.output, ["zenml", "typer", "qdrant-client", "pylance"], data=origin)


def make_installation(folder: Path, data: Path | None) -> Installation:
    """Make an installation that is up to date: of a copy of ``data``, or of a few real documents."""
    installation = Installation(folder)
    if data is not None:
        shutil.copytree(data, folder / "data")
    else:
        installation.execute("feature-pipeline", "import", "docstrings", *SAMPLE)
    installation.execute("feature-pipeline", "run")
    (folder / "empty").mkdir()
    (folder / "empty" / "empty_pipeline.py").write_text(EMPTY_PIPELINE, encoding="utf-8")
    return installation


def measure(installation: Installation, starts: int) -> dict[str, Start]:
    """Start every command in turn, ``starts`` times; return the quickest start of each."""
    commands = {
        IMPORT: ("python", "-c", "import zenml.cli.cli"),
        HELP: ("feature-pipeline", "--help"),
        RUN_HELP: ("feature-pipeline", "run", "--help"),
        STATUS: ("feature-pipeline", "status"),
        RUN: ("feature-pipeline", "run"),
        IF_CHANGED: ("feature-pipeline", "run", "--if-changed"),
        ZENML_RUN: ("zenml", "pipeline", "run", "feature_pipeline"),
        LIST: ("zenml", "pipeline", "list"),
        EMPTY_STEPS: ("zenml", "pipeline", "run", "empty_pipeline.empty"),
        LIGHT_STEPS: ("zenml", "pipeline", "run", "empty_pipeline.light"),
    }
    quickest: dict[str, Start] = {}
    for _ in range(starts):
        for name, command in commands.items():
            cwd = installation.folder / "empty" if name in {EMPTY_STEPS, LIGHT_STEPS} else REPOSITORY
            seconds, processor = installation.execute(*command, cwd=cwd)
            best = quickest.setdefault(name, Start(name, seconds, processor, starts))
            best.seconds = round(min(best.seconds, seconds), 3)
            best.processor_seconds = round(min(best.processor_seconds, processor), 3)
    return quickest


def check(results: Results) -> None:
    """Note which goals of speed were reached."""
    seconds = {row.command: row.seconds for row in results.rows}
    results.hope("help", seconds[HELP], HELP_GOAL, "s")
    results.hope("help of a command", seconds[RUN_HELP], HELP_GOAL, "s")
    results.hope("status", seconds[STATUS], STATUS_GOAL, "s")
    for name in (IF_CHANGED, RUN, ZENML_RUN):
        beyond_import = round(seconds[name] - seconds[IMPORT], 3)
        results.hope(f"{name} without changes, beyond the import of zenml", beyond_import, RUN_GOAL, "s")
    for name in (RUN, ZENML_RUN):
        beyond_zenml = round(seconds[name] - seconds[EMPTY_STEPS], 3)
        results.hope(f"{name} without changes, beyond a run of empty steps", beyond_zenml, RUN_GOAL, "s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure the start of every command.")
    parser.add_argument("--data", type=Path, help="Data folder to copy; default: a few documents of its own.")
    parser.add_argument("--starts", type=int, default=5, help="Starts of each command.")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    return parser


if __name__ == "__main__":
    sys.exit(main())
