"""Signatures: what they estimate, that every process makes the same, and that bands miss no near pair."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.training import NearDuplicateConfig
from steps.export.signatures import band_keys, equal_places, least_equal_places, signatures_of, word_sequences
from tests.unit.export.corpus import edited, text_of

CONFIG = NearDuplicateConfig()


def jaccard(one, other):
    first, second = (set(word_sequences(text, CONFIG.words)) for text in (one, other))
    return len(first & second) / len(first | second)


@pytest.mark.parametrize("changed", [0, 1, 3, 8], ids=lambda count: f"{count} words")
def test_equal_places_estimate_the_share_of_common_word_sequences(changed):
    base = text_of("x", 300)
    other = edited(base, *range(10, 10 + 20 * changed, 20))
    one, two = signatures_of([base, other], CONFIG)
    estimate = equal_places(one.tobytes(), two.tobytes()) / CONFIG.permutations
    # Five standard errors of 128 draws, at most.
    assert estimate == pytest.approx(jaccard(base, other), abs=0.2 if changed else 0)


def test_another_process_makes_the_same_signatures():
    text = text_of("x", 50) + " Ünïcode 漢字"
    script = (
        "import sys, hashlib\n"
        "from feature_store.training import NearDuplicateConfig\n"
        "from steps.export.signatures import band_keys, signatures_of\n"
        "signatures = signatures_of([sys.argv[1]], NearDuplicateConfig())\n"
        "keys = band_keys(signatures, NearDuplicateConfig())\n"
        "print(hashlib.sha256(signatures.tobytes() + keys.tobytes()).hexdigest())\n"
    )
    command = [sys.executable, "-c", script, text]
    elsewhere = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path.cwd()).stdout.strip()
    signatures = signatures_of([text], CONFIG)
    assert hashlib.sha256(signatures.tobytes() + band_keys(signatures, CONFIG).tobytes()).hexdigest() == elsewhere


def test_a_signature_does_not_depend_on_its_batch():
    texts = [text_of(number) for number in range(20)]
    together = signatures_of(texts, CONFIG)
    assert np.array_equal(together, np.vstack([signatures_of([text], CONFIG) for text in texts]))
    assert signatures_of([], CONFIG).shape == (0, 128)


def test_case_punctuation_and_white_space_do_not_count():
    one, other = signatures_of(["The quick, brown fox\njumps over.", "the QUICK brown -- fox jumps  over"], CONFIG)
    assert np.array_equal(one, other)


@given(st.integers(16, 200), st.sampled_from([0.5, 0.7, 0.8, 0.93, 1.0]), st.randoms())
def test_near_signatures_always_share_a_band(permutations, threshold, chance):
    config = NearDuplicateConfig(permutations=permutations, threshold=threshold)
    one = np.array([chance.randrange(2**32) for _ in range(permutations)], np.uint32)
    other = one.copy()
    for place in chance.sample(range(permutations), permutations - least_equal_places(config)):
        other[place] ^= 1
    assert equal_places(one.tobytes(), other.tobytes()) / permutations >= threshold - 1e-9
    keys = band_keys(np.vstack([one, other]), config)
    assert (keys[0] == keys[1]).any()


def test_bands_differ_when_a_place_or_the_band_differs():
    signature = np.zeros((1, 128), np.uint32)
    keys = band_keys(signature, CONFIG)[0]
    assert len(set(keys.tolist())) == len(keys) == 26
    for place in range(128):
        changed = signature.copy()
        changed[0, place] = 1
        assert (band_keys(changed, CONFIG)[0] != keys).sum() == 1


@pytest.mark.parametrize(
    ("threshold", "permutations", "places"), [(0.8, 128, 103), (0.5, 128, 64), (1.0, 128, 128), (0.7, 10 * 2, 14)]
)
def test_the_threshold_in_places(threshold, permutations, places):
    config = NearDuplicateConfig(threshold=threshold, permutations=permutations)
    assert least_equal_places(config) == places
