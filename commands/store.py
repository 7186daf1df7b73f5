"""Looking at the versions of the feature store, naming them, and removing those that nobody needs."""

from collections.abc import Iterable
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from commands.shared import AsJson, output, print_json, started

if TYPE_CHECKING:
    from feature_store.history import Difference, DocumentChange, VersionDescription
    from feature_store.retention import KeptVersion, Pruning

VersionName = Annotated[str, typer.Argument(metavar="VERSION", help="v12, latest, a tag or a release.")]
_LISTED = 20
_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def versions(as_json: AsJson = False) -> None:  # noqa: FBT002
    """List all versions of the feature store, the newest first, and who needs them."""
    settings = started()
    from feature_store.history import list_versions

    found = list_versions(settings.feature_store_folder, settings.indexes_folder)
    if as_json:
        print_json([version.model_dump(mode="json") for version in found])
        return
    if not found:
        output.print("The feature store has no version yet: run the feature pipeline.")
        return
    table = Table("version", "made (UTC)", "why", "documents", "tags", "releases", "needed by", box=None)
    for column in table.columns[:2]:
        column.no_wrap = True
    table.columns[3].justify = "right"
    for version in found:
        needed = (each.why for each in version.references if each.kind in {"export", "index"})
        table.add_row(
            f"v{version.number}",
            f"{version.created_at:%Y-%m-%d %H:%M}",
            escape(version.message),
            f"{version.documents:,}",
            ", ".join(version.tags),
            ", ".join(version.releases),
            escape(", ".join(needed)),
        )
    output.print(table)


