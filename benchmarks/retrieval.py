"""How good the indexes are at finding what a question needs, beside a common baseline of the same model.

Run by ``make bench-retrieval DATA=folder``; writes ``benchmarks/results/retrieval.json`` and ``retrieval.svg``. The
documents of the folder are imported into an embedded warehouse and indexed by one run of the pipeline, both by their
commands, in several configurations at once. Then the retriever is asked every question, in several ways.

The folder has either texts with marked answers (``--format spans``, see inference/evaluation/chunk_eval.py): measured
are recall, precision and IoU of characters, and what is scored is what a language model would be given. Or it is a test
collection in BEIR's layout (``--format beir``): measured are nDCG@10, recall@100 and MRR of documents.

The baseline cuts the same texts by langchain's RecursiveCharacterTextSplitter into chunks of at most 200 tokens without
overlap, and takes those whose vectors are nearest to that of the question.

The exit code is 1 if a result is wrong; a goal of quality that is missed is reported, with exit code 0.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from qdrant_client import QdrantClient
from rich.console import Console
from rich.table import Table

from benchmarks.alignment import Alignment, align
from benchmarks.baseline import Baseline, split
from benchmarks.report import Results, finish
from feature_store.defaults import REPOSITORY
from feature_store.encoders import Encoder, load_encoder
from feature_store.index import open_qdrant, scroll
from feature_store.index_config import EncoderConfig
from feature_store.settings import Settings
from feature_store.store import IS_LIVE, open_feature_store
from feature_store.tables import batches_of
from inference.evaluation.beir import DEFAULT_SPLIT, read_corpus, read_queries
from inference.evaluation.chunk_eval import Question, read_chunk_evaluation
from inference.evaluation.evaluate import CHUNKS, rank_documents
from inference.evaluation.golden import GoldenQuery
from inference.evaluation.judged import CORPUS_FIELDS, find_judged
from inference.evaluation.metrics import evaluate_rankings
from inference.evaluation.spans import Span, mean_span_scores, merge, score_spans
from inference.results import SearchResult
from inference.retriever import Retriever

RESULTS = Path(__file__).with_name("results")
OUTPUTS = {"spans": RESULTS / "retrieval.json", "beir": RESULTS / "retrieval_beir.json"}
CATEGORY = "corpora"
ENCODER = {"precision": "float32", "batch_size": 64}  # the same vectors on every processor
CHUNKINGS: dict[str, dict[str, Any]] = {
    "sliding_window_200_0": {"strategy": "sliding_window", "window": 200, "overlap": 0},
    "sliding_window_200_40": {"strategy": "sliding_window", "window": 200, "overlap": 40},
    "sliding_window_200_100": {"strategy": "sliding_window", "window": 200, "overlap": 100},
    "small_to_big": {"strategy": "small_to_big", "child": {"window": 64}, "parent": {"window": 200}},
    "multi_size": {"strategy": "multi_size"},
}
BASELINE = "langchain_200"
BASELINE_TOKENS = 200
BASELINE_KS = (2, 3, 5)
K = 5
BUDGETS = (400, 600, 1000)
COMPACT, DEFAULT, THOROUGH = "context, compact", "context, default", "context, thorough"
# Percent to reach at so many tokens an answer on average.
GOALS: dict[str, tuple[int, dict[str, float]]] = {
    COMPACT: (400, {"recall": 86.0, "precision": 12.0, "iou": 11.5}),
    DEFAULT: (600, {"recall": 91.0, "precision": 8.6, "iou": 8.5}),
    THOROUGH: (1000, {"recall": 95.0}),
}
LEAST_ALIGNED = 0.98
_BATCH = 64
_TIMEOUT = 4 * 3600  # seconds

Answer = Sequence[SearchResult]
Way = Callable[[Retriever, list[str]], list[Answer]]


def _searching(**options: Any) -> Way:
    def ask(retriever: Retriever, queries: list[str]) -> list[Answer]:
        return list(retriever.search_batch(queries, k=K, **options))

    return ask


def _context(budget: int | None = None, **options: Any) -> Way:
    def ask(retriever: Retriever, queries: list[str]) -> list[Answer]:
        return [context.results for context in retriever.context_batch(queries, budget, **options)]

    return ask


WAYS: dict[str, Way] = {
    f"dense, k={K}": _searching(alpha=1.0),
    f"RRF, k={K}": _searching(fusion="rrf"),
    f"hybrid, k={K}": _searching(),
    # As long as the budget allows, or as long as what is found is good enough.
    **{f"context, {budget}": _context(budget, threshold=0.0) for budget in BUDGETS},
    COMPACT: _context(600, threshold=0.78),
    DEFAULT: _context(),
    THOROUGH: _context(1500, threshold=0.58),
}
RANKINGS: dict[str, dict[str, Any]] = {"dense": {"alpha": 1.0}, "RRF": {"fusion": "rrf"}, "hybrid": {}}


@dataclass
class SpanRow:
    """One configuration, asked in one way; measures in percent, means over the questions.

    ``tokens`` are those of the texts of an answer, ``recalls`` by corpus. ``milliseconds`` are those of a question,
    asked with others in one request; its vector was made before.
    """

    configuration: str
    way: str
    tokens: float
    recall: float
    precision: float
    iou: float
    points: int | None
    milliseconds: float
    recalls: dict[str, float]


@dataclass
class RankingRow:
    """One configuration, asked in one way; measures in percent, means over the queries."""

    configuration: str
    way: str
    ndcg_at_10: float
    recall_at_10: float
    recall_at_100: float
    mrr: float
    queries: int
    milliseconds: float


class RememberingEncoder:
    """An encoder that embeds each query once: it is asked in many ways."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._vectors: dict[str, npt.NDArray[np.float32]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def embed_queries(self, queries: Sequence[str]) -> npt.NDArray[np.float32]:
        new = list(dict.fromkeys(query for query in queries if query not in self._vectors))
        if new:
            self._vectors |= zip(new, self._encoder.embed_queries(new), strict=True)
        return np.stack([self._vectors[query] for query in queries])


