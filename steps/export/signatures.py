"""MinHash signatures: texts that share most of their word sequences have mostly equal ones.

The share of equal places in two signatures estimates the Jaccard similarity of the two sets (Broder 1997). Signatures
are cut into bands, and only texts with an equal band are compared (Leskovec, Rajaraman, Ullman: Mining of Massive
Datasets, chapter 3). Near signatures differ in few places, and there is one band more than that: so at least one band
of theirs is equal, and no near pair is missed.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rensa import RMinHash

from feature_store.training import NearDuplicateConfig
from steps.export.words import sequences, words_of

Signatures = npt.NDArray[np.uint32]

_SEED = 42
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd: multiplying by it loses nothing
_ROUNDING = 1e-9


def signatures_of(texts: Sequence[str], config: NearDuplicateConfig) -> Signatures:
    """Return one signature a text: shape (len(texts), permutations)."""
    sets = [word_sequences(text, config.words) for text in texts]
    digests = RMinHash.digests_from_token_sets(sets, config.permutations, _SEED)
    return np.array(digests, dtype=np.uint32).reshape(len(texts), config.permutations)


def word_sequences(text: str, length: int) -> list[str]:
    """Return what two texts are compared by: every ``length`` words in a row; what is shorter is one whole."""
    words = words_of(text)
    return list(sequences(words, length)) or [" ".join(words) or text]


def band_keys(signatures: Signatures, config: NearDuplicateConfig) -> npt.NDArray[np.int64]:
    """Return a number for every band of every signature: shape (len(signatures), bands)."""
    places = config.permutations
    bands = places - least_equal_places(config) + 1
    keys = np.empty((len(signatures), bands), dtype=np.uint64)
    for band, columns in enumerate(np.array_split(signatures.astype(np.uint64), bands, axis=1)):
        key = np.full(len(signatures), band + 1, dtype=np.uint64)
        for column in columns.T:
            key = (key ^ column) * _FACTOR
            key ^= key >> np.uint64(32)
        keys[:, band] = key
    return keys.view(np.int64)


def least_equal_places(config: NearDuplicateConfig) -> int:
    """Return in how many places the signatures of near-duplicates are equal, at least."""
    return math.ceil(config.threshold * config.permutations - _ROUNDING)


def equal_places(one: bytes, other: bytes) -> int:
    """Return the number of places in which two stored signatures are equal."""
    return int(np.count_nonzero(np.frombuffer(one, np.uint32) == np.frombuffer(other, np.uint32)))
