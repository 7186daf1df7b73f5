"""What a search returns: results that an answer can cite, and a context that fits a prompt."""

from typing import Any

from pydantic import BaseModel, ConfigDict

Span = tuple[int, int]
"""Start and end of a stretch of a document's cleaned text, in characters."""


class Scores(BaseModel):
    """The scores of one result; what did not take part is None.

    ``dense`` is the similarity of the vectors and ``keywords`` the BM25 score, both as Qdrant computes them; ``fused``
    joins them and ``reranked`` is what the reranker says of the text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dense: float | None = None
    keywords: float | None = None
    fused: float
    reranked: float | None = None


class SearchResult(BaseModel):
    """A passage of one document, with what an answer needs to cite it.

    At the ``version`` of the index, ``text`` is the document's cleaned text from ``start`` to ``end``; where it is made
    of several chunks, line breaks stand for the white space between these. ``spans`` are the stretches of it
    that matched, the best first: the chunk's own, the children's of a parent, those of all chunks that were merged.
    ``score`` is the reranked score where there is a reranker, the votes where sizes voted, otherwise the fused one.
    ``chunk_id``, ``scores``, ``heading_path`` and the whole ``payload`` are those of the best chunk (or parent).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    chunk_id: str
    score: float
    scores: Scores
    text: str
    start: int
    end: int
    spans: list[Span]
    document_id: str
    category: str
    title: str | None
    url: str | None
    author: str | None
    published_at: str | None
    heading_path: list[str]
    version: int
    payload: dict[str, Any]


class Context(BaseModel):
    """Passages in reading order, ``tokens`` long in all, counted by the index's own tokenizer.

    Documents come in the order of their best passage, the passages of a document in the order of its text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    results: list[SearchResult]
    text: str
    tokens: int

    def to_prompt(self) -> str:
        """Return the passages under numbers to cite, each with its title, its headings and its address.

        These lines are not among the ``tokens``.
        """
        return "\n\n".join(_cited(number, result) for number, result in enumerate(self.results, start=1))


def _cited(number: int, result: SearchResult) -> str:
    headings = " > ".join(heading for heading in result.heading_path if heading != result.title)
    source = " | ".join(part for part in (result.title, headings, result.url) if part)
    return f"[{number}] {source or result.document_id}\n{result.text}"
