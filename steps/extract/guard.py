"""The guard against mass deletion: deletions that look like a mistake are held back until somebody approves them."""

from feature_store.config import DeletionGuard


def objection(deletions: int, held: int, added: int, guard: DeletionGuard, approved: int = 0) -> str | None:
    """Return why the deletions of a category are held back, or None where they may go through.

    ``held`` are the documents and rejects that the store holds of it, ``added`` those that it does not hold yet. A
    source without a single document left is objected to whatever the limits. ``approved`` is a ceiling: no more
    deletions than that are let through unseen.
    """
    if deletions <= approved:
        return None
    if deletions >= held and not added:
        return f"the source is empty, but the feature store holds {held:,} documents of it"
    if deletions > guard.max_documents and deletions > guard.max_share * held:
        return (
            f"{deletions:,} of {held:,} documents are gone from the source, more than deletions.max_documents = "
            f"{guard.max_documents:,} and deletions.max_share = {guard.max_share:g} allow"
        )
    return None
