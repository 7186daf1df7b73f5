"""What versions cost: disk and time of a small change, reading an old version, comparing, listing and pruning.

Run by ``make bench-versions``; writes ``benchmarks/results/versions.json``. Synthetic documents of 2,000 characters are
committed once, then changed by 1 % a run, then by a few documents a run until there are 300 versions. Part files are
made beforehand and given to ``feature_store.commit``: capturing and cleaning are not measured. Neither are training
exports.

The exit code is 1 if a result is wrong; a goal of speed or size that is missed is reported, with exit code 0.
"""

import argparse
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from benchmarks.report import Results, finish
from feature_store import schema
from feature_store.commit import ChangeSet, RunDescription, commit
from feature_store.history import compare_versions, list_versions
from feature_store.ids import document_id, text_hash
from feature_store.parts import write_part
from feature_store.retention import newest_ones, prune_store
from feature_store.settings import Settings
from feature_store.store import IS_LIVE, open_feature_store
from feature_store.tables import batches_of

SEED = 5
DOCUMENTS = 100_000
CHARACTERS = 2000
SHARE = 0.01
RUNS = 20
BACK = 10  # versions
VERSIONS = 300
SMALL_CHANGE = 10  # documents
KEPT = 10  # versions
PART = 500  # documents
CATEGORY = "notes"
DEFAULT_OUTPUT = Path(__file__).with_name("results") / "versions.json"

SIZE_GOAL = 0.03  # of the table's size on disk before the run
COMMIT_GOAL = 5.0  # seconds
DIFF_GOAL = 1.0  # seconds
LIST_GOAL = 2.0  # seconds

Contents = dict[int, int]
"""Number of a document to how often it was edited: what its text follows from."""
Result = TypeVar("Result")


@dataclass
class Row:
    """One thing that was done. ``added_share`` is that of the table's size on disk before it."""

    phase: str
    version: int
    seconds: float
    bytes: int | None = None
    added_share: float | None = None


def main() -> int:
    """Measure, write the results, and say whether they are right."""
    arguments = _arguments()
    results = Results()
    with tempfile.TemporaryDirectory(prefix="versions-") as folder:
        Measurement(Path(folder), arguments.documents, results).run(arguments.versions)
    documents = {"count": arguments.documents, "characters": CHARACTERS, "changed_by_a_run": SHARE}
    return finish(results, arguments.output, ("pylance", "pyarrow"), documents=documents)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what versions cost.")
    parser.add_argument("--documents", type=int, default=DOCUMENTS, help=f"how many documents ({DOCUMENTS})")
    parser.add_argument("--versions", type=int, default=VERSIONS, help=f"how many versions in the end ({VERSIONS})")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    return parser.parse_args()


# The documents


