"""The summary of a run: its figures, and the promises that they prove."""

from datetime import UTC, datetime

import pytest
from markdown_it import MarkdownIt

from feature_store.errors import ReconciliationError
from feature_store.handles import GateCheck, QualityFinding, ServedIndex
from feature_store.views.text import escape_markdown
from steps.report.stages import stage_figures
from steps.report.summary import (
    CaptureSummary,
    RunSummary,
    describe_held_back,
    describe_quality,
    describe_serving,
    prove_invariants,
    stage_seconds,
    summarise_branch,
    summarise_run,
    to_lines,
    to_markdown,
)
from tests.flow import Flow, note, notes_config

CHECK = GateCheck(name="it holds all points", holds=True, figures="3 points")
DOCUMENTS = [
    note("a", "same"),
    note("b", "same"),
    note("c", " ".join(f"word{n}" for n in range(80))),
    note("bad", None),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_model):
    flow = Flow(tmp_path_factory.mktemp("data"), notes_config(tiny_model))
    yield flow.run(DOCUMENTS)
    flow.client.close()


def stages_of(run, **changes):
    """Return the three handles of the run's index, with changed figures by stage."""
    index = run.index
    return tuple(
        handle.model_copy(update=changes.get(name, {}))
        for name, handle in (("chunks", index.chunks), ("embeddings", index.embeddings), ("report", index.report))
    )


def capture_of(run, **changes):
    capture = run.raw.captures["notes"]
    values = {name: getattr(capture, name) for name in CaptureSummary.model_fields}
    return CaptureSummary(**{**values, **changes})


def summary_of(run, **changes):
    branch = summarise_branch(*stages_of(run))
    values = {
        "run_id": "run-1",
        "finished_at": datetime(2024, 7, 29, 12, 30, tzinfo=UTC),
        "version_before": run.cleaned.previous_version,
        "version": run.cleaned.version,
        "categories": run.cleaned.categories,
        "captures": {"notes": capture_of(run)},
        "duplicates": run.cleaned.store().count_duplicates(run.cleaned.at()),
        "indexes": [branch],
        "invariants": prove_invariants(run.raw, run.cleaned, [stages_of(run)]),
        "seconds": stage_seconds(run.raw, run.cleaned, [branch]),
        "stages": stage_figures(run.raw, run.cleaned, [stages_of(run)], run.serving),
        "run_seconds": 60.0,
    }
    return RunSummary(**{**values, **changes})


def test_the_invariants_of_a_good_run_hold_with_their_figures(run):
    invariants = prove_invariants(run.raw, run.cleaned, [stages_of(run)])
    assert all(invariant.holds for invariant in invariants)
    assert len(invariants) == 5
    assert invariants[0].figures == "0 before, 4 added, 0 deleted, 3 kept, 1 rejected"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"chunks": {"longest": 127}}, "no chunk is longer than the model's limit (longest 127 of 126 tokens)"),
        ({"embeddings": {"chunks": 1}}, "every new chunk has its vector"),
        ({"report": {"points": 1}}, "points = chunks at version 1 (1 points"),
        ({"report": {"version": 0}}, "points = chunks at version 0"),
    ],
)
def test_a_promise_that_does_not_hold_fails_the_run_with_its_figures(run, changes, named):
    with pytest.raises(ReconciliationError) as caught:
        prove_invariants(run.raw, run.cleaned, [stages_of(run, **changes)])
    assert named in str(caught.value)
    assert caught.value.exit_code == 6


def test_a_document_that_disappears_fails_the_run(run):
    counts = run.raw.categories["notes"]
    more = run.raw.model_copy(update={"categories": {"notes": counts.model_copy(update={"added": counts.added + 1})}})
    with pytest.raises(ReconciliationError, match="0 before, 5 added, 0 deleted, 3 kept, 1 rejected"):
        prove_invariants(more, run.cleaned, [])


def test_all_broken_promises_are_named(run):
    with pytest.raises(ReconciliationError) as caught:
        prove_invariants(run.raw, run.cleaned, [stages_of(run, chunks={"longest": 999}, report={"points": 0})])
    assert "longest 999" in str(caught.value)
    assert "0 points" in str(caught.value)


def test_duplicates_are_counted_without_the_first(run):
    assert run.cleaned.store().count_duplicates(run.cleaned.at()) == 1


