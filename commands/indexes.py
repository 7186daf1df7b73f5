"""`indexes`, `promote`, `rollback` and `drop-retired`: the collections of all indexes, and which of them serve."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from commands.shared import AsJson, Config, load_config, output, print_json, started
from feature_store.defaults import DEFAULT_CONFIG

if TYPE_CHECKING:
    from pipelines.promotion import RetiredCollection
    from pipelines.status import IndexStatus

Index = Annotated[str, typer.Argument(metavar="INDEX", help="Name of the index, which is its alias in Qdrant.")]
_STATE_COLOURS = {"serving": "green", "candidate": "yellow", "retired": "dim", "unused": "dim", "not built": "yellow"}


def indexes(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:  # noqa: FBT002
    """List the collections of all indexes: which serve, which wait, which are retired, and how far each is behind."""
    pipeline_config = load_config(config)
    settings = started()
    from pipelines.status import describe_collections

    rows = describe_collections(settings, pipeline_config)
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    if not rows:
        output.print("There is no index: neither in the configuration nor in Qdrant.")
        return
    _print_collections(rows)


def promote(
    index: Index,
    collection: Annotated[
        str | None, typer.Option(help="Collection to promote; default: the one that the configuration asks for.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Leave out the golden queries.")] = False,  # noqa: FBT002
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Let a collection of an index serve, if its gate opens; exits with 10 if it does not.

    Whether it is whole is always checked: --force leaves out only the comparison by golden queries.
    """
    pipeline_config = load_config(config)
    settings = started()
    from pipelines.promotion import promote_index

    done = promote_index(settings, pipeline_config, index, collection, force=force)
    if as_json:
        print_json(done.model_dump(mode="json"))
        return
    for check in done.checks:
        output.print(f"[green]✓[/] {escape(check.name)}: {escape(check.figures)}", soft_wrap=True)
    if not done.checks:
        output.print(f"{done.collection} serves {done.index} already.", soft_wrap=True)
        return
    before = f", in the place of {done.previous}" if done.previous else ""
    output.print(f"[bold]{done.index}[/]: {done.collection} serves now{before}.", soft_wrap=True)


def rollback(index: Index, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Let the collection serve again that served before, at once.

    The one that it replaces is held: no run promotes it until `promote` does. The next run brings the one that serves
    to the newest version.
    """
    settings = started()
    from feature_store.views.text import counted
    from pipelines.promotion import roll_back

    done = roll_back(settings, index)
    if as_json:
        print_json(done.model_dump(mode="json"))
        return
    output.print(f"[bold]{done.index}[/]: {done.collection} serves again.", soft_wrap=True)
    output.print(f"{done.left} is held: no run promotes it, until `feature-pipeline promote {index}`.", soft_wrap=True)
    behind = f"{counted(done.lag, 'document')} behind: the next run brings it up to date" if done.lag else "up to date"
    output.print(f"It is at version {done.version}, {behind}.", soft_wrap=True)


def drop_retired(
    index: Annotated[str | None, typer.Argument(metavar="INDEX", help="Only this index; default: all.")] = None,
    keep: Annotated[int, typer.Option(min=0, help="Keep the newest so many of each index, for a rollback.")] = 1,
    older_than: Annotated[
        float | None, typer.Option(metavar="DAYS", min=0, max=100_000, help="Only those that are retired for so long.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,  # noqa: FBT002
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Remove collections that serve no more, with what is recorded of them.

    What serves, what the configuration asks for and what a release pins always stays.
    """
    pipeline_config = load_config(config)
    settings = started()
    from pipelines.promotion import drop_retired as dropping
    from pipelines.promotion import plan_dropping

    age = None if older_than is None else timedelta(days=older_than)
    done = (plan_dropping if dry_run else dropping)(settings, pipeline_config, index, keep, age)
    if as_json:
        print_json([item.model_dump(mode="json") for item in done])
        return
    _print_dropping(done, "would be removed" if dry_run else "removed")


def _print_collections(rows: list["IndexStatus"]) -> None:
    table = Table("collection", "state", "points", "version", "lag", "since", box=None)
    table.columns[0].overflow = "fold"  # a name that is cut short names nothing
    for column in table.columns[1:]:
        column.no_wrap = True
    for place in (2, 3, 4):
        table.columns[place].justify = "right"
    for row in rows:
        colour = _STATE_COLOURS[row.state]
        described = f"[dim]{escape(row.chunking)}, {escape(row.model.rsplit('/', 1)[-1])}[/]"
        table.add_row(
            f"{escape(row.collection or row.index)}\n{described}",
            f"[{colour}]{row.state}[/]",
            f"{row.points:,}",
            f"{row.version}",
            f"{row.lag:,}",
            _since(row),
        )
    output.print(table)
    for row in rows:
        for why in (row.held and f"held: {row.held}", row.refused and f"refused by its gate: {row.refused}"):
            if why:
                output.print(f"[yellow]{escape(f'{row.collection} is {why}')}[/]", soft_wrap=True)


def _since(row: "IndexStatus") -> str:
    moment = {"serving": row.promoted_at, "retired": row.retired_at}.get(row.state, row.created_at)
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _print_dropping(done: list["RetiredCollection"], removed: str) -> None:
    if not done:
        output.print("No collection is retired.")
    for item in done:
        told = f"stays: {item.kept}" if item.kept else removed
        output.print(f"{escape(item.index)}: {escape(item.collection)}, {item.points:,} points, {told}", soft_wrap=True)