class Documents:
    """Synthetic documents: text of made-up words, which follows from the document's number and edit alone."""

    def __init__(self) -> None:
        chance = _chance(SEED)
        letters = "abcdefghijklmnopqrstuvwxyz"
        self._words = ["".join(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(20_000)]

    def text(self, number: int, edit: int) -> str:
        """Return the text of a document after so many edits."""
        words = " ".join(_chance(f"{number}/{edit}").choices(self._words, k=CHARACTERS // 5))
        return words[:CHARACTERS].ljust(CHARACTERS, ".")

    def row(self, number: int, edit: int, in_version: int) -> dict[str, Any]:
        """Return a row for the table of documents."""
        text = self.text(number, edit)
        return {
            **dict.fromkeys(schema.DOCUMENTS.names),
            "document_id": identifier(number),
            "category": CATEGORY,
            "source_id": str(number),
            "source_hash": text_hash(text)[:32],
            "state": "live",
            "text": text,
            "text_format": "text",
            "title": f"Document {number}",
            "metadata": "{}",
            "text_hash": text_hash(text),
            "content_hash": text_hash(f"{number} {text}"),
            "characters": len(text),
            "added_in": 1 if edit else in_version,
            "changed_in": in_version,
        }


def identifier(number: int) -> str:
    """Return the id of a document."""
    return document_id(CATEGORY, str(number))


def _chance(seed: int | str) -> random.Random:
    return random.Random(seed)  # noqa: S311 - the same choice each time


# What is measured


class Measurement:
    """One feature store under ``folder``, and what each of its versions has to hold."""

    def __init__(self, folder: Path, size: int, results: Results) -> None:
        self.settings = Settings(data_dir=folder / "data", qdrant_url=None, _env_file=None)
        self.store = open_feature_store(self.settings.feature_store_folder)
        self.parts = folder / "parts"
        self.size = size
        self.results = results
        self.documents = Documents()
        self.chance = _chance(SEED)
        self.contents: list[Contents] = [{}]  # by version
        self.edited: list[set[int]] = [set()]  # by version

    def run(self, wanted: int) -> None:
        """Load, change, read back, compare, list and prune."""
        self.commit("first load", dict.fromkeys(range(self.size), 0))
        runs = [self.change("1 % changed", max(1, round(self.size * SHARE))) for _ in range(RUNS)]
        shares = [row.added_share or 0.0 for row in runs]
        self.results.hope("1 % changed: most that a run adds to the table", max(shares), SIZE_GOAL, "of its size")
        self.results.hope("1 % changed: added in the middle", statistics.median(shares), SIZE_GOAL, "of its size")
        self.results.hope("1 % changed: slowest commit", max(row.seconds for row in runs), COMMIT_GOAL, "seconds")
        self.measure_reading(len(self.contents) - 1 - BACK)
        self.measure_difference(len(self.contents) - 2, "neighbours")
        self.measure_difference(len(self.contents) - 1 - BACK, f"{BACK} versions apart")
        while len(self.contents) <= wanted:
            last = self.change("a few changed", SMALL_CHANGE)
        self.results.hope(f"commit after {wanted} versions", last.seconds, COMMIT_GOAL, "seconds")
        self.measure_listing()
        self.measure_difference(len(self.contents) - 2, "neighbours among many")
        self.measure_pruning()

    def change(self, phase: str, count: int) -> Row:
        """Edit some documents and commit them."""
        now = self.contents[-1]
        return self.commit(phase, {number: now[number] + 1 for number in self.chance.sample(range(self.size), count)})

    def commit(self, phase: str, changes: Contents) -> Row:
        """Commit documents as one version; note its seconds and what it added on disk."""
        number = len(self.contents)
        changed = ChangeSet(documents=self.write(changes, number))
        run = RunDescription(f"run {number}", "benchmark", {"added" if number == 1 else "changed": len(changes)})
        before = bytes_of(self.store.documents_path)
        _, seconds = timed(lambda: commit(self.store, changed, run))
        after = bytes_of(self.store.documents_path)
        shutil.rmtree(self.parts)
        self.contents.append({**self.contents[-1], **changes})
        self.edited.append(set(changes))
        share = round((after - before) / before, 5) if before else None
        return self.results.add(Row(phase, number, seconds, after, share))

    def write(self, changes: Contents, number: int) -> list[Path]:
        """Write part files."""
        return [
            write_part(self.parts, "documents", place, self.table(some, number))
            for place, some in enumerate(batches_of(changes.items(), PART))
        ]

    def table(self, some: Iterable[tuple[int, int]], number: int) -> pa.Table:
        """Return rows for the table of documents."""
        rows = [self.documents.row(document, edit, number) for document, edit in some]
        return pa.Table.from_pylist(rows, schema=schema.DOCUMENTS)

    def measure_reading(self, number: int) -> None:
        """Read all texts of an old version."""
        problem, seconds = timed(lambda: self.wrong_at(number))
        self.results.add(Row("reading and comparing an old version", number, seconds))
        self.results.require(f"version {number}, {len(self.contents) - 1 - number} back, has exactly its rows", problem)

    def wrong_at(self, number: int) -> str:
        """Return how the documents of a version differ from what it has to hold; nothing if they do not."""
        expected = {identifier(document): (document, edit) for document, edit in self.contents[number].items()}
        columns = ["document_id", "text"]
        table = self.store.documents(self.store.version(number))
        for batch in table.scanner(columns=columns, filter=IS_LIVE, batch_size=PART).to_batches():
            for name, text in zip(*(batch.column(column).to_pylist() for column in columns), strict=True):
                wanted = expected.pop(name, None)
                if wanted is None or self.documents.text(*wanted) != text:
                    return f"{name} is not as it was"
        return f"{len(expected)} documents are missing" if expected else ""

    def measure_difference(self, number: int, what: str) -> None:
        """Compare a version with the newest."""
        before, after = self.store.version(number), self.store.version(len(self.contents) - 1)
        difference, seconds = timed(lambda: compare_versions(self.store, before, after))
        self.results.add(Row(f"diff of {what}", after.number, seconds))
        expected = {identifier(document) for some in self.edited[number + 1 :] for document in some}
        found = {change.document_id for change in difference.documents if change.fields == ["text"]}
        self.results.require(f"diff of {what} names what was edited", "" if found == expected else "another list")
        if number == after.number - 1:
            self.results.hope(f"diff of {what}", seconds, DIFF_GOAL, "seconds")

    def measure_listing(self) -> None:
        """List all versions."""
        listed, seconds = timed(lambda: list_versions(self.store.folder, self.settings.indexes_folder))
        self.results.add(Row("versions", len(listed), seconds))
        wrong = [each.number for each in listed if each.documents != self.size]
        self.results.require("every version is listed with its documents", f"not {wrong}" if wrong else "")
        self.results.hope(f"versions, of which there are {len(listed)}", seconds, LIST_GOAL, "seconds")

    def measure_pruning(self) -> None:
        """Remove all versions but the newest few."""
        newest = len(self.contents) - 1
        before = bytes_of(self.store.documents_path)
        pruning, seconds = timed(lambda: prune_store(self.settings, partial(newest_ones, count=KEPT)))
        after = bytes_of(self.store.documents_path)
        self.results.add(Row("prune", newest, seconds, after, round((after - before) / before, 5)))
        right = pruning.removed == list(range(1, newest - KEPT + 1)) and pruning.bytes_after is not None
        self.results.require("pruning removes all but the newest", "" if right else f"removed {pruning.removed}")
        for number in (newest - KEPT + 1, newest):
            self.results.require(f"version {number} has its rows after pruning", self.wrong_at(number))
        self.results.hope("pruning: share of the disk that is left", round(after / before, 3), 1.0, "of it")


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Return what some work gives, and its seconds."""
    started = time.perf_counter()
    result = work()
    return result, round(time.perf_counter() - started, 3)


def bytes_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    sys.exit(main())
