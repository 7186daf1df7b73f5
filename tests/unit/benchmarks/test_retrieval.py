"""The benchmark's own arithmetic and checks, on texts that can be counted by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from benchmarks import retrieval
from benchmarks.alignment import align
from benchmarks.baseline import split
from benchmarks.report import Results
from feature_store.config import validate_parameters
from inference.evaluation.chunk_eval import Question
from inference.evaluation.golden import GoldenQuery
from inference.evaluation.spans import Span
from tests.stand_in import HashEncoder

RAW = "Tea is  green.\nIron rusts.\n\n\nSnow melts."
CLEANED = "Tea is green.\nIron rusts.\n\nSnow melts."
CORPORA = {"deep": retrieval.Corpus(RAW, CLEANED, align(RAW, CLEANED))}


def result(part, text=None, shift=0):
    start = CLEANED.index(part) + shift
    return SimpleNamespace(
        chunk_id="c", payload={"source_id": "deep"}, start=start, end=start + len(part), text=text or part
    )


def test_a_row_has_the_means_over_the_questions_in_percent():
    questions = [
        Question("a", [Span("deep", 0, 10)]),
        Question("b", [Span("deep", 20, 30)]),
        Question("c", [Span("wide", 0, 4)]),
    ]
    answers = [[Span("deep", 5, 15)], [Span("deep", 20, 30), Span("wide", 0, 10)], []]
    row = retrieval.span_row("index", "way", questions, answers, [10, 20, 0])
    assert (row.recall, row.precision, row.iou) == (50.0, 33.33, 27.78)
    assert row.tokens == 10
    assert row.recalls == {"deep": 75.0, "wide": 0.0}


def test_a_ranking_is_scored_by_document():
    queries = [GoldenQuery("1", "a", {"x": 1}), GoldenQuery("2", "b", {"y": 1})]
    row = retrieval.ranking_row("index", "way", queries, [["x", "y"], ["x", "y"]], 0.5)
    assert (row.mrr, row.recall_at_10, row.ndcg_at_10) == (75.0, 100.0, 81.55)
    assert (row.queries, row.milliseconds) == (2, 250.0)


def test_results_are_scored_where_they_are_in_the_raw_text():
    span = retrieval.in_raw(result("green.\nIron rusts."), CORPORA)
    assert span == Span("deep", 8, 26)
    assert RAW[span.start : span.end] == "green.\nIron rusts."


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (result("Iron rusts."), ""),
        (result("Iron rusts.\n\nSnow", text="Iron rusts. \nSnow"), ""),
        (result("Iron rusts.", text="Iron  rusts."), "its text is not that at"),
        (result("Iron rusts.", text="Iron rots !"), "its text is not that at"),
        (result("Snow melts.", shift=5), "is not within its document"),
    ],
    ids=["right", "other white space", "more white space", "another text", "beyond the end"],
)
def test_a_result_that_is_not_the_text_of_its_span_is_told(found, told):
    assert told in retrieval.misplaced([[result("Tea is green.")], [found]], CORPORA)
    assert bool(told) == bool(retrieval.misplaced([[found]], CORPORA))


@pytest.mark.parametrize(
    ("spans", "told"),
    [
        ({None: [(0, 25), (27, 38)]}, ""),
        ({None: [(0, 13), (27, 38)]}, "deep has characters 13 to 27 in no chunk"),
        ({48: [(0, 38)], 200: [(0, 30)]}, "deep has characters 30 to 38 in no chunk ((200, None))"),
        ({}, "is empty"),
    ],
    ids=["whole", "gap", "gap of one size", "none"],
)
def test_a_text_that_is_in_no_chunk_is_told(spans, told):
    client = QdrantClient(":memory:")
    client.create_collection("index", vectors_config={})
    points = [
        models.PointStruct(
            id=100 * number + place,
            vector={},
            payload={"source_id": "deep", "start": start, "end": end, **({"size": size} if size else {})},
        )
        for number, (size, some) in enumerate(spans.items())
        for place, (start, end) in enumerate(some)
    ]
    if points:
        client.upsert("index", points)
    found = retrieval.uncovered(client, "index", CORPORA)
    assert told in found
    assert bool(found) == bool(told)


def test_the_baseline_cuts_without_overlap_and_finds_the_nearest():
    encoder = HashEncoder()
    text = "\n\n".join(f"Paragraph {number} says something of its own." for number in range(12))
    baseline = split({"deep": text}, encoder, 20)
    assert [text[span.start : span.end] for span in baseline.chunks] == baseline.texts
    assert all(one.end <= other.start for one, other in zip(baseline.chunks, baseline.chunks[1:], strict=False))
    assert max(len(encoder.token_spans(made)) for made in baseline.texts) <= 20
    assert "".join("".join(baseline.texts).split()) == "".join(text.split())
    (found,) = baseline.search([baseline.texts[2]], 3)
    assert found[0] == baseline.chunks[2]
    assert len(found) == 3


def test_goals_are_compared_at_the_mean_of_tokens():
    def row(way, tokens, recall, configuration="multi_size"):
        return retrieval.SpanRow(configuration, way, tokens, recall, 13.0, 12.0, 1, 1.0, {})

    results = Results()
    results.rows += [
        row(retrieval.COMPACT, 401.0, 99.0),
        row(retrieval.DEFAULT, 590.0, 91.0),
        row(retrieval.THOROUGH, 900.0, 94.9),
    ]
    results.rows += [row("dense, k=5", 900.0, 91.0, retrieval.BASELINE)]
    retrieval.check_goals(results)
    held = {check.name: check.holds for check in results.checks[:7]}
    assert held["multi_size, context, compact: recall at 401.0 tokens"] is False  # too many tokens
    assert held["multi_size, context, default: recall at 590.0 tokens"] is True
    assert held["multi_size, context, thorough: recall at 900.0 tokens"] is False  # too little recall
    assert [check.holds for check in results.checks[7:]] == [False, False, False]
    assert not any(check.decides for check in results.checks)


def test_a_query_is_embedded_once():
    encoder = HashEncoder()
    remembering = retrieval.RememberingEncoder(encoder)
    first = remembering.embed_queries(["a", "b", "a"])
    encoder.texts.clear()
    again = remembering.embed_queries(["b", "a"])
    assert encoder.texts == []
    assert np.array_equal(again, first[[1, 0]])
    assert remembering.fingerprint == encoder.fingerprint


def test_the_configuration_of_the_run_is_valid_and_has_every_index():
    config = validate_parameters(retrieval.parameters(), "the benchmark")
    assert [index.name for index in config.indexes] == list(retrieval.CHUNKINGS)


def test_the_plot_names_every_configuration(tmp_path):
    rows = [
        retrieval.SpanRow(name, way, tokens, 80.0 + tokens / 100, 5.0, 5.0, 1, 1.0, {})
        for name in (*retrieval.CHUNKINGS, retrieval.BASELINE)
        for way, tokens in (("dense, k=5", 900.0), ("context, 400", 390.0))
    ]
    retrieval.draw(rows, tmp_path / "plot.svg")
    drawn = (tmp_path / "plot.svg").read_text()
    assert drawn.startswith("<svg")
    assert all(name in drawn for name in (*retrieval.CHUNKINGS, retrieval.BASELINE))
