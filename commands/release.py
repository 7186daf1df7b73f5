"""`release`, `rebuild`, and what `status --as-of` shows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from commands.shared import AsJson, Config, load_config, output, print_json, started
from feature_store.defaults import DEFAULT_CONFIG, LATEST
from feature_store.errors import ReconciliationError

if TYPE_CHECKING:
    from feature_store.releases import Release
    from pipelines.rebuild import Rebuilt
    from pipelines.release import ReleaseStatus

_STATE_COLOURS = {"unchanged": "green", "moved on": "yellow", "changed": "red", "gone": "red"}


def release(
    name: Annotated[str, typer.Argument(help="Name of the release; it stands for its version wherever one is asked.")],
    message: Annotated[str, typer.Option("--message", "-m", help="Why it was made; kept with it.")] = "",
    version: Annotated[
        str, typer.Option("--version", help="Version to release: a number (v12), latest, or a tag.")
    ] = LATEST,
    remove: Annotated[  # noqa: FBT002
        bool, typer.Option("--remove", help="Remove the release and the indexes rebuilt for it instead.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Pin the documents, the indexes and the training sets that belong together under one name.

    At the newest version every configured index has to be up to date. Of an older one the documents and training sets
    are pinned, and the indexes that are still there. Its version is never pruned.
    """
    if remove:
        if message or version != LATEST:
            raise typer.BadParameter("--remove takes no --message and no --version")
        _remove(name, as_json)
        return
    pipeline_config = load_config(config)
    settings = started()
    from pipelines.release import make_release

    made, notes = make_release(settings, pipeline_config, name, message, version)
    if as_json:
        print_json({**made.model_dump(mode="json"), "notes": notes})
        return
    _print_release(made)
    for note in notes:
        output.print(f"[yellow]{escape(note)}[/]")


def rebuild(
    as_of: Annotated[str, typer.Option("--as-of", help="Name of the release.")],
    output_folder: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for the training sets; default: in the data folder.", file_okay=False
        ),
    ] = None,
    index: Annotated[bool, typer.Option(help="Rebuild the indexes too.")] = True,  # noqa: FBT002
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Give back the documents, training sets and indexes of a release, and compare them with what was released.

    An index is rebuilt beside the one that serves, under the name INDEX@RELEASE. Exits with 6 if something differs.
    """
    pipeline_config = load_config(config)
    settings = started()
    from pipelines.rebuild import rebuild_release

    rebuilt = rebuild_release(settings, pipeline_config, as_of, output_folder, None if index else [])
    if as_json:
        print_json(rebuilt.model_dump(mode="json"))
    else:
        _print_rebuilt(rebuilt)
    if rebuilt.differing:
        parts = ", ".join(comparison.part for comparison in rebuilt.differing)
        raise ReconciliationError(f"The release {as_of!r} was not given back as it was: {parts}.", "See why above.")


def show_release_status(name: str, *, as_json: bool) -> None:
    """Show what a release pins, and what became of each part: `status --as-of NAME`."""
    settings = started()
    from pipelines.release import describe_release

    described = describe_release(settings, name)
    if as_json:
        print_json(described.model_dump(mode="json"))
    else:
        _print_status(described)


def _remove(name: str, as_json: bool) -> None:  # noqa: FBT001
    settings = started()
    from pipelines.release import remove_release

    removed = remove_release(settings, name)
    if as_json:
        print_json({"removed": name, "collections": removed})
        return
    output.print(f"Release {escape(name)} is removed; what it pinned stays until it is pruned.")
    for collection in removed:
        output.print(f"  removed the rebuilt collection {escape(collection)}")


def _print_release(made: "Release") -> None:
    output.print(f"[bold]Release {escape(made.name)}[/]: version {made.version}, {made.documents:,} documents")
    if made.message:
        output.print(f"  {escape(made.message)}")
    for index in made.indexes:
        output.print(f"  index {index.index}: {index.points:,} points in {index.collection}", soft_wrap=True)
    for export, files in made.exports.items():
        output.print(f"  export {export}: {len(files):,} files")


def _print_status(described: "ReleaseStatus") -> None:
    made = described.release
    _print_release(made)
    output.print(f"  made {made.created_at:%Y-%m-%d %H:%M} UTC\n")
    table = Table("", "part", "found", box=None)
    for part in described.parts:
        colour = _STATE_COLOURS[part.state]
        table.add_row(f"[{colour}]{part.state}[/]", escape(part.part), escape(part.detail))
    output.print(table)


def _print_rebuilt(rebuilt: "Rebuilt") -> None:
    output.print(f"[bold]Release {escape(rebuilt.release)}[/]: version {rebuilt.version}")
    table = Table("", "part", "released", "rebuilt", box=None)
    for comparison in rebuilt.comparisons:
        mark = "[green]equal[/]" if comparison.equal else "[red]differs[/]"
        table.add_row(mark, escape(comparison.part), escape(comparison.expected), escape(comparison.found))
    output.print(table)
    for comparison in rebuilt.differing:
        output.print(f"[red]{escape(comparison.part)}[/]: {escape(comparison.reason)}", soft_wrap=True)
    for name, collection in rebuilt.indexes.items():
        output.print(f"Index {escape(name)} is in {escape(collection)}.", soft_wrap=True)
    for export, folder in rebuilt.exports.items():
        output.print(f"Export {export} is in {escape(str(folder))}.", soft_wrap=True)
