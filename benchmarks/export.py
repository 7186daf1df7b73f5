"""What an export of a training set costs, and whether its memory stays flat: 10,000, 30,000 and 100,000 documents.

Run by ``make bench-export``; writes ``benchmarks/results/export.json``. The documents are synthetic, 2 kB each: words
of the tokenizer's vocabulary in random order. Two in a hundred have the text of another one, five in a hundred that of
another one with a few words changed. Each size is exported twice, each time in a process of its own, whose peak of
resident memory is read at its end (``ru_maxrss``); the two must be equal byte for byte.

The exit code is 1 if a result is wrong or memory grows; a goal of speed that is missed is reported, with exit code 0.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import Results, finish

SEED = 5
SIZES = (10_000, 30_000, 100_000)
WORDS = 290  # about 2 kB
EQUAL_EVERY, NEAR_EVERY = 50, 20
WORDS_CHANGED = 3
BATCH = 2_500
MEMORY_GOAL = 1.2  # times the peak of the smallest size
SPEED_GOAL = 500  # documents a second
DEFAULT_OUTPUT = Path(__file__).with_name("results") / "export.json"


@dataclass
class Row:
    """One export."""

    documents: int
    seconds: float
    documents_per_second: float
    peak_memory_mb: float
    bytes: int
    counts: dict[str, int]


def main() -> int:
    """Measure, write the results, and say whether they are right."""
    arguments = _arguments()
    if arguments.child:
        return _child(arguments.child, arguments.folder, arguments.sizes[0], arguments.format)
    results = Results()
    with tempfile.TemporaryDirectory(prefix="export-", dir=arguments.folder) as folder:
        for size in arguments.sizes:
            measure(Path(folder) / str(size), size, arguments.format, results)
    compare_memory(results)
    corpus = {
        "words": WORDS,
        "equal": f"one in {EQUAL_EVERY}",
        "near": f"one in {NEAR_EVERY}, {WORDS_CHANGED} words changed",
    }
    libraries = ("pylance", "pyarrow", "rensa", "tokenizers")
    return finish(results, arguments.output, libraries, format=arguments.format, corpus=corpus)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what an export of a training set costs.")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of documents, ascending")
    parser.add_argument("--format", choices=("parquet", "jsonl", "huggingface"), default="parquet")
    parser.add_argument("--folder", type=Path, help="where to work; default: the system's temporary folder")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    parser.add_argument("--child", choices=("fill", "first", "second"), help=argparse.SUPPRESS)
    return parser.parse_args()


# What is measured


def measure(folder: Path, size: int, output_format: str, results: Results) -> None:
    """Export documents of one size twice, each in a process of its own, and check what was written."""
    folder.mkdir()
    _in_a_process("fill", folder, size, output_format)
    for name in ("first", "second"):
        row = Row(**_in_a_process(name, folder, size, output_format))
        results.rows.append(row)
        figures = f"{row.seconds} s, {row.documents_per_second}/s, {row.peak_memory_mb} MB"
        print(f"{size:,} documents, {name} time: {figures}", flush=True)
    counts = results.rows[-1].counts
    total = counts["documents"] + sum(count for name, count in counts.items() if name.startswith("excluded_"))
    results.check(f"{size:,}: written and left out", total, f"{size}", holds=total == size == counts["considered"])
    differ = sorted(name for name, _ in bytes_of(folder / "first").items() ^ bytes_of(folder / "second").items())
    results.check(f"{size:,}: files that differ the second time", differ, "none", holds=not differ)
    if output_format == "parquet":
        check_documents(folder / "first", size, counts, results)
    speed = results.rows[-1].documents_per_second
    goal = f"at least {SPEED_GOAL}"
    results.check(f"{size:,}: documents a second", speed, goal, holds=speed >= SPEED_GOAL, decides=False)


def compare_memory(results: Results) -> None:
    """Set the peak of the largest size beside that of the smallest."""
    peaks = {row.documents: row.peak_memory_mb for row in sorted(results.rows, key=lambda row: row.peak_memory_mb)}
    ratio = round(peaks[max(peaks)] / peaks[min(peaks)], 3)
    name = f"peak memory of {max(peaks):,} documents beside that of {min(peaks):,}"
    results.check(name, ratio, f"at most {MEMORY_GOAL}", holds=ratio <= MEMORY_GOAL)


def check_documents(folder: Path, size: int, counts: dict[str, int], results: Results) -> None:
    """Check order and number of what was written, and that copies are where their first ones are."""
    import pyarrow.parquet as pq

    split_of: dict[str, str] = {}
    ordered = True
    for split in ("train", "validation", "test"):
        ids: list[str] = []
        for path in sorted(folder.glob(f"data/{split}-*.parquet")):
            ids += pq.read_table(path, columns=["document_id"]).column(0).to_pylist()
        ordered &= ids == sorted(set(ids))
        split_of |= dict.fromkeys(ids, split)
    results.check(f"{size:,}: documents in the order of their ids", str(ordered), "True", holds=ordered)
    number = len(split_of)
    results.check(f"{size:,}: rows in the files", number, f"{counts['documents']}", holds=number == counts["documents"])
    pairs = [(document_id(place), document_id(place - 1)) for place in range(size) if is_near(place)]
    apart = sum(split_of.get(one) != split_of.get(other) for one, other in pairs)
    results.check(f"{size:,}: near-duplicates of {len(pairs)} in another split", apart, "0", holds=apart == 0)
    equal = sum(map(is_equal, range(size)))
    dropped = counts["excluded_duplicate"]
    results.check(f"{size:,}: equal texts that were dropped", dropped, f"{equal}", holds=dropped == equal)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Return the digest of every file of an export."""
    import hashlib

    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).digest() for path in files}


