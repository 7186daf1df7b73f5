"""Splits: they never change by growth, and near documents are never in two of them."""

import random
from collections import Counter
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.ids import text_hash
from feature_store.training import SplitConfig, TrainingConfig
from steps.export.ledger import Candidate, opened_ledger
from steps.export.signatures import band_keys, equal_places, least_equal_places, signatures_of
from steps.export.splits import ACROSS_SPLITS, DUPLICATE, NEAR_DUPLICATE, decide_all, split_of
from tests.flow import ignore
from tests.unit.export.corpus import edited, id_of, text_of

EVEN = {"train": 0.4, "validation": 0.3, "test": 0.3}


def decisions_on(documents, arrival=None, **options):
    """Return what is decided on (version, name, text), by name: split, reason, similar_to."""
    training = TrainingConfig.model_validate({"splits": EVEN, **options})
    signatures = signatures_of([text for _, _, text in documents], training.near_duplicates)
    bands = band_keys(signatures, training.near_duplicates).tolist()
    candidates = [
        Candidate(id_of(name), version, text_hash(text), None, signature.tobytes(), keys)
        for (version, name, text), signature, keys in zip(documents, signatures, bands, strict=True)
    ]
    if arrival is not None:
        arrival.shuffle(candidates)
    names = {id_of(name): name for _, name, _ in documents}
    with TemporaryDirectory() as folder, opened_ledger(Path(folder) / "ledger") as ledger:
        ledger.add(candidates)
        decide_all(ledger, training, ignore)
        rows = list(ledger.rows("SELECT document_id, split, reason, similar_to FROM decisions"))
    assert len(rows) == len(documents)
    return {names[one]: (split, reason, names.get(similar)) for one, split, reason, similar in rows}


def splits_of(documents, arrival=None, **options):
    return {name: (split, reason) for name, (split, reason, _) in decisions_on(documents, arrival, **options).items()}


def name_in(split, prefix="n", start=0):
    """Return a name whose own hash puts it into a split."""
    config = SplitConfig.model_validate(EVEN)
    return next(f"{prefix}{n}" for n in range(start, 1000) if split_of(id_of(f"{prefix}{n}"), config) == split)


@st.composite
def corpora(draw):
    """Return documents that are variants of few texts: many are equal, near, or nearly near."""
    count = draw(st.integers(2, 14))
    documents = []
    for number in range(count):
        base = text_of(draw(st.integers(0, 1)), 50)
        changed = draw(st.sets(st.integers(0, 49), max_size=3))
        documents.append((draw(st.integers(1, 3)), f"d{number}", edited(base, *changed)))
    return documents


@given(corpora(), corpora(), st.booleans(), st.booleans(), st.randoms())
def test_no_document_moves_as_the_corpus_grows(documents, more, drop, drop_duplicates, chance):
    options = {"near_duplicates": {"drop": drop}, "drop_duplicates": drop_duplicates}
    later = [(version + 3, f"later-{name}", text) for version, name, text in more]
    before = decisions_on(documents, **options)
    after = decisions_on([*documents, *later], chance, **options)
    assert {name: after[name] for name in before} == before


@given(corpora(), st.booleans(), st.booleans())
def test_near_documents_are_in_one_split(documents, drop, drop_duplicates):
    options = {"near_duplicates": {"drop": drop}, "drop_duplicates": drop_duplicates}
    config = TrainingConfig.model_validate(options).near_duplicates
    splits = splits_of(documents, **options)
    taken = [(name, text) for _, name, text in documents if splits[name][0] is not None]
    signatures = dict(zip([n for n, _ in taken], signatures_of([t for _, t in taken], config), strict=True))
    for (one, text), (other, other_text) in combinations(taken, 2):
        if drop_duplicates:
            assert text != other_text
        equal = equal_places(signatures[one].tobytes(), signatures[other].tobytes())
        if equal >= least_equal_places(config):
            assert not drop
            assert splits[one] == splits[other]


def test_shares_are_those_that_were_asked_for():
    counts = Counter(split_of(id_of(number), SplitConfig()) for number in range(20_000))
    assert counts["train"] / 20_000 == pytest.approx(0.9, abs=0.01)
    assert counts["validation"] / 20_000 == pytest.approx(0.05, abs=0.01)
    assert counts["test"] / 20_000 == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("only", ["train", "validation", "test"])
def test_a_share_of_nothing_gets_nothing(only):
    shares = {"train": 0, "validation": 0, "test": 0} | {only: 1}
    assert {split_of(id_of(number), SplitConfig(**shares)) for number in range(100)} == {only}


