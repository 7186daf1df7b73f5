"""The command `audit`: do the indexes hold what the feature store says that they must?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from commands.shared import AsJson, Config, load_config, output, print_json, started
from feature_store.defaults import DEFAULT_CONFIG

if TYPE_CHECKING:
    from pipelines.audit import IndexAudit
    from steps.load.audit_collection import Finding

WRONG = 6
_SHOWN = 3


def audit(
    indexes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[INDEX]...", help="Indexes, or collections of them; default: all that are configured."),
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Write again what is wrong, and nothing else.")] = False,  # noqa: FBT002
    quick: Annotated[  # noqa: FBT002
        bool, typer.Option("--quick", help="Compare ids and counts only, neither payloads nor vectors.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Compare every point with the feature store: payload, vectors, payload indexes, metadata and alias.

    Exits with 6 if something is wrong, or still is after a repair.
    """
    pipeline_config = load_config(config)
    settings = started()
    from pipelines.audit import audit_indexes
    from pipelines.repair import repair_indexes

    look = repair_indexes if repair else audit_indexes
    audits = look(settings, pipeline_config, indexes or [], quick=quick)
    if as_json:
        print_json([{**each.model_dump(mode="json"), "is_clean": each.is_clean} for each in audits])
    else:
        for each in audits:
            _print_audit(each)
        if not audits:
            output.print("The configuration has no index: name one, or a collection.")
    if not all(each.is_clean for each in audits):
        raise typer.Exit(WRONG)


def _print_audit(audit_: "IndexAudit") -> None:
    from feature_store.views.text import counted

    mark = "[green]ok[/]" if audit_.is_clean else "[red]wrong[/]"
    output.print(f"[bold]{escape(audit_.index)}[/]  {mark}  [dim]{escape(audit_.collection or 'not built')}[/]")
    if audit_.refused:
        output.print(f"  not audited: {escape(audit_.refused)}", soft_wrap=True)
    elif audit_.collection is not None:
        what = "ids" if audit_.quick else "ids, payloads and vectors"
        output.print(
            f"  {audit_.points:,} points of {audit_.expected_points:,}, version {audit_.version}; {what} compared in "
            f"{audit_.seconds:.1f} s",
            soft_wrap=True,
        )
    if audit_.findings:
        _print_findings(audit_.findings, audit_.left)
    if audit_.looked_into:
        points, buckets = counted(audit_.looked_into, "point"), counted(audit_.buckets, "bucket")
        output.print(f"  {points} compared one by one, in {buckets}")
    if audit_.unchecked:
        vectors = counted(audit_.unchecked, "vector")
        output.print(f"  {vectors} could not be compared: nothing says what to compare with")
    if audit_.repair is not None:
        _print_repair(audit_)


def _print_findings(findings: Sequence["Finding"], left: Sequence["Finding"]) -> None:
    table = Table("", "found", "", "such as", box=None)
    table.columns[1].justify = "right"
    table.columns[3].overflow = "fold"  # an id that is cut short names nothing
    for finding in findings:
        is_left = any(finding.kind == other.kind for other in left)
        examples = ", ".join(finding.examples[:_SHOWN]) + (", …" if len(finding.examples) > _SHOWN else "")
        mark = "[red]wrong[/]" if is_left else "[green]mended[/]"
        table.add_row(mark, f"{finding.count:,}", escape(f"{finding.detail}"), escape(examples))
    output.print(table)
    for remedy in dict.fromkeys(finding.remedy for finding in left if finding.remedy):
        output.print(f"  {escape(remedy)}", soft_wrap=True)


def _print_repair(audit_: "IndexAudit") -> None:
    from feature_store.views.text import counted

    repair = audit_.repair
    if repair is None:
        return
    done = [f"{counted(repair.written, 'point')} written", f"{repair.removed:,} removed"]
    done += [f"{counted(repair.embedded, 'text')} embedded"]
    indexed = len(repair.payload_indexes)
    done += [f"{indexed} payload {'index' if indexed == 1 else 'indexes'} made"] if indexed else []
    done += [f"{repair.alias} serves again"] if repair.alias else []
    done += ["the record was given up: run, and the index is written anew"] if repair.given_up else []
    output.print(f"  repaired: {escape(', '.join(done))}", soft_wrap=True)
