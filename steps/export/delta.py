"""What changed since an earlier version, for continued training."""

from collections.abc import Iterator

from feature_store import tables
from feature_store.dataset import DocumentDataset
from feature_store.errors import ConfigurationError
from feature_store.store import FeatureStore
from feature_store.training import TrainingConfig
from feature_store.versions import Version
from steps.export.ledger import Ledger
from steps.export.read import dataset_of, narrowed

DELETED = "deleted"
REPLACED = "replaced"
_BATCH = 500


def require_earlier(since: Version | None, version: Version) -> None:
    """Check that a delta has a beginning before its end.

    Raises:
        ConfigurationError: if not.
    """
    if since is not None and since.number >= version.number:
        raise ConfigurationError(
            f"Version {since.number} is not earlier than version {version.number}.",
            "Give an earlier one by --since, or a later one by --version.",
        )


def note_changes(
    ledger: Ledger, store: FeatureStore, since: Version, version: Version, training: TrainingConfig
) -> None:
    """Note every document that was written after ``since``: whether it was there before, and whether it differs."""
    earlier = _documents_at(store, since, training)
    columns = ["document_id", "content_hash"]  # that of a tombstone is null
    scanner = store.documents(version).scanner(
        columns=columns, filter=f"changed_in > {since.number}", batch_size=_BATCH
    )
    for batch in scanner.to_batches():
        rows = batch.to_pylist()
        before = _contents(earlier, [row["document_id"] for row in rows])
        ledger.note_changes(
            (
                row["document_id"],
                row["document_id"] in before,
                before.get(row["document_id"]) != row["content_hash"],
            )
            for row in rows
        )


def gone(ledger: Ledger) -> Iterator[dict[str, str]]:
    """Yield what a training set from the earlier version may hold and should not any more, in the order of the ids."""
    for document_id, split in ledger.held_and_changed():
        yield {"document_id": document_id, "change": DELETED if split is None else REPLACED}


def _documents_at(store: FeatureStore, since: Version, training: TrainingConfig) -> DocumentDataset:
    if training.categories is None:
        return dataset_of(store, since, training)
    # By a condition: a category may be newer than the version, which then does not know it.
    everything = dataset_of(store, since, training.model_copy(update={"categories": None}))
    return narrowed(everything, tables.in_list("category", training.categories))


def _contents(dataset: DocumentDataset, ids: list[str]) -> dict[str, str]:
    found = narrowed(dataset, tables.in_list("document_id", ids)).to_arrow(["document_id", "content_hash"]).to_pylist()
    return {row["document_id"]: row["content_hash"] for row in found}
