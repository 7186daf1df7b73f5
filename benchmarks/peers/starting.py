"""Starting a system as a process of its own, and watching its memory."""

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process_memory import MemoryWatch

REPOSITORY = Path(__file__).resolve().parents[2]
# No hub, no usage reports, no progress bars.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "COCOINDEX_DISABLE_USAGE_TRACKING": "1",
    "TOKENIZERS_PARALLELISM": "true",
    "PYTHONWARNINGS": "ignore",
    "TQDM_DISABLE": "1",
}


@dataclass(frozen=True)
class Outcome:
    """One start of a system. ``memory_mb`` is the most that its processes held together (PSS).

    ``seconds`` are those of its work; importing, opening the index and loading the model come on top. None if it died.
    """

    exit_code: int
    wall_seconds: float
    memory_mb: int
    embedded: int
    seconds: float | None = None
    opening_seconds: float | None = None
    timed_out: bool = False
    died: bool = False


def start(command: list[str], result: Path, log: Path, limit: float) -> Outcome:
    """Run a command to its end, or until the limit in seconds."""
    result.unlink(missing_ok=True)
    started = time.perf_counter()
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own scripts
            command,
            cwd=REPOSITORY,
            env={**os.environ, **ENVIRONMENT},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            with MemoryWatch(process.pid) as memory:
                timed_out = not _ends_within(process, limit)
            wall = time.perf_counter() - started
        finally:
            _end_all(process)
    figures = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {}
    return Outcome(
        exit_code=process.returncode,
        wall_seconds=round(wall, 2),
        memory_mb=round(memory.peak_mb),
        embedded=figures.get("embedded", 0),
        seconds=figures.get("seconds"),
        opening_seconds=figures.get("opening_seconds"),
        timed_out=timed_out,
        died=figures.get("died", False),
    )


def copied(source: Path, target: Path) -> Path:
    """Return a copy of a folder, in place of what was there."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


def _ends_within(process: subprocess.Popen[bytes], limit: float) -> bool:
    with suppress(subprocess.TimeoutExpired):
        process.wait(limit)
    return process.returncode is not None


def _end_all(process: subprocess.Popen[bytes]) -> None:
    # A process that was killed leaves its children behind: an embedded server, workers.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
