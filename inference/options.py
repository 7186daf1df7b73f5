"""How to search: the options of every search, checked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from feature_store.errors import ConfigurationError

Fusion = Literal["convex", "rrf"]
Rerank = Callable[[str, Sequence[str]], Sequence[float]]


class SearchOptions(TypedDict, total=False):
    """What a search may be told; left out, it does as the index's own configuration says.

    ``alpha`` weighs dense against keywords: 0 is BM25 alone, 1 the vectors alone; None is the index's own.
    ``fusion`` joins the two rankings: ``convex`` on the client by their scores, each brought to 0..1, weighed by alpha;
    ``rrf`` on the server by reciprocal rank, which knows no alpha.
    ``filters`` are plain values of payload fields, see `inference.filters`.
    ``min_score`` is the least score of a result: the reranked one where there is a reranker, otherwise the fused one,
    which is from 0 to 1 and relative to the best candidates of the query (with ``rrf``, a sum of reciprocal ranks).
    ``reranker`` takes the query and texts and gives a score for each; only the best candidates are given to it.
    ``diversity``, from 0 to 1, trades relevance for results that differ from each other.
    ``neighbours`` widens each result by so many chunks before and behind it; results that then meet become one.
    """

    alpha: float | None
    fusion: Fusion
    filters: Mapping[str, Any] | None
    min_score: float | None
    reranker: Rerank | None
    diversity: float
    neighbours: int


class ContextOptions(SearchOptions, total=False):
    """What a context may be told besides.

    ``threshold``, from 0 to 1, is the least score of a passage, as a share of the best one's: a query with one clear
    answer gets a short context. None is the index's own where its sizes vote; other contexts then fill their budget.
    """

    threshold: float | None


@dataclass(frozen=True)
class Search:
    """The options of one search, the defaults filled in.

    Raises:
        ConfigurationError: for a value that means nothing.
    """

    alpha: float | None = None
    fusion: Fusion = "convex"
    filters: Mapping[str, Any] | None = None
    min_score: float | None = None
    reranker: Rerank | None = None
    diversity: float = 0.0
    neighbours: int = 0
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise ConfigurationError(f"alpha is {self.alpha}.", "Give a number from 0 (keywords) to 1 (vectors).")
        if self.fusion not in {"convex", "rrf"}:
            raise ConfigurationError(f"fusion is {self.fusion!r}.", "Give 'convex' or 'rrf'.")
        if self.fusion == "rrf" and self.alpha is not None:
            raise ConfigurationError("Reciprocal ranks have no alpha.", "Give either fusion='rrf' or alpha.")
        if not 0 <= self.diversity <= 1:
            raise ConfigurationError(f"diversity is {self.diversity}.", "Give a number from 0 (by score) to 1.")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigurationError(f"threshold is {self.threshold}.", "Give a share of the best score, from 0 to 1.")
        if self.neighbours < 0:
            raise ConfigurationError(f"neighbours is {self.neighbours}.", "Give 0 or more.")
