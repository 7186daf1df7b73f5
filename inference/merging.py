"""Merging results into passages, and passages into a context: nothing is there twice, and a budget of tokens holds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from feature_store.encoders import TokenSpans
from inference.results import Context, SearchResult, Span

CountTokens = Callable[[str], int]

SEPARATOR = "\n\n"


@dataclass(frozen=True, order=True)
class Piece:
    """A chunk in its place: ``position`` counts the chunks of one document and size (0 where there is one size)."""

    start: int
    end: int
    text: str
    size: int
    position: int

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> Self:
        """Return the piece that a point's payload describes."""
        return cls(payload["start"], payload["end"], payload["text"], payload.get("size") or 0, payload["position"])

    def follows(self, others: Iterable["Piece"]) -> bool:
        """Return whether there is only white space between this piece and the end of one of the others."""
        return any(self.size == other.size and self.position == other.position + 1 for other in others)


@dataclass(frozen=True)
class Passage:
    """A stretch of one document: a result, or several that overlap or follow each other.

    ``rank`` is that of the best one, which gives the passage its scores; 0 is the best of all.
    """

    rank: int
    best: SearchResult
    pieces: tuple[Piece, ...]
    spans: tuple[Span, ...]

    @property
    def end(self) -> int:
        """The end of the passage in its document."""
        return max(piece.end for piece in self.pieces)

    def meets(self, later: "Passage") -> bool:
        """Return whether a passage that does not start before this one overlaps or follows it."""
        first = later.pieces[0]
        return first.start <= self.end or first.follows(self.pieces)

    def joined(self, other: "Passage") -> "Passage":
        """Return both as one passage."""
        better, worse = sorted((self, other), key=lambda passage: passage.rank)
        pieces = sorted({*better.pieces, *worse.pieces})
        return Passage(better.rank, better.best, tuple(pieces), tuple(dict.fromkeys((*better.spans, *worse.spans))))

    def to_result(self) -> SearchResult:
        """Return the passage as a result."""
        update = {
            "text": join_text(self.pieces),
            "start": self.pieces[0].start,
            "end": self.end,
            "spans": list(self.spans),
        }
        return self.best.model_copy(update=update)


def passages_of(results: Iterable[SearchResult]) -> list[Passage]:
    """Return a ranking as passages, each of one result."""
    return [
        Passage(rank, result, (Piece.of(result.payload),), tuple(result.spans)) for rank, result in enumerate(results)
    ]


def white_space_of(length: int) -> str:
    """Return what stands for the white space between two chunks, of which only the length is in Qdrant.

    A line break for each character: lists and tables stay what they are.
    """
    return "\n" * length


def join_text(pieces: Sequence[Piece]) -> str:
    """Return the text from the start of the first piece to the end of the last one.

    Overlaps are there once.
    """
    text, end = "", pieces[0].start
    for piece in sorted(pieces):
        if piece.end > end:
            text += white_space_of(piece.start - end) + piece.text[max(end - piece.start, 0) :]
            end = piece.end
    return text


def merge(passages: Iterable[Passage]) -> list[Passage]:
    """Return the passages, those of a document that overlap or follow each other as one; the best first."""
    documents: dict[str, list[Passage]] = {}
    for passage in passages:
        documents.setdefault(passage.best.document_id, []).append(passage)
    merged: list[Passage] = []
    for of_a_document in documents.values():
        first, *others = sorted(of_a_document, key=lambda passage: (passage.pieces[0].start, passage.rank))
        merged.append(first)
        for passage in others:
            if merged[-1].meets(passage):
                merged[-1] = merged[-1].joined(passage)
            else:
                merged.append(passage)
    return sorted(merged, key=lambda passage: passage.rank)


def head_within(passages: Sequence[Passage], budget: int, count: CountTokens) -> int:
    """Return how many of the best passages have at most ``budget`` tokens in all, merged where they meet."""
    lengths: dict[str, int] = {}
    between = count(SEPARATOR)
    for number in range(1, len(passages) + 1):
        texts = [join_text(passage.pieces) for passage in merge(passages[:number])]
        lengths |= {text: count(text) for text in texts if text not in lengths}
        if sum(lengths[text] for text in texts) + between * (len(texts) - 1) > budget:
            return number - 1
    return len(passages)


def build_context(passages: Sequence[Passage], budget: int, token_spans: TokenSpans) -> Context:
    """Return the context of as many of the best passages as have at most ``budget`` tokens in all.

    If not even the best one fits, it is cut to the budget, from where it matched best.
    """

    def count(text: str) -> int:
        return len(token_spans(text))

    fitting = passages[: head_within(passages, budget, count)]
    results = _in_reading_order(merge(fitting))
    if passages and not fitting:
        results = [cut(passages[0].to_result(), budget, token_spans)]
    return in_this_order(results, count)


def in_this_order(results: Sequence[SearchResult], count: CountTokens) -> Context:
    """Return the context of passages as they come."""
    text = SEPARATOR.join(result.text for result in results)
    return Context(results=list(results), text=text, tokens=count(text))


def _in_reading_order(passages: Sequence[Passage]) -> list[SearchResult]:
    documents = list(dict.fromkeys(passage.best.document_id for passage in passages))
    ordered = sorted(passages, key=lambda each: (documents.index(each.best.document_id), each.pieces[0].start))
    return [passage.to_result() for passage in ordered]


def cut(result: SearchResult, budget: int, token_spans: TokenSpans) -> SearchResult:
    """Return ``budget`` tokens of a result from where it matched best, or before if that is near its end."""
    tokens = token_spans(result.text)
    matched = result.spans[0][0] - result.start
    before = sum(end <= matched for _, end in tokens)
    kept = tokens[min(before, len(tokens) - budget) :][:budget]
    start, end = kept[0][0], kept[-1][1]
    first, last = result.start + start, result.start + end
    spans = [(max(one, first), min(other, last)) for one, other in result.spans if one < last and other > first]
    return result.model_copy(update={"text": result.text[start:end], "start": first, "end": last, "spans": spans})
