"""The profile of a version: figures about the documents of each category, without their texts.

A profile follows from the table alone. That of a new version is made from that of the last one and the rows that were
written since, so it costs as much as the change; a category of which much has changed is read whole.
"""

import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lance
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from feature_store import tables
from feature_store.commit import Proposal
from feature_store.config import DOCUMENT_FIELDS
from feature_store.files import write_json_atomically
from feature_store.store import IS_LIVE, FeatureStore
from feature_store.versions import Version, read_version, version_numbers

UNKNOWN_LANGUAGE = "unknown"
WORD_BINS = 1024
SAMPLED_DOCUMENTS = 2000  # at most so many documents of a category give their words
SAMPLED_CHARACTERS = 4_000  # of each of them
_FORMAT = 2  # raise it when the figures mean something else
_WHOLE_SHARE = 0.2  # beyond this share of changed documents, reading all is cheaper than looking them up
_COLUMNS = ["characters", "metadata", *DOCUMENT_FIELDS]
_WORD = re.compile(r"\w+")
_TEXTS_AT_ONCE = 64
_HEX_DIGITS = 8  # those at the start of a document id, by which documents are sampled

Tally = Counter[tuple[str, str | int]]


class Profile(BaseModel):
    """Figures about the live documents of one category at one version.

    ``lengths`` counts documents by ``2 · log2(characters)``, rounded down: two steps for each doubling
    (``length_bounds``). ``languages`` counts them by ISO 639-1 code, ``unknown`` where the text does not tell.
    ``fields`` counts the documents that have a value: ``url``, …, ``metadata.<name>``. ``words`` counts the words of
    the ``sampled`` documents, those whose id begins with ``sample_bits`` zero bits, by a hash of ``WORD_BINS`` values.
    ``rejected`` counts documents that are not among the live ones.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    documents: int = 0
    rejected: int = 0
    characters: int = 0
    lengths: dict[int, int] = Field(default_factory=dict)
    languages: dict[str, int] = Field(default_factory=dict)
    fields: dict[str, int] = Field(default_factory=dict)
    sample_bits: int = 0
    sampled: int = 0
    words: dict[int, int] = Field(default_factory=dict)

    def share(self, count: int) -> float:
        """Return a count as a share of the documents; 0 where there are none."""
        return count / self.documents if self.documents else 0.0


def read_profiles(folder: Path) -> dict[int, dict[str, Profile]]:
    """Return the profiles of all published versions that have one, by number and category, in order.

    ``folder`` is that of the feature store.
    """
    found = {number: read_profile(folder, read_version(folder, number)) for number in version_numbers(folder)}
    return {number: profiles for number, profiles in found.items() if profiles is not None}


def read_profile(folder: Path, version: Version) -> dict[str, Profile] | None:
    """Return the profiles of a version by category, or None if none were kept."""
    stored = _read(folder, version)
    return stored.categories if stored else None


def write_profiles(folder: Path, proposal: Proposal, profiles: dict[str, Profile]) -> None:
    """Keep the profiles of a version that is about to be published."""
    stored = _Stored(run_id=proposal.run_id, generation=proposal.generation, categories=profiles)
    write_json_atomically(_path(folder, proposal.number), stored.model_dump(mode="json"))


def profile_version(store: FeatureStore, version: Version) -> dict[str, Profile]:
    """Return the profiles of a version by category: those that were kept of these tables, or else measured now."""
    kept = _read(store.folder, version)
    if kept is not None and kept.generation == version.generation:
        return kept.categories
    documents = store.documents(version)
    live = tables.count_values(documents, "category", IS_LIVE)
    rejected = tables.count_values(store.rejects(version), "category")
    return {
        category: measure_profile(documents, category).model_copy(update={"rejected": rejected[category]})
        for category in sorted({*live, *rejected})
    }


def profile_proposal(store: FeatureStore, proposal: Proposal, written: Mapping[str, int]) -> dict[str, Profile]:
    """Return the profiles by category of a version that is about to be published.

    ``written`` counts the rows that it writes, by category.
    """
    before = _base(store, proposal)
    profiles = {}
    for category in sorted({*proposal.shares, *written, *before}):
        live, rejected = proposal.shares.get(category, (0, 0))
        count = written.get(category, 0)
        profile = before.get(category) if count <= _WHOLE_SHARE * live else None
        if profile is not None and count:
            profile = _followed(store, proposal, category, profile)
        # Whatever else changed the table, a profile with another number of documents is not that of this one.
        if profile is None or profile.documents != live:
            profile = measure_profile(proposal.documents, category)
        profiles[category] = profile.model_copy(update={"rejected": rejected})
    return profiles


def measure_profile(table: lance.LanceDataset, category: str) -> Profile:
    """Return the profile of a category, read from a table of documents; ``rejected`` is 0."""
    condition = _live(category)
    figures = _count_figures(table, condition)
    bits = bits_for(figures["documents", ""])
    return _as_profile(figures + _count_words(table, condition, bits), bits)


def resampled(profile: Profile, table: lance.LanceDataset, category: str, bits: int) -> Profile:
    """Return the profile with the words of another sample of the documents of ``table``."""
    if profile.sample_bits == bits:
        return profile
    words = _as_profile(_count_words(table, _live(category), bits), bits)
    return profile.model_copy(update={"sample_bits": bits, "sampled": words.sampled, "words": words.words})


def bits_for(documents: int) -> int:
    """Return how many bits at the start of an id are to be zero, so that the sample has the right size."""
    return min((max(documents - 1, 0) // SAMPLED_DOCUMENTS).bit_length(), 4 * _HEX_DIGITS - 1)


def length_bounds(step: int) -> tuple[int, int]:
    """Return the smallest number of characters of a step of ``lengths``, and the smallest of the next one."""
    return math.ceil(2 ** (step / 2)), math.ceil(2 ** ((step + 1) / 2))


def population_stability_index(before: Mapping[int, int], now: Mapping[int, int]) -> float:
    """Return how far a distribution has moved: 0 for not at all, without an upper bound.

    It is Σ (q - p) · ln(q / p) over the bins, with half a document added to each so that none is empty (N. Siddiqi,
    Credit Risk Scorecards, 2006: below 0.1 little has changed, above 0.25 much has).
    """
    p, q = _distributions(before, now, added=0.5)
    return float(np.sum((q - p) * np.log(q / p)))


def jensen_shannon_distance(before: Mapping[int, int], now: Mapping[int, int]) -> float:
    """Return the distance of two distributions: 0 for equal ones, 1 for those that have nothing in common.

    It is the square root of the Jensen-Shannon divergence to the base 2 (D. Endres and J. Schindelin, A New Metric for
    Probability Distributions, IEEE Transactions on Information Theory 49, 2003).
    """
    if not (before and now):
        return 0.0 if not (before or now) else 1.0  # nothing in common
    p, q = _distributions(before, now, added=0.0)
    middle = (p + q) / 2
    divergence = sum(np.sum(part[part > 0] * np.log2(part[part > 0] / middle[part > 0])) / 2 for part in (p, q))
    return math.sqrt(min(max(float(divergence), 0.0), 1.0))


class _Stored(BaseModel):
    """A file of profiles; ``run_id`` tells them from those of a run that died before it published the number."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: int = _FORMAT
    run_id: str
    generation: int
    categories: dict[str, Profile]