@dataclass(frozen=True)
class Corpus:
    """A document as it was given and as it was cleaned; ``alignment`` leads from the latter to the former."""

    raw: str
    cleaned: str
    alignment: Alignment


def main() -> int:
    """Measure, write the results, and say whether they are right."""
    arguments = _arguments()
    output = arguments.output or OUTPUTS[arguments.format]
    results = Results()
    with tempfile.TemporaryDirectory(prefix="retrieval-", dir=arguments.folder) as folder:
        details = MEASURE[arguments.format](arguments, Path(folder), results)
    libraries = ("qdrant-client", "qdrant-edge-py", "sentence-transformers", "langchain-text-splitters")
    code = finish(results, output, libraries, data=arguments.data.name, chunkings=CHUNKINGS, **details)
    if arguments.format == "spans":
        draw(results.rows, output.with_suffix(".svg"))
    return code


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure how good the indexes are at finding.")
    parser.add_argument("--data", type=Path, required=True, help="folder of texts with marked answers, or of BEIR")
    parser.add_argument("--format", choices=tuple(MEASURE), default="spans")
    parser.add_argument("--split", default=DEFAULT_SPLIT, help=f"of BEIR's judgements ({DEFAULT_SPLIT})")
    parser.add_argument("--folder", type=Path, help="where to work; default: the system's temporary folder")
    parser.add_argument(
        "--output", type=Path, help="default: benchmarks/results/retrieval.json, or retrieval_beir.json"
    )
    return parser.parse_args()


# What is measured


def measure_spans(arguments: argparse.Namespace, folder: Path, results: Results) -> dict[str, Any]:
    """Ask the questions about texts whose answers are marked."""
    data = read_chunk_evaluation(arguments.data)
    settings = index(folder, ({"_id": name, "text": text} for name, text in data.corpora.items()))
    corpora = align_corpora(data.corpora, cleaned_texts(settings), results)
    questions, encoder = data.questions, remembering_encoder([question.text for question in data.questions])
    with open_qdrant(settings) as client:
        for name in CHUNKINGS:
            with Retriever.from_index(name, client=client, encoder=encoder) as retriever:
                results.require(f"{name}: every text is in a chunk", uncovered(client, retriever.collection, corpora))
                for way, ask in WAYS.items():
                    answers, milliseconds = timed(ask, retriever, [question.text for question in questions])
                    results.require(f"{name}, {way}: texts are those of their spans", misplaced(answers, corpora))
                    spans = [[in_raw(result, corpora) for result in answer] for answer in answers]
                    texts = [[result.text for result in answer] for answer in answers]
                    row = span_row(name, way, questions, spans, tokens_of(encoder, texts))
                    row.points, row.milliseconds = retriever.metadata.points, milliseconds
                    results.add(row, hidden=["recalls", "points"])
    measure_baseline(split(data.corpora, encoder, BASELINE_TOKENS), data.corpora, questions, results)
    check_goals(results)
    show(results.rows, ["tokens", "recall", "precision", "iou", "milliseconds"])
    tokens = {name: len(encoder.token_spans(text)) for name, text in data.corpora.items()}
    return {"questions": len(questions), "corpus_tokens": tokens, "encoder": {"model": encoder.name, **ENCODER}}


