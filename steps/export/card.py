"""The card of a training set: a README that a person reads, with a head that `datasets.load_dataset` reads.

Its head is that of dataset cards on the Hugging Face hub (https://huggingface.co/docs/hub/datasets-cards).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from feature_store.training import TrainingConfig
from feature_store.versions import Version
from feature_store.views.text import escape_markdown
from steps.export.ledger import Ledger
from steps.export.writers import DOCUMENTS, GONE, OutputFormat

_MOST_FREQUENT = 20
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
_LARGEST = "n>10M"


@dataclass(frozen=True)
class CardContent:
    """What is said of an export."""

    export_id: str
    version: Version
    since: Version | None
    training: TrainingConfig
    output: OutputFormat
    files: Mapping[str, Sequence[str]]
    counts: Mapping[str, int]
    fingerprints: Mapping[str, str]


def write_card(content: CardContent, ledger: Ledger) -> str:
    """Return the README of an export."""
    head = yaml.safe_dump(_head(content, ledger), sort_keys=False, allow_unicode=True)
    sections = [
        _opening(content),
        _documents(content, ledger),
        _splits(content),
        _exclusions(content),
        _most_frequent(ledger, "language", "Languages"),
        _most_frequent(ledger, "license", "Licences"),
        _most_frequent(ledger, "author", "Authors"),
        _origin(content),
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(sections) + "\n"


def _head(content: CardContent, ledger: Ledger) -> dict[str, Any]:
    languages = [name for name, _ in _frequencies(ledger, "language", 1000) if name]
    documents = content.counts["documents"]
    head: dict[str, Any] = {"license": _licence(ledger)}
    if languages:
        head["language"] = sorted(languages)
    head["size_categories"] = [next((name for limit, name in _SIZES if documents < limit), _LARGEST)]
    if content.output.name != "huggingface":
        head |= _configurations(content)
    return head


def _configurations(content: CardContent) -> dict[str, Any]:
    data = [
        {"split": split, "path": name.replace("-00000.", "-*.")}
        for split, (name, *_) in ((split, names) for split, names in content.files.items() if names)
    ]
    any_gone = content.counts.get("deleted", 0) + content.counts.get("replaced", 0) > 0
    configs: list[dict[str, Any]] = []
    features = []
    if data or not any_gone:
        # Without any file the library would take the manifest for data; it stops at a file that is not there.
        files = data or [{"split": "train", "path": content.output.split_file("train", 0)}]
        configs.append({"config_name": "default", "default": True, "data_files": files})
        features.append({"config_name": "default", "features": _features(DOCUMENTS)})
    if any_gone:
        gone = [{"split": "deleted", "path": content.output.gone_file}]
        configs.append({"config_name": "deleted", "data_files": gone})
        features.append({"config_name": "deleted", "features": _features(GONE)})
    return {"configs": configs, "dataset_info": features}


def _features(schema: Any) -> list[dict[str, str]]:
    return [{"name": column.name, "dtype": str(column.type)} for column in schema]


def _licence(ledger: Ledger) -> str:
    names = [name for name, _ in _frequencies(ledger, "license", 2)]
    if names in ([], [None]):
        return "unknown"
    return str(names[0]).lower() if len(names) == 1 else "other"


def _opening(content: CardContent) -> str:
    counts, version = content.counts, content.version
    figures = f"{counts['documents']:,} documents, {counts['tokens']:,} tokens"
    if content.since is None:
        return f"# Training set from version {version.number}\n\n{figures}."
    return (
        f"# Changes of a training set from version {content.since.number} to version {version.number}\n\n"
        f"{figures}: what was added or changed since. `{content.output.gone_file}` lists {counts['deleted']:,}"
        f" documents that are no longer in the set, and {counts['replaced']:,} that these files hold anew (`replaced`)."
    )


def _documents(content: CardContent, ledger: Ledger) -> str:
    splits = list(content.files)
    by_category: dict[str, dict[str, int]] = {}
    query = "SELECT category, split, COUNT(*) FROM exported GROUP BY category, split ORDER BY category"
    for category, split, number in ledger.rows(query):
        by_category.setdefault(category, {})[split] = number
    rows = [
        [category, *(numbers.get(split, 0) for split in splits), sum(numbers.values())]
        for category, numbers in by_category.items()
    ]
    rows.append(["all", *(content.counts[split] for split in splits), content.counts["documents"]])
    rows.append(["tokens", *(content.counts[f"tokens_{split}"] for split in splits), content.counts["tokens"]])
    return "## Documents\n\n" + _table(["category", *splits, "all"], rows)


def _splits(content: CardContent) -> str:
    training = content.training
    shares = ", ".join(f"{name} {share:.4g}" for name, share in training.splits.shares().items())
    near = training.near_duplicates
    treatment = "Near-duplicates are left out." if near.drop else "They are in the same split."
    return (
        f"## Splits\n\nBy a hash of the document's id ({shares}), so that a document stays in its split while the"
        f" corpus grows. Two documents are near-duplicates from an estimated Jaccard similarity of {near.threshold:g}"
        f" on, over {near.words} words in a row, by MinHash of {near.permutations} permutations. {treatment} One that"
        f" is near to documents in different splits is left out. {content.counts['near_duplicate_groups']:,} groups of"
        " duplicates or near-duplicates were found among all documents of the version."
    )


def _exclusions(content: CardContent) -> str:
    prefix = "excluded_"
    rows = [
        [name.removeprefix(prefix).replace("_", " "), number]
        for name, number in content.counts.items()
        if name.startswith(prefix) and number
    ]
    if not rows:
        return f"## Left out\n\nNone of {content.counts['considered']:,} documents."
    return f"## Left out\n\nOf {content.counts['considered']:,} documents.\n\n" + _table(["reason", "documents"], rows)


def _most_frequent(ledger: Ledger, column: str, title: str) -> str:
    rows = [[name or "(not stated)", number] for name, number in _frequencies(ledger, column, _MOST_FREQUENT)]
    distinct = ledger.number_of(f"SELECT COUNT(DISTINCT {column}) FROM exported")  # noqa: S608 - a name of ours
    more = f"\n\nThe {_MOST_FREQUENT} most frequent of {distinct:,}." if distinct > _MOST_FREQUENT else ""
    return f"## {title}\n\n" + _table([column, "documents"], rows) + more


def _origin(content: CardContent) -> str:
    version = content.version
    rows: list[list[object]] = [
        ["export", content.export_id],
        ["feature store", version.store_id],
        ["version", version.number],
        ["run", version.run_id],
    ]
    rows.extend([name, value] for name, value in content.fingerprints.items())
    if content.since is not None:
        rows.append(["since version", content.since.number])
    return "## Origin\n\n" + _table(["", ""], rows)


def _frequencies(ledger: Ledger, column: str, limit: int) -> list[tuple[str | None, int]]:
    query = f"SELECT {column}, COUNT(*) FROM exported GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?"  # noqa: S608 - a name of ours
    return [(name, int(number)) for name, number in ledger.rows(query, limit)]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    return "\n".join([_line(head), "|" + " --- |" * len(head), *map(_line, rows)])


def _line(values: Sequence[object]) -> str:
    return "| " + " | ".join(map(_cell, values)) + " |"


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return escape_markdown(str(value))  # an author's name must not become a link, a tag or another cell
