"""The history of the feature store: its versions in words, and what differs between two of them."""

import difflib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import lance
from pydantic import BaseModel, ConfigDict, Field

from feature_store import tables, versions
from feature_store.config import DOCUMENT_FIELDS
from feature_store.errors import TerminalError
from feature_store.extended_json import from_extended_json
from feature_store.references import Reference, References, find_references
from feature_store.store import IS_LIVE, LIVE, FeatureStore, open_feature_store
from feature_store.versions import Position, Version

Kind = Literal["added", "changed", "deleted"]

# Count of a run to words; {} is the number. What a run left as it was is not worth a word.
_WORDS = {
    "added": "{} added",
    "changed": "{} changed",
    "metadata_changed": "{} with other metadata",
    "deleted": "{} deleted",
    "held_back": "{} deletions held back",
    "newly_rejected": "{} rejected",
}
_FIELDS = (*DOCUMENT_FIELDS, "text_format")
_COMPARED = [
    "document_id", "category", "source_id", "state", "text_hash", "content_hash", "characters", "metadata", *_FIELDS,
]  # fmt: skip
_GONE = "text_hash IS NULL"  # true of tombstones alone, and answered by an index


class VersionSummary(BaseModel):
    """A version in a line. ``documents`` counts the live ones; ``references`` say who needs it, by kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    created_at: datetime
    message: str
    documents: int
    tags: list[str]
    releases: list[str]
    references: list[Reference]


class VersionDescription(VersionSummary):
    """Everything that is known of a version. ``positions`` are in words, by category."""

    run_id: str
    store_id: str
    config_fingerprint: str
    previous: int | None
    categories: dict[str, int]
    rejects: int
    duplicates: int
    counts: dict[str, int]
    positions: dict[str, str]
    exports: list[str]
    indexes: list[str]
    documents_version: int
    rejects_version: int
    generation: int


class FieldChange(BaseModel):
    """What a field was and what it is; None for none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    before: str | None
    after: str | None


class DocumentChange(BaseModel):
    """How a document differs. ``fields`` are those that changed; ``characters`` those of its text before and after.

    ``values``, of fields but the text, and ``text``, lines of a unified diff, are there where they were asked for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    document_id: str
    category: str
    source_id: str
    title: str | None
    kind: Kind
    fields: list[str] = Field(default_factory=list)
    characters: tuple[int, int]
    values: dict[str, FieldChange] | None = None
    text: list[str] | None = None


class Difference(BaseModel):
    """What differs between two versions: counts by kind and by category, and the first documents of each kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    before: int
    after: int
    counts: dict[Kind, int]
    categories: dict[str, dict[Kind, int]]
    documents: list[DocumentChange]


@dataclass(frozen=True, slots=True)
class _Pair:
    """The rows of one document at both versions; None where it is not live."""

    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None

    def kind(self) -> Kind | None:
        """Return how they differ; None if they do not, or only in what the store keeps for itself."""
        if self.before is None or self.after is None:
            return "added" if self.after else "deleted" if self.before else None
        return None if self.before["content_hash"] == self.after["content_hash"] else "changed"

    def present(self) -> Mapping[str, Any]:
        """Return the row after, or else before."""
        row = self.after or self.before
        if row is None:
            raise ValueError("The document is live at neither version.")
        return row


def message_of(version: Version) -> str:
    """Return why a version was made: its message, or else what its counts say."""
    if version.message:
        return version.message
    said = [words.format(f"{version.counts[name]:,}") for name, words in _WORDS.items() if version.counts.get(name)]
    return ", ".join(said) or "no document changed"


def list_versions(folder: Path, indexes_folder: Path) -> list[VersionSummary]:
    """Return all versions of the store in ``folder``, the newest first."""
    references = find_references(folder, indexes_folder)
    published = [versions.read_version(folder, number) for number in reversed(versions.version_numbers(folder))]
    counts = _count_live(open_feature_store(folder), published)
    return [_summarised(version, counts[version.number], references) for version in published]


