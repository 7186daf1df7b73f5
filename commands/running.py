"""`run`, `plan` and `watch`."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from commands.shared import AsJson, Config, load_config, output, print_counts, print_json, started
from feature_store.defaults import DEFAULT_CONFIG
from feature_store.errors import PromotionRefusedError
from feature_store.start_up import import_qdrant_client

if TYPE_CHECKING:
    from feature_store.config import PipelineConfig, RunOptions
    from feature_store.settings import Settings
    from pipelines.plan import Plan
    from steps.report.summary import RunSummary

DELETIONS_HELD_BACK = 7
PROMOTION_REFUSED = PromotionRefusedError.exit_code

CaptureOption = Annotated[
    str | None,
    typer.Option(
        "--capture", help="Capture every category by this mode, this time: auto, hash, timestamp, log or outbox."
    ),
]
ApprovedDeletions = Annotated[
    list[str] | None,
    typer.Option(
        "--approve-deletions", metavar="CATEGORY=COUNT", help="Let up to COUNT deletions through; may be repeated."
    ),
]
MaxChanges = Annotated[
    int | None, typer.Option(min=1, help="Take at most so many changed documents from each log or outbox.")
]
RetryRejects = Annotated[
    list[str] | None,
    typer.Option(metavar="REASON", help="Clean documents again that were rejected so, or `all`; may be repeated."),
]
AcceptedQuality = Annotated[
    list[str] | None,
    typer.Option(
        "--accept-quality", metavar="CATEGORY", help="Let its documents through, whatever is expected of them."
    ),
]
OnlyIfChanged = Annotated[
    bool, typer.Option("--if-changed", help="Start no run where neither a document nor an index waits for one.")
]


def run(  # noqa: PLR0913, PLR0917 - one for each option
    config: Config = DEFAULT_CONFIG,
    capture: CaptureOption = None,
    approve_deletions: ApprovedDeletions = None,
    max_changes: MaxChanges = None,
    retry_rejects: RetryRejects = None,
    accept_quality: AcceptedQuality = None,
    message: Annotated[str, typer.Option("--message", "-m", help="Why; kept with the version.")] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be done, as `plan` does.")] = False,  # noqa: FBT002
    if_changed: OnlyIfChanged = False,  # noqa: FBT002
    from_plan: Annotated[
        Path | None, typer.Option(help="Do exactly what this plan (`plan --json`) says, or refuse.", dir_okay=False)
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Run the feature pipeline, as `zenml pipeline run feature_pipeline` does, and print its summary.

    Exits with 7 if deletions were held back, else with 10 if a new collection was refused by its gate: everything else
    was done. With --if-changed it exits with 0 in a second or two where nothing waits, and ZenML sees no run.
    """
    if sum(map(bool, (plan, from_plan, if_changed))) > 1:
        raise typer.BadParameter("give one of --plan, --from-plan and --if-changed")
    pipeline_config = load_config(config)
    options = _options(
        pipeline_config,
        capture=capture,
        approved_deletions=_approvals(approve_deletions),
        max_changes=max_changes,
        retry_rejects=retry_rejects,
        accepted_quality=accept_quality,
        message=message,
    )
    if plan:
        _plan(pipeline_config, options, as_json)
        return
    settings = started()
    import_qdrant_client()
    if if_changed:
        wanted = pipeline_config.model_copy(update={"options": options})
        if not _has_reason_to_run(settings, wanted, as_json):
            return
    from pipelines.run import run_feature_pipeline

    if from_plan is not None:
        from pipelines.plan import options_of_plan

        if options != pipeline_config.options:
            raise typer.BadParameter("the plan has the options of the run; give others when you make it")
        options = options_of_plan(from_plan)
    if as_json:
        with _stdout_to_stderr():
            summary = run_feature_pipeline(config, settings, options)
        print_json(summary.model_dump(mode="json"))
    else:
        summary = run_feature_pipeline(config, settings, options)
        _print_summary(summary)
    if summary.held_back():
        raise typer.Exit(DELETIONS_HELD_BACK)
    if summary.refused():
        raise typer.Exit(PROMOTION_REFUSED)


