"""Which split a document is in: by a hash of its id, so that it stays there while the corpus grows.

Documents are taken in the order in which the store got them. Each is compared with those taken before: one that is near
to some of them joins the group of the first of these, and with it the split; one that is near to documents in different
splits is left out. So nothing that comes later moves a document, and no two near documents are in different splits.
"""

import hashlib
from dataclasses import dataclass

from feature_store.progress import Advance
from feature_store.training import SplitConfig, TrainingConfig
from steps.export.ledger import Decision, Ledger, Taken, Waiting
from steps.export.signatures import equal_places, least_equal_places

DUPLICATE = "duplicate"
NEAR_DUPLICATE = "near_duplicate"
ACROSS_SPLITS = "near_duplicate_across_splits"
_HASHES = 2**64


@dataclass(frozen=True, slots=True)
class Near:
    """A document that was taken, and how near it is: the estimated Jaccard similarity."""

    document: Taken
    split: str
    similarity: float


def split_of(key: str, config: SplitConfig) -> str:
    """Return the split that a document of this id starts."""
    digest = hashlib.sha256(f"{config.salt}\x1f{key}".encode()).digest()
    point = int.from_bytes(digest[:8], "big") / _HASHES
    shares = {name: share for name, share in config.shares().items() if share > 0}
    border = 0.0
    for name, share in shares.items():
        border += share
        if point < border:
            return name
    return list(shares)[-1]  # the shares add up to a little less than 1


def decide_all(ledger: Ledger, training: TrainingConfig, advance: Advance) -> None:
    """Decide on every document of the ledger."""
    ledger.keep_shared_bands()
    ledger.decide_excluded()
    for document in ledger.waiting():
        ledger.decide(_decide(ledger, document, training))
        advance(1)


def _decide(ledger: Ledger, document: Waiting, training: TrainingConfig) -> Decision:
    own = document.document_id
    keys = ledger.shared_bands(document.number)
    if not keys:
        return Decision(own, split_of(own, training.splits), None, own)
    same = ledger.taken_with_text(document.text_hash) if training.drop_duplicates else None
    if same is not None:
        return Decision(own, None, DUPLICATE, same.leader, same.document_id, 1.0)
    near = _first_near_in_each_split(ledger, document, keys, training)
    if not near:
        split = split_of(own, training.splits)
        ledger.take(document, keys, split, own)
        return Decision(own, split, None, own)
    first = min(near, key=lambda one: one.document.place)
    similar_to, leader = first.document.document_id, first.document.leader
    if training.near_duplicates.drop:
        return Decision(own, None, NEAR_DUPLICATE, leader, similar_to, first.similarity)
    if len(near) > 1:
        return Decision(own, None, ACROSS_SPLITS, own, similar_to, first.similarity)
    ledger.take(document, keys, first.split, leader)
    return Decision(own, first.split, None, leader, similar_to, first.similarity)


def _first_near_in_each_split(
    ledger: Ledger, document: Waiting, keys: list[int], training: TrainingConfig
) -> list[Near]:
    """Return the first near document of each split that has one."""
    config = training.near_duplicates
    signature, enough = ledger.signature(document.number), least_equal_places(config)
    found = []
    for split in training.splits.shares():
        for taken in ledger.with_equal_band(keys, split):
            equal = equal_places(signature, taken.signature)
            if equal >= enough:
                found.append(Near(taken, split, equal / config.permutations))
                break
    return found
