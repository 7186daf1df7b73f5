"""`rejects`: the documents that could not be used, why, and what became of them between two versions."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from commands.shared import AsJson, Config, output, print_json, started
from feature_store.defaults import DEFAULT_CONFIG, LATEST

if TYPE_CHECKING:
    from feature_store.rejects import RejectChange, RejectDataset, RejectedDocument

Counts = Counter[tuple[str, str]]


def rejects(
    reason: Annotated[list[str] | None, typer.Option(help="Only those rejected so; may be repeated.")] = None,
    category: Annotated[list[str] | None, typer.Option(help="Only those of this category; may be repeated.")] = None,
    version: Annotated[str, typer.Option(help="Version: a number (v12), latest, a tag or a release.")] = LATEST,
    since: Annotated[str | None, typer.Option(help="Show what is different since this version.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many documents.")] = 20,
    retry: Annotated[bool, typer.Option("--retry", help="Clean them again, in a run of the pipeline.")] = False,  # noqa: FBT002
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Show the rejected documents: how many for which reasons, and which; or clean them again.

    A rejected document is cleaned again when it or the rules change. What else has changed, such as a library, only
    --retry finds out. Excerpts are shown as they are in the source.
    """
    if retry:
        if category or since or version != LATEST:
            raise typer.BadParameter("--retry takes --reason only")
        from commands.running import run

        run(config, retry_rejects=reason or ["all"], as_json=as_json)
        return
    settings = started()
    from feature_store.names import find_version
    from feature_store.rejects import compare_rejects, count_rejects, list_rejects
    from feature_store.rejects import rejects as rejects_at
    from feature_store.store import open_feature_store

    store = open_feature_store(settings.feature_store_folder)
    selection = rejects_at(store, find_version(store.folder, version), reason or (), category or ())
    if since is not None:
        before = rejects_at(store, find_version(store.folder, since), reason or (), category or ())
        _show_changes(before, selection, compare_rejects(before, selection), limit, as_json)
        return
    counts, rows = count_rejects(selection), list_rejects(selection, limit)
    if as_json:
        print_json(
            {
                "version": selection.version.number,
                "rejected": sum(counts.values()),
                "counts": _counts_as_rows(("reason", "category"), counts),
                "documents": [row.model_dump(mode="json") for row in rows],
            }
        )
        return
    output.print(f"Version {selection.version.number}: {sum(counts.values()):,} rejected documents")
    _print_counts(("reason", "category"), counts)
    for row in rows:
        _print_document(row, row.reason)
    _print_rest(sum(counts.values()), limit)


def _show_changes(
    before: "RejectDataset",
    after: "RejectDataset",
    changes: "Sequence[RejectChange]",
    limit: int,
    as_json: bool,  # noqa: FBT001
) -> None:
    counts = Counter[tuple[str, str]]((item.change, item.category) for item in changes)
    since, version = before.version.number, after.version.number
    if as_json:
        print_json(
            {
                "since": since,
                "version": version,
                "counts": _counts_as_rows(("change", "category"), counts),
                "documents": [item.model_dump(mode="json") for item in changes[:limit]],
            }
        )
        return
    output.print(
        f"From version {since} to {version}: {before.count():,} rejected documents before, {after.count():,} now"
    )
    _print_counts(("change", "category"), counts)
    for item in changes[:limit]:
        another = item.reason_before is not None and item.reason_before != item.reason
        reasons = f"{item.reason_before} → {item.reason}" if another else item.reason
        _print_document(item, f"{item.change}: {reasons}")
    _print_rest(len(changes), limit)


def _counts_as_rows(names: tuple[str, str], counts: Counts) -> list[dict[str, str | int]]:
    first, second = names
    return [{first: key[0], second: key[1], "documents": count} for key, count in sorted(counts.items())]


def _print_counts(names: tuple[str, str], counts: Counts) -> None:
    if not counts:
        return
    table = Table(*names, "documents", box=None)
    table.columns[2].justify = "right"
    for (first, second), count in sorted(counts.items()):
        table.add_row(escape(first), escape(second), f"{count:,}")
    output.print(table)


def _print_document(row: "RejectedDocument", what: str) -> None:
    when = f", {row.rejected_at:%Y-%m-%d %H:%M} UTC, run {row.rejected_by}" if row.rejected_at else ""
    output.print(
        f"\n[bold]{escape(row.category)} {escape(row.source_id)}[/]  [yellow]{escape(what)}[/]  "
        f"[dim]version {row.rejected_in}{escape(when)}[/]",
        soft_wrap=True,
    )
    output.print(f"  [dim]{row.document_id}[/]", soft_wrap=True)
    output.print(f"  {escape(row.detail)}", soft_wrap=True)
    if row.excerpt:
        output.print(f"  [cyan]{escape(row.excerpt)}[/]", soft_wrap=True)


def _print_rest(total: int, limit: int) -> None:
    if total > limit:
        output.print(f"\n{total - limit:,} more: --limit {total}")
