"""Capturing the changes of every category: choose the mode, look, hold suspicious deletions back, write parts."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from loguru import logger
from pymongo.database import Database

from feature_store.config import CaptureMode, CategoryConfig, DeletionGuard, PlanReference, RunOptions
from feature_store.errors import PlanOutdatedError
from feature_store.handles import Capture, CaptureCounts, RawDocuments
from feature_store.ids import fingerprint
from feature_store.parts import Folder, remove_file
from feature_store.progress import Advance, progress
from feature_store.store import FeatureStore
from steps.extract.compare import Comparison, is_marked_deleted, rejects_to_retry, write_removed
from steps.extract.guard import objection
from steps.extract.hash import capture_by_hash, hash_waits
from steps.extract.ids import IdSet, raw_ids
from steps.extract.log import capture_by_log, log_waits
from steps.extract.outbox import capture_by_outbox, outbox_waits
from steps.extract.read import read_documents
from steps.extract.source import Document, Outcome, Source, compare_everything, compare_some, present_ids
from steps.extract.timestamp import capture_by_timestamp, timestamp_waits
from warehouse.capture_mode import choose_mode
from warehouse.failures import reading
from warehouse.server import find_collection, lasting

MODES: dict[CaptureMode, Callable[[Source, Comparison], Outcome]] = {
    "hash": capture_by_hash,
    "timestamp": capture_by_timestamp,
    "log": capture_by_log,
    "outbox": capture_by_outbox,
}
WAITING: dict[CaptureMode, Callable[[Source, Comparison], bool]] = {
    "hash": hash_waits,
    "timestamp": timestamp_waits,
    "log": log_waits,
    "outbox": outbox_waits,
}


_NOTHING_TO_READ: tuple[CaptureMode, str] = ("hash", "there is nothing to follow")


@dataclass(frozen=True, slots=True)
class CapturePolicy:
    """What holds for all categories; ``rules`` names the rules of cleaning."""

    rules: str
    deletions: DeletionGuard = field(default_factory=DeletionGuard)
    options: RunOptions = field(default_factory=RunOptions)


def capture_categories(
    database: Database[Document],
    store: FeatureStore,
    categories: Sequence[CategoryConfig],
    policy: CapturePolicy,
    folder: Folder,
) -> RawDocuments:
    """Capture the changes of all categories; parts go to ``folder``, nothing to the feature store.

    An optional collection that does not exist, and of which the store holds nothing, is left out.

    Raises:
        PlanOutdatedError: if the run applies a plan, and the source or the store is no longer what it was made for.
        PipelineError: if the warehouse does not answer, or a mode cannot do its work.
    """
    started = time.monotonic()
    counts: dict[str, CaptureCounts] = {}
    captures: dict[str, Capture] = {}
    for category in categories:
        with reading(category.collection):
            is_missing = find_collection(database, category.collection) is None
        if is_missing and category.optional and not store.count_held(category.name):
            logger.info("{}: the optional collection {} does not exist", category.name, category.collection)
            continue
        with progress(f"reading {category.name}", _expected(database, store, category), "document") as advance:
            captured = capture_category(database, store, category, policy, folder, advance)
        counts[category.name], captures[category.name] = captured
        logger.info("{}: {}", category.name, captured[0])
    if policy.options.plan is not None:
        refuse_outdated_plan(policy.options.plan, store, captures)
    return RawDocuments(folder=folder, categories=counts, captures=captures, seconds=time.monotonic() - started)


def capture_category(
    database: Database[Document],
    store: FeatureStore,
    category: CategoryConfig,
    policy: CapturePolicy,
    folder: Folder,
    advance: Advance,
) -> tuple[CaptureCounts, Capture]:
    """Write what differs between a collection and the store as parts of ``folder``, and say how it was found.

    Raises:
        PipelineError: if the warehouse does not answer, or a mode cannot do its work.
    """
    source, mode, why = _open_source(database, store, category, policy)
    comparison = _comparison(store, category, policy, folder, advance)
    if source.exists:
        outcome = MODES[mode](source, comparison)
    else:
        outcome = compare_everything(source, comparison, f"the collection {category.collection} does not exist")
    if not outcome.whole:
        _look_again(source, comparison)
    gone = _confirmed(source, comparison)
    held = store.count_held(category.name)
    # The guard judges all deletions that wait, not one batch after the other. And where it objects, the changes behind
    # them are not to wait for an approval too.
    if outcome.more and len(gone) and _objection(_missing(source, comparison), held, comparison, policy):
        comparison.settle()
        reason = "deletions are held back, and more changes wait behind them"
        whole = compare_everything(source, comparison, reason)
        outcome = replace(outcome, whole=True, reason=whole.reason, more=False)
        gone = _confirmed(source, comparison)
    counts, capture = _conclude(comparison, gone, held, policy, outcome)
    position = source.position_at(mode, outcome.value) if outcome.value is not None and not counts.held_back else None
    return counts, capture.model_copy(update={"mode": mode, "reason": f"{why}; {capture.reason}", "position": position})


def capture_pages(
    store: FeatureStore,
    category: CategoryConfig,
    pages: Iterable[list[Document]],
    policy: CapturePolicy,
    folder: Folder,
    advance: Advance,
) -> tuple[CaptureCounts, Capture]:
    """Do the same for documents that are given: ``pages`` must be all of the category."""
    comparison = _comparison(store, category, policy, folder, advance)
    for page in pages:
        comparison.look_at(page)
    gone = comparison.held() - comparison.seen
    outcome = Outcome(whole=True, reason="every document was given")
    return _conclude(comparison, gone, store.count_held(category.name), policy, outcome)


def find_waiting(
    database: Database[Document], store: FeatureStore, category: CategoryConfig, policy: CapturePolicy
) -> bool:
    """Return whether a run would have something to look at in a category, as cheaply as its mode can tell.

    Raises:
        PipelineError: if the warehouse does not answer, or a mode cannot do its work.
    """
    source, mode, _ = _open_source(database, store, category, policy)
    if not source.exists:
        return bool(store.count_held(category.name))
    with TemporaryDirectory() as folder:  # for parts that nobody reads
        comparison = Comparison(store, category, _rules_of_rows(category, policy), Path(folder), _ignore)
        return WAITING[mode](source, comparison)


def refuse_outdated_plan(plan: PlanReference, store: FeatureStore, captures: dict[str, Capture]) -> None:
    """Compare what was captured with what a plan found.

    Raises:
        PlanOutdatedError: naming everything that differs.
    """
    newest = store.newest()
    version = newest.number if newest else 0
    found = {name: capture.digest for name, capture in captures.items()}
    differences = [
        f"category {name}: other documents differ than the plan found"
        for name in sorted({*found, *plan.digests})
        if found.get(name) != plan.digests.get(name)
    ]
    if version != plan.version:
        differences.insert(0, f"the feature store is at version {version}, the plan was made at {plan.version}")
    if differences:
        raise PlanOutdatedError(
            f"The plan is outdated: {'; '.join(differences)}. Nothing was written.", "Make a new plan and look at it."
        )


def _open_source(
    database: Database[Document], store: FeatureStore, category: CategoryConfig, policy: CapturePolicy
) -> tuple[Source, CaptureMode, str]:
    """Return the source of a category with the mode to capture it by, and why by this one."""
    with reading(category.collection):
        info = find_collection(database, category.collection)
        mode, why = choose_mode(database, category, policy.options.capture) if info else _NOTHING_TO_READ
        newest = store.newest()
        source = Source(
            database=database,
            collection=lasting(database, category.collection),
            category=category,
            rules=fingerprint([_rules_of_rows(category, policy), category.deleted_field]),
            exists=info is not None,
            uuid=info.uuid if info else None,
            reached=store.positions().get(category.name),
            store_id=newest.store_id if newest else None,
            max_changes=policy.options.max_changes,
        )
    return source, mode, why


def _comparison(
    store: FeatureStore, category: CategoryConfig, policy: CapturePolicy, folder: Folder, advance: Advance
) -> Comparison:
    comparison = Comparison(store, category, _rules_of_rows(category, policy), folder, advance)
    if policy.options.retry_rejects:
        comparison.retried = rejects_to_retry(store, category.name, policy.options.retry_rejects)
        logger.info("{}: {:,} rejected documents are tried again", category.name, len(comparison.retried))
    return comparison


def _rules_of_rows(category: CategoryConfig, policy: CapturePolicy) -> str:
    return fingerprint([policy.rules, category.mapping()])


def _expected(database: Database[Document], store: FeatureStore, category: CategoryConfig) -> int | None:
    if category.name in store.positions():
        return None
    with reading(category.collection):
        return database[category.collection].estimated_document_count()


def _look_again(source: Source, comparison: Comparison) -> None:
    """Compare the rejects that are to be tried again and that the mode did not come upon."""
    for identifiers in comparison.retried - comparison.seen:
        held = comparison.knowledge.source_ids(identifiers)
        asked = [raw_id for text in held.values() for raw_id in raw_ids(text)]
        for _ in compare_some(source, comparison, asked):
            pass


def _confirmed(source: Source, comparison: Comparison) -> IdSet:
    """Return the candidates that a look-up of their ids does not find either; one that is there is compared."""
    gone = IdSet()
    for identifiers in comparison.candidates - comparison.seen:
        held = comparison.knowledge.source_ids(identifiers)
        asked: list[Any] = [raw_id for text in held.values() for raw_id in raw_ids(text)]
        documents, _ = read_documents(source.collection, asked, source.deletion_paths) if asked else ([], [])
        there = [document["_id"] for document in documents if not is_marked_deleted(document, source.category)]
        found = {key: raw_id for key, raw_id in zip(comparison.document_ids(there), there, strict=True) if key in held}
        for _ in compare_some(source, comparison, found.values()):
            pass
        gone.add(held.keys() - found.keys())
    return gone


def _missing(source: Source, comparison: Comparison) -> IdSet:
    """Return the ids that the store holds and the source does not have, by the source's ids alone."""
    present = IdSet()
    for there in present_ids(source):
        present.add(comparison.document_ids(there))
    return comparison.held() - present


