"""What the dashboard shows: well-formed, bounded, nothing of a document taken as markup, nothing loaded."""

import csv
import io
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.exports import ExportRecord, save_export
from feature_store.handles import (
    AnsweredQuery,
    CaptureCounts,
    Chunks,
    CleanedDocuments,
    Embeddings,
    GateCheck,
    IndexReport,
    MapPoint,
    ProvenPromise,
    QualityFinding,
    RawDocuments,
    ResourceUse,
    RetrievalEvaluation,
    RunReport,
    SampledChunk,
    SampledDocument,
    ServedIndex,
    ServingReport,
    StageFigures,
    TrainingDataset,
)
from feature_store.ids import document_id
from feature_store.versions import now
from feature_store.views import FIGURES, VIEWS, figures_of, views_of
from feature_store.views.page import LIMIT
from feature_store.views.text import printable
from tests.flow import Flow, note, notes_config
from tests.stand_in import HashEncoder
from tests.views import EVIL, Reader, tables_of

CATEGORY = {
    "name": "notes",
    "collection": "notes",
    "text": "body",
    "title": "title",
    "url": "link",
    "author": "who",
    "metadata": {"topic": "topic"},
}


def make_flow(folder):
    flow = Flow(folder, notes_config(categories=[CATEGORY]))
    flow.load_encoder = lambda config: HashEncoder()
    return flow


def evil_note(identifier, body):
    return note(identifier, body, title=EVIL, topic=EVIL, link=EVIL, who=EVIL)


def report_of(text):
    return RunReport(
        run_id="run",
        headline=text,
        markdown="# Run report\n",
        version=1,
        changed=True,
        counts={"added": 3},
        promises=[ProvenPromise(name=text, holds=False, figures=text)],
        stages=[StageFigures(stage=text, seconds=1.5, rows=10, unit="text")],
    )


def serving_of(text):
    check = GateCheck(name=text, holds=False, figures=text)
    names = {"index": text, "collection": text, "candidate": text, "reason": text, "problem": text}
    return ServingReport(indexes=[ServedIndex(**names, version=1, outcome="refused", checks=[check])])


def training_set_of(store, pairs, reason="short"):
    return TrainingDataset(
        folder=store.folder,
        store_folder=store.folder,
        store_id="s",
        version=store.newest().number,
        version_run_id="r",
        export_id="e" * 12,
        format="parquet",
        considered=9,
        splits={"train": 5, "test": 1},
        tokens={"train": 500, "test": 70},
        excluded={reason: 3},
        files={"train.parquet": "0" * 64},
        near_duplicate_pairs=pairs,
    )


def evaluation_of(text, worst=3):
    names = ("index", "collection", "fingerprint", "store_id", "version_run_id", "model", "chunking", "data", "format")
    answered = AnsweredQuery(
        query_id=text, query=text, ndcg_at_10=0.1, recall_at_100=0.2, relevant=[text], found=[text]
    )
    measures = {"ndcg_at_10": 0.25, "recall_at_10": 0.5, "recall_at_100": 0.75, "mrr": 0.125}
    return RetrievalEvaluation(
        **dict.fromkeys(names, text),
        **measures,
        version=3,
        points=2000,
        queries=7,
        missing=worst,
        ndcg_counts=[4, *[0] * 8, 3],
        worst=[answered] * worst,
    )


def handles_of(run):
    return [run.raw, run.cleaned, run.index.chunks, run.index.embeddings, run.index.report, run.serving]


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """One handle of every type, of a run whose every text is evil."""
    flow = make_flow(tmp_path_factory.mktemp("evil"))
    body = f"# {EVIL}\n\n{EVIL} {EVIL}"
    documents = [evil_note(EVIL, body), evil_note("twin", body), note("plain", "a text"), note(EVIL[::-1], None)]
    run = flow.run(documents)
    pair = (document_id("notes", EVIL), document_id("notes", "twin"), 0.93)
    reports = [report_of(EVIL), serving_of(EVIL), evaluation_of(EVIL)]
    handles = [*handles_of(run), *reports, training_set_of(flow.store, [pair], reason=EVIL)]
    yield {type(handle): handle for handle in handles}
    flow.client.close()


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    flow = make_flow(tmp_path_factory.mktemp("empty"))
    run = flow.run([])
    report = RunReport(run_id="run", headline="", markdown="# R", version=1, changed=False)
    handles = [*handles_of(run), report, evaluation_of("", worst=0), training_set_of(flow.store, [])]
    yield {type(handle): handle for handle in handles}
    flow.client.close()


