"""The stand-in for the model, and the comparison of two installations: what tests and benchmarks rest on."""

import copy
from dataclasses import fields

import numpy as np
import pytest

from feature_store.encoders import Encoder
from tests.comparison import Points, State, differences
from tests.stand_in import HashEncoder

POINTS = Points(
    {"p1": {"text": "one"}, "p2": {"text": "two"}}, np.eye(2, 4, dtype=np.float32), [{1: 0.5}, {2: 0.5, 3: 0.1}]
)
STATE = State({"d1": {"text": "one"}}, {"d2": {"reason": "empty"}}, {"index": POINTS})


def test_the_stand_in_has_all_that_an_encoder_has():
    of_an_installation = {"path", "tokens_embedded", "operations_embedded"}
    wanted = {*(field.name for field in fields(Encoder)), *vars(Encoder)} - of_an_installation
    wanted = {name for name in wanted if not name.startswith("_")}
    assert {"precision", "embed_documents", "fingerprint"} <= wanted
    assert {name for name in wanted if not hasattr(HashEncoder(), name)} == set()


def test_vectors_follow_from_the_text_alone_and_have_length_one():
    texts = ["a river", "a stone", "", "a river"]
    vectors = HashEncoder().embed_documents(texts)
    assert vectors.shape == (4, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.array_equal(vectors[0], vectors[3])
    assert np.array_equal(vectors[:1], HashEncoder().embed_documents(["a river"]))
    assert abs(vectors[:3] @ vectors[:3].T - np.eye(3)).max() < 0.3


def test_it_notes_what_it_embeds_in_its_journal_too(tmp_path):
    encoder = HashEncoder(journal=tmp_path / "journal")
    encoder.embed_documents(["a", "b"])
    encoder.embed_documents([])
    encoder.embed_documents(["a"])
    assert encoder.texts == ["a", "b", "a"]
    first, second, third = (tmp_path / "journal").read_text().split()
    assert first == third != second


def test_spans_cover_every_character_that_is_no_space():
    text = "Extraordinarily (long), isn't it?\n\n`code_with_names`"
    spans = HashEncoder().token_spans(text)
    assert "".join(text[start:end] for start, end in spans) == "".join(text.split())


def test_equal_states_have_no_differences():
    assert differences(copy.deepcopy(STATE), STATE) == []


def lose_a_document(state):
    state.documents.clear()


def change_a_document(state):
    state.documents["d1"]["text"] = "other"


def invent_a_reject(state):
    state.rejects["d3"] = {"reason": "empty"}


def lose_a_point(state):
    del state.points["index"].payloads["p1"]


def change_a_payload(state):
    state.points["index"].payloads["p1"]["position"] = 7


def turn_a_vector(state):
    state.points["index"].dense[1] = [0, 0.999, 0.01, 0]


def weigh_a_word(state):
    state.points["index"].sparse[1][3] = 0.2


def forget_a_word(state):
    del state.points["index"].sparse[0][1]


@pytest.mark.parametrize(
    "act",
    [
        lose_a_document,
        change_a_document,
        invent_a_reject,
        lose_a_point,
        change_a_payload,
        turn_a_vector,
        weigh_a_word,
        forget_a_word,
    ],
)
def test_every_difference_is_found_from_both_sides(act):
    other = copy.deepcopy(STATE)
    act(other)
    assert len(differences(other, STATE)) == 1
    assert len(differences(STATE, other)) == 1