def _read(folder: Path, version: Version) -> _Stored | None:
    path = _path(folder, version.number)
    if not path.exists():
        return None
    try:
        stored = _Stored.model_validate_json(path.read_bytes())
    except ValidationError:
        return None  # damaged, or of another format: it follows from the table, and is measured anew
    return stored if (stored.format, stored.run_id) == (_FORMAT, version.run_id) else None


def _path(folder: Path, number: int) -> Path:
    return folder / "profiles" / f"{number}.json"


def _base(store: FeatureStore, proposal: Proposal) -> dict[str, Profile]:
    """Return the profiles of the newest version, as far as they are of the tables that are there."""
    stored = _read(store.folder, proposal.newest) if proposal.newest else None
    return stored.categories if stored and stored.generation == proposal.generation else {}


def _followed(store: FeatureStore, proposal: Proposal, category: str, before: Profile) -> Profile | None:
    """Return the profile after the rows that were written; None where the sample is to have another size."""
    if proposal.newest is None:
        return None
    condition = f"category = '{category}' AND changed_in = {proposal.number}"
    tally = _count(proposal.documents, f"{condition} AND {IS_LIVE}", before.sample_bits)
    rows = proposal.documents.scanner(columns=["document_id"], filter=condition).to_table()
    known = store.documents(proposal.newest)
    for some in tables.batches_of(rows.column("document_id").to_pylist(), tables.LOOKUP_BATCH):
        replaced = f"{tables.in_list('document_id', some)} AND {IS_LIVE}"
        tally.subtract(_count(known, replaced, before.sample_bits))
    tally.update(_as_tally(before))
    documents = tally["documents", ""]
    return _as_profile(tally, before.sample_bits) if bits_for(documents) == before.sample_bits else None


