"""What a person sees of the cleaned documents of a version, beside those of the version before."""

from collections import defaultdict
from typing import Any

from feature_store import tables
from feature_store.errors import TerminalError
from feature_store.handles import CleanedDocuments
from feature_store.store import IS_LIVE, FeatureStore
from feature_store.versions import Version
from feature_store.views import charts
from feature_store.views.page import cards, heading, html_table, note, page, sample, side_by_side
from feature_store.views.statistics import DocumentStatistics, describe_documents
from feature_store.views.text import counted, difference, escape_markdown, markdown_table, paragraphs

SAMPLES = 10
EXCERPT = 800
LANGUAGES = 12
CATEGORIES = 40
REJECTS_PER_REASON = 5
REASONS = 20
DUPLICATE_GROUPS = 10
DUPLICATES_READ = 500
FIELDS = ("read", "added", "changed", "metadata_changed", "unchanged", "deleted", "held_back", "rejected")


def view_cleaned_documents(handle: CleanedDocuments) -> dict[str, str]:
    """Return what the version holds and what changed; charts and samples only where the run made the version."""
    if handle.previous_version == handle.version:
        return {"summary.md": _nothing_changed(handle)}
    store, version = handle.store(), handle.at()
    now = describe_documents(store, version)
    views = {"summary.md": _summary(handle, now, _before(handle)), "charts.html": _charts(handle, now)}
    if now.rejects:
        views["rejects.html"] = _rejects(store, version, now)
    if now.duplicates:
        views["duplicates.html"] = _duplicates(store, version, now)
    return {**views, "samples.html": _samples(store, version)}


def describe_cleaned_documents(handle: CleanedDocuments) -> dict[str, Any]:
    """Return figures for the metadata."""
    store, version = handle.store(), handle.at()
    by_category = {
        f"{name}_{field}": getattr(counts, field)
        for name, counts in handle.categories.items()
        for field in FIELDS
        if getattr(counts, field)
    }
    return {
        "version": handle.version,
        "previous_version": handle.previous_version,
        "documents": store.count_documents(version),
        "rejects": int(store.rejects(version).count_rows()),
        "duplicates": store.count_duplicates(version),
        **_totals(handle),
        **by_category,
        "quality_findings": len(handle.quality),
        "message": version.message or None,
        "store_id": version.store_id,
        "config_fingerprint": version.config_fingerprint,
        "seconds": round(handle.seconds, 3),
    }


def _nothing_changed(handle: CleanedDocuments) -> str:
    version, store = handle.at(), handle.store()
    return paragraphs(
        f"# Cleaned documents, version {handle.version}",
        f"**Nothing changed.** The newest is still version {handle.version} of {version.created_at:%Y-%m-%d %H:%M} "
        f"UTC, with {counted(store.count_documents(version), 'document')}. The run that made it has the charts.",
        _run_table(handle),
    )


def _summary(handle: CleanedDocuments, now: DocumentStatistics, before: DocumentStatistics | None) -> str:
    return paragraphs(
        f"# Cleaned documents, version {handle.version}",
        f"**{_headline(handle, now, before)}** {_changes(handle)}",
        "## Against the version before" if before else "",
        _comparison(handle, now, before) if before else "",
        *_findings(handle),
        "## This run",
        _run_table(handle),
        "## Documents by category",
        markdown_table(["category", "documents"], list(now.categories.items())),
        "## Documents by language",
        markdown_table(["language", "documents"], list(now.languages.items())[:LANGUAGES]),
        "## Rejected documents by reason",
        markdown_table(["reason", "documents"], list(now.reasons.items())[:REASONS]) or "None.",
    )


def _headline(handle: CleanedDocuments, now: DocumentStatistics, before: DocumentStatistics | None) -> str:
    held = f"Version {handle.version} holds {counted(now.documents, 'document')}"
    if handle.previous_version is None:
        return f"{held}: the first version."
    if before is None:
        return f"{held}. Version {handle.previous_version}, from which it was made, is no longer there."
    moved = now.documents - before.documents
    compared = f"{abs(moved):,} {'more' if moved > 0 else 'fewer'} than" if moved else "as many as"
    return f"{held}, {compared} version {handle.previous_version}."


def _changes(handle: CleanedDocuments) -> str:
    totals = _totals(handle)
    told = [
        f"{totals['added']:,} added" if totals["added"] else "",
        f"{totals['changed']:,} changed" if totals["changed"] else "",
        f"{totals['metadata_changed']:,} changed in their metadata only" if totals["metadata_changed"] else "",
        f"{totals['deleted']:,} deleted" if totals["deleted"] else "",
        f"{totals['held_back']:,} deletions held back" if totals["held_back"] else "",
        f"{totals['newly_rejected']:,} newly rejected" if totals["newly_rejected"] else "",
    ]
    return f"This run: {', '.join(part for part in told if part)}." if any(told) else ""


