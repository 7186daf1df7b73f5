"""Fusion: one score out of the dense and the keyword list of a query.

Lists are mappings of an item's id to its score; an item that a list lacks counts as its worst.
"""

from collections.abc import Mapping


def normalise(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the scores brought to 0..1 by minimum and maximum of the list.

    Scores that are all equal become 1: they tell nothing apart, but were found.
    """
    if not scores:
        return {}
    worst, best = min(scores.values()), max(scores.values())
    if best == worst:
        return dict.fromkeys(scores, 1.0)
    return {item: (score - worst) / (best - worst) for item, score in scores.items()}


def convex_combination(dense: Mapping[str, float], keywords: Mapping[str, float], alpha: float) -> dict[str, float]:
    """Return ``alpha * dense + (1 - alpha) * keywords`` of the normalised scores, the best first, in 0..1.

    Items of a list without weight are left out: ``alpha`` 1 is the dense list, 0 the keyword list, each in its order.
    Equal scores are ordered by id.

    Source: Bruch, Gai and Ingber, An Analysis of Fusion Functions for Hybrid Retrieval, ACM TOIS 42 (2023).

    Raises:
        ValueError: if ``alpha`` is not in 0..1.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; give a number from 0 (keywords alone) to 1 (dense alone)")
    fused: dict[str, float] = {}
    for weight, scores in ((alpha, normalise(dense)), (1 - alpha, normalise(keywords))):
        if weight:
            for item, score in scores.items():
                fused[item] = fused.get(item, 0.0) + weight * score
    return _best_first(fused)


def _best_first(scores: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(scores.items(), key=lambda entry: (-entry[1], entry[0])))
