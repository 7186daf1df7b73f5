"""How much arithmetic an embedding takes, and how much of it this machine can do in a second."""

import time
from collections.abc import Sequence
from typing import NamedTuple

_SIZE = 1024
_ROWS = 2048
_SECONDS = 0.15


class Dimensions(NamedTuple):
    """The sizes of a transformer that decide its arithmetic."""

    layers: int
    hidden: int
    intermediate: int


def floating_point_operations(dimensions: Dimensions, lengths: Sequence[int]) -> int:
    """Return the operations of a forward pass over texts of these lengths in tokens, special tokens included.

    Two for each weight of the four projections and the two of the feed-forward network and each token, and two for each
    of the 2 x hidden products of each pair of tokens in attention: Kaplan et al. 2020, "Scaling Laws for Neural
    Language Models" (arXiv:2001.08361), table 1. Normalisation, activation, softmax and embeddings are left out.
    """
    layers, hidden, intermediate = dimensions
    weights = 4 * hidden * hidden + 2 * hidden * intermediate
    tokens, pairs = sum(lengths), sum(length * length for length in lengths)
    return 2 * layers * (weights * tokens + 2 * hidden * pairs)


def measure_gemm(precision: str) -> float:
    """Return the operations per second of a matrix product at a precision, all cores or the GPU at work.

    Takes about 0.2 s, once torch is imported. It is the best of several: whatever else the machine does lowers it.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, precision)
    left = torch.ones(_ROWS, _SIZE, device=device, dtype=dtype)
    right = torch.ones(_SIZE, _SIZE, device=device, dtype=dtype)
    best = float("inf")
    with torch.inference_mode():
        torch.nn.functional.linear(left, right)  # the first one is slow
        until = time.perf_counter() + _SECONDS
        while best == float("inf") or time.perf_counter() < until:
            started = time.perf_counter()
            torch.nn.functional.linear(left, right)
            if device == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - started)
    return 2 * _ROWS * _SIZE * _SIZE / best
