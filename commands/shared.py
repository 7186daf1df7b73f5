"""What several commands share: options, output, and the start of every command.

To show its help a command imports no more than typer and rich: whatever does the work is imported when it is called.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from feature_store.errors import ConfigurationError

if TYPE_CHECKING:
    from feature_store.config import PipelineConfig
    from feature_store.index_config import EncoderConfig
    from feature_store.settings import Settings

Config = Annotated[Path, typer.Option("--config", "-c", help="Run configuration (YAML).", dir_okay=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]

output = Console()


def started() -> "Settings":
    """Return the settings, with logging to stderr configured and the libraries told to be modest."""
    from feature_store.log import configure_command_logging
    from feature_store.memory import hold_memory_low
    from feature_store.settings import load_settings
    from feature_store.start_up import spare_pandas

    spare_pandas()
    hold_memory_low()
    settings = load_settings()
    configure_command_logging(settings)
    return settings


def load_config(path: Path) -> "PipelineConfig":
    """Return the configuration of a file.

    Raises:
        ConfigurationError: if it cannot be read, or is not valid.
    """
    from feature_store import config

    return config.load_config(path)


def index_to_search(config: "PipelineConfig", name: str | None) -> "tuple[str, EncoderConfig | None]":
    """Return the name of an index, the first one configured if none is given, and its encoder if that brings code.

    Only our own configuration, not what is in Qdrant, may say that a model's own code runs here.

    Raises:
        ConfigurationError: if the configuration has no index.
    """
    if name is None and not config.indexes:
        raise ConfigurationError("The configuration has no index.", "Add one under `indexes`.")
    chosen = name or config.indexes[0].name
    encoders = [index.encoder for index in config.indexes if index.name == chosen]
    return chosen, next((encoder for encoder in encoders if encoder.trust_remote_code), None)


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=2))  # noqa: T201


def print_counts(label: str, rows: Mapping[str, object], fields: Sequence[str]) -> None:
    """Print a table of the rows' fields; one that is 0 in all rows is left out, None is unknown."""
    shown = [field for field in fields if any(getattr(row, field) != 0 for row in rows.values())] or fields[:1]
    table = Table(label, *(field.replace("_", " ") for field in shown), box=None)
    for name, row in rows.items():
        figures = [getattr(row, field) for field in shown]
        table.add_row(name, *("?" if figure is None else f"{figure:,}" for figure in figures))
    output.print(table)
