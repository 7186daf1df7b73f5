"""How much of what a question needs is in what was retrieved, measured in characters.

The measures are those of Smith and Troynikov 2024, "Evaluating Chunking Strategies for Retrieval" (Chroma): a text that
is retrieved twice costs precision twice, since a reader would be given it twice.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple


class Span(NamedTuple):
    """The characters of a document from ``start`` to ``end``, the latter not included."""

    document: str
    start: int
    end: int


@dataclass(frozen=True)
class SpanScores:
    """Each from 0 to 1; those of one question or the means of several."""

    recall: float
    precision: float
    iou: float


def score_spans(retrieved: Iterable[Span], relevant: Iterable[Span]) -> SpanScores:
    """Return recall, precision and intersection over union of what was retrieved for one question.

    With the characters that are both retrieved and relevant, each counted once: recall is their share of the relevant
    ones; precision is their share of the sum of the retrieved lengths; IoU is their share of that sum and the relevant
    ones that are not among them.

    Raises:
        ValueError: if nothing is relevant.
    """
    retrieved, wanted = list(retrieved), merge(relevant)
    relevant_length = _length(wanted)
    if relevant_length == 0:
        raise ValueError("no character is relevant: nothing can be scored")
    retrieved_length = _length(retrieved)
    common = _common_length(merge(retrieved), wanted)
    return SpanScores(
        recall=common / relevant_length,
        precision=common / retrieved_length if retrieved_length else 0.0,
        iou=common / (retrieved_length + relevant_length - common),
    )


def mean_span_scores(scores: Iterable[SpanScores]) -> SpanScores:
    """Return the means over questions.

    Raises:
        ValueError: if there are none.
    """
    scores = list(scores)
    if not scores:
        raise ValueError("there is no question")
    return SpanScores(
        recall=fmean(score.recall for score in scores),
        precision=fmean(score.precision for score in scores),
        iou=fmean(score.iou for score in scores),
    )


def merge(spans: Iterable[Span]) -> list[Span]:
    """Return the spans in order, with those joined that overlap or touch; empty ones are left out."""
    merged: list[Span] = []
    for span in sorted(span for span in spans if span.start < span.end):
        if merged and merged[-1].document == span.document and span.start <= merged[-1].end:
            merged[-1] = merged[-1]._replace(end=max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged


def _common_length(ones: list[Span], others: list[Span]) -> int:
    """Return the length that two lists of merged spans have in common."""
    pairs = ((one, other) for one in ones for other in others if one.document == other.document)
    return sum(max(0, min(one.end, other.end) - max(one.start, other.start)) for one, other in pairs)


def _length(spans: list[Span]) -> int:
    return sum(max(0, span.end - span.start) for span in spans)