def show(version: VersionName, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Show everything that is known of a version."""
    settings = started()
    from feature_store.history import describe_version
    from feature_store.names import find_version

    folder = settings.feature_store_folder
    described = describe_version(folder, settings.indexes_folder, find_version(folder, version))
    if as_json:
        print_json(described.model_dump(mode="json"))
    else:
        _print_description(described)


def diff(
    before: VersionName,
    after: VersionName,
    document: Annotated[
        list[str] | None,
        typer.Option("--document", metavar="ID", help="Compare only this document, with its text; may be repeated."),
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="Show how the text of each listed document differs.")] = False,  # noqa: FBT002
    limit: Annotated[
        int | None,
        typer.Option(min=0, help=f"List at most so many documents of each kind ({_LISTED}; all with --json)."),
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Compare two versions: documents added, changed and deleted on the way from the first to the second."""
    settings = started()
    from feature_store.history import compare_documents, compare_versions
    from feature_store.names import find_version
    from feature_store.store import open_feature_store

    store = open_feature_store(settings.feature_store_folder)
    ends = find_version(store.folder, before), find_version(store.folder, after)
    bound = _LISTED if limit is None and not as_json else limit
    difference = compare_versions(store, *ends, bound)
    asked = document or ([change.document_id for change in difference.documents] if text else [])
    if asked:
        difference = difference.model_copy(update={"documents": compare_documents(store, *ends, asked)})
    if as_json:
        print_json(difference.model_dump(mode="json"))
    else:
        _print_difference(difference, document or ())


def tag(
    version: Annotated[str | None, typer.Argument(help="v12, latest, a tag or a release.")] = None,
    name: Annotated[str | None, typer.Argument(help="The name to give to it.")] = None,
    remove: Annotated[str | None, typer.Option("--remove", metavar="NAME", help="Take this name away.")] = None,
) -> None:
    """Give a version a name, which also keeps it from being pruned; or take a name away."""
    if (remove is None) is (version is None or name is None) or (remove is not None and version is not None):
        raise typer.BadParameter("give VERSION and NAME, or --remove NAME")
    folder = started().feature_store_folder
    from feature_store.names import find_version, remove_tag
    from feature_store.references import tag_version

    if remove is not None:
        remove_tag(folder, remove)
        output.print(f"{remove} names no version any more.")
    elif version is not None and name is not None:
        made = tag_version(folder, find_version(folder, version), name)
        output.print(f"{made.name} is version {made.version}.")


def prune(
    keep: Annotated[int | None, typer.Option(min=1, help="Keep the newest so many versions.")] = None,
    keep_days: Annotated[
        float | None, typer.Option(min=0, max=100_000, help="Keep the versions of so many days.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Remove old versions and give their disk space back.

    The newest stays, and whatever a tag, a release, an export or an index needs.
    """
    if (keep is None) is (keep_days is None):
        raise typer.BadParameter("give --keep or --keep-days")
    settings = started()
    from datetime import timedelta

    from feature_store import retention
    from feature_store.versions import now

    if keep_days is None:
        window: retention.Window = partial(retention.newest_ones, count=keep or 1)
    else:
        window = partial(retention.made_since, moment=now() - timedelta(days=keep_days))
    done = retention.plan_for(settings, window) if dry_run else retention.prune_store(settings, window)
    if as_json:
        print_json(done.model_dump(mode="json"))
    else:
        _print_pruning(done)


def _print_description(described: "VersionDescription") -> None:
    table = Table.grid(padding=(0, 2))
    rows = {
        "version": f"v{described.number}" + (f", after v{described.previous}" if described.previous else ""),
        "made": f"{described.created_at:%Y-%m-%d %H:%M:%S} UTC",
        "why": described.message,
        "documents": _with_parts(described.documents, described.categories),
        "rejects": f"{described.rejects:,}",
        "duplicates": f"{described.duplicates:,}",
        "the run": _counted(described.counts) or "changed nothing",
        "run": described.run_id,
        "configuration": described.config_fingerprint,
        "tags": ", ".join(described.tags),
        "releases": ", ".join(described.releases),
        "needed by": "\n".join(each.why for each in described.references),
        "positions": "\n".join(f"{category}: {words}" for category, words in described.positions.items()),
        "tables": f"documents {described.documents_version}, rejects {described.rejects_version} of Lance",
        "store": described.store_id,
    }
    for label, value in rows.items():
        if value:
            table.add_row(f"[dim]{label}[/]", escape(value))
    output.print(table)


def _with_parts(total: int, parts: dict[str, int]) -> str:
    return f"{total:,}" + (f" ({_counted(parts)})" if parts else "")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items() if count)


def _print_difference(difference: "Difference", asked: Iterable[str]) -> None:
    counts = difference.counts
    figures = ", ".join(f"{counts[kind]:,} {kind}" for kind in ("added", "changed", "deleted"))
    output.print(f"From version {difference.before} to {difference.after}: {figures}.\n")
    for change in difference.documents:
        _print_change(change)
    listed = len(difference.documents)
    if asked and not listed:
        output.print("Nothing differs in what was asked for.")
    elif not asked and listed < sum(counts.values()):
        output.print(f"[dim]{sum(counts.values()) - listed:,} more: --limit[/]")


def _print_change(change: "DocumentChange") -> None:
    sign = {"added": "+", "changed": "~", "deleted": "-"}[change.kind]
    style = {"added": "green", "changed": "yellow", "deleted": "red"}[change.kind]
    line = Text(f"{sign} ", style=style)
    line.append(f"{change.category} {change.source_id}")
    line.append(f"  {change.title}" if change.title else "", style="bold")
    line.append(f"  {', '.join(change.fields)}" if change.fields else "", style="yellow")
    line.append(f"  {change.document_id}", style="dim")
    output.print(line, soft_wrap=True)
    for name, value in (change.values or {}).items():
        output.print(Text(f"    {name}: {value.before or '–'} → {value.after or '–'}"), soft_wrap=True)
    for text in change.text or ():
        output.print(Text(f"    {text}", style=_STYLES.get(text[:1], "")), soft_wrap=True)


def _print_pruning(done: "Pruning") -> None:
    verb = "Would remove" if done.bytes_after is None else "Removed"
    removed = f": {_ranges(done.removed)}" if done.removed else ""
    plural = "" if len(done.removed) == 1 else "s"
    output.print(f"{verb} {len(done.removed):,} version{plural}{removed}; {len(done.kept):,} stay.", soft_wrap=True)
    for reasons, some in groupby(done.kept, key=lambda kept: kept.reasons):
        output.print(_kept_line(reasons, list(some)), soft_wrap=True)
    after = "" if done.bytes_after is None else f" before, {decimal(done.bytes_after)} now"
    output.print(f"The tables: {decimal(done.bytes_before)}{after}.")


def _kept_line(reasons: list[str], kept: list["KeptVersion"]) -> Text:
    return Text(f"  {_ranges([version.number for version in kept])}: {'; '.join(reasons)}")


def _ranges(numbers: list[int]) -> str:
    """Return numbers in few words: ``v1–v3, v7``."""
    runs = [[number for _, number in some] for _, some in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ", ".join(f"v{run[0]}" if len(run) == 1 else f"v{run[0]}–v{run[-1]}" for run in runs)