@pytest.fixture(scope="module")
def huge(tmp_path_factory):
    """One handle of every type, of a run with documents that are far too long to be shown."""
    flow = make_flow(tmp_path_factory.mktemp("huge"))
    documents = [
        note(f"{number}" * 400, "&<" * 200_000, title="<>" * 50_000, link="x" * 5000, who="&" * 5000)
        for number in range(12)
    ]
    bad = [note(f"bad {number}" + "&" * 5000, None) for number in range(30)]
    raw, cleaned = flow.commit(documents + bad, check=lambda shares: None)
    sample = SampledDocument(
        document_id="d",
        category="<" * 9000,
        title="<" * 9000,
        text="&" * 4000,
        characters=9,
        chunks=[SampledChunk(position=n, start=n, end=n + 9, tokens=1, heading_path="<" * 200) for n in range(4000)],
    )
    chunks = Chunks(
        folder=flow.store.folder, index="i", collection="i__0", since=0, version=1, chunks=9, window=10,
        token_counts=[5] * 11, samples=[sample] * 6,
    )  # fmt: skip
    points = [MapPoint(document_id="d", category="c", title="<" * 999, x=n / 7 % 1, y=n / 3 % 1) for n in range(700)]
    embeddings = Embeddings(
        folder=flow.store.folder, index="i", collection="i__0", since=0, version=1, model="<" * 9000,
        encoder_fingerprint="f", dimension=1, chunks=700, samples=points,
    )  # fmt: skip
    report = IndexReport(index="i", collection="<" * 9000, version_before=0, version=1)
    ids = sorted(row["document_id"] for row in flow.live().values())
    pairs = [(one, other, 0.5) for one in ids for other in ids if one < other] + [("gone", "also gone", 0.9)]
    training_set = training_set_of(flow.store, pairs, reason="<" * 9000)
    reports = (report, report_of("<" * 100_000), serving_of("<" * 100_000), evaluation_of("<" * 100_000, worst=1000))
    handles = (raw, cleaned, chunks, embeddings, *reports, training_set)
    return {type(handle): handle for handle in handles}


@pytest.mark.parametrize("content", ["evil", "empty", "huge"])
@pytest.mark.parametrize("kind", VIEWS, ids=lambda kind: kind.__name__)
def test_every_view_is_well_formed_bounded_escaped_and_loads_nothing(request, kind, content):
    views = views_of(request.getfixturevalue(content)[kind])
    assert next(iter(views)) == "summary.md"
    for name, view in views.items():
        assert len(view.encode()) <= LIMIT
        if name.endswith(".html"):
            assert {"html", "body", "h1"} <= set(Reader(view).tags)
            assert "default-src 'none'" in view
        elif name.endswith(".csv"):
            header, *rows = csv.reader(io.StringIO(view))
            assert header[0] == "document_id"
            assert {len(row) for row in rows} == {len(header)}
        else:
            assert view.startswith("# ")
            for table in tables_of(view):
                assert {len(row) for row in table} == {len(table[0])}


def test_every_handle_has_views_and_figures(evil):
    assert set(VIEWS) == set(FIGURES) == set(evil)


@pytest.mark.parametrize("content", ["evil", "empty"])
@pytest.mark.parametrize("kind", FIGURES, ids=lambda kind: kind.__name__)
def test_the_metadata_are_single_values(request, kind, content):
    figures = figures_of(request.getfixturevalue(content)[kind])
    assert figures
    assert {type(value) for value in figures.values()} <= {str, int, float, bool}


def test_what_a_view_shows_of_a_document_says_of_which(evil):
    shown_as = {
        CleanedDocuments: ["samples.html", "duplicates.html"],
        Chunks: ["chunks.html"],
        Embeddings: ["map.html"],
        RawDocuments: ["found.html"],
    }
    for kind, names in shown_as.items():
        for name in names:
            assert document_id("notes", EVIL) in Reader(views_of(evil[kind])[name]).documents, name
    rejected = document_id("notes", EVIL[::-1])
    assert Reader(views_of(evil[CleanedDocuments])["rejects.html"]).documents == [rejected]
    rows = csv.DictReader(io.StringIO(views_of(evil[RawDocuments])["samples.csv"]))
    assert document_id("notes", EVIL) in [row["document_id"] for row in rows]
    assert all(sample.document_id for sample in evil[Chunks].samples)


