"""The command line: thin commands over the rooms that do the work.

Exit codes: 0 done, 1 failed, 2 configuration or usage, 3 preflight, 4 another run at work, 5 too many documents
rejected, 6 an index does not add up or an erasure is not complete, 7 done but for deletions that were held back, 8 the
plan no longer fits, 9 the documents are not what the configuration expects, 10 done but for a new index that its gate
refused, 130 interrupted.
"""

import errno
import os
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from commands import (
    audit,
    evaluate,
    explain,
    forget,
    indexes,
    quality,
    rejects,
    release,
    report,
    running,
    search,
    store,
    training,
)
from commands.shared import AsJson, Config, load_config, output, print_json, started
from feature_store.defaults import DEFAULT_CONFIG
from feature_store.errors import PipelineError
from feature_store.start_up import collect_rarely, import_qdrant_client

if TYPE_CHECKING:
    from warehouse.imports.docstrings import SkippedFile
    from warehouse.imports.store import ImportCounts

INTERRUPTED = 130

application = typer.Typer(
    help="RAG feature pipeline: MongoDB to a versioned feature store and searchable Qdrant collections.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
imports = typer.Typer(help="Fill the warehouse with documents; importing again updates in place.", no_args_is_help=True)
application.add_typer(imports, name="import")

REGISTERED = (
    (running.run, "feature-pipeline run -c configs/gte_large.yaml --approve-deletions articles=512"),
    (running.plan, "feature-pipeline plan --json > plan.json"),
    (running.watch, "feature-pipeline watch --every 5 --max-changes 500"),
    (store.versions, "feature-pipeline versions --json"),
    (store.show, "feature-pipeline show v12"),
    (store.diff, "feature-pipeline diff v11 v12 --text"),
    (store.tag, "feature-pipeline tag v12 spring"),
    (store.prune, "feature-pipeline prune --keep 10 --dry-run"),
    (training.export, "feature-pipeline export --format parquet --output train_v12 --version v12"),
    (release.release, 'feature-pipeline release 2026-11 --message "what the November model was trained on"'),
    (release.rebuild, "feature-pipeline rebuild --as-of 2026-11 --output rebuilt"),
    (explain.explain, "feature-pipeline explain articles:42"),
    (forget.forget, "feature-pipeline forget articles:42 --from-warehouse"),
    (rejects.rejects, "feature-pipeline rejects --reason missing_text --since v11"),
    (quality.quality, "feature-pipeline quality --json"),
    (report.report, "feature-pipeline report --open"),
    (search.search, 'feature-pipeline search "how do I split text" -k 5 --filter "published_at>=2024-01-01"'),
    (indexes.indexes, "feature-pipeline indexes --json"),
    (indexes.promote, "feature-pipeline promote documents"),
    (indexes.rollback, "feature-pipeline rollback documents"),
    (indexes.drop_retired, "feature-pipeline drop-retired --keep 1 --older-than 7 --dry-run"),
    (audit.audit, "feature-pipeline audit documents --repair"),
    (evaluate.evaluate, "feature-pipeline evaluate --data configs/golden.jsonl"),
)
for command, example in REGISTERED:
    application.command(epilog=f"Example: {example}")(command)

Collection = Annotated[str, typer.Option("--collection", help="Collection of the warehouse to write to.")]


@application.command(epilog="Example: feature-pipeline doctor --json")
def doctor(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Check configuration, warehouse, Qdrant, models and disk; exit with 3 if something is wrong."""
    pipeline_config = load_config(config)
    settings = started()
    from steps.preflight.checks import run_checks

    findings = run_checks(settings, pipeline_config)
    if as_json:
        rows = [
            {"check": item.check, "ok": item.problem is None, "detail": str(item.problem or item.detail)}
            for item in findings
        ]
        print_json(rows)
    else:
        table = Table("", "check", "found", box=None)
        for item in findings:
            mark = "[green]ok[/]" if item.problem is None else "[red]wrong[/]"
            table.add_row(mark, item.check, escape(str(item.problem or item.detail)))
        output.print(table)
    if any(item.problem is not None for item in findings):
        raise typer.Exit(3)


@application.command(epilog="Example: feature-pipeline status --as-of 2026-11 --json")
def status(
    config: Config = DEFAULT_CONFIG,
    as_of: Annotated[str | None, typer.Option(help="Show what this release pins, and what became of it.")] = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Show the documents, their version, the rejects, and for each index its points, version and lag."""
    if as_of is not None:
        release.show_release_status(as_of, as_json=as_json)
        return
    pipeline_config = load_config(config)
    settings = started()
    import_qdrant_client()
    from pipelines.status import describe_status

    described = describe_status(settings, pipeline_config)
    if as_json:
        print_json(described.model_dump(mode="json"))
        return
    store = described.feature_store
    output.print(
        f"Feature store: version {store.version or '-'}, {store.documents:,} documents, {store.rejects:,} rejects"
    )
    for category, count in store.categories.items():
        output.print(f"  {category}: {count:,}")
    for item in described.indexes:
        if item.collection is None:
            output.print(f"Index {item.index}: not built as configured; {item.lag:,} documents wait")
            continue
        configured = "" if item.configured else ", not as configured"
        expected = f" of {item.expected_points:,}" if item.expected_points else ""
        output.print(f"Index {item.index}: {item.state}{configured}, {item.points:,}{expected} points")
        output.print(f"  version {item.version}, lag {item.lag:,} documents, {item.model}, {item.collection}")
        for why in filter(None, (item.held, item.refused and f"refused by its gate: {item.refused}")):
            output.print(f"  [yellow]{escape(why)}[/]", soft_wrap=True)


@imports.command("json", epilog="Example: feature-pipeline import json articles.json --collection articles")
def import_json(
    files: Annotated[list[Path], typer.Argument(help="JSON array, JSON lines or MongoDB Extended JSON; also .gz.")],
    collection: Collection,
) -> None:
    """Import JSON files, as mongoexport writes them or plain."""
    from warehouse.imports.extended_json import read_documents

    _import(collection, (document for file in files for document in read_documents(file)))


@imports.command("distributions", epilog="Example: feature-pipeline import distributions")
def import_distributions(collection: Collection = "articles") -> None:
    """Import the long descriptions of the installed Python distributions, as articles."""
    from warehouse.imports.distributions import read_distributions

    _import(collection, read_distributions())


@imports.command("docstrings", epilog="Example: feature-pipeline import docstrings json ./src/my_package")
def import_docstrings(
    packages: Annotated[list[str], typer.Argument(help="Names of packages, or paths of their source.")],
    collection: Collection = "docstrings",
) -> None:
    """Import every docstring of a package by parsing its source; nothing of it is executed."""
    from warehouse.imports.docstrings import read_docstrings

    documents = (document for package in packages for document in read_docstrings(package, _report_skipped))
    _import(collection, documents)


@imports.command("samples", epilog="Example: feature-pipeline import samples")
def import_samples() -> None:
    """Fill an empty embedded warehouse with real documents; a warehouse with documents is left as it is."""
    settings = started()
    if settings.mongo_uri is not None:
        output.print("MONGO_URI is set: samples go into an embedded warehouse only.")
        return
    from warehouse.connection import collection_names, open_warehouse
    from warehouse.imports.samples import read_samples
    from warehouse.imports.store import store

    with open_warehouse(settings) as database:
        present = collection_names(database)
        if present:
            output.print(f"The warehouse has documents already: {', '.join(present)}.")
            return
        for collection, documents in read_samples(_report_skipped).items():
            _print_counts(collection, store(database, collection, documents))


@application.command(epilog="Example: feature-pipeline warehouse")
def warehouse() -> None:
    """Serve the embedded warehouse until Ctrl-C, so that other tools can look into it."""
    import signal

    settings = started()
    from warehouse.connection import open_warehouse

    with open_warehouse(settings) as database:
        host, port = database.client.address or ("", 0)
        output.print(f"mongodb://{host}:{port}/{database.name}")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


@application.command(epilog="Example: feature-pipeline dashboard --port 8237")
def dashboard(port: Annotated[int, typer.Option(help="Port of the local dashboard.")] = 8237) -> None:
    """Open the ZenML dashboard; a local one is served until Ctrl-C."""
    from pipelines.dashboard import open_dashboard

    open_dashboard(port)


def main() -> None:
    """Run the command line; an expected failure is one message on stderr and an exit code that means something."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    collect_rarely()
    try:
        application()
    except PipelineError as error:
        Console(stderr=True).print(f"[red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except (OSError, sqlite3.OperationalError) as error:
        if not _disk_is_full(error):
            raise
        message = "The disk is full. Free some space and run again: what was finished is kept, nothing is half done."
        Console(stderr=True).print(f"[red]Error:[/] {message}", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        _say_interrupted()
        sys.exit(INTERRUPTED)
    except SystemExit as left:
        if left.code == INTERRUPTED:  # the library ends with it too, in silence
            _say_interrupted()
        raise


def _say_interrupted() -> None:
    Console(stderr=True).print("Interrupted. Run again to go on: what was finished is kept.")


def _disk_is_full(error: Exception) -> bool:
    # Lance, Arrow and SQLite have words of their own for it.
    words = str(error).lower()
    return getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT} or any(
        sign in words for sign in ("no space left", "disk is full", "disk quota")
    )


def _import(collection: str, documents: Iterable[dict[str, Any]]) -> None:
    settings = started()
    from warehouse.connection import open_warehouse
    from warehouse.imports.store import store

    with open_warehouse(settings) as database:
        counts = store(database, collection, documents)
    _print_counts(collection, counts)
    if counts.failed:
        raise typer.Exit(1)


def _print_counts(collection: str, counts: "ImportCounts") -> None:
    output.print(
        f"{collection}: {counts.inserted:,} inserted, {counts.updated:,} updated, {counts.unchanged:,} unchanged"
    )
    from loguru import logger

    for failure in counts.failed:
        logger.error("document {} ({}) was not imported: {}", failure.position, failure.document_id, failure.reason)


def _report_skipped(file: "SkippedFile") -> None:
    from loguru import logger

    logger.warning("skipped {}: {}", file.path, file.reason)


if __name__ == "__main__":
    main()
