"""Cleaning a part of raw documents, and comparing the result with what the feature store holds."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
from loguru import logger

from feature_store import schema, tables
from feature_store.commit import CategoryShares, ChangeSet, Proposal, RunDescription, commit
from feature_store.config import CategoryConfig, CleaningConfig
from feature_store.errors import TooManyRejectsError
from feature_store.executors.here import HERE
from feature_store.executors.interface import Executor
from feature_store.extended_json import from_extended_json
from feature_store.handles import CaptureCounts, CleanCounts, CleanedDocuments, QualityFinding, RawDocuments
from feature_store.ids import text_hash
from feature_store.parts import count_rows, list_parts, read_part, write_part
from feature_store.progress import progress
from feature_store.records import CleanedDocument, RawDocument, Reject
from feature_store.store import LIVE, REJECTED, FeatureStore, KnownDocument
from feature_store.suppression import FORGOTTEN, count_forgotten
from steps.clean.clean import clean_document
from steps.clean.quality import check_quality

_METADATA_FIELDS = ("title", "url", "author", "published_at", "updated_at", "external_id", "language", "text_format")

Row = dict[str, Any]
CategoryCounts = dict[str, Counter[str]]


def clean_changes(
    store: FeatureStore,
    raw_documents: RawDocuments,
    categories: Sequence[CategoryConfig],
    cleaning: CleaningConfig,
    folder: Path,
    run: RunDescription,
    accepted_quality: Sequence[str] = (),
    executor: Executor = HERE,
) -> CleanedDocuments:
    """Clean everything that was captured and commit it as one version; ``folder`` takes the part files.

    Categories of ``accepted_quality`` may be other than the configuration expects.

    Raises:
        TooManyRejectsError: if the share of rejected documents is above the limit; nothing is committed then.
        DataQualityError: if an expectation of a category fails; nothing is committed then.
    """
    newest = store.newest()
    outcomes = clean_parts(store, raw_documents, categories, cleaning, folder, executor)
    rejects = list_parts(folder, "rejects")
    for line in describe_rejects(rejects):
        logger.warning(line)
    changes = ChangeSet(list_parts(folder, "documents"), rejects, list_parts(raw_documents.folder, "removed"))
    totals = {name: total_counts(captured, outcomes[name]) for name, captured in raw_documents.categories.items()}
    positions = {name: capture.position for name, capture in raw_documents.captures.items() if capture.position}
    counted = replace(run, counts=summed(totals.values()), positions=positions)

    findings: list[QualityFinding] = []

    def check(proposal: Proposal) -> None:
        shares = _without_forgotten(store, proposal.shares)
        refuse_too_many_rejects({name: shares[name] for name in totals if name in shares}, cleaning)
        findings.extend(check_quality(store, proposal, categories, accepted_quality))

    version = commit(store, changes, counted, check)
    return CleanedDocuments(
        folder=store.folder,
        version=version.number,
        previous_version=newest.number if newest else None,
        store_id=version.store_id,
        version_run_id=version.run_id,
        categories=totals,
        quality=findings,
    )


def clean_parts(
    store: FeatureStore,
    raw_documents: RawDocuments,
    categories: Sequence[CategoryConfig],
    cleaning: CleaningConfig,
    folder: Path,
    executor: Executor = HERE,
) -> CategoryCounts:
    """Clean all raw parts into parts of ``folder`` for the coming version; return counts for each category read."""
    parts = list_parts(raw_documents.folder, "raw")
    by_name = {category.name: category for category in categories}
    number = store.next_number()
    work = partial(clean_part, store=store, categories=by_name, cleaning=cleaning, version=number, folder=folder)
    outcomes: CategoryCounts = {name: Counter() for name in raw_documents.categories}
    with progress("cleaning", count_rows(parts)) as advance:
        for counts in executor.map(work, parts):
            for name, counter in counts.items():
                outcomes[name].update(counter)
            advance(sum(counter.total() for counter in counts.values()))
    return outcomes


def clean_part(
    part: Path,
    store: FeatureStore,
    categories: Mapping[str, CategoryConfig],
    cleaning: CleaningConfig,
    version: int,
    folder: Path,
) -> CategoryCounts:
    """Clean one raw part into parts ``documents`` and ``rejects`` of the same number; return counts by category.

    Rows whose content is as it was keep their ``changed_in``: nothing downstream has to follow.
    """
    raw_rows = read_part(part).to_pylist()
    known = store.known(row["document_id"] for row in raw_rows)
    counts: CategoryCounts = {}
    documents, rejects = [], []
    for row in raw_rows:
        outcome = _cleaned(row, categories[row["category"]], cleaning)
        counter = counts.setdefault(row["category"], Counter())
        if isinstance(outcome, Reject):
            rejects.append({**asdict(outcome), "rejected_in": version})
            continue
        document, change = _document_row(outcome, known.get(outcome.document_id), version)
        documents.append(document)
        counter[change] += 1
    held = _held_rejects(store, rejects, known)
    for row in rejects:
        counts[row["category"]]["rejected_again" if row["document_id"] in held else "rejected"] += 1
    rejects = [row for row in rejects if row["document_id"] not in held]
    number = int(part.stem.rsplit("-", 1)[1])
    if documents:
        write_part(folder, "documents", number, pa.Table.from_pylist(documents, schema=schema.DOCUMENTS))
    if rejects:
        write_part(folder, "rejects", number, pa.Table.from_pylist(rejects, schema=schema.REJECTS))
    return counts


def refuse_too_many_rejects(shares: CategoryShares, cleaning: CleaningConfig) -> None:
    """Compare the share of rejected documents of each category with the configured limit.

    Raises:
        TooManyRejectsError: naming every category above it.
    """
    above = [
        f"{category}: {rejected} of {live + rejected} ({rejected / (live + rejected):.0%})"
        for category, (live, rejected) in shares.items()
        if rejected >= max(cleaning.rejected_share_minimum, 1)
        and rejected > cleaning.max_rejected_share * (live + rejected)
    ]
    if above:
        raise TooManyRejectsError(
            f"More documents were rejected than cleaning.max_rejected_share = {cleaning.max_rejected_share} allows: "
            f"{'; '.join(above)}. Nothing was committed.",
            "Look at the reasons above; correct the category's mapping, or raise the limit.",
        )


def _cleaned(row: dict[str, Any], category: CategoryConfig, cleaning: CleaningConfig) -> CleanedDocument | Reject:
    origin = {key: row[key] for key in ("document_id", "category", "source_id", "source_hash")}
    if row["forgotten"]:
        return Reject(**origin, reason=FORGOTTEN, detail="", excerpt="")
    if row["problem"] is not None:
        return Reject(**origin, reason="unsupported_id", detail=row["problem"], excerpt="")
    return clean_document(RawDocument(**origin, fields=from_extended_json(row["fields"])), category, cleaning)


def _without_forgotten(store: FeatureStore, shares: CategoryShares) -> CategoryShares:
    # Somebody asked for their rejection: no rule and no mapping is wrong. The table has what is about to be published.
    rejects = lance.dataset(str(store.rejects_path))
    return {name: (live, rejected - count_forgotten(rejects, name)) for name, (live, rejected) in shares.items()}


def _held_rejects(store: FeatureStore, rejects: Sequence[Row], known: Mapping[str, KnownDocument]) -> set[str]:
    """Return the ids of rejects that the store holds just so: documents that were only tried again."""
    asked = {
        row["document_id"]: row
        for row in rejects
        if (before := known.get(row["document_id"])) and before.state == REJECTED
    }
    newest = store.newest()
    if newest is None or not asked:
        return set()
    columns = ["document_id", "source_hash", "reason", "detail", "excerpt"]
    held = tables.look_up(store.rejects(newest), "document_id", asked, columns)
    return {row["document_id"] for row in held if all(row[name] == asked[row["document_id"]][name] for name in columns)}


def _document_row(document: CleanedDocument, known: KnownDocument | None, version: int) -> tuple[dict[str, Any], str]:
    hash_of_text = text_hash(document.text)
    metadata = json.dumps(document.metadata, sort_keys=True, ensure_ascii=False)
    described = [getattr(document, name) for name in _METADATA_FIELDS]
    hash_of_content = text_hash(json.dumps([hash_of_text, described, metadata]))
    change = _change(known, hash_of_text, hash_of_content)
    before = known if known is not None and known.state == LIVE else None
    row = {
        **{name: getattr(document, name) for name in _METADATA_FIELDS},
        "document_id": document.document_id,
        "category": document.category,
        "source_id": document.source_id,
        "source_hash": document.source_hash,
        "state": LIVE,
        "text": document.text,
        "metadata": metadata,
        "text_hash": hash_of_text,
        "content_hash": hash_of_content,
        "duplicate_of": before.duplicate_of if before else None,
        "characters": len(document.text),
        "added_in": before.added_in if before else version,
        "changed_in": before.changed_in if before and change == "unchanged" else version,
    }
    return row, change


def _change(known: KnownDocument | None, hash_of_text: str, hash_of_content: str) -> str:
    if known is None or known.state != LIVE:
        return "added"
    if known.content_hash == hash_of_content:
        return "unchanged"
    return "metadata_changed" if known.text_hash == hash_of_text else "changed"


def total_counts(captured: CaptureCounts, outcome: Counter[str]) -> CleanCounts:
    """Return what became of a category's documents: those cleaned in this run and those left as they were."""
    return CleanCounts(
        read=captured.read,
        added=outcome["added"],
        changed=outcome["changed"],
        metadata_changed=outcome["metadata_changed"],
        unchanged=captured.unchanged + outcome["unchanged"],
        deleted=captured.deleted,
        held_back=captured.held_back,
        rejected=captured.rejected + outcome["rejected"] + outcome["rejected_again"],
        newly_rejected=outcome["rejected"],
    )


def summed(totals: Iterable[CleanCounts]) -> dict[str, int]:
    """Return the counts of all categories together."""
    result: Counter[str] = Counter()
    for counts in totals:
        result.update(counts.model_dump())
    return dict(result)


def describe_rejects(parts: Sequence[Path], examples: int = 3) -> list[str]:
    """Return a line for each reason: its count, and a few documents with what to do about them."""
    by_reason: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        for row in read_part(part).to_pylist():
            by_reason.setdefault(row["reason"], []).append(row)
    lines = []
    for reason, rows in sorted(by_reason.items()):
        some = "; ".join(f"{row['category']} {row['source_id']}: {row['detail']}" for row in rows[:examples])
        lines.append(f"rejected as {reason}: {len(rows)} ({some})")
    return lines
