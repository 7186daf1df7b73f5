"""Cleaning what was captured, part by part, and committing the result as the next version of the feature store."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import lance
from loguru import logger

from feature_store.commit import CategoryShares, ChangeSet, Proposal, RunDescription, commit
from feature_store.config import CategoryConfig, CleaningConfig
from feature_store.errors import TooManyRejectsError
from feature_store.executors.here import HERE
from feature_store.executors.interface import Executor
from feature_store.handles import CaptureCounts, CleanCounts, CleanedDocuments, QualityFinding, RawDocuments
from feature_store.parts import Folder, Part, count_rows, list_parts, read_part
from feature_store.progress import progress
from feature_store.records import REJECTED
from feature_store.store import FeatureStore
from feature_store.suppression import count_forgotten
from steps.clean.part import CategoryCounts, RawPart, clean_part
from steps.clean.quality import check_quality


def clean_changes(
    store: FeatureStore,
    raw_documents: RawDocuments,
    categories: Sequence[CategoryConfig],
    cleaning: CleaningConfig,
    folder: Folder,
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
        config_fingerprint=run.config_fingerprint,
        categories=totals,
        quality=findings,
    )


def clean_parts(
    store: FeatureStore,
    raw_documents: RawDocuments,
    categories: Sequence[CategoryConfig],
    cleaning: CleaningConfig,
    folder: Folder,
    executor: Executor = HERE,
) -> CategoryCounts:
    """Clean all raw parts into parts of ``folder`` for the coming version; return counts for each category read."""
    parts = list_parts(raw_documents.folder, "raw")
    by_name = {category.name: category for category in categories}
    number = store.next_number()
    work = partial(clean_part, categories=by_name, cleaning=cleaning, version=number, folder=folder)
    outcomes: CategoryCounts = {name: Counter() for name in raw_documents.categories}
    with progress("cleaning", count_rows(parts), "document") as advance:
        for counts in executor.map(work, _with_known(store, parts)):
            for name, counter in counts.items():
                outcomes[name].update(counter)
            advance(sum(counter.total() for counter in counts.values()))
    return outcomes


def _with_known(store: FeatureStore, parts: Iterable[Part]) -> Iterator[RawPart]:
    """Yield each part with what the newest version knows of its documents, looked up as the parts are taken.

    The capture has looked the same up. But a step that is run again after its commit, whose end got lost, must find
    what it wrote, or it would add every document once more: so the parts do not carry what was known.
    """
    knowledge = store.knowledge()
    for part in parts:
        known = knowledge.of(read_part(part, ["document_id"]).column("document_id").to_pylist())
        rejected = [identifier for identifier, document in known.items() if document.state == REJECTED]
        yield RawPart(part, known, knowledge.rejects_of(rejected))


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


def _without_forgotten(store: FeatureStore, shares: CategoryShares) -> CategoryShares:
    # Somebody asked for their rejection: no rule and no mapping is wrong. The table has what is about to be published.
    rejects = lance.dataset(str(store.rejects_path))
    return {name: (live, rejected - count_forgotten(rejects, name)) for name, (live, rejected) in shares.items()}


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


def describe_rejects(parts: Sequence[Part], examples: int = 3) -> list[str]:
    """Return a line for each reason: its count, and a few documents with what to do about them."""
    counts: Counter[str] = Counter()
    shown: dict[str, list[str]] = {}
    for part in parts:
        for row in read_part(part, ["reason", "category", "source_id", "detail"]).to_pylist():
            counts[row["reason"]] += 1
            some = shown.setdefault(row["reason"], [])
            if len(some) < examples:
                some.append(f"{row['category']} {row['source_id']}: {row['detail']}")
    return [f"rejected as {reason}: {counts[reason]} ({'; '.join(some)})" for reason, some in sorted(shown.items())]