def _live(category: str) -> str:
    return f"category = '{category}' AND {IS_LIVE}"


def _count(table: lance.LanceDataset, condition: str, bits: int) -> Tally:
    return _count_figures(table, condition) + _count_words(table, condition, bits)


def _count_figures(table: lance.LanceDataset, condition: str) -> Tally:
    tally: Tally = Counter()
    for batch in table.scanner(columns=_COLUMNS, filter=condition).to_batches():
        characters = batch.column("characters").to_numpy()
        steps = np.floor(2 * np.log2(np.maximum(characters, 1))).astype(int)
        tally.update({("documents", ""): batch.num_rows, ("characters", ""): int(characters.sum())})
        tally.update(("lengths", step) for step in steps.tolist())
        languages = batch.column("language").fill_null(UNKNOWN_LANGUAGE).to_pylist()
        tally.update(("languages", language) for language in languages)
        tally.update({("fields", name): batch.num_rows - batch.column(name).null_count for name in DOCUMENT_FIELDS})
        for text in batch.column("metadata").to_pylist():
            values = json.loads(text)
            tally.update(("fields", f"metadata.{name}") for name, value in values.items() if value not in ("", []))
    return tally


def _count_words(table: lance.LanceDataset, condition: str, bits: int) -> Tally:
    tally: Tally = Counter()
    bound = 2 ** (4 * _HEX_DIGITS - bits)
    if bits:
        condition = f"{condition} AND document_id < '{bound:0{_HEX_DIGITS}x}'"
    for batch in table.scanner(columns=["text"], filter=condition, batch_size=_TEXTS_AT_ONCE).to_batches():
        words: Counter[str] = Counter()
        for text in batch.column("text").to_pylist():
            words.update(_WORD.findall(text[:SAMPLED_CHARACTERS].lower()))
        tally["sampled", ""] += batch.num_rows
        for word, count in words.items():
            tally["words", zlib.crc32(word.encode("utf-8", "surrogatepass")) % WORD_BINS] += count
    return tally


def _as_profile(tally: Tally, bits: int) -> Profile:
    by_kind: dict[str, dict[Any, int]] = {"lengths": {}, "languages": {}, "fields": {}, "words": {}}
    for (kind, name), count in sorted(tally.items(), key=str):
        if count and kind in by_kind:
            by_kind[kind][name] = count
    totals = {kind: tally[kind, ""] for kind in ("documents", "characters", "sampled")}
    return Profile(**totals, **by_kind, sample_bits=bits)


def _as_tally(profile: Profile) -> Tally:
    totals = {(kind, ""): getattr(profile, kind) for kind in ("documents", "characters", "sampled")}
    kinds = ("lengths", "languages", "fields", "words")
    return Counter(totals | {(kind, name): count for kind in kinds for name, count in getattr(profile, kind).items()})


def _distributions(before: Mapping[int, int], now: Mapping[int, int], added: float) -> list[npt.NDArray[np.float64]]:
    bins = sorted({*before, *now})
    counts = [np.array([counted.get(step, 0) + added for step in bins], float) for counted in (before, now)]
    return [count / count.sum() for count in counts]