def _objection(gone: IdSet, held: int, comparison: Comparison, policy: CapturePolicy) -> str | None:
    comparison.flush()
    approved = policy.options.approved_deletions.get(comparison.category.name, 0)
    return objection(len(gone), held, comparison.counts["added"], policy.deletions, approved)


def _conclude(
    comparison: Comparison, gone: IdSet, held: int, policy: CapturePolicy, outcome: Outcome
) -> tuple[CaptureCounts, Capture]:
    """Write the last parts, and those of the deletions unless they are held back."""
    comparison.finish()
    for identifiers in gone:
        comparison.count_removed(identifiers)
    held_back = _objection(gone, held, comparison, policy)
    reason = outcome.reason
    if held_back is None:
        write_removed(comparison.folder, comparison.category.name, gone)
    else:
        reason = f"{reason}; deletions are held back because {held_back}"
        for part in outcome.entries:
            remove_file(part)  # they stay pending
    deletions = {"deleted": len(gone)} if held_back is None else {"held_back": len(gone)}
    capture = Capture(
        mode="hash",
        whole=outcome.whole,
        reason=reason,
        held_before=held,
        compared_ids=outcome.compared_ids,
        more=outcome.more,
        digest=comparison.digest,
    )
    return CaptureCounts(**comparison.counts, **deletions), capture


def _ignore(units: int) -> None:
    """Report progress to nobody."""