def measure_baseline(
    baseline: Baseline, corpora: Mapping[str, str], questions: Sequence[Question], results: Results
) -> None:
    """Ask the baseline, for several numbers of chunks."""
    for k in BASELINE_KS:
        started = time.perf_counter()
        spans = baseline.search([question.text for question in questions], k)
        milliseconds = 1000 * (time.perf_counter() - started) / len(questions)
        texts = [[corpora[span.document][span.start : span.end] for span in answer] for answer in spans]
        row = span_row(BASELINE, f"dense, k={k}", questions, spans, tokens_of(baseline.encoder, texts))
        row.points, row.milliseconds = len(baseline.chunks), round(milliseconds, 1)
        results.add(row, hidden=["recalls", "points"])


def measure_beir(arguments: argparse.Namespace, folder: Path, results: Results) -> dict[str, Any]:
    """Ask the queries of a test collection in BEIR's layout."""
    queries = read_queries(arguments.data, arguments.split)
    documents = {document.id: [document.title, document.text] for document in read_corpus(arguments.data)}
    settings = index(folder, ({"_id": name, "text": parts} for name, parts in documents.items()))
    encoder = remembering_encoder([query.query for query in queries])
    with open_qdrant(settings) as client:
        for name in CHUNKINGS:
            with Retriever.from_index(name, client=client, encoder=encoder) as retriever:
                judged = find_judged(client, retriever.collection, queries, CORPUS_FIELDS)
                missing = ", ".join(judged.missing[:5])
                results.require(f"{name}: judged documents are in the index", missing and f"not there: {missing}")
                for way, options in RANKINGS.items():
                    started = time.perf_counter()
                    found = rank_documents(retriever, [query.query for query in judged.queries], **options)
                    seconds = time.perf_counter() - started
                    results.add(ranking_row(name, way, judged.queries, found, seconds))
    texts = {name: "\n\n".join(part for part in parts if part) for name, parts in documents.items()}
    baseline = split(texts, encoder, BASELINE_TOKENS)
    started = time.perf_counter()
    found = [unique(spans) for spans in baseline.search([query.query for query in queries], CHUNKS)]
    results.add(ranking_row(BASELINE, "dense", queries, found, time.perf_counter() - started))
    show(results.rows, ["ndcg_at_10", "recall_at_10", "recall_at_100", "mrr", "milliseconds"])
    return {"documents": len(documents), "split": arguments.split, "encoder": {"model": encoder.name, **ENCODER}}


MEASURE = {"spans": measure_spans, "beir": measure_beir}


def remembering_encoder(queries: Sequence[str]) -> Any:
    """Return the encoder of all configurations; it knows the queries already."""
    encoder = RememberingEncoder(load_encoder(EncoderConfig.model_validate(ENCODER)))
    encoder.embed_queries(queries)
    return encoder


def timed(ask: Way, retriever: Retriever, queries: Sequence[str]) -> tuple[list[Answer], float]:
    """Return the answers, and the milliseconds of each question."""
    started = time.perf_counter()
    answers = [answer for some in batches_of(queries, _BATCH) for answer in ask(retriever, some)]
    return answers, round(1000 * (time.perf_counter() - started) / len(queries), 1)


def span_row(
    configuration: str,
    way: str,
    questions: Sequence[Question],
    answers: Sequence[Sequence[Span]],
    tokens: Sequence[int],
) -> SpanRow:
    """Return the means over the questions; an answer's spans are those of the texts as they were given."""
    scores = [score_spans(spans, question.references) for question, spans in zip(questions, answers, strict=True)]
    mean = mean_span_scores(scores)
    by_corpus: dict[str, list[float]] = {}
    for question, score in zip(questions, scores, strict=True):
        by_corpus.setdefault(question.references[0].document, []).append(score.recall)
    return SpanRow(
        configuration=configuration,
        way=way,
        tokens=round(fmean(tokens), 1),
        recall=round(100 * mean.recall, 2),
        precision=round(100 * mean.precision, 2),
        iou=round(100 * mean.iou, 2),
        points=None,
        milliseconds=0.0,
        recalls={name: round(100 * fmean(recalls), 2) for name, recalls in sorted(by_corpus.items())},
    )