def plan(
    config: Config = DEFAULT_CONFIG,
    capture: CaptureOption = None,
    approve_deletions: ApprovedDeletions = None,
    max_changes: MaxChanges = None,
    retry_rejects: RetryRejects = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Say what a run would do, by category and index, and about how long it would take; nothing is written."""
    pipeline_config = load_config(config)
    options = _options(
        pipeline_config,
        capture=capture,
        approved_deletions=_approvals(approve_deletions),
        max_changes=max_changes,
        retry_rejects=retry_rejects,
    )
    _plan(pipeline_config, options, as_json)


def watch(
    config: Config = DEFAULT_CONFIG,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks for changes.")] = 10.0,
    max_changes: MaxChanges = 1000,
) -> None:
    """Follow the warehouse and run the pipeline in micro-batches, until Ctrl-C or SIGTERM.

    Outages are waited for. What changes while nobody watches is taken by the next start.
    """
    os.environ.setdefault("ZENML_LOGGING_VERBOSITY", "WARN")  # one line a batch is enough
    pipeline_config = load_config(config)
    options = _options(pipeline_config, max_changes=max_changes)
    settings = started()
    from pipelines.watch import watch_warehouse
    from pipelines.watch_display import shown_status

    with shown_status() as tell:
        status = watch_warehouse(config, pipeline_config.model_copy(update={"options": options}), settings, every, tell)
    output.print(f"Stopped after {status.batches:,} batches with {status.changes:,} changed documents.")


def _has_reason_to_run(settings: "Settings", config: "PipelineConfig", as_json: bool) -> bool:  # noqa: FBT001
    from pipelines.waiting import first_reason_to_run

    reason = first_reason_to_run(settings, config)
    if reason is None and as_json:
        print_json({"started": False})
    elif not as_json:
        found = reason or "Nothing waits: the feature store and every index are up to date."
        output.print(escape(found), soft_wrap=True)
    return reason is not None


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    # ZenML logs to stdout, which a program wants to parse.
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _print_summary(summary: "RunSummary") -> None:
    from feature_store.views.profile import describe_profile
    from steps.report.summary import (
        BRANCH_COUNTS,
        DOCUMENT_COUNTS,
        describe_capture,
        describe_held_back,
        describe_quality,
        describe_serving,
        headline,
    )

    output.print(f"\n[bold]{headline(summary)}[/]\n")
    print_counts("category", summary.categories, DOCUMENT_COUNTS)
    for name, capture in summary.captures.items():
        output.print(f"[dim]{escape(describe_capture(name, capture))}[/]")
    print_counts("index", {branch.index: branch for branch in summary.indexes}, BRANCH_COUNTS)
    for invariant in summary.invariants:
        output.print(f"[green]✓[/] {invariant.name}: {invariant.figures}")
    seconds = ", ".join(f"{stage} {value:.1f}" for stage, value in summary.seconds.items())
    output.print(" ".join([f"Seconds: {seconds}.", *describe_profile(summary.stages)]) + "\n", soft_wrap=True)
    for line in (*describe_serving(summary), *describe_held_back(summary), *describe_quality(summary)):
        output.print(f"[yellow]{escape(line)}[/]", soft_wrap=True)


def _plan(config: "PipelineConfig", options: "RunOptions", as_json: bool) -> None:  # noqa: FBT001
    settings = started()
    import_qdrant_client()
    from pipelines.plan import make_plan

    made = make_plan(settings, config.model_copy(update={"options": options}))
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        _print_plan(made)


def _print_plan(made: "Plan") -> None:
    for line in made.configuration:
        output.print(escape(line))
    from steps.report.summary import DOCUMENT_COUNTS

    print_counts("category", {category.category: category for category in made.categories}, DOCUMENT_COUNTS)
    for category in made.categories:
        more = " More changes wait in the source." if category.more else ""
        output.print(f"[dim]{escape(f'{category.category}: captured by {category.mode}; {category.reason}.{more}')}[/]")
    fields = ("documents", "chunks", "unchanged", "embed", "reuse", "write", "update", "remove")
    print_counts("index", {index.index: index for index in made.indexes}, fields)
    if made.seconds:
        parts = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in made.seconds.items())
        output.print(f"About {sum(made.seconds.values()):.0f} s, as fast as the last runs were ({parts}).")
    else:
        output.print("How long it takes is not known: no run has finished yet.")


def _options(config: "PipelineConfig", **options: Any) -> "RunOptions":
    """Return the options of the configuration, with those that the command line gives in their place."""
    given = {name: value for name, value in options.items() if value}
    if not given:
        return config.options
    from feature_store.config import validate_parameters

    of_file = config.options.model_dump(exclude_unset=True)
    parameters = {**config.model_dump(exclude={"options"}), "options": {**of_file, **given}}
    return validate_parameters(parameters, "the command line").options


def _approvals(texts: Sequence[str] | None) -> dict[str, int]:
    return dict(_approval(text) for text in texts or ())


def _approval(text: str) -> tuple[str, int]:
    category, separator, count = text.partition("=")
    if not separator or not count.isdecimal():
        raise typer.BadParameter(f"{text!r} is not CATEGORY=COUNT", param_hint="--approve-deletions")
    return category, int(count)
