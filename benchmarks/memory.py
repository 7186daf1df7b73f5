"""Whether the memory of a run depends on the number of documents: 2,000, 20,000 and 200,000 of them.

Run by ``make bench-memory``; writes ``benchmarks/results/memory.json``. Every size is loaded whole, stage by stage, in
a process of its own: extract, clean, commit, chunk, embed, load, serve. The documents are about 600 characters each,
paragraphs of READMEs and docstrings that this machine has, put together anew, so that no two are alike. Memory is the
peak of the sum over the process and all that it started, shared pages counted once (PSS), looked at every 50 ms.

What is not measured is not there: the documents are given in pages instead of by a warehouse; the model is a stand-in,
a hash of the text (tests/stand_in.py); and Qdrant is a stand-in in another process that only keeps points
(benchmarks/counting_qdrant.py). After the load the same documents are given once more: a run without changes in `hash`
mode, which reads and compares every document.

The exit code is 1 if a result is wrong or memory grows; a goal of speed that is missed is reported, with exit code 0.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from benchmarks.report import Results, finish

SEED = 7
SIZES = (2_000, 20_000, 200_000)
CHARACTERS = 600
PAGE = 100
SECONDS_BETWEEN_LOOKS = 0.05
MEMORY_GOAL = 1.2  # times the peak of the second largest size
TIME_GOAL = 0.02  # of the first load
DEFAULT_OUTPUT = Path(__file__).with_name("results") / "memory.json"
# Large packages that this project's own dependencies bring along.
PACKAGES = ("sklearn", "networkx")
BYTES_PER_MB = 1_000_000
PARAGRAPHS = "paragraphs.json"
PARAGRAPHS_KEPT = 2_000


@dataclass
class Row:
    """A first load and a run without changes. ``peaks_mb`` and ``seconds`` are those of each stage of the first."""

    documents: int
    chunks: int
    points: int
    differences_left: int
    peak_mb: float
    largest_process_mb: float
    peaks_mb: dict[str, float]
    seconds: dict[str, float]
    first_load_seconds: float
    no_change_seconds: float
    no_change_peak_mb: float


def main() -> int:
    """Measure, write the results, and say whether they are right."""
    arguments = _arguments()
    if arguments.child:
        print(json.dumps(asdict(load(arguments.folder, arguments.sizes[0], arguments.child, arguments.workers))))
        return 0
    results = Results()
    with tempfile.TemporaryDirectory(prefix="memory-", dir=arguments.folder) as folder:
        (Path(folder) / PARAGRAPHS).write_text(json.dumps(paragraphs()), encoding="utf-8")
        for size in sorted(arguments.sizes):
            measure(Path(folder) / str(size), size, arguments.workers, results)
    compare_memory(results)
    return finish(
        results,
        arguments.output,
        ("pylance", "pyarrow", "qdrant-client"),
        workers=arguments.workers or "as many as there are processors",
        encoder="tests/stand_in.py: a hash of the text, not a model",
        qdrant="benchmarks/counting_qdrant.py: keeps points and counts them, in a process that is not measured",
        corpus={"characters": f"about {CHARACTERS} each", "paragraphs_of": ["READMEs", *PACKAGES]},
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure whether the memory of a run depends on its documents.")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of documents")
    parser.add_argument("--workers", type=int, help="processes of the executor; default: one for each processor")
    parser.add_argument("--folder", type=Path, help="where to work; default: the system's temporary folder")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


# What is measured


def measure(folder: Path, size: int, workers: int | None, results: Results) -> None:
    """Load documents of one size in a process of its own, and check what came of it."""
    from benchmarks.counting_qdrant import counting_qdrant

    with counting_qdrant(folder / "qdrant") as address:
        # A child's ru_maxrss begins with the memory of the process that started it, and this one is small.
        command = [sys.executable, "-m", "benchmarks.memory", "--child", address, "--sizes", str(size)]
        command += ["--folder", str(folder)] + (["--workers", str(workers)] if workers else [])
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this very module
    row = results.add(Row(**json.loads(done.stdout.splitlines()[-1])))
    results.check(f"{size:,}: points", row.points, f"{row.chunks} chunks", holds=row.points == row.chunks > 0)
    left = row.differences_left
    results.check(f"{size:,}: documents that a second run found changed", left, "0", holds=left == 0)
    share = round(row.no_change_seconds / row.first_load_seconds, 4)
    name = f"{size:,}: seconds without changes beside those of the first load"
    results.check(name, share, f"at most {TIME_GOAL}", holds=share <= TIME_GOAL, decides=False)


def compare_memory(results: Results) -> None:
    """Set the peak of the largest size beside that of the one before it."""
    if len(results.rows) < 2:  # noqa: PLR2004 - nothing to compare
        return
    before, largest = results.rows[-2:]
    ratio = round(largest.peak_mb / before.peak_mb, 3)
    name = f"peak memory of {largest.documents:,} documents beside that of {before.documents:,}"
    results.check(name, ratio, f"at most {MEMORY_GOAL}", holds=ratio <= MEMORY_GOAL)


def load(folder: Path, size: int, address: str, workers: int | None) -> Row:
    """Load documents into an empty installation, and run once more without changes."""
    from loguru import logger
    from qdrant_client import QdrantClient

    from feature_store.config import ExecutorConfig
    from feature_store.executors.opening import open_executor
    from feature_store.memory import hold_memory_low
    from tests.flow import Flow
    from tests.stand_in import HashEncoder

    logger.remove()
    hold_memory_low()  # as each step of a run does
    some = json.loads((folder.parent / PARAGRAPHS).read_text(encoding="utf-8"))
    executor = ExecutorConfig(workers=workers) if workers else ExecutorConfig()
    client = QdrantClient(url=address, timeout=60, check_compatibility=False)
    flow = Flow(folder / "data", configuration(), client)
    encoder = HashEncoder(texts=Forgotten())
    flow.load_encoder = lambda _: encoder
    with open_executor(executor) as flow.executor, Watch() as watch:
        started = time.perf_counter()
        with watch.stage("extract"):
            raw = flow.extract({"docstrings": pages(size, some)})
        with watch.stage("clean and commit"):
            cleaned = flow.clean(raw)
        (index,) = flow.config.indexes
        with watch.stage("chunk"):
            chunks = flow.chunk(cleaned, index)
        with watch.stage("embed"):
            embeddings = flow.embed(chunks, index)
        with watch.stage("load"):
            report = flow.load(embeddings, cleaned, index)
        with watch.stage("serve"):
            flow.serve(cleaned, [report])
        first_load = time.perf_counter() - started
        peak, peaks, seconds = watch.peak, dict(watch.peaks), dict(watch.seconds)
        watch.peak = 0.0
        started = time.perf_counter()
        again = flow.run({"docstrings": pages(size, some)})
        no_change = time.perf_counter() - started
    counts = again.raw.categories["docstrings"]
    return Row(
        documents=size,
        chunks=chunks.chunks,
        points=report.points,
        differences_left=counts.added + counts.changed + counts.deleted,
        peak_mb=peak,
        largest_process_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / BYTES_PER_MB, 1),
        peaks_mb=peaks,
        seconds=seconds,
        first_load_seconds=round(first_load, 2),
        no_change_seconds=round(no_change, 2),
        no_change_peak_mb=watch.peak,
    )


class Forgotten(list[str]):
    """Where the stand-in notes every text that it embeds, which would grow with the corpus."""

    def __iadd__(self, _: object) -> Self:  # type: ignore[misc,override]
        return self


@dataclass
class Watch:
    """Looks at the memory of this process and its children, in a thread of its own."""

    peak: float = 0.0
    peaks: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    _stage: str = ""
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note seconds and peak of the block under a name."""
        self._stage, started = name, time.perf_counter()
        try:
            yield
        finally:
            self._stage = ""
            self.seconds[name] = round(time.perf_counter() - started, 2)

    def _look(self) -> None:
        from feature_store.profile import held_memory  # late: the process that starts this one stays small

        this = psutil.Process()
        while not self._ended.wait(SECONDS_BETWEEN_LOOKS):
            used = round(sum(map(held_memory, [this, *this.children(recursive=True)])) / BYTES_PER_MB, 1)
            self.peak = max(self.peak, used)
            self.peaks[self._stage] = max(self.peaks.get(self._stage, 0.0), used)


