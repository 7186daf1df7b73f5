"""Making sense of ids that somebody wrote down: an event of an imitated log, an entry of an outbox."""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from bson import ObjectId

from feature_store.tables import LOOKUP_BATCH, batches_of
from steps.extract.compare import Comparison
from steps.extract.read import distinct_ids, read_documents
from steps.extract.source import Source


def resolve_ids(source: Source, comparison: Comparison, ids: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """Return the ids as the source or the feature store knows them, and those that neither knows in any form.

    An id may have lost its type on the way: a text stands for the ``ObjectId``, UUID or number that it spells, if there
    is such a document, and the other way round.
    """
    resolved: list[Any] = []
    unexplained: list[Any] = []
    for some in batches_of(ids, LOOKUP_BATCH):
        known, unknown = _sorted_out(source, comparison, some)
        resolved += known
        for raw_id in unknown:
            others, _ = _sorted_out(source, comparison, other_forms(raw_id))
            resolved += others
            if not others:
                unexplained.append(raw_id)
    return distinct_ids(resolved), unexplained


def other_forms(raw_id: Any) -> list[Any]:
    """Return what an id may have been before, or after, it was turned into text."""
    if not isinstance(raw_id, str):
        return [str(raw_id)]
    forms: list[Any] = [ObjectId(raw_id)] if ObjectId.is_valid(raw_id) else []
    for make in (uuid.UUID, int):
        try:
            forms.append(make(raw_id))
        except ValueError:
            continue
    return [form for form in forms if not isinstance(form, int) or abs(form) < 2**63]


def _sorted_out(source: Source, comparison: Comparison, ids: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Return the ids that the store holds or the source has, and the others."""
    identifiers = comparison.document_ids(ids)
    held = comparison.knowledge.source_ids(identifiers)
    asked = [raw_id for raw_id, identifier in zip(ids, identifiers, strict=True) if identifier not in held]
    known = [raw_id for raw_id, identifier in zip(ids, identifiers, strict=True) if identifier in held]
    if not asked:
        return known, []
    there, missing = read_documents(source.collection, asked, [])
    return [*known, *(document["_id"] for document in there)], missing
