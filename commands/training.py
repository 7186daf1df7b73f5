"""`export`: training sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from commands.shared import AsJson, output, print_json, started
from feature_store.defaults import DEFAULT_TRAINING_CONFIG, LATEST

if TYPE_CHECKING:
    from feature_store.exports import ExportRecord

_SPLITS = ("train", "validation", "test")
_EXCLUDED = "excluded_"


def export(
    output_format: Annotated[str, typer.Option("--format", help="parquet, jsonl or huggingface.")],
    folder: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder to write; it must be empty or not there yet.", file_okay=False),
    ],
    version: Annotated[str, typer.Option("--version", help="Version: a number (v12), latest, a tag or a release.")] = (
        LATEST
    ),
    since: Annotated[
        str | None, typer.Option("--since", help="Export only what changed after this version, for continued training.")
    ] = None,
    config: Annotated[
        Path, typer.Option("--config", "-c", help="Training configuration (YAML).", dir_okay=False)
    ] = DEFAULT_TRAINING_CONFIG,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an export that is in the folder.")] = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Write a training set: splits without leaks, filters, a card; the same version and options give the same bytes."""
    from feature_store.names import find_version
    from feature_store.store import open_feature_store
    from feature_store.training import load_training_config
    from steps.export.apply import export_training_set

    training = load_training_config(config)
    settings = started()
    store = open_feature_store(settings.feature_store_folder)
    earlier = find_version(store.folder, since) if since is not None else None
    record = export_training_set(
        store, find_version(store.folder, version), training, output_format, folder, earlier, overwrite=overwrite
    )
    if as_json:
        print_json(record.model_dump(mode="json"))
    else:
        _print_export(record)


def _print_export(record: "ExportRecord") -> None:
    counts = record.counts
    changes = f", changes since version {record.since}" if record.since is not None else ""
    output.print(f"\n[bold]Training set {record.export_id}[/]: version {record.version}{changes}\n")
    table = Table("split", "documents", "tokens", box=None)
    for split in _SPLITS:
        table.add_row(split, f"{counts[split]:,}", f"{counts[f'tokens_{split}']:,}")
    table.add_row("all", f"{counts['documents']:,}", f"{counts['tokens']:,}")
    output.print(table)
    excluded = {name.removeprefix(_EXCLUDED): count for name, count in counts.items() if name.startswith(_EXCLUDED)}
    reasons = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in excluded.items() if count)
    output.print(f"\nLeft out of {counts['considered']:,} documents: {reasons or 'none'}.")
    if record.since is not None:
        output.print(f"No longer in the set: {counts['deleted']:,} documents; replaced: {counts['replaced']:,}.")
    output.print(f"Written to [cyan]{escape(str(record.folder))}[/].", soft_wrap=True)