def test_a_branch_has_the_figures_of_its_three_stages(run):
    branch = summarise_branch(
        *stages_of(run, chunks={"seconds": 1.0}, embeddings={"seconds": 2.0}, report={"seconds": 4.0})
    )
    assert (branch.documents, branch.version_before, branch.version) == (3, 0, 1)
    assert branch.chunks == branch.points == branch.written > 3
    assert branch.embedded == branch.chunks - 1  # the text of the duplicate
    assert branch.seconds == {"chunk": 1.0, "embed": 2.0, "load": 4.0}


def test_the_seconds_of_all_indexes_are_added_up(run):
    branch = summarise_branch(*stages_of(run)).model_copy(update={"seconds": {"chunk": 1.0, "load": 2.0}})
    raw, cleaned = run.raw.model_copy(update={"seconds": 5.0}), run.cleaned.model_copy(update={"seconds": 7.0})
    assert stage_seconds(raw, cleaned, [branch, branch]) == {"extract": 5.0, "clean": 7.0, "chunk": 2.0, "load": 4.0}


def test_the_lines_tell_versions_documents_and_points(run):
    first, documents, capture, index = to_lines(summary_of(run))
    assert first == "From nothing to version 1."
    assert documents.startswith(
        "notes: 4 read, 3 added, 0 changed, 0 metadata changed, 0 unchanged, 0 deleted, 0 held back, 1 rejected"
    )
    assert capture.startswith("notes: captured by hash; ")
    assert index.startswith("notes_index: ")
    assert "1 reused" not in index


@pytest.mark.parametrize(
    ("before", "written", "removed", "nothing"),
    [(1, 0, 0, True), (1, 5, 0, False), (1, 0, 5, False), (None, 0, 0, False)],
    ids=["nothing", "an index that caught up", "points removed", "first version"],
)
def test_a_run_that_changed_nothing_says_so(run, before, written, removed, nothing):
    branch = summarise_branch(*stages_of(run, report={"written": written, "removed": removed}))
    summary = summary_of(run, version_before=before, indexes=[branch])
    assert (to_lines(summary)[0] == "Everything was up to date at version 1.") == nothing
    assert summary.changed_nothing() == nothing


def test_the_markdown_is_made_of_whole_tables(run):
    rows, headings = [], []
    tokens = MarkdownIt("commonmark").enable("table").parse(to_markdown(summary_of(run)))
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            headings.append(tokens[position + 1].content)
        if token.type == "table_open":
            rows.append([])
        if token.type == "tr_open":
            rows[-1].append(0)
        if token.type in {"th_open", "td_open"}:
            rows[-1][-1] += 1
    assert headings == [
        "Run report",
        "Documents",
        "How changes were found",
        "Indexes",
        "Invariants",
        "Where the time went",
    ]
    assert [len(table) for table in rows] == [2, 2, 6, 8]
    assert all(len(set(table)) == 1 for table in rows)
    assert "Finished 2024-07-29 12:30 UTC" in to_markdown(summary_of(run))
    assert "1 live documents have a text that another one has too" in to_markdown(summary_of(run))


def test_a_summary_survives_json(run):
    summary = summary_of(run)
    assert RunSummary.model_validate_json(summary.model_dump_json()) == summary


def test_a_run_without_indexes_has_a_report(run):
    summary = summary_of(run, indexes=[], invariants=prove_invariants(run.raw, run.cleaned, []))
    assert "## Indexes" in to_markdown(summary)
    assert len(to_lines(summary)) == 3


def test_deletions_that_were_held_back_are_told_with_the_way_to_approve_them(run):
    counts = run.cleaned.categories["notes"].model_copy(update={"held_back": 512})
    summary = summary_of(run, categories={"notes": counts, "mails": counts.model_copy(update={"held_back": 0})})
    assert summary.held_back() == {"notes": 512}
    (line,) = describe_held_back(summary)
    assert "run --approve-deletions notes=512" in line
    assert line in to_markdown(summary)
    assert describe_held_back(summary_of(run)) == []


def test_changes_that_wait_in_the_source_are_told(run):
    lines = to_lines(summary_of(run, captures={"notes": capture_of(run, mode="log", more=True)}))
    assert "notes: captured by log; " in lines[2]
    assert lines[2].endswith("More changes wait in the source: run again.")