def test_texts_of_a_document_are_shown_as_they_are(evil):
    views = views_of(evil[CleanedDocuments])
    shown_text = "[x](javascript:alert(1))"
    assert Reader(views["samples.html"]).text.count(shown_text) >= 6
    assert shown_text in Reader(views["duplicates.html"]).text
    assert shown_text in Reader(views_of(evil[Chunks])["chunks.html"]).text
    assert any(
        "<img src=x onerror=alert(1)>" in title for title in Reader(views_of(evil[Embeddings])["map.html"]).titles
    )


nasty = st.lists(
    st.sampled_from(
        [
            EVIL,
            "<",
            ">",
            "&",
            '"',
            "'",
            "</pre>",
            "<!--",
            "]]>",
            "\x00",
            "\ud800",
            "\u2028",
            "\n",
            "é",
            "𝒳",
            "a",
            " ",
            "|",
        ]
    ),
    min_size=1,
    max_size=8,
).map("".join)


@given(nasty)
@settings(max_examples=25)
def test_no_text_escapes_from_a_view(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp()
    chunk = SampledChunk(position=0, start=0, end=len(text), tokens=3, heading_path=text)
    sample = SampledDocument(
        document_id="d", category=text, title=text, text=text, characters=len(text), chunks=[chunk]
    )
    chunks = Chunks(
        folder=folder, index=text, collection=text, since=0, version=1, chunks=1, window=10, token_counts=[1] * 11,
        samples=[sample],
    )  # fmt: skip
    embeddings = Embeddings(
        folder=folder, index=text, collection=text, since=0, version=1, model=text, encoder_fingerprint=text,
        dimension=2, chunks=1, samples=[MapPoint(document_id="d", category=text, title=text, x=0, y=0)],
    )  # fmt: skip
    report = IndexReport(index=text, collection=text, version_before=0, version=1, previous_collection=text)
    for handle in (chunks, embeddings, report, report_of(text), serving_of(text)):
        views = views_of(handle)
        for name, view in views.items():
            view.encode()  # as it is written
            if name.endswith(".md"):
                tables_of(view)
            else:
                Reader(view)
    assert printable(text).replace("\r", "\n") in Reader(views_of(chunks)["chunks.html"]).text


def test_a_run_that_changed_nothing_has_figures_and_imports_no_charts(empty, tmp_path):
    flow = make_flow(tmp_path)
    flow.run([note("a", "a text")])
    run = flow.run([note("a", "a text")])
    flow.client.close()
    views = {type(handle): views_of(handle) for handle in handles_of(run)}
    assert [list(views[kind]) for kind in (RawDocuments, CleanedDocuments, Chunks, Embeddings)] == [["summary.md"]] * 4
    assert "Nothing changed." in views[CleanedDocuments]["summary.md"]
    assert "with 1 document." in views[CleanedDocuments]["summary.md"]
    assert "none is new, changed or gone" in views[RawDocuments]["summary.md"]
    assert "No document of this index changed at version 1." in views[Chunks]["summary.md"]
    assert "No chunk is new" in views[Embeddings]["summary.md"]
    assert "Nothing had to be done: 1 point at version 1." in views[IndexReport]["summary.md"]
    report = RunReport(run_id="r", headline="", markdown="# R", version=1, changed=False, stages=[])
    assert "<svg" not in views_of(report)["report.html"]


def test_importing_the_views_imports_nothing_heavy():
    code = "import sys, feature_store.views; print({'altair', 'vl_convert'} & set(sys.modules))"
    finished = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert finished.stdout == "set()\n"


def test_the_summary_of_cleaned_documents_compares_with_the_version_before(tmp_path):
    flow = make_flow(tmp_path)
    flow.commit([note("a", "a text"), note("b", "another text"), note("bad", None)], check=lambda shares: None)
    _, cleaned = flow.commit(
        [note("a", "a longer text"), note("c", "a longer text"), note("d", "new"), note("bad", None)]
    )
    flow.client.close()
    summary = views_of(cleaned)["summary.md"]
    assert "**Version 2 holds 3 documents, 1 more than version 1.** This run: 2 added, 1 changed, 1 deleted." in summary
    compared, run, *_ = tables_of(summary)
    assert compared == [
        ["", "version 1", "version 2", "difference"],
        ["documents", "2", "3", "+1"],
        ["characters", "18", "29", "+11"],
        ["characters a document", "9", "10", "+1"],
        ["duplicates of another document", "0", "1", "+1"],
        ["rejected documents", "1", "1", "="],
        ["documents of notes", "2", "3", "+1"],
    ]
    assert run[1] == ["notes", "4", "2", "1", "0", "0", "1", "0", "1"]


def test_the_first_version_and_one_whose_base_is_gone_are_told_without_comparison(evil, tmp_path):
    assert "Version 1 holds 3 documents: the first version." in views_of(evil[CleanedDocuments])["summary.md"]
    flow = make_flow(tmp_path)
    flow.commit([note("a", "a text")])
    _, cleaned = flow.commit([note("a", "another text")])
    flow.client.close()
    (flow.store.folder / "versions" / "00000001.json").unlink()
    summary = views_of(cleaned)["summary.md"]
    assert "Version 1, from which it was made, is no longer there." in summary
    assert "Against the version before" not in summary


def test_what_is_not_as_expected_is_told(evil):
    finding = QualityFinding(category="notes", expectation=f"present.{EVIL}", level="warn", figure=0.1, threshold=0.5)
    handle = evil[CleanedDocuments].model_copy(update={"quality": [finding]})
    summary = views_of(handle)["summary.md"]
    assert "## Not as expected" in summary
    assert figures_of(handle)["quality_findings"] == 1
    tables_of(summary)  # nothing of it is markup
    assert "Not as expected" not in views_of(evil[CleanedDocuments])["summary.md"]


def test_samples_of_a_version_are_what_it_added_or_changed(tmp_path):
    flow = make_flow(tmp_path)
    flow.commit([note("old", "an old text", title="Old")])
    _, cleaned = flow.commit([note("old", "an old text", title="Old"), note("new", "a new text", title="New")])
    flow.client.close()
    samples = Reader(views_of(cleaned)["samples.html"])
    assert samples.documents == [document_id("notes", "new")]
    assert "a new text" in samples.text


def test_duplicates_are_shown_in_groups_with_the_first_of_them(evil):
    duplicates = Reader(views_of(evil[CleanedDocuments])["duplicates.html"])
    assert sorted(duplicates.documents) == sorted([document_id("notes", EVIL), document_id("notes", "twin")])
    assert "2 documents of one text" in duplicates.text


def test_rejects_are_shown_by_reason_with_what_is_wrong(evil):
    rejects = Reader(views_of(evil[CleanedDocuments])["rejects.html"])
    assert "missing_text: 1 document" in rejects.text
    assert "Field body is missing" in rejects.text


def test_the_summary_of_raw_documents_counts_by_category(tmp_path):
    counts = CaptureCounts(read=1234, added=1000, changed=200, unchanged=30, rejected=4, deleted=5)
    summary = views_of(RawDocuments(folder=tmp_path, categories={"notes": counts}))["summary.md"]
    assert "1,234 documents read: 1,000 added, 200 changed, 5 deleted." in summary
    assert tables_of(summary) == [
        [
            ["category", "read", "added", "changed", "unchanged", "rejected", "deleted", "held back"],
            ["notes", "1,234", "1,000", "200", "30", "4", "5", "0"],
        ]
    ]


def test_the_summary_of_embeddings_tells_the_rate_only_where_something_was_embedded(evil):
    def shown(**changes):
        handle = evil[Embeddings].model_copy(update={"seconds": 2.0, **changes})
        return {row[0]: row[1] for row in tables_of(views_of(handle)["summary.md"])[0]}

    assert shown(embedded=3000)["texts a second"] == "1,500.0"
    assert shown(embedded=0)["texts a second"] == "-"
    assert shown(embedded=3000, tokens=90_000)["tokens a second"] == "45,000"
    assert shown(embedded=3000)["tokens a second"] == "-"


def test_the_summary_of_chunks_tells_what_they_cost(evil):
    chunks = evil[Chunks].model_copy(update={"chunks": 1234, "new": 1000, "moved": 200, "unchanged": 34, "stale": 5})
    shown = {row[0]: row[1] for row in tables_of(views_of(chunks)["summary.md"])[0]}
    names = ["chunks", "new: to be embedded and written", "moved: payload to be updated", "as they were"]
    assert [shown[name] for name in names] == ["1,234", "1,000", "200", "34"]
    assert shown["stale: to be removed"] == "5"


def test_chunks_are_drawn_over_the_text_with_what_they_share(tmp_path):
    text = "one two three four"
    chunks = [
        SampledChunk(position=0, start=0, end=7, tokens=2),
        SampledChunk(position=1, start=4, end=13, tokens=2, heading_path="A > B"),
        SampledChunk(position=2, start=14, end=900, tokens=70),
    ]
    sample = SampledDocument(document_id="d", category="c", title="t", text=text, characters=900, chunks=chunks)
    handle = Chunks(
        folder=tmp_path, index="i", collection="i__0", since=0, version=1, chunks=3, window=10, samples=[sample],
        token_counts=[1] * 11,
    )  # fmt: skip
    view = views_of(handle)["chunks.html"]
    (drawn,) = re.findall("<pre>(.*?)</pre>", view)
    pieces = re.findall(r"<span class=(\w+) title=\"([^\"]*)\">(.*?)</span>|([^<]+)", drawn)
    assert [(kind, piece or plain) for kind, _, piece, plain in pieces] == [
        ("k0", "one "), ("o0", "two"), ("k1", " three"), ("", " "), ("k2", "four"),
    ]  # fmt: skip
    assert pieces[1][1] == ("chunk 0: 2 tokens, characters 0-7 and chunk 1: 2 tokens, characters 4-13, A &gt; B")
    assert "900 characters, the first 18 are shown" in Reader(view).text


def test_the_summary_of_a_load_tells_points_from_payloads(evil):
    report = evil[IndexReport].model_copy(update={"written": 1000, "updated": 200, "removed": 34})
    _, done = tables_of(views_of(report)["summary.md"])
    shown = {row[0]: row[1] for row in done}
    assert [shown[name] for name in ("points written", "payloads updated", "stale points removed")] == [
        "1,000",
        "200",
        "34",
    ]


@pytest.mark.parametrize(("points", "told"), [(7, "yes"), (6, "no")])
def test_the_reconcile_table_says_whether_the_collection_holds_what_it_must(points, told):
    report = IndexReport(index="i", collection="i__0", version_before=1, version=1, points=points, expected_points=7)
    views = views_of(report)
    reconciled, _ = tables_of(views["summary.md"])
    assert reconciled[-2:] == [["difference", str(points - 7)], ["as it must be", told]]
    assert f"{'✓' if told == 'yes' else '✗'} {told}" in Reader(views["reconciled.html"]).text


def test_a_load_that_swapped_the_alias_names_the_collection_before(evil):
    report = evil[IndexReport].model_copy(update={"previous_collection": "notes_index__old"})
    shown = [row for table in tables_of(views_of(report)["summary.md"]) for row in table]
    assert ["collection that served before", "notes_index__old"] in shown
    assert "the same" in views_of(evil[IndexReport])["summary.md"]


def test_the_page_of_a_run_tells_promises_and_the_speed_of_stages():
    use = ResourceUse(processor_seconds=3.0, peak_memory=812_000_000)
    model = {"tokens": 30_000, "operations": 3e12, "gemm_speed": 6e12, "use": use}
    stages = [StageFigures(stage="embed", index="notes_index", seconds=2.0, rows=5000, unit="text", **model)]
    promise = ProvenPromise(name="points = chunks", holds=True, figures="5 points")
    report = report_of("From 1 to 2.").model_copy(update={"stages": stages, "promises": [promise], "seconds": 8.0})
    page = Reader(views_of(report)["report.html"])
    for expected in (
        "From 1 to 2.",
        "points = chunks✓ yes5 points",
        "embed notes_index",
        "2,500",
        "15,000",
        "25%",
        "812 MB",
    ):
        assert expected in page.text
    rates = {"embed notes_index: 2.0 seconds", "all else: 6.0 seconds", "embed notes_index, texts: 2,500.0 rows"}
    assert rates <= set(page.titles)
    figures = figures_of(report)
    assert (figures["seconds_embed_notes_index"], figures["run_seconds"]) == (2.0, 8.0)
    assert (figures["tokens"], figures["peak_memory_mb"]) == (30_000, 812)


def test_an_evaluation_tells_its_measures_and_what_was_answered_worst():
    lost = AnsweredQuery(
        query_id="1", query="lost?", ndcg_at_10=0, recall_at_100=0, relevant=["right"], found=["wrong"]
    )
    late = AnsweredQuery(query_id="2", query="late?", ndcg_at_10=0.2, recall_at_100=1, rank=40, relevant=["right"])
    handle = evaluation_of("notes").model_copy(update={"worst": [lost, late], "missing": 1})
    views = views_of(handle)
    told = "nDCG@10 is 25.0% over 7 queries, at version 3. 1 judged document is not in the index."
    page = Reader(views["queries.html"])
    assert told in page.text
    assert told in views["summary.md"].replace("*", "").replace("\\", "")
    measures, worst, _ = tables_of(views["summary.md"])
    assert measures[1:] == [["nDCG@10", "25.0 %"], ["recall@10", "50.0 %"], ["recall@100", "75.0 %"], ["MRR", "12.5 %"]]
    assert worst[1:] == [
        ["lost?", "0.0%", "0.0%", "not found", "right", "wrong"],
        ["late?", "20.0%", "100.0%", "40", "right", "nothing"],
    ]
    assert page.documents == ["right", "right"]
    assert "90 to 100 % nDCG@10: 3 questions" in page.titles
    assert figures_of(handle)["mrr"] == 0.125


def test_near_duplicates_are_shown_side_by_side(evil):
    pairs = Reader(views_of(evil[TrainingDataset])["near_duplicates.html"])
    assert pairs.documents == [document_id("notes", EVIL), document_id("notes", "twin")]
    assert "93% alike" in pairs.text
    assert pairs.text.count("[x](javascript:alert(1))") >= 2


def test_a_training_set_is_compared_with_that_of_an_earlier_version_by_the_same_rules(evil):
    made = evil[TrainingDataset].model_copy(update={"version": 5})

    def register(export_id, version, documents, **options):
        counts = {"documents": documents, "tokens": 400, "train": documents, "test": 0}
        record = ExportRecord(
            export_id=export_id, created_at=now(), version=version, version_run_id="r", store_id="s",
            format="parquet", folder=made.folder, options=options, counts=counts,
        )  # fmt: skip
        save_export(made.store_folder, record)

    assert "Against" not in views_of(made)["summary.md"]
    register(made.export_id, 5, 6, rules="same")
    register("older", 2, 1, rules="same")
    register("other", 4, 2, rules="other")
    register("before", 3, 4, rules="same")
    summary = views_of(made)["summary.md"]
    assert "**6 documents with 570 tokens, of 9 at version 5.** 2 more than in that of version 3" in summary
    assert tables_of(summary)[1] == [
        ["", "version 3", "version 5", "difference"],
        ["documents", "4", "6", "+2"],
        ["tokens", "400", "570", "+170"],
        ["train", "4", "5", "+1"],
        ["test", "0", "1", "+1"],
    ]


@pytest.mark.parametrize("window", [200, 64])
def test_the_labels_of_chunk_sizes_hold_the_sizes_that_are_counted_there(evil, window):
    chunks = evil[Chunks].model_copy(update={"window": window, "token_counts": [7] * 11, "samples": []})
    titles = [title for title in Reader(views_of(chunks)["chunks.html"]).titles if title.endswith("tokens: 7 chunks")]
    assert len(titles) == 11
    for tokens in range(window + 1):
        low, *high = re.findall(r"\d+", titles[min(tokens * 10 // window, 10)].split(" tokens")[0])
        assert int(low) <= tokens
        assert not high or tokens <= int(high[0])


def test_samples_of_an_earlier_release_are_left_out_of_a_loaded_handle(evil):
    stored = evil[Chunks].model_dump(mode="json")
    old = {**stored, "samples": [{"title": "t", "heading_path": "h", "span": "0-9", "tokens": "9", "text": "t"}]}
    assert Chunks.model_validate(old).samples == []
    assert Chunks.model_validate(stored) == evil[Chunks]
