"""What a person sees of an evaluation: how good the index is at finding, and what it answered worst."""

from typing import Any

from feature_store.handles import AnsweredQuery, RetrievalEvaluation
from feature_store.views import charts
from feature_store.views.page import cards, heading, html_table, note, page, sentence, side_by_side
from feature_store.views.text import counted, escape_markdown, figure, markdown_table, paragraphs, shortened

_QUERY = 120  # characters of a query in a table
_TENTHS = 10
_IN_SUMMARY = 20  # queries
_HEADER = ["query", "nDCG@10", "recall@100", "first relevant at", "relevant", "found first"]


def view_retrieval_evaluation(handle: RetrievalEvaluation) -> dict[str, str]:
    """Return the measures, how they are spread over the queries, and the queries that were answered worst."""
    return {"summary.md": _summary(handle), "queries.html": _page(handle)}


def describe_retrieval_evaluation(handle: RetrievalEvaluation) -> dict[str, Any]:
    """Return figures for the metadata."""
    measures = {
        name: round(getattr(handle, name), 4) for name in ("ndcg_at_10", "recall_at_10", "recall_at_100", "mrr")
    }
    others = handle.model_dump(exclude={*measures, "ndcg_counts", "worst", "seconds"})
    return {**others, **measures, "seconds": round(handle.seconds, 3)}


def _summary(handle: RetrievalEvaluation) -> str:
    measures = [[name, f"{value:.1f} %"] for name, value in _measures(handle).items()]
    return paragraphs(
        f"# Retrieval from {escape_markdown(handle.index)}",
        f"**{escape_markdown(_headline(handle))}** {escape_markdown(_missing(handle))}",
        markdown_table(["measure", "mean"], measures),
        "## Answered worst" if handle.worst else "",
        markdown_table(_HEADER, [_row(answered) for answered in handle.worst[:_IN_SUMMARY]]),
        "## What was asked",
        markdown_table(["", "value"], _asked(handle)),
    )


def _page(handle: RetrievalEvaluation) -> str:
    spread = {_tenth(place): count for place, count in enumerate(handle.ndcg_counts)}
    # A document that was found or should have been: whoever erases it finds the row by the first of them.
    documents = [(answered.relevant or answered.found or [""])[0] for answered in handle.worst]
    return page(
        f"Retrieval from {handle.index}",
        sentence(f"{_headline(handle)} {_missing(handle)}"),
        cards({**{name: f"{value:.1f} %" for name, value in _measures(handle).items()}, "queries": handle.queries}),
        side_by_side(
            charts.bars("Means over the queries, in %", _measures(handle), "point"),
            charts.columns("Questions by their nDCG@10", spread, "question", "% nDCG@10"),
        ),
        heading("Answered worst") if handle.worst else "",
        html_table(_HEADER, [_row(answered) for answered in handle.worst], documents),
        note("Documents are ranked by their best chunk; the first documents are those that were found first."),
        heading("What was asked"),
        html_table(["", "value"], _asked(handle)),
    )


def _headline(handle: RetrievalEvaluation) -> str:
    asked = "1 query" if handle.queries == 1 else f"{handle.queries:,} queries"
    return f"nDCG@10 is {handle.ndcg_at_10:.1%} over {asked}, at version {handle.version}."


def _missing(handle: RetrievalEvaluation) -> str:
    if not handle.missing:
        return ""
    return f"{counted(handle.missing, 'judged document')} {'is' if handle.missing == 1 else 'are'} not in the index."


def _measures(handle: RetrievalEvaluation) -> dict[str, float]:
    return {
        "nDCG@10": 100 * handle.ndcg_at_10,
        "recall@10": 100 * handle.recall_at_10,
        "recall@100": 100 * handle.recall_at_100,
        "MRR": 100 * handle.mrr,
    }


def _row(answered: AnsweredQuery) -> list[object]:
    return [
        shortened(answered.query, _QUERY),
        f"{answered.ndcg_at_10:.1%}",
        f"{answered.recall_at_100:.1%}",
        "not found" if answered.rank is None else answered.rank,
        ", ".join(answered.relevant),
        ", ".join(answered.found) or "nothing",
    ]


def _asked(handle: RetrievalEvaluation) -> list[list[object]]:
    return [
        ["collection", handle.collection],
        ["fingerprint", handle.fingerprint],
        ["version of the feature store", str(handle.version)],
        ["points", figure(handle.points)],
        ["chunking", handle.chunking],
        ["model", handle.model],
        ["judged by", f"{handle.data} ({handle.format})"],
    ]


def _tenth(place: int) -> str:
    low = place * 100 // _TENTHS
    return f"{low} to {low + 100 // _TENTHS}"