# The documents


def configuration() -> Any:
    """Return the default configuration for the one category that the documents are of, with chunks of one size."""
    from feature_store.config import load_config, validate_parameters

    default = load_config()
    categories = [each.model_dump(exclude_unset=True) for each in default.categories if each.name == "docstrings"]
    index = {**default.indexes[0].model_dump(exclude_unset=True), "categories": ["docstrings"]}
    index["chunking"] = {"strategy": "sliding_window"}
    return validate_parameters({"categories": categories, "indexes": [index]}, "the benchmark")


def pages(size: int, some: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """Yield documents in pages, put together of ``some`` paragraphs; none of them stays in memory."""
    chance = random.Random(SEED)  # noqa: S311 - the same documents each time
    for start in range(0, size, PAGE):
        yield [_document(place, chance, some) for place in range(start, min(start + PAGE, size))]


def paragraphs() -> Sequence[str]:
    """Return paragraphs of docstrings and READMEs."""
    from warehouse.imports.distributions import read_distributions
    from warehouse.imports.docstrings import read_docstrings

    texts = [str(document["content"]["Content"]) for document in read_distributions()]
    texts += [str(found["content"]) for name in PACKAGES for found in read_docstrings(name, lambda _: None)]
    cut = {part.strip() for text in texts for part in text.split("\n\n")}
    fitting = sorted(part for part in cut if CHARACTERS // 6 <= len(part) <= CHARACTERS // 2)
    return random.Random(SEED).sample(fitting, min(len(fitting), PARAGRAPHS_KEPT))  # noqa: S311 - the same each time


def _document(place: int, chance: random.Random, some: Sequence[str]) -> dict[str, Any]:
    chosen = [f"Document {place}."]
    while sum(map(len, chosen)) < CHARACTERS:
        chosen.append(chance.choice(some))
    return {"_id": f"document-{place:09d}", "name": f"document {place}", "content": "\n\n".join(chosen)}


if __name__ == "__main__":
    sys.exit(main())