def _in_a_process(task: str, folder: Path, size: int, output_format: str) -> Any:
    # This process stays small: a child's ru_maxrss begins with the memory of the process that started it.
    command = [sys.executable, "-m", "benchmarks.export", "--child", task, "--folder", str(folder)]
    command += ["--sizes", str(size), "--format", output_format]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this very module
    return json.loads(done.stdout)


def _child(task: str, folder: Path, size: int, output_format: str) -> int:
    from loguru import logger

    logger.remove()
    if task == "fill":
        fill(folder, size)
        print("{}")
        return 0
    from feature_store.store import open_feature_store
    from feature_store.training import TrainingConfig
    from steps.export.apply import export_training_set

    store = open_feature_store(folder / "feature_store")
    newest = store.newest()
    if newest is None:
        raise SystemExit("There is nothing to export.")
    started = time.perf_counter()
    record = export_training_set(store, newest, TrainingConfig(), output_format, folder / task)
    seconds = time.perf_counter() - started
    row = Row(
        documents=size,
        seconds=round(seconds, 2),
        documents_per_second=round(size / seconds),
        peak_memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        bytes=sum(file.bytes for file in record.files),
        counts=record.counts,
    )
    print(json.dumps(asdict(row)))
    return 0


# The documents


def fill(folder: Path, size: int) -> None:
    """Commit the documents to a new store, in one version."""
    import pyarrow as pa

    from feature_store import schema
    from feature_store.commit import ChangeSet, RunDescription, commit
    from feature_store.parts import write_part
    from feature_store.store import open_feature_store

    rows: list[dict[str, Any]] = []
    parts: list[Path] = []
    for place, text in enumerate(texts(size)):
        rows.append(_row(place, text))
        if len(rows) == BATCH or place == size - 1:
            table = pa.Table.from_pylist(rows, schema=schema.DOCUMENTS)
            parts.append(write_part(folder / "parts", "documents", len(parts), table))
            rows.clear()
    commit(open_feature_store(folder / "feature_store"), ChangeSet(documents=parts), RunDescription("run", "bench"))


def texts(size: int) -> Iterator[str]:
    """Yield texts; some are equal, or near, to the one before them."""
    chance, vocabulary = random.Random(SEED), _vocabulary()  # noqa: S311 - the same documents each time
    words: Sequence[str] = []
    for place in range(size):
        if is_near(place):
            words = _changed(words, chance)
        elif not is_equal(place):
            words = chance.choices(vocabulary, k=WORDS)
        yield " ".join(words)


def is_equal(place: int) -> bool:
    """Return whether a document has the text of the one before it."""
    return place % EQUAL_EVERY == EQUAL_EVERY - 1


def is_near(place: int) -> bool:
    """Return whether a document is near to the one before it."""
    return place % NEAR_EVERY == NEAR_EVERY // 4


def document_id(place: int) -> str:
    """Return the id of a document."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(place)))


def _changed(words: Sequence[str], chance: random.Random) -> list[str]:
    changed = list(words)
    for place in chance.sample(range(len(words)), WORDS_CHANGED):
        changed[place] = f"changed{place}"
    return changed


def _vocabulary() -> list[str]:
    from feature_store.training import TrainingConfig
    from steps.export.tokens import load_token_counter

    vocabulary = load_token_counter(TrainingConfig().tokenizer).tokenizer.get_vocab()
    return sorted(word for word in vocabulary if word.isalpha() and len(word) > 3)  # noqa: PLR2004 - no syllables


def _row(place: int, text: str) -> dict[str, Any]:
    from feature_store.ids import text_hash

    digest = text_hash(text)
    return {
        "document_id": document_id(place),
        "category": ("articles", "posts")[place % 2],
        "source_id": str(place),
        "source_hash": digest,
        "state": "live",
        "text": text,
        "text_format": "text",
        "author": f"author {place % 1000}",
        "language": "en",
        "metadata": json.dumps({"license": "MIT"}),
        "text_hash": digest,
        "content_hash": digest,
        "characters": len(text),
        "added_in": 1,
        "changed_in": 1,
    }


if __name__ == "__main__":
    sys.exit(main())