def test_shares_that_add_up_to_a_little_less_than_one_leave_nobody_out(monkeypatch):
    monkeypatch.setattr("steps.export.splits._HASHES", 2**64 - 2**30)
    assert split_of(id_of(1), SplitConfig(train=0, validation=0.4999999, test=0.5)) in {"validation", "test"}
    monkeypatch.setattr("steps.export.splits._HASHES", 1)  # every point lies beyond the last border
    assert split_of(id_of(1), SplitConfig(train=0.5, validation=0.5, test=0)) == "validation"


def test_another_salt_deals_anew():
    one, other = (
        [split_of(id_of(number), SplitConfig(**EVEN, salt=salt)) for number in range(50)] for salt in ("", "x")
    )
    assert one != other


def test_the_split_of_an_id_is_the_same_for_ever():
    # A change of these would move every document of every user.
    found = [split_of(id_of(number), SplitConfig.model_validate(EVEN)) for number in range(8)]
    assert found == ["test", "test", "train", "train", "test", "test", "test", "test"]


def test_a_near_duplicate_follows_the_first_one():
    first, second = name_in("train"), name_in("test")
    documents = [(1, first, text_of("x")), (2, second, edited(text_of("x"), 30))]
    assert decisions_on(documents) == {first: ("train", None, None), second: ("train", None, first)}


def test_who_is_first_is_told_by_version_and_not_by_order_of_reading():
    first, second = name_in("train"), name_in("test")
    documents = [(2, first, text_of("x")), (1, second, edited(text_of("x"), 30))]
    assert splits_of(documents)[first] == ("test", None)
    assert splits_of(documents[::-1]) == splits_of(documents)


def test_a_document_that_is_near_to_two_splits_is_left_out():
    base = text_of("x", 60)
    left, right, between = name_in("train"), name_in("test"), name_in("train", "between")
    documents = [(1, left, edited(base, 2)), (1, right, edited(base, 57)), (2, between, base)]
    config = {"threshold": 0.85}
    assert splits_of(documents[:2], near_duplicates=config) == {left: ("train", None), right: ("test", None)}
    assert splits_of(documents, near_duplicates=config)[between] == (None, ACROSS_SPLITS)


def test_near_duplicates_are_dropped_when_that_is_asked_for():
    documents = [(1, "a", text_of("x")), (2, "b", edited(text_of("x"), 30)), (3, "c", text_of("y"))]
    found = decisions_on(documents, near_duplicates={"drop": True})
    assert found["b"] == (None, NEAR_DUPLICATE, "a")
    assert found["a"][0] is not None
    assert found["c"][0] is not None


def test_equal_texts_are_dropped_but_one_unless_they_are_wanted():
    documents = [(1, "a", text_of("x")), (2, "b", text_of("x")), (3, "c", text_of("x"))]
    dropped = decisions_on(documents)
    assert dropped["b"] == dropped["c"] == (None, DUPLICATE, "a")
    kept = splits_of(documents, drop_duplicates=False)
    assert kept["a"] == kept["b"] == kept["c"] == (dropped["a"][0], None)


def test_texts_without_words_are_equal_or_not():
    documents = [(1, "a", "***"), (2, "b", "***"), (3, "c", "+++"), (4, "d", "one"), (5, "e", "two words")]
    reasons = {name: reason for name, (_, reason) in splits_of(documents).items()}
    assert reasons == {"a": None, "b": DUPLICATE, "c": None, "d": None, "e": None}


def test_a_text_of_boilerplate_that_thousands_share_is_compared_with_few(monkeypatch):
    compared = []
    real = equal_places
    monkeypatch.setattr("steps.export.splits.equal_places", lambda *pair: compared.append(pair) or real(*pair))
    documents = [(1, f"d{number}", edited(text_of("x", 400), number)) for number in range(300)]
    assert {reason for _, reason in splits_of(documents).values()} == {None}
    assert len(compared) < 3 * len(documents)


def test_a_thousand_texts_that_are_not_alike_are_never_compared(monkeypatch):
    monkeypatch.setattr("steps.export.splits.equal_places", None)
    chance = random.Random(5)
    documents = [(1, f"d{number}", " ".join(chance.choices("abcdefghijklmnopqrst", k=60))) for number in range(1000)]
    assert len(splits_of(documents)) == 1000


@pytest.mark.parametrize("splits", [("train", "test"), ("test", "train"), ("validation", "train")])
def test_a_dropped_document_is_told_beside_the_first_that_it_is_near_to(splits):
    base = text_of("x", 60)
    one, other = map(name_in, splits)
    documents = [(1, one, edited(base, 2)), (2, other, edited(base, 57)), (3, "late", base)]
    found = decisions_on(documents, near_duplicates={"threshold": 0.85, "drop": True})
    assert found["late"] == (None, NEAR_DUPLICATE, one)
