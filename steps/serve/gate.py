"""The gate: what must be so before a collection takes the place of the one that serves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from feature_store.config import PayloadType
from feature_store.handles import GateCheck
from feature_store.index import IndexMetadata, VersionName

Checks = Callable[[], Sequence[GateCheck]]
_NAMED = 5  # fields in a message


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the configuration and the feature store make of a collection."""

    fingerprint: str
    version: VersionName
    points: int
    fields: Mapping[str, PayloadType]


@dataclass(frozen=True, slots=True)
class Found:
    """What a collection says of itself and holds.

    ``indexed`` are the fields with a payload index; None in an embedded Qdrant, which has none.
    """

    metadata: IndexMetadata
    points: int
    indexed: frozenset[str] | None


class Gate(BaseModel):
    """What was checked before a collection may serve; it opens if every check holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    collection: str
    checks: list[GateCheck]

    @property
    def opens(self) -> bool:
        """Return whether the collection may serve."""
        return all(check.holds for check in self.checks)

    @property
    def refusal(self) -> str:
        """What does not hold, with its figures."""
        return "; ".join(f"{check.name}: {check.figures}" for check in self.checks if not check.holds)


def run_gate(collection: str, wanted: Wanted, found: Found, sample: Checks, golden: Checks | None = None) -> Gate:
    """Check a collection: what it says of itself, then points, then that it finds what the serving one finds.

    ``sample`` compares some points exactly, ``golden`` asks queries. Each is asked only of what holds so far.
    """
    checks = [
        _fingerprint(wanted, found),
        _version(wanted, found),
        _points(wanted, found),
        _payload_indexes(wanted, found),
    ]
    gate = Gate(collection=collection, checks=checks)
    for further in (sample, golden):
        if further is not None and gate.opens:
            gate = Gate(collection=collection, checks=[*gate.checks, *further()])
    return gate


def _fingerprint(wanted: Wanted, found: Found) -> GateCheck:
    said = found.metadata.fingerprint
    same = said == wanted.fingerprint
    figures = said if same else f"{said}, the configuration makes {wanted.fingerprint}"
    return GateCheck(name="it is what the configuration asks for", holds=same, figures=figures)


def _version(wanted: Wanted, found: Found) -> GateCheck:
    said, lease = found.metadata.reflects, found.metadata.lease
    current = said == wanted.version and lease is None
    figures = f"version {said.number}"
    if lease is not None:
        figures += ", and a load of it has not ended"
    elif said.number != wanted.version.number:
        figures += f" of {wanted.version.number}"
    elif not current:
        figures += " of another history of the feature store"
    return GateCheck(name="it is at the newest version", holds=current, figures=figures)


def _points(wanted: Wanted, found: Found) -> GateCheck:
    figures = f"{found.points:,} points, {wanted.points:,} chunks"
    # Both 0 is what a lost record and an empty collection have in common; an index without documents has no use either.
    return GateCheck(name="it holds all points", holds=found.points == wanted.points > 0, figures=figures)


def _payload_indexes(wanted: Wanted, found: Found) -> GateCheck:
    said = found.metadata.payload_indexes
    missing = {name for name, kind in wanted.fields.items() if said.get(name) != kind}
    if found.indexed is not None:
        missing |= wanted.fields.keys() - found.indexed
    figures = f"{len(wanted.fields):,} fields"
    if missing:
        more = ", …" if len(missing) > _NAMED else ""
        figures = f"{len(missing):,} of {figures} have none: {', '.join(sorted(missing)[:_NAMED])}{more}"
    return GateCheck(name="every field that a filter may name has its index", holds=not missing, figures=figures)
