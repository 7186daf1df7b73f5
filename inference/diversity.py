"""Results that differ from each other: maximal marginal relevance."""

import numpy as np
import numpy.typing as npt

from feature_store.errors import ConfigurationError


def select_diverse(
    vectors: npt.NDArray[np.float32], scores: npt.NDArray[np.float64], k: int, diversity: float
) -> list[int]:
    """Return the places of at most ``k`` results, in the order in which they are taken.

    Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): the next one taken has the highest
    ``(1 - diversity) * score - diversity * similarity``, where the similarity is the highest cosine to any that was
    taken before. The scores are brought to 0..1 first, so that both have one scale. The first one taken is the best by
    score. With diversity 0 that is the order of the scores, and with 1 they only decide between equals.

    Args:
        vectors: One a result, of any length but 0; shape (n, dimension).
        scores: One a result, higher is better; shape (n,).
        k: How many to take.
        diversity: From 0 to 1.

    Raises:
        ConfigurationError: if ``diversity`` is outside of 0 to 1.
    """
    if not 0 <= diversity <= 1:
        raise ConfigurationError(f"diversity is {diversity}.", "Give a number from 0 (by score) to 1.")
    # From here on in the order of the scores: of several that are equally good, argmax takes the best by score.
    order = np.argsort(-np.asarray(scores), kind="stable")
    relevance = _scaled(np.asarray(scores, np.float64)[order])
    directions = _directions(np.asarray(vectors, np.float64)[order])
    most_similar = np.full(len(order), -np.inf)
    taken: list[int] = []
    while len(taken) < min(k, len(order)):
        gain = (1 - diversity) * relevance - diversity * most_similar if taken else relevance.copy()
        gain[taken] = -np.inf
        taken.append(int(np.argmax(gain)))
        most_similar = np.maximum(most_similar, directions @ directions[taken[-1]])
    return [int(place) for place in order[taken]]


def _scaled(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the scores between 0 and 1; all 0 where they are equal."""
    spread = np.ptp(scores) if len(scores) else 0.0
    return (scores - scores.min()) / spread if spread else np.zeros_like(scores)


def _directions(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    directions: npt.NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return directions