def describe_version(folder: Path, indexes_folder: Path, version: Version) -> VersionDescription:
    """Return everything that is known of a version."""
    store = open_feature_store(folder)
    counts = _count_live(store, [version])
    summary = _summarised(version, counts[version.number], find_references(folder, indexes_folder))
    categories = tables.count_values(store.documents(version), "category", IS_LIVE)
    return VersionDescription(
        **dict(summary),
        **version.model_dump(include=VersionDescription.model_fields.keys() & {*_OF_RECORD}),
        previous=max((each for each in versions.version_numbers(folder) if each < version.number), default=None),
        categories=dict(sorted(categories.items())),
        rejects=int(store.rejects(version).count_rows()),
        duplicates=store.count_duplicates(version),
        positions={category: position_in_words(each) for category, each in sorted(version.positions.items())},
        exports=_named(summary.references, "export"),
        indexes=_named(summary.references, "index"),
    )


_OF_RECORD = (
    "run_id",
    "store_id",
    "config_fingerprint",
    "counts",
    "documents_version",
    "rejects_version",
    "generation",
)


def position_in_words(position: Position) -> str:
    """Return up to where the changes of a source are in the feature store."""
    value = from_extended_json(position.value) if position.value else {}
    match position.mode, value:
        case "timestamp", {"field": field, "date": date}:
            return f"timestamp: {position.source} up to {field} = {date}"
        case "log", {"operation_time": moment} if moment is not None:
            return f"log: the changes of {position.source} up to {moment.as_datetime():%Y-%m-%d %H:%M:%S} UTC"
        case "log", _:
            return f"log: the changes of {position.source} up to a token of its stream"
        case "outbox", {"outbox": outbox}:
            return f"outbox: the entries of {outbox} for {position.source}"
        case _:
            return f"{position.mode}: {position.source}"


def compare_versions(store: FeatureStore, before: Version, after: Version, limit: int | None = None) -> Difference:
    """Return which documents differ between two versions, whichever is the older one.

    Only what was written after the older version is read, by index. A row that was written again with the same content
    does not count. ``limit`` bounds the documents that are listed of each kind, not the counts.
    """
    counts: Counter[Kind] = Counter()
    categories: dict[str, Counter[Kind]] = defaultdict(Counter)
    listed: dict[Kind, list[DocumentChange]] = {"added": [], "changed": [], "deleted": []}
    for change in _changes(store, before, after):
        counts[change.kind] += 1
        categories[change.category][change.kind] += 1
        listed[change.kind].append(change)
    documents = [
        change
        for some in listed.values()
        for change in sorted(some, key=lambda change: (change.category, change.source_id))[:limit]
    ]
    return Difference(
        before=before.number,
        after=after.number,
        counts={kind: counts[kind] for kind in listed},
        categories={name: {kind: each[kind] for kind in listed} for name, each in sorted(categories.items())},
        documents=documents,
    )


def compare_documents(
    store: FeatureStore, before: Version, after: Version, identifiers: Sequence[str]
) -> list[DocumentChange]:
    """Return how documents differ between two versions, with values and a diff of the text; equal ones are left out.

    ``identifiers`` are ids of documents, or those that their sources give them.

    Raises:
        TerminalError: naming those that are live at neither version.
    """
    wanted = list(dict.fromkeys(identifiers))
    rows = [_rows_of(store, version, wanted) for version in (before, after)]
    known = {name for each in rows for row in each.values() for name in (row["document_id"], row["source_id"])}
    if missing := [name for name in wanted if name not in known]:
        raise TerminalError(
            f"Neither version {before.number} nor version {after.number} has a document {', '.join(missing)}.",
            "Give the id of a document, as `feature-pipeline diff` lists them, or its _id in the source.",
        )
    pairs = [_Pair(rows[0].get(each), rows[1].get(each)) for each in sorted({*rows[0], *rows[1]})]
    return [_described(pair, kind, before.number, after.number) for pair in pairs if (kind := pair.kind())]


