"""What a person sees of a training set: its splits, what was left out and why, and documents that are nearly alike."""

from typing import Any

from feature_store import tables
from feature_store.errors import TerminalError
from feature_store.exports import ExportRecord, list_exports
from feature_store.handles import TrainingDataset
from feature_store.store import open_feature_store
from feature_store.views import charts
from feature_store.views.page import cards, heading, html_table, note, page, sample, side_by_side
from feature_store.views.text import counted, difference, escape_markdown, markdown_table, paragraphs

PAIRS = 20
EXCERPT = 600
_STYLE = ".pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:0 16px}"
_COLUMNS = ["document_id", "category", "title", "source_id", "characters", "text"]
_GONE = {"category": "", "title": None, "source_id": "no longer there", "characters": 0, "text": ""}


def view_training_dataset(handle: TrainingDataset) -> dict[str, str]:
    """Return what is in the training set, what was left out, and pairs of documents that are nearly alike."""
    views = {"summary.md": _summary(handle), "splits.html": _splits(handle)}
    if handle.near_duplicate_pairs:
        views["near_duplicates.html"] = _near_duplicates(handle)
    return views


def describe_training_dataset(handle: TrainingDataset) -> dict[str, Any]:
    """Return figures for the metadata."""
    return {
        "export_id": handle.export_id,
        "format": handle.format,
        "version": handle.version,
        "since": handle.since,
        "store_id": handle.store_id,
        "version_run_id": handle.version_run_id,
        "considered": handle.considered,
        "documents": _documents(handle),
        "tokens": sum(handle.tokens.values()),
        "excluded": sum(handle.excluded.values()),
        "near_duplicate_pairs": len(handle.near_duplicate_pairs),
        "files": len(handle.files),
        **{f"documents_{split}": count for split, count in handle.splits.items()},
        **{f"tokens_{split}": count for split, count in handle.tokens.items()},
        **{f"excluded_{reason}": count for reason, count in handle.excluded.items()},
        "seconds": round(handle.seconds, 3),
    }


def _summary(handle: TrainingDataset) -> str:
    before = _before(handle)
    splits = [[split, count, handle.tokens.get(split, 0)] for split, count in handle.splits.items()]
    excluded = sorted(handle.excluded.items(), key=lambda item: -item[1])
    return paragraphs(
        f"# Training set {escape_markdown(handle.export_id)}",
        f"**{_headline(handle)}** {_moved(handle, before)}",
        markdown_table(["split", "documents", "tokens"], [*splits, ["all", _documents(handle), _tokens(handle)]]),
        f"## Against that of version {before.version}" if before else "",
        _comparison(handle, before) if before else "",
        "## Left out",
        markdown_table(["reason", "documents"], excluded) or "None.",
        "## Files",
        markdown_table(["file", "SHA-256"], list(handle.files.items())[:100]),
    )


def _headline(handle: TrainingDataset) -> str:
    since = f" that changed after version {handle.since}" if handle.since is not None else ""
    return (
        f"{counted(_documents(handle), 'document')} with {counted(_tokens(handle), 'token')}{since}, "
        f"of {handle.considered:,} at version {handle.version}."
    )


def _moved(handle: TrainingDataset, before: ExportRecord | None) -> str:
    if before is None:
        return ""
    moved = _documents(handle) - before.counts.get("documents", 0)
    told = f"{abs(moved):,} {'more' if moved > 0 else 'fewer'} than" if moved else "As many documents as"
    return f"{told} in that of version {before.version}, which was made by the same rules."


def _comparison(handle: TrainingDataset, before: ExportRecord) -> str:
    now = {"documents": _documents(handle), "tokens": _tokens(handle), **handle.splits}
    pairs = {name: (before.counts.get(name, 0), count) for name, count in now.items()}
    header = ["", f"version {before.version}", f"version {handle.version}", "difference"]
    return markdown_table(header, [[name, old, new, difference(old, new)] for name, (old, new) in pairs.items()])


def _before(handle: TrainingDataset) -> ExportRecord | None:
    """Return the newest export by the same rules of an earlier version; None where the register has none."""
    registered = list_exports(handle.store_folder)
    own = next((record for record in registered if record.export_id == handle.export_id), None)
    if own is None or handle.since is not None:
        return None
    same = [
        record
        for record in registered
        if record.version < handle.version
        and record.store_id == own.store_id
        and record.since is None
        and record.options == own.options
    ]
    return max(same, key=lambda record: record.version, default=None)


def _splits(handle: TrainingDataset) -> str:
    excluded = dict(sorted(handle.excluded.items(), key=lambda item: -item[1])[:20])
    return page(
        f"Training set of version {handle.version}",
        cards(
            {
                "documents": _documents(handle),
                "tokens": _tokens(handle),
                "considered": handle.considered,
                "left out": sum(handle.excluded.values()),
                "pairs nearly alike": len(handle.near_duplicate_pairs),
            }
        ),
        side_by_side(
            charts.bars("Documents by split", handle.splits, "document"),
            charts.bars("Tokens by split", handle.tokens, "token"),
            charts.bars("Left out, by reason", excluded, "document"),
        ),
        heading("Files"),
        html_table(["file", "SHA-256"], list(handle.files.items())[:100]),
    )


def _near_duplicates(handle: TrainingDataset) -> str:
    pairs = sorted(handle.near_duplicate_pairs, key=lambda pair: -pair[2])[:PAIRS]
    rows = _look_up(handle, {document_id for first, second, _ in pairs for document_id in (first, second)})
    parts = [
        heading(f"{similarity:.0%} alike")
        + f"<div class=pair>{''.join(_half(document_id, rows) for document_id in (first, second))}</div>"
        for first, second, similarity in pairs
    ]
    told = "The most similar documents, by the estimated share of word sequences that both have (Jaccard, MinHash)."
    return page("Documents that are nearly alike", note(told), *parts, style=_STYLE)


def _half(document_id: str, rows: dict[str, dict[str, Any]]) -> str:
    row = rows.get(document_id, _GONE)
    facts = [row["category"], f"{row['characters']:,} characters"]
    return sample(document_id, row["title"] or row["source_id"], facts, row["text"] or "", EXCERPT)


def _look_up(handle: TrainingDataset, document_ids: set[str]) -> dict[str, dict[str, Any]]:
    store = open_feature_store(handle.store_folder)
    try:
        table = store.documents(store.version(handle.version))
    except TerminalError:  # it was pruned
        return {}
    return {row["document_id"]: row for row in tables.look_up(table, "document_id", sorted(document_ids), _COLUMNS)}


def _documents(handle: TrainingDataset) -> int:
    return sum(handle.splits.values())


def _tokens(handle: TrainingDataset) -> int:
    return sum(handle.tokens.values())
