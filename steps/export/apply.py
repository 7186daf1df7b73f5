"""Making a training set: from one version of the documents to the files of an export, and its entry in the register."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_store import tables
from feature_store.errors import ConfigurationError, TerminalError
from feature_store.exports import MEMBERS, ExportRecord, save_export
from feature_store.ids import fingerprint
from feature_store.progress import progress
from feature_store.store import IS_LIVE, FeatureStore
from feature_store.training import TrainingConfig
from feature_store.versions import Version, now
from steps.export import filters, splits
from steps.export.card import CardContent, write_card
from steps.export.contamination import EvaluationTexts, read_evaluation_texts
from steps.export.delta import DELETED, REPLACED, gone, note_changes, require_earlier
from steps.export.ledger import EXPORTED_COLUMNS, Candidate, Ledger, opened_ledger
from steps.export.place import MANIFEST, list_files, publish, require_usable, unfinished
from steps.export.read import Size, dataset_of, in_order, narrowed, size_of
from steps.export.signatures import band_keys, signatures_of
from steps.export.tokens import TokenCounter, load_token_counter
from steps.export.writers import DOCUMENTS, OutputFormat, SplitFiles, find_format, write_gone

EXPORT_VERSION = 1  # raise it when the same options would give other bytes
REASONS = (
    filters.TOO_SHORT,
    filters.TOO_LONG,
    filters.LANGUAGE,
    filters.DUPLICATE_LINES,
    filters.CONTAMINATED,
    splits.DUPLICATE,
    splits.NEAR_DUPLICATE,
    splits.ACROSS_SPLITS,
)
_READ_COLUMNS = ["document_id", "added_in", "text", "language", "text_hash"]
_WRITTEN_COLUMNS = [name for name in DOCUMENTS.names if name not in {"tokens", "license"}]
_LIBRARIES = ("pyarrow", "rensa", "tokenizers")
_PAIRS = 50

Row = dict[str, Any]


def export_training_set(
    store: FeatureStore,
    version: Version,
    training: TrainingConfig,
    output_format: str,
    folder: Path,
    since: Version | None = None,
    *,
    overwrite: bool = False,
    register: Callable[[Path, ExportRecord, Iterator[pa.RecordBatch]], None] | None = None,
) -> ExportRecord:
    """Write the training set of a version to ``folder`` and register it; with ``since`` what changed after that.

    The same version, options and libraries give the same bytes. ``overwrite`` replaces an export that is there;
    ``register`` takes the place of the register's own ``save_export``.

    Raises:
        ConfigurationError: if an option cannot be understood, or the folder must not be used.
        TerminalError: if there is nothing to export, or the version went while it was read.
    """
    require_earlier(since, version)
    require_usable(folder, overwrite=overwrite)
    work = _Work(
        store,
        version,
        since,
        training,
        find_format(output_format),
        read_evaluation_texts(training.decontamination),
        load_token_counter(training.tokenizer),
    )
    if since is None:  # a delta also tells that all documents of a category are gone
        _require_categories(work)
    with unfinished(folder.resolve()) as place, opened_ledger(place / "ledger.sqlite") as ledger:
        size = _read_candidates(work, ledger)
        waiting = ledger.number_of("SELECT COUNT(*) FROM documents WHERE reason IS NULL")
        with progress("Comparing documents", waiting, "document") as advance:
            splits.decide_all(ledger, training, advance)
        files = place / "files"
        files.mkdir()
        record = _written(work, ledger, size, files, folder.resolve())
        _require_unchanged(store, version)
        (register or save_export)(store.folder, record, _members(ledger))
        publish(files, folder.resolve(), place / "replaced")
    return record


@dataclass(frozen=True)
class _Work:
    store: FeatureStore
    version: Version
    since: Version | None
    training: TrainingConfig
    output: OutputFormat
    evaluation: EvaluationTexts
    counter: TokenCounter

    def export_id(self) -> str:
        """Return the name of version, options and format; where tokenizer and evaluation texts lie does not matter."""
        paths: dict[str, Any] = {"tokenizer": True, "decontamination": {"files": {"__all__": {"path"}}}}
        options = self.training.model_dump(mode="json", exclude=paths)
        since = [self.since.number, self.since.run_id] if self.since else None
        identity = [self.version.store_id, self.version.number, self.version.run_id, since, self.output.name, options]
        kinds = [file.path.suffix for file in self.training.decontamination.files]
        return fingerprint([*identity, self.evaluation.digests, kinds, self.counter.fingerprint, EXPORT_VERSION])


def _require_categories(work: _Work) -> None:
    asked = work.training.categories or ()
    known = tables.count_values(work.store.documents(work.version), "category", IS_LIVE)
    unknown = sorted(set(asked) - set(known))
    if unknown:
        raise ConfigurationError(
            f"Version {work.version.number} has no documents of {', '.join(unknown)}.",
            f"Its categories are: {', '.join(sorted(known)) or 'none'}.",
        )


def _read_candidates(work: _Work, ledger: Ledger) -> Size:
    """Note every document with its signature, or with what keeps it out by itself; return how much is to be written."""
    dataset = dataset_of(work.store, work.version, work.training)
    size = size_of(dataset)
    if size.documents == 0 and work.since is None:
        raise TerminalError(
            f"Version {work.version.number} has no document to export.", "Widen `categories` or `where`, or run first."
        )
    usable = filters.Filters(work.training.filters, work.evaluation)
    with progress("Reading documents", size.documents, "document") as advance:
        for documents in in_order(dataset, _READ_COLUMNS, size):
            ledger.add(_candidates(documents.to_pylist(), usable, work.training))
            advance(len(documents))
    if work.since is None:
        ledger.select_all()
        return size
    note_changes(ledger, work.store, work.since, work.version, work.training)
    ledger.select_changed()
    changed = min(size.documents, ledger.number_of("SELECT COUNT(*) FROM changed"))
    return Size(changed, size.characters * changed // max(size.documents, 1))


def _candidates(rows: list[Row], usable: filters.Filters, training: TrainingConfig) -> Iterator[Candidate]:
    reasons = [usable.reason_against(row["text"], row["language"]) for row in rows]
    good = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
    signatures = signatures_of([row["text"] for row in good], training.near_duplicates)
    bands = band_keys(signatures, training.near_duplicates).tolist()
    for row, signature, keys in zip(good, signatures, bands, strict=True):
        yield Candidate(row["document_id"], row["added_in"], row["text_hash"], None, signature.tobytes(), keys)
    for row, reason in zip(rows, reasons, strict=True):
        if reason is not None:
            yield Candidate(row["document_id"], row["added_in"], row["text_hash"], reason)


def _written(work: _Work, ledger: Ledger, size: Size, files: Path, folder: Path) -> ExportRecord:
    """Write all files, and return the entry for the register."""
    names = _write_documents(work, ledger, size, files)
    gone_counts = _write_gone(work, ledger, files) if work.since else {}
    counts = {**_counts(work, ledger), **gone_counts}
    card = CardContent(
        work.export_id(),
        work.version,
        work.since,
        work.training,
        work.output,
        names,
        counts,
        {"configuration": work.version.config_fingerprint, "tokenizer": work.counter.fingerprint},
    )
    (files / "README.md").write_text(write_card(card, ledger), encoding="utf-8")
    record = ExportRecord(
        export_id=card.export_id,
        created_at=now(),
        version=work.version.number,
        version_run_id=work.version.run_id,
        store_id=work.version.store_id,
        since=work.since.number if work.since else None,
        format=work.output.name,
        folder=folder,
        options=work.training.model_dump(mode="json"),
        counts=counts,
        libraries={name: installed(name) for name in _LIBRARIES},
        near_duplicate_pairs=ledger.most_similar(_PAIRS),
    )
    _write_manifest(files, record)
    return record.model_copy(update={"files": list_files(files)})


def _write_documents(work: _Work, ledger: Ledger, size: Size, folder: Path) -> dict[str, list[str]]:
    """Write the documents in the order of their ids; return the names of the files by split."""
    names: dict[str, list[str]] = {name: [] for name, share in work.training.splits.shares().items() if share > 0}
    dataset = dataset_of(work.store, work.version, work.training)
    changed = narrowed(dataset, f"changed_in > {work.since.number}") if work.since else dataset
    total = ledger.number_of("SELECT COUNT(*) FROM selected WHERE split IS NOT NULL")
    with (
        SplitFiles(folder, work.output, work.training.rows_per_file, names) as written,
        progress("Writing documents", total, "document") as advance,
    ):
        for documents in in_order(changed, _WRITTEN_COLUMNS, size):
            for split, table in _by_split(documents, ledger):
                rows = _finished(table, work.counter)
                ledger.note_exported(split, rows.select(EXPORTED_COLUMNS).to_pylist())
                written.write(split, rows)
                advance(len(rows))
    work.output.finish(folder, names, work.export_id())
    return names


def _by_split(documents: pa.Table, ledger: Ledger) -> Iterator[tuple[str, pa.Table]]:
    ids = documents.column("document_id").to_pylist()
    if not ids:
        return
    split_of = ledger.splits(ids[0], ids[-1])
    for split in sorted(set(split_of.values())):
        yield split, documents.filter(pa.array([split_of.get(one) == split for one in ids]))


def _finished(documents: pa.Table, counter: TokenCounter) -> pa.Table:
    tokens = counter.count(documents.column("text").to_pylist())
    licenses = [_license(metadata) for metadata in documents.column("metadata").to_pylist()]
    added = documents.append_column("tokens", pa.array(tokens, pa.int64()))
    return added.append_column("license", pa.array(licenses, pa.string())).select(DOCUMENTS.names).cast(DOCUMENTS)


def _license(metadata: str | None) -> str | None:
    value = json.loads(metadata).get("license") if metadata else None
    return value if isinstance(value, str) else None


def _write_gone(work: _Work, ledger: Ledger, folder: Path) -> dict[str, int]:
    counts = {DELETED: 0, REPLACED: 0}

    def batches() -> Iterator[list[dict[str, str]]]:
        for some in tables.batches_of(gone(ledger), tables.LOOKUP_BATCH):
            for row in some:
                counts[row["change"]] += 1
            yield some

    write_gone(folder, work.output, batches())
    return counts


def _counts(work: _Work, ledger: Ledger) -> dict[str, int]:
    """Return the figures of an export; its documents and those left out make up the ones considered."""
    written = {
        split: figures
        for split, *figures in ledger.rows(
            "SELECT split, COUNT(*), SUM(tokens), SUM(characters) FROM exported GROUP BY split"
        )
    }
    excluded = dict(ledger.rows("SELECT reason, COUNT(*) FROM selected WHERE split IS NULL GROUP BY reason"))
    figures = {split: written.get(split, [0, 0, 0]) for split in work.training.splits.shares()}
    documents, tokens, characters = (sum(column) for column in zip(*figures.values(), strict=True))
    groups = "SELECT COUNT(*) FROM (SELECT 1 FROM decisions GROUP BY leader HAVING COUNT(*) > 1)"
    return {
        "considered": documents + sum(excluded.values()),
        "documents": documents,
        **{split: number for split, (number, _, _) in figures.items()},
        "tokens": tokens,
        **{f"tokens_{split}": number for split, (_, number, _) in figures.items()},
        "characters": characters,
        **{f"excluded_{reason}": excluded.get(reason, 0) for reason in REASONS},
        "near_duplicate_groups": ledger.number_of(groups),
        "evaluation_texts": work.evaluation.count,
        "evaluation_texts_too_short": work.evaluation.too_short,
    }


def _write_manifest(folder: Path, record: ExportRecord) -> None:
    # Neither time nor path: the same export has the same bytes.
    told = record.model_dump(mode="json", include={"export_id", "version", "store_id", "since", "format", "counts"})
    files = {file.name: file.sha256 for file in list_files(folder)}
    (folder / MANIFEST).write_text(json.dumps({**told, "files": files}, indent=2) + "\n", encoding="utf-8")


def _require_unchanged(store: FeatureStore, version: Version) -> None:
    # Pruning or erasing meanwhile must not be missed: it looks for what it removes in registered exports.
    if store.version(version.number) != version:
        raise TerminalError(
            f"Version {version.number} was written anew while it was exported: documents were erased.", "Export again."
        )


def _members(ledger: Ledger) -> Iterator[pa.RecordBatch]:
    for some in tables.batches_of(ledger.members(), 10_000):
        ids, names = zip(*some, strict=True)
        yield pa.record_batch([pa.array(ids), pa.array(names)], schema=MEMBERS)