def ranking_row(
    configuration: str, way: str, queries: Sequence[GoldenQuery], found: Sequence[Sequence[str]], seconds: float
) -> RankingRow:
    """Return the means over the queries, whose rankings of documents were found."""
    rankings = {query.query_id: ranking for query, ranking in zip(queries, found, strict=True)}
    metrics = evaluate_rankings({query.query_id: query.relevant for query in queries}, rankings)
    measures = {name: round(100 * value, 2) for name, value in asdict(metrics).items() if name != "queries"}
    milliseconds = round(1000 * seconds / metrics.queries, 1)
    return RankingRow(configuration, way, **measures, queries=metrics.queries, milliseconds=milliseconds)


def tokens_of(encoder: Encoder, answers: Iterable[Iterable[str]]) -> list[int]:
    """Return how many tokens the texts of each answer are together, special tokens left out."""
    return [sum(len(encoder.token_spans(text)) for text in answer) for answer in answers]


def unique(spans: Iterable[Span]) -> list[str]:
    """Return each document once, at the place of its best span."""
    return list(dict.fromkeys(span.document for span in spans))


# Whether the results are right


def align_corpora(raw: Mapping[str, str], cleaned: Mapping[str, str], results: Results) -> dict[str, Corpus]:
    """Return each corpus with the way from its cleaned text back to what was given."""
    corpora = {name: Corpus(text, cleaned[name], align(text, cleaned[name])) for name, text in raw.items()}
    least = min(corpus.alignment.share for corpus in corpora.values())
    goal = f"at least {LEAST_ALIGNED}"
    results.check("characters that cleaning kept", round(least, 4), goal, holds=least >= LEAST_ALIGNED)
    return corpora


def uncovered(client: QdrantClient, collection: str, corpora: Mapping[str, Corpus]) -> str:
    """Return which part of a text is in no chunk of the collection, in words; nothing if there is none."""
    spans: dict[Any, list[Span]] = {}
    for records in scroll(client, collection, 1000, with_payload=["source_id", "start", "end", "size", "role"]):
        for payload in (record.payload or {} for record in records):
            kind = payload.get("size"), payload.get("role")
            spans.setdefault(kind, []).append(Span(payload["source_id"], payload["start"], payload["end"]))
    for kind, some in spans.items():
        for name, corpus in corpora.items():
            covered = [span for span in merge(some) if span.document == name]
            ends = [0, *(span.end for span in covered)]
            starts = [*(span.start for span in covered), len(corpus.cleaned)]
            for end, start in zip(ends, starts, strict=True):
                if corpus.cleaned[end:start].strip():
                    return f"{name} has characters {end} to {start} in no chunk ({kind})"
    return "" if spans else f"{collection} is empty"


def misplaced(answers: Iterable[Answer], corpora: Mapping[str, Corpus]) -> str:
    """Return which result is not the text of its document at its place, in words; nothing if all are."""
    for answer in answers:
        for result in answer:
            cleaned = corpora[result.payload["source_id"]].cleaned
            if not 0 <= result.start < result.end <= len(cleaned):
                return f"{result.chunk_id}: {result.start} to {result.end} is not within its document"
            # Where chunks were joined, nobody knows any more which white space was between them.
            expected = cleaned[result.start : result.end]
            if len(result.text) != len(expected) or result.text.split() != expected.split():
                return f"{result.chunk_id}: its text is not that at {result.start} to {result.end}"
    return ""


def in_raw(result: SearchResult, corpora: Mapping[str, Corpus]) -> Span:
    """Return where a result is in the text as it was given."""
    name = result.payload["source_id"]
    return Span(name, *corpora[name].alignment.to_raw(result.start, result.end))


def check_goals(results: Results) -> None:
    """Set the figures of multi_size beside the goals, and its default beside the baseline."""
    rows = {(row.configuration, row.way): row for row in results.rows}
    for way, (tokens, goals) in GOALS.items():
        row = rows["multi_size", way]
        for measure, least in goals.items():
            value = getattr(row, measure)
            holds = row.tokens <= tokens and value >= least
            name = f"multi_size, {way}: {measure} at {row.tokens} tokens"
            results.check(name, value, f"at least {least} at {tokens} tokens", holds=holds, decides=False)
    baseline = rows[BASELINE, f"dense, k={K}"]
    best = rows["multi_size", DEFAULT]
    for measure in ("recall", "precision", "iou"):
        value, beside = getattr(best, measure), getattr(baseline, measure)
        name = f"multi_size, {DEFAULT}: {measure} at {best.tokens} tokens"
        goal = f"more than the baseline's {beside} at {baseline.tokens} tokens"
        results.check(name, value, goal, holds=value > beside, decides=False)


# The indexes