def _comparison(handle: CleanedDocuments, now: DocumentStatistics, before: DocumentStatistics) -> str:
    figures = {
        "documents": (before.documents, now.documents),
        "characters": (before.characters, now.characters),
        "characters a document": (before.mean_length, now.mean_length),
        "duplicates of another document": (before.duplicates, now.duplicates),
        "rejected documents": (before.rejects, now.rejects),
    }
    for name in list({**before.categories, **now.categories})[:CATEGORIES]:
        figures[f"documents of {name}"] = (before.categories.get(name, 0), now.categories.get(name, 0))
    header = ["", f"version {handle.previous_version}", f"version {handle.version}", "difference"]
    return markdown_table(header, [[name, old, new, difference(old, new)] for name, (old, new) in figures.items()])


def _findings(handle: CleanedDocuments) -> list[str]:
    if not handle.quality:
        return []
    return ["## Not as expected", "\n".join(f"- {escape_markdown(str(finding), 500)}" for finding in handle.quality)]


def _run_table(handle: CleanedDocuments) -> str:
    rows = [[name, *(getattr(counts, field) for field in FIELDS)] for name, counts in handle.categories.items()]
    return markdown_table(["category", *(field.replace("_", " ") for field in FIELDS)], rows)


def _charts(handle: CleanedDocuments, now: DocumentStatistics) -> str:
    languages = dict(list(now.languages.items())[:LANGUAGES])
    return page(
        f"Cleaned documents, version {handle.version}",
        cards(
            {
                "documents": now.documents,
                "characters": now.characters,
                "characters a document": now.mean_length,
                "duplicates": now.duplicates,
                "rejected": now.rejects,
            }
        ),
        side_by_side(
            charts.columns("Length of the documents", now.lengths, "document", "characters"),
            charts.bars("Documents by category", dict(list(now.categories.items())[:CATEGORIES]), "document"),
            charts.bars("Documents by language", languages, "document"),
            charts.bars("Rejected documents by reason", dict(list(now.reasons.items())[:REASONS]), "document"),
        ),
    )


def _rejects(store: FeatureStore, version: Version, now: DocumentStatistics) -> str:
    parts = []
    columns = ["document_id", "category", "source_id", "detail", "excerpt"]
    for reason, count in list(now.reasons.items())[:REASONS]:
        condition = tables.in_list("reason", [reason])
        scanner = store.rejects(version).scanner(columns=columns, filter=condition, limit=REJECTS_PER_REASON)
        rows = scanner.to_table().to_pylist()
        header = ["category", "id in the warehouse", "what is wrong", "beginning of the text"]
        shown = [[row["category"], row["source_id"], row["detail"], row["excerpt"]] for row in rows]
        parts.append(heading(f"{reason}: {counted(count, 'document')}"))
        parts.append(html_table(header, shown, [row["document_id"] for row in rows]))
    return page(f"Rejected documents of version {version.number}", *parts)


def _duplicates(store: FeatureStore, version: Version, now: DocumentStatistics) -> str:
    """Show the largest groups among the first ``DUPLICATES_READ`` documents that have the text of an earlier one."""
    table, columns = store.documents(version), ["document_id", "category", "title", "source_id", "characters"]
    condition = f"{IS_LIVE} AND duplicate_of IS NOT NULL"
    scanner = table.scanner(columns=[*columns, "duplicate_of"], filter=condition, limit=DUPLICATES_READ)
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in scanner.to_table().to_pylist():
        groups[row["duplicate_of"]].append(row)
    largest = sorted(groups, key=lambda first: (-len(groups[first]), first))[:DUPLICATE_GROUPS]
    firsts = {row["document_id"]: row for row in tables.look_up(table, "document_id", largest, columns)}
    parts = []
    for first in largest:
        members = [firsts[first], *groups[first]][: SAMPLES + 1]
        header = ["category", "title", "id in the warehouse", "characters"]
        rows = [[row["category"], row["title"] or "", row["source_id"], row["characters"]] for row in members]
        parts.append(heading(f"{counted(len(groups[first]) + 1, 'document')} of one text"))
        parts.append(html_table(header, rows, [row["document_id"] for row in members]))
    told = f"{counted(now.duplicates, 'document')} of version {version.number} have the text of an earlier one."
    return page("Documents of the same text", note(f"{told} The largest groups:"), *parts)


def _samples(store: FeatureStore, version: Version) -> str:
    columns = ["document_id", "category", "title", "source_id", "url", "author", "language", "characters", "text"]
    condition = f"{IS_LIVE} AND changed_in = {version.number}"
    scanner = store.documents(version).scanner(columns=columns, filter=condition, limit=SAMPLES)
    samples = [
        sample(
            row["document_id"],
            row["title"] or row["source_id"],
            [row["category"], f"{row['characters']:,} characters", row["language"], row["author"], row["url"]],
            row["text"],
            EXCERPT,
        )
        for row in scanner.to_table().to_pylist()
    ]
    told = note("The first that this version added or changed." if samples else "It added or changed none.")
    return page(f"Documents of version {version.number}", told, *samples)


def _before(handle: CleanedDocuments) -> DocumentStatistics | None:
    if handle.previous_version is None:
        return None
    try:
        version = handle.store().version(handle.previous_version)
        return describe_documents(handle.store(), version)
    except TerminalError:  # it was pruned
        return None


def _totals(handle: CleanedDocuments) -> dict[str, int]:
    fields = (*FIELDS, "newly_rejected")
    return {field: sum(getattr(counts, field) for counts in handle.categories.values()) for field in fields}
