"""`evaluate`: how good an index is at finding, by queries that somebody judged."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from commands.shared import AsJson, Config, index_to_search, load_config, output, print_json, started
from feature_store.defaults import DEFAULT_CONFIG

if TYPE_CHECKING:
    from inference.evaluation.evaluate import IndexEvaluation, QueryEvaluation

_WORST = 10
_QUERY = 70


def evaluate(
    data: Annotated[Path, typer.Option("--data", help="File of golden queries, or a folder in BEIR's layout.")],
    data_format: Annotated[str, typer.Option("--format", help="golden or beir.")] = "golden",
    index: Annotated[str | None, typer.Option(help="Name of the index; default: the first one configured.")] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Ask the collection that serves an index every judged query: nDCG@10, recall@10, recall@100 and MRR.

    Golden queries are JSON lines: {"query": "...", "relevant": ["articles:42"]}; grades instead: {"articles:42": 2}.
    With --format beir, the ids of the corpus are the source ids or the external ids of documents in the index.
    """
    settings = started()
    from feature_store.index import open_qdrant
    from inference.evaluation.evaluate import evaluate_index

    name, trusted = index_to_search(load_config(config), index)
    with open_qdrant(settings) as client:
        evaluated = evaluate_index(client, name, data, data_format, trusted)
    if as_json:
        print_json(_as_json(evaluated))
    else:
        _print_evaluation(evaluated)


def _as_json(evaluated: "IndexEvaluation") -> dict[str, Any]:
    metadata, evaluation = evaluated.metadata, evaluated.evaluation
    return {
        "index": metadata.index,
        "collection": evaluated.collection,
        "fingerprint": metadata.fingerprint,
        "version": metadata.version,
        "metrics": asdict(evaluation.metrics),
        "missing": evaluation.missing,
        "queries": [
            {
                "id": answered.query.query_id,
                "query": answered.query.query,
                **asdict(answered.scores),
                "relevant": dict(answered.query.relevant),
                "found": list(answered.ranking[:10]),
            }
            for answered in evaluation.queries
        ],
    }


def _print_evaluation(evaluated: "IndexEvaluation") -> None:
    metrics, missing = evaluated.evaluation.metrics, evaluated.evaluation.missing
    version = evaluated.metadata.version
    output.print(f"\n[bold]{escape(evaluated.collection)}[/] at version {version}, {metrics.queries:,} queries\n")
    table = Table("nDCG@10", "recall@10", "recall@100", "MRR", box=None)
    figures = (metrics.ndcg_at_10, metrics.recall_at_10, metrics.recall_at_100, metrics.mrr)
    table.add_row(*(f"{figure:.1%}" for figure in figures))
    output.print(table)
    if missing:
        named = ", ".join(escape(name) for name in missing[:3])
        output.print(f"\n[yellow]{len(missing):,} judged documents are not in the index[/], such as {named}.")
    _print_worst(evaluated.evaluation.queries)


def _print_worst(queries: "list[QueryEvaluation]") -> None:
    imperfect = [answered for answered in queries if answered.scores.ndcg_at_10 < 1]
    if not imperfect:
        return
    table = Table("answered worst", "nDCG@10", "recall@100", box=None)
    for answered in sorted(imperfect, key=lambda answered: answered.scores.ndcg_at_10)[:_WORST]:
        scores = answered.scores
        table.add_row(escape(answered.query.query[:_QUERY]), f"{scores.ndcg_at_10:.1%}", f"{scores.recall_at_100:.1%}")
    output.print()
    output.print(table)
