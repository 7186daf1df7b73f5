"""The command `forget`: erasing documents for good."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from commands.shared import AsJson, Config, load_config, output, print_json, started
from feature_store.defaults import DEFAULT_CONFIG

if TYPE_CHECKING:
    from feature_store.journal import ErasedDocument
    from pipelines.forget import Receipt

NOT_COMPLETE = 6
_HOLD_DOCUMENTS = {"documents", "rejects", "points", "warehouse"}


def forget(
    documents: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DOCUMENT]...", help="Ids of documents, or CATEGORY:_ID.", show_default=False),
    ] = None,
    from_warehouse: Annotated[  # noqa: FBT002
        bool, typer.Option("--from-warehouse", help="Remove the documents from the warehouse too.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Complete an erasure that was interrupted.")] = False,  # noqa: FBT002
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,  # noqa: FBT002
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Erase documents from the whole history, every index, caches and artifacts, and keep them out from now on.

    A search over everything follows. Exits with 6 if that finds something.
    """
    if bool(documents) == resume:
        raise typer.BadParameter("give documents, or --resume")
    if resume and from_warehouse:
        raise typer.BadParameter("--resume completes what was begun: forget with --from-warehouse after it")
    if as_json and not (yes or resume):
        raise typer.BadParameter("--json asks no question: add --yes")
    pipeline_config = load_config(config)
    settings = started()
    from pipelines.forget import forget as erase
    from pipelines.forget import identify
    from pipelines.forget import resume as complete

    if resume:
        receipt = complete(settings, pipeline_config)
    else:
        named = identify(settings, pipeline_config, documents or [], from_warehouse=from_warehouse)
        if not yes:
            _confirm(named, from_warehouse=from_warehouse)
        receipt = erase(settings, pipeline_config, named, from_warehouse=from_warehouse)
    if as_json:
        print_json(receipt.model_dump(mode="json"))
    else:
        _print_receipt(receipt)
    if receipt.found:
        raise typer.Exit(NOT_COMPLETE)


def _confirm(named: "Mapping[str, ErasedDocument]", *, from_warehouse: bool) -> None:
    for identifier, known in named.items():
        what = f"{known.category}: {known.source_id}" if known.source_id else "not known to the feature store"
        output.print(f"{identifier}  [dim]{escape(what)}[/]", soft_wrap=True)
    where = "everywhere, the warehouse included" if from_warehouse else "everywhere but in the warehouse"
    typer.confirm(f"Erase {len(named):,} documents {where}? This cannot be undone.", abort=True)


def _print_receipt(receipt: "Receipt") -> None:
    output.print(f"Forgotten: {len(receipt.document_ids):,} documents.")
    for identifier in receipt.unknown:
        output.print(
            f"[yellow]The feature store does not know {identifier}: it is kept out from now on.[/]", soft_wrap=True
        )
    if not receipt.erased.keys() & _HOLD_DOCUMENTS:
        output.print("[yellow]Nothing of them was there. Were the names right?[/]")
    table = Table("place", "erased", box=None)
    for place, count in receipt.erased.items():
        table.add_row(place, f"{count:,}")
    if receipt.erased:
        output.print(table)
    for sentence in receipt.left:
        output.print(escape(sentence), soft_wrap=True)
    for place, count in receipt.found.items():
        output.print(f"[red]Still found in {escape(place)}: {count:,}[/]")
    if not receipt.found:
        output.print("A search over everything found nothing of them.")