def _count_live(store: FeatureStore, published: Iterable[Version]) -> dict[int, int]:
    """Return the number of live documents of each version: 4 ms each, for what is read of an index serves all."""
    opened: dict[int, lance.LanceDataset] = {}
    counts = {}
    for version in published:
        if version.generation not in opened:
            opened[version.generation] = store.documents(version)
        try:
            table = opened[version.generation].checkout_version(version.documents_version)
        except (ValueError, OSError):
            table = store.documents(version)  # raises an error that says what to do
        counts[version.number] = table.count_rows() - table.count_rows(filter=_GONE)
    return counts


def _summarised(version: Version, documents: int, references: References) -> VersionSummary:
    found = references.get(version.number, [])
    return VersionSummary(
        number=version.number,
        created_at=version.created_at,
        message=message_of(version),
        documents=documents,
        tags=_named(found, "tag"),
        releases=_named(found, "release"),
        references=found,
    )


def _named(references: Iterable[Reference], kind: str) -> list[str]:
    return list(dict.fromkeys(reference.name for reference in references if reference.kind == kind))


def _changes(store: FeatureStore, before: Version, after: Version) -> Iterator[DocumentChange]:
    older, newer = sorted((before, after), key=lambda version: version.number)
    written = store.documents(newer).scanner(columns=_COMPARED, filter=f"changed_in > {older.number}")
    old_table = store.documents(older)
    for batch in written.to_batches():
        rows = batch.to_pylist()
        ids = [row["document_id"] for row in rows]
        old = {row["document_id"]: row for row in tables.look_up(old_table, "document_id", ids, _COMPARED)}
        for row in rows:
            was, now = _live(old.get(row["document_id"])), _live(row)
            pair = _Pair(was, now) if older is before else _Pair(now, was)
            kind = pair.kind()
            if kind is not None:
                yield _listed(pair, kind)


def _rows_of(store: FeatureStore, version: Version, identifiers: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    table, columns = store.documents(version), [*_COMPARED, "text"]
    rows = [
        row
        for column in ("document_id", "source_id")
        for row in tables.look_up(table, column, identifiers, columns)
        if row["state"] == LIVE
    ]
    return {row["document_id"]: row for row in rows}


def _live(row: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return row if row is not None and row["state"] == LIVE else None


def _listed(pair: _Pair, kind: Kind) -> DocumentChange:
    row = pair.present()
    return DocumentChange(
        **{name: row[name] for name in ("document_id", "category", "source_id", "title")},
        kind=kind,
        fields=_changed_fields(pair),
        characters=(_characters(pair.before), _characters(pair.after)),
    )


def _described(pair: _Pair, kind: Kind, before: int, after: int) -> DocumentChange:
    old, new = _values(pair.before), _values(pair.after)
    name = pair.present()["source_id"]
    lines = difflib.unified_diff(
        _text(pair.before).splitlines(),
        _text(pair.after).splitlines(),
        f"{name} at version {before}",
        f"{name} at version {after}",
        lineterm="",
    )
    values = {name: FieldChange(before=old.get(name), after=new.get(name)) for name in _differing(old, new)}
    return _listed(pair, kind).model_copy(update={"values": values, "text": list(lines)})


def _changed_fields(pair: _Pair) -> list[str]:
    if pair.before is None or pair.after is None:
        return []
    old, new = _values(pair.before), _values(pair.after)
    text = ["text"] if pair.before["text_hash"] != pair.after["text_hash"] else []
    return [*text, *_differing(old, new)]


def _differing(old: Mapping[str, str | None], new: Mapping[str, str | None]) -> list[str]:
    names = (*_FIELDS, *sorted({*old, *new} - {*_FIELDS}))
    return [name for name in names if old.get(name) != new.get(name)]


def _values(row: Mapping[str, Any] | None) -> dict[str, str | None]:
    """Return the fields of a document by name, those of its metadata as ``metadata.<name>``; not the text."""
    if row is None:
        return {}
    further = json.loads(row["metadata"] or "{}")
    spelt = {f"metadata.{name}": json.dumps(value, ensure_ascii=False) for name, value in further.items()}
    return {**{name: row[name] for name in _FIELDS}, **spelt}


def _characters(row: Mapping[str, Any] | None) -> int:
    return row["characters"] if row else 0


def _text(row: Mapping[str, Any] | None) -> str:
    return (row["text"] or "") if row else ""
