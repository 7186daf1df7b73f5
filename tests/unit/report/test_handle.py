"""The report of a run as an artifact: its words are those of the summary, its figures are by stage."""

from datetime import UTC, datetime

import pytest

from feature_store.handles import CleanCounts, StageFigures
from steps.report.handle import to_report
from steps.report.summary import Branch, CaptureSummary, Invariant, RunSummary, describe_changes, to_markdown
from tests.views import EVIL, tables_of


def branch(index, **changes):
    values = {
        "index": index,
        "collection": f"{index}__0",
        "version_before": 1,
        "version": 2,
        "documents": 5,
        "chunks": 30,
        "unchanged": 3,
        "moved": 2,
        "embedded": 20,
        "reused": 5,
        "written": 25,
        "updated": 2,
        "removed": 4,
        "points": 100,
        "precisions": ["float32"],
        "seconds": {"chunk": 1.0, "embed": 2.0, "load": 3.0},
    }
    return Branch(**{**values, **changes})


def summary(**changes):
    counts = CleanCounts(read=9, added=3, changed=1, metadata_changed=1, unchanged=3, rejected=1, newly_rejected=1)
    values = {
        "run_id": "run-1",
        "finished_at": datetime(2024, 7, 29, 12, 30, tzinfo=UTC),
        "version_before": 1,
        "version": 2,
        "categories": {"notes": counts, "mails": counts},
        "captures": {"notes": CaptureSummary(mode="hash", whole=True, reason=EVIL, compared_ids=0, more=False)},
        "duplicates": 4,
        "indexes": [branch("one"), branch("two")],
        "invariants": [Invariant(name=EVIL, holds=True, figures=EVIL)],
        "seconds": {"extract": 0.5, "clean": 0.25, "chunk": 2.0, "embed": 4.0, "load": 6.0},
    }
    return RunSummary(**{**values, **changes})


def test_a_report_has_the_stages_of_the_summary_and_the_time_of_the_run():
    stage = StageFigures(stage="extract", seconds=0.5, rows=18, unit="document")
    report = to_report(summary(stages=[stage], run_seconds=9.5))
    assert (report.stages, report.seconds) == ([stage], 9.5)


def test_a_report_has_the_figures_of_all_categories_and_indexes_together():
    report = to_report(summary())
    assert (report.version_before, report.version, report.changed) == (1, 2, True)
    assert {name: report.counts[name] for name in ("read", "added", "chunks", "embedded", "points", "duplicates")} == {
        "read": 18,
        "added": 6,
        "chunks": 60,
        "embedded": 40,
        "points": 200,
        "duplicates": 4,
    }
    assert [promise.holds for promise in report.promises] == [True]


@pytest.mark.parametrize("written", [0, 1])
def test_a_report_of_a_run_without_any_change_says_so(written):
    nothing = branch("one", written=written, updated=0, removed=0)
    assert to_report(summary(version_before=2, indexes=[nothing])).changed == bool(written)


def test_the_changes_are_one_sentence_that_names_what_there_was():
    assert describe_changes(summary(indexes=[branch("one", reused=0)])) == (
        "Documents: 6 added, 2 changed, 2 metadata changed, 2 newly rejected; "
        "texts and points: 20 embedded, 25 written, 2 updated, 4 removed."
    )
    nothing = branch("one", embedded=0, reused=0, written=0, updated=0, removed=0)
    assert describe_changes(summary(categories={}, indexes=[nothing])) == ""


def test_no_text_is_taken_for_markup_in_the_words_of_a_report():
    for table in tables_of(to_markdown(summary())):
        assert {len(row) for row in table} == {len(table[0])}