def index(folder: Path, documents: Iterable[Mapping[str, Any]]) -> Settings:
    """Import documents and run the pipeline, by their commands; return where everything is."""
    settings = Settings(data_dir=folder / "data", _env_file=None)
    exported = folder / "documents.jsonl"
    with exported.open("w", encoding="utf-8") as file:
        for document in documents:
            file.write(json.dumps(document, ensure_ascii=False) + "\n")
    config = folder / "benchmark.yaml"
    config.write_text(yaml.safe_dump({"parameters": parameters()}), encoding="utf-8")
    execute(folder, "import", "json", str(exported), "--collection", CATEGORY)
    execute(folder, "run", "-c", str(config))
    return settings


def parameters() -> dict[str, Any]:
    """Return the configuration of the run: one category of plain texts, and an index for each way to cut them."""
    category = {"name": CATEGORY, "collection": CATEGORY, "text": "text", "format": "text"}
    indexes = [
        {"name": name, "categories": [CATEGORY], "chunking": chunking, "encoder": ENCODER}
        for name, chunking in CHUNKINGS.items()
    ]
    return {"categories": [category], "indexes": indexes}


def execute(folder: Path, *command: str) -> None:
    """Run a command of the product on the installation in ``folder``, whatever the environment says of another."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("MONGO_", "QDRANT_", "ZENML_"))}
    environment = {
        **ours,
        "DATA_DIR": str(folder / "data"),
        "ENV_FILE": str(folder / "none.env"),
        "HF_HUB_OFFLINE": "1",
        "ZENML_CONFIG_PATH": str(folder / "zenml"),
        "ZENML_LOCAL_STORES_PATH": str(folder / "stores"),
        "ZENML_REPOSITORY_PATH": str(folder),
        "ZENML_ANALYTICS_OPT_IN": "false",
    }
    done = subprocess.run(  # noqa: S603 - our own command line
        [sys.executable, "-m", "cli", *command],
        cwd=REPOSITORY,
        env=environment,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIMEOUT,
    )
    if done.returncode:
        raise SystemExit(f"feature-pipeline {' '.join(command)} failed with {done.returncode}:\n{done.stdout[-4000:]}")


def cleaned_texts(settings: Settings) -> dict[str, str]:
    """Return the cleaned text of every document, by source id."""
    store = open_feature_store(settings.feature_store_folder)
    newest = store.newest()
    if newest is None:
        raise SystemExit("The run committed nothing.")
    table = store.documents(newest).to_table(columns=["source_id", "text"], filter=IS_LIVE)
    return {row["source_id"]: row["text"] for row in table.to_pylist()}


# What is shown


def show(rows: Sequence[Any], columns: Sequence[str]) -> None:
    """Print the rows as a table."""
    table = Table("configuration", "asked by", *(column.replace("_", " ") for column in columns), box=None)
    for row in rows:
        table.add_row(row.configuration, row.way, *(f"{getattr(row, column):,.1f}" for column in columns))
    Console(width=140).print(table)


def draw(rows: Sequence[SpanRow], path: Path) -> None:
    """Draw recall against tokens: a line for what ends where it is not good enough, and points for all else."""
    import altair as alt
    import vl_convert

    from feature_store.views.charts import without_labels

    values: list[dict[str, Any]] = [
        {"configuration": row.configuration, "way": _kind(row.way), "tokens": row.tokens, "recall": row.recall}
        for row in rows
    ]
    lines = [value for value in values if value["way"] == _kind(DEFAULT) or value["configuration"] == BASELINE]
    place = {
        "x": alt.X("tokens:Q", title="tokens of an answer, mean", scale=alt.Scale(zero=False)),
        "y": alt.Y("recall:Q", title="recall, %", scale=alt.Scale(zero=False)),
        "color": alt.Color("configuration:N", title=None, sort=[*CHUNKINGS, BASELINE]),
    }
    drawn = alt.layer(
        alt.Chart(alt.InlineData(values=lines)).mark_line(point=True).encode(**place),
        alt.Chart(alt.InlineData(values=values)).mark_point().encode(**place, shape=alt.Shape("way:N", title=None)),
    ).properties(width=620, height=380, background="white", title="What of the answer is found, for how many tokens")
    path.write_text(without_labels(vl_convert.vegalite_to_svg(drawn.to_dict())) + "\n", encoding="utf-8")
    print(path)


def _kind(way: str) -> str:
    asked, _, how = way.partition(", ")
    if asked != "context":
        return asked
    return "context that fills a budget" if how.isdecimal() else "context that ends with the good"


if __name__ == "__main__":
    sys.exit(main())