def test_what_is_not_as_expected_is_told_in_every_form(run):
    finding = QualityFinding(category="notes", expectation="present.url", level="warn", figure=0.25, threshold=0.9)
    summary = summary_of(run, quality=[finding])
    line = "not as expected: notes: present.url is 0.25, below warn 0.9"
    assert describe_quality(summary) == [line]
    assert line in to_lines(summary)
    assert line in to_markdown(summary)
    assert RunSummary.model_validate_json(summary.model_dump_json()).quality == [finding]


def test_a_summary_of_an_earlier_release_is_read(run):
    stored = summary_of(run).model_dump(mode="json", exclude={"quality", "serving"})
    read = RunSummary.model_validate(stored)
    assert (read.quality, read.serving, read.refused()) == ([], [], [])


def test_the_summary_has_the_findings_of_the_cleaned_documents(run):
    finding = QualityFinding(category="notes", expectation="length.outside", level="warn", figure=0.2, threshold=0.1)
    cleaned = run.cleaned.model_copy(update={"quality": [finding]})
    assert summarise_run("run-1", run.raw, cleaned, [stages_of(run)], run.serving).quality == [finding]


def served(**changes):
    values = {"index": "notes_index", "collection": "notes_index__old", "version": 4, "outcome": "serves"}
    return ServedIndex(**{**values, **changes})


WAITING = {"candidate": "notes_index__new", "reason": "recall@10 is not worse: 0.1"}


def test_an_index_whose_collection_simply_serves_is_not_worth_a_line(run):
    assert describe_serving(summary_of(run, serving=[served(sampled=64)])) == []


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        pytest.param(
            {"outcome": "promoted", "previous": "notes_index__older", "checks": [CHECK, CHECK]},
            ["notes_index__old was promoted after 2 checks, in the place of notes_index__older"],
            id="promoted",
        ),
        pytest.param(
            {"outcome": "refused", **WAITING},
            ["notes_index__new was refused by its gate, notes_index__old serves on: recall@10 is not worse: 0.1"],
            id="refused",
        ),
        pytest.param(
            {"outcome": "held", **WAITING, "embedded": 1, "written": 3, "updated": 2, "removed": 5},
            [
                "notes_index__new waits, notes_index__old serves on: recall@10 is not worse: 0.1",
                "notes_index__old was kept up to date: 1 texts embedded, 3 points written, 2 updated, 5 removed",
            ],
            id="held",
        ),
        pytest.param(
            {"outcome": "waits", **WAITING, "problem": "Its model is gone.", "lag": 1200},
            [
                "notes_index__new waits, notes_index__old serves on: recall@10 is not worse: 0.1",
                (
                    "notes_index__old serves at version 4 and lacks the changes of 1,200 documents since, deletions "
                    "included, for it cannot be kept up to date here. Its model is gone."
                ),
            ],
            id="cannot be kept up to date",
        ),
    ],
)
def test_what_happened_to_the_collections_is_told_in_every_form(run, changes, lines):
    summary = summary_of(run, serving=[served(**changes)])
    told = [f"notes_index: {line}" for line in lines]
    assert describe_serving(summary) == told
    assert to_lines(summary)[-len(told) :] == told
    for line in told:
        assert escape_markdown(line, 1000) in to_markdown(summary)
    assert RunSummary.model_validate_json(summary.model_dump_json()) == summary


@pytest.mark.parametrize(
    ("changes", "nothing", "refused"),
    [
        ({}, True, []),
        ({"outcome": "promoted"}, False, []),
        ({"outcome": "refused"}, True, ["notes_index"]),
        ({"outcome": "held", "removed": 1}, False, []),
    ],
)
def test_a_promotion_and_what_is_kept_up_to_date_are_changes(run, changes, nothing, refused):
    branch = summarise_branch(*stages_of(run, report={"written": 0}))
    summary = summary_of(run, version_before=1, indexes=[branch], serving=[served(**changes)])
    assert (summary.changed_nothing(), summary.refused()) == (nothing, refused)


def test_the_summary_has_what_serves_and_how_long_that_took(run):
    serving = run.serving.model_copy(update={"seconds": 2.5})
    summary = summarise_run("run-1", run.raw, run.cleaned, [stages_of(run)], serving)
    assert summary.seconds["serve"] == 2.5
    (item,) = summary.serving
    assert (item.collection, item.outcome) == (run.index.report.collection, "serves")
