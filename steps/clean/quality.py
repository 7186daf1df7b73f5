"""Whether the documents of a version are what the configuration expects of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import lance
from loguru import logger

from feature_store import tables
from feature_store.commit import Proposal
from feature_store.config import (
    AtLeast,
    AtMost,
    CategoryConfig,
    DriftExpectation,
    LengthExpectation,
    QualityConfig,
)
from feature_store.errors import DataQualityError
from feature_store.handles import QualityFinding
from feature_store.quality import (
    Profile,
    jensen_shannon_distance,
    population_stability_index,
    profile_proposal,
    profile_version,
    resampled,
    write_profiles,
)
from feature_store.store import IS_LIVE, FeatureStore
from feature_store.versions import Version, version_numbers

Limit = AtLeast | AtMost
Level = Literal["ok", "warn", "fail", "not measured"]


@dataclass(frozen=True, slots=True)
class Observed:
    """What there is to measure of a category: its documents, their profile, and both of the version before."""

    documents: lance.LanceDataset
    profile: Profile
    documents_before: lance.LanceDataset | None = None
    profile_before: Profile | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """One expectation with what was measured; ``figure`` is None where there is nothing to measure or compare with."""

    category: str
    expectation: str
    limit: Limit
    figure: float | None
    level: Level = "not measured"

    @property
    def threshold(self) -> float | None:
        """What the figure missed."""
        return {"warn": self.limit.warn, "fail": self.limit.fail}.get(self.level)


def check_quality(
    store: FeatureStore, proposal: Proposal, categories: Sequence[CategoryConfig], accepted: Sequence[str]
) -> list[QualityFinding]:
    """Judge the categories of which a commit changes documents; keep the profiles of the coming version.

    Failures of ``accepted`` categories are let through. Returns what is not as expected.

    Raises:
        DataQualityError: naming every expectation that fails; the coming version must not be published then.
    """
    written = tables.count_values(proposal.documents, "category", f"changed_in = {proposal.number}")
    profiles = profile_proposal(store, proposal, written)
    concerned = [category for category in categories if written[category.name] and category.quality != QualityConfig()]
    observed = observe(store, proposal.documents, profiles, concerned, proposal.newest)
    measured = [item for category in concerned for item in measure(category, observed[category.name])]
    findings = [
        QualityFinding(
            category=item.category,
            expectation=item.expectation,
            level=item.level,
            figure=item.figure,
            threshold=item.threshold,
            accepted=item.level == "fail" and item.category in accepted,
        )
        for item in judge(measured)
        if item.level in {"warn", "fail"}
    ]
    refuse_failures(findings)
    for finding in findings:
        logger.warning("{}", finding)
    write_profiles(store.folder, proposal, profiles)
    return findings


def refuse_failures(findings: Sequence[QualityFinding]) -> None:
    """Refuse what the configuration does not let through.

    Raises:
        DataQualityError: naming every expectation that fails.
    """
    failing = [finding for finding in findings if finding.level == "fail" and not finding.accepted]
    if failing:
        categories = dict.fromkeys(finding.category for finding in failing)
        accept = " ".join(f"--accept-quality {category}" for category in categories)
        raise DataQualityError(
            f"The documents are not what the configuration expects: {'; '.join(map(str, failing))}. "
            "Nothing was committed.",
            f"Correct the source, or `quality` of the category; to let them through: feature-pipeline run {accept}.",
        )


def judge_version(
    store: FeatureStore, version: Version, categories: Sequence[CategoryConfig]
) -> tuple[dict[str, Profile], list[Measured]]:
    """Return the profiles of a published version by category, and every expectation as that version fulfils it.

    Drift is that from the last version before it which is still there.
    """
    profiles = profile_version(store, version)
    older = [number for number in version_numbers(store.folder) if number < version.number]
    before = store.version(older[-1]) if older else None
    observed = observe(store, store.documents(version), profiles, categories, before)
    measured = [item for category in categories for item in measure(category, observed[category.name])]
    return profiles, judge(measured)


def observe(
    store: FeatureStore,
    documents: lance.LanceDataset,
    profiles: Mapping[str, Profile],
    categories: Sequence[CategoryConfig],
    before: Version | None,
) -> dict[str, Observed]:
    """Return what there is to measure of some categories; ``before`` is the version to compare with."""
    if before is None or all(category.quality.drift is None for category in categories):
        return {category.name: Observed(documents, profiles.get(category.name, Profile())) for category in categories}
    earlier, table = profile_version(store, before), store.documents(before)
    return {
        name: Observed(documents, profiles.get(name, Profile()), table, earlier.get(name))
        for name in (category.name for category in categories)
    }


def measure(category: CategoryConfig, observed: Observed) -> Iterator[Measured]:
    """Yield every expectation of a category with its figure, not judged yet."""
    quality, profile = category.quality, observed.profile
    for name, limit in quality.present.items():
        yield Measured(category.name, f"present.{name}", limit, _share(profile, profile.fields.get(name, 0)))
    if quality.length is not None:
        outside = _share(profile, _count_outside(observed.documents, category.name, quality.length))
        yield Measured(category.name, "length.outside", quality.length.outside, outside)
    for language, expected in quality.languages.items():
        share = _share(profile, profile.languages.get(language, 0))
        for name, bound in (("at_least", expected.at_least), ("at_most", expected.at_most)):
            if bound is not None:
                yield Measured(category.name, f"languages.{language}.{name}", bound, share)
    if quality.drift is not None:
        yield from _drift(category.name, quality.drift, observed)


def judge(measured: Sequence[Measured]) -> list[Measured]:
    """Return the same with the level that each figure reaches: pandera compares them with the thresholds."""
    failed, warned = _missed(measured, "fail"), _missed(measured, "warn")
    return [_judged(item, place in failed, place in warned) for place, item in enumerate(measured)]


def _judged(item: Measured, failed: bool, warned: bool) -> Measured:  # noqa: FBT001
    if item.figure is None:
        return item
    level: Level = "fail" if failed else "warn" if warned else "ok"
    return replace(item, level=level)


def _missed(measured: Sequence[Measured], level: Literal["warn", "fail"]) -> set[int]:
    """Return the places of the figures that miss their threshold of a level."""
    figures: dict[str, list[float]] = {}
    thresholds: dict[str, tuple[bool, float]] = {}
    for place, item in enumerate(measured):
        threshold = item.limit.warn if level == "warn" else item.limit.fail
        if item.figure is not None and threshold is not None:
            figures[str(place)] = [item.figure]
            thresholds[str(place)] = (isinstance(item.limit, AtLeast), threshold)
    if not figures:
        return set()
    import pandas as pd
    import pandera.pandas as pandera
    from pandera.errors import SchemaErrors

    columns = {
        place: pandera.Column(float, pandera.Check.ge(threshold) if at_least else pandera.Check.le(threshold))
        for place, (at_least, threshold) in thresholds.items()
    }
    try:
        pandera.DataFrameSchema(columns).validate(pd.DataFrame(figures, dtype=float), lazy=True)
    except SchemaErrors as errors:
        return {int(place) for place in errors.failure_cases["column"]}
    return set()


def _drift(category: str, drift: DriftExpectation, observed: Observed) -> Iterator[Measured]:
    before, now, figures = observed.profile_before, observed.profile, dict[str, float]()
    if before is not None and before.documents >= drift.minimum_documents:
        figures["documents"] = abs(now.documents - before.documents) / before.documents
        if now.documents and drift.lengths is not None:
            figures["lengths"] = population_stability_index(before.lengths, now.lengths)
        if now.documents and drift.vocabulary is not None and observed.documents_before is not None:
            sample = resampled(before, observed.documents_before, category, now.sample_bits)
            figures["vocabulary"] = jensen_shannon_distance(sample.words, now.words)
    for name in ("documents", "lengths", "vocabulary"):
        limit: AtMost | None = getattr(drift, name)
        if limit is not None:
            yield Measured(category, f"drift.{name}", limit, figures.get(name))


def _count_outside(documents: lance.LanceDataset, category: str, length: LengthExpectation) -> int:
    too_long = "" if length.maximum is None else f" OR characters > {length.maximum}"
    condition = f"category = '{category}' AND {IS_LIVE} AND (characters < {length.minimum}{too_long})"
    return int(documents.count_rows(filter=condition))


def _share(profile: Profile, count: int) -> float | None:
    return profile.share(count) if profile.documents else None
