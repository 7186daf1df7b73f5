"""`report`: the page of versions, runs, indexes and quality over time."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from commands.shared import AsJson, Config, load_config, output, print_json, started
from feature_store.defaults import DEFAULT_CONFIG


def report(
    open_page: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,  # noqa: FBT002
    output_file: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; default: report.html in the data folder.", dir_okay=False),
    ] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Write one HTML page of versions, runs, indexes, exports and quality over time; it needs no network."""
    pipeline_config = load_config(config)
    settings = started()
    from pipelines.report import open_report, write_report

    path = (output_file or settings.data_dir / "report.html").expanduser().resolve()
    made = write_report(settings, pipeline_config, path)
    if as_json:
        print_json({"file": str(path), **made.model_dump(mode="json")})
    else:
        for note in made.notes:
            output.print(f"[yellow]{escape(note)}[/]", soft_wrap=True)
        output.print(escape(str(path)), soft_wrap=True)
    if open_page:
        open_report(path)
