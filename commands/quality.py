"""`quality`: what the documents of a version are, against what the configuration expects of them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from commands.shared import AsJson, Config, load_config, output, print_json, started
from feature_store.defaults import DEFAULT_CONFIG, LATEST
from feature_store.errors import DataQualityError

if TYPE_CHECKING:
    from feature_store.quality import Profile
    from steps.clean.quality import Measured

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "not measured": "dim"}


def quality(
    version: Annotated[str, typer.Option(help="Version: a number (v12), latest, a tag or a release.")] = LATEST,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Show the figures of a version and whether they are what the configuration expects; exit with 9 if one fails.

    Drift is that from the version before.
    """
    pipeline_config = load_config(config)
    settings = started()
    from feature_store.names import find_version
    from feature_store.store import open_feature_store
    from steps.clean.quality import judge_version

    store = open_feature_store(settings.feature_store_folder)
    found = find_version(store.folder, version)
    profiles, measured = judge_version(store, found, pipeline_config.categories)
    if as_json:
        print_json(
            {
                "version": found.number,
                "categories": {name: _figures(profile) for name, profile in profiles.items()},
                "expectations": [_as_row(item) for item in measured],
            }
        )
    else:
        output.print(f"Version {found.number}")
        _print_figures(profiles)
        _print_expectations(measured)
    if any(item.level == "fail" for item in measured):
        raise typer.Exit(DataQualityError.exit_code)


def _figures(profile: "Profile") -> dict[str, Any]:
    return {
        "documents": profile.documents,
        "rejected": profile.rejected,
        "characters": profile.characters,
        "languages": profile.languages,
        "shares": {name: round(profile.share(count), 4) for name, count in profile.fields.items()},
    }


def _as_row(item: "Measured") -> dict[str, Any]:
    return {
        "category": item.category,
        "expectation": item.expectation,
        "figure": item.figure,
        "warn": item.limit.warn,
        "fail": item.limit.fail,
        "level": item.level,
    }


def _print_figures(profiles: "Mapping[str, Profile]") -> None:
    table = Table("category", "documents", "rejected", "mean characters", "languages", "share that has", box=None)
    for name, profile in profiles.items():
        languages = sorted(profile.languages.items(), key=lambda item: -item[1])[:4]
        table.add_row(
            name,
            f"{profile.documents:,}",
            f"{profile.rejected:,}",
            f"{profile.characters / max(profile.documents, 1):,.0f}",
            ", ".join(f"{escape(language)} {profile.share(count):.0%}" for language, count in languages),
            ", ".join(f"{escape(field)} {profile.share(count):.0%}" for field, count in profile.fields.items()),
        )
    output.print(table)


def _print_expectations(measured: "Sequence[Measured]") -> None:
    if not measured:
        output.print("The configuration expects nothing: give a category `quality`.")
        return
    table = Table("category", "expectation", "figure", "warn", "fail", "", box=None)
    for item in measured:
        figures = [_number(value) for value in (item.figure, item.limit.warn, item.limit.fail)]
        colour = _COLOURS[item.level]
        table.add_row(item.category, escape(item.expectation), *figures, f"[{colour}]{item.level}[/]")
    output.print(table)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
