"""The language of a text, and the memory of the model that tells it."""

import gc
import weakref

import pytest

from steps.clean import language
from steps.clean.language import detect_language, forget_model


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("The quick brown fox jumps over the lazy dog near the river.", "en", id="English"),
        pytest.param("Der schnelle braune Fuchs springt über den faulen Hund am Fluss.", "de", id="German"),
        pytest.param("too short", None, id="short"),
        pytest.param("```\nimport numpy as np\nfor x in range(100): print(x)\n```", None, id="code only"),
    ],
)
def test_the_language_is_judged_from_prose(text, expected):
    assert detect_language(text) == expected


def test_a_model_that_was_let_go_is_gone_and_the_next_text_reads_it_again():
    assert detect_language("A text of more than twenty letters.") == "en"
    table = weakref.ref(language._identifier().nb_ptc)
    forget_model()
    gc.collect()
    assert table() is None
    assert detect_language("Ein Text von mehr als zwanzig Buchstaben.") == "de"
