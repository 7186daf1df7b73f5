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


ENGLISH = "The committee will publish its findings next week, and every member is invited to comment on them. " * 4
GERMAN = "Der Ausschuss wird seine Ergebnisse nächste Woche veröffentlichen, und alle sind eingeladen. " * 10


def test_a_beginning_that_leaves_no_doubt_decides():
    assert detect_language(ENGLISH[:300] + GERMAN) == "en"


def test_a_beginning_that_leaves_doubt_does_not():
    assert detect_language("alpha-0 beta-1 gamma-2 delta-3 " * 10 + GERMAN) == "de"


def test_what_comes_after_a_thousand_characters_is_not_looked_at():
    assert detect_language("alpha-0 beta-1 gamma-2 delta-3 " * 40 + GERMAN) != "de"


def test_a_model_that_was_let_go_is_gone_and_the_next_text_reads_it_again():
    assert detect_language("A text of more than twenty letters.") == "en"
    table = weakref.ref(language._identifier().nb_ptc)
    forget_model()
    gc.collect()
    assert table() is None
    assert detect_language("Ein Text von mehr als zwanzig Buchstaben.") == "de"
