import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.defaults import REPOSITORY
from steps.clean.text import clean_text, join_broken_words

CLEANING_WHILE_REQUESTS_ARE_TOLD = """
import requests
requests.get = lambda address, **options: print("asked for", address)
from steps.clean.text import clean_text
print(clean_text("A paragraph wrapped hard at\\nits line ends."))
"""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param(
            "A paragraph wrapped hard at\nits line ends.", "A paragraph wrapped hard at its line ends.", id="wrap"
        ),
        pytest.param("one paragraph\n\n\n\nanother   one", "one paragraph\n\nanother one", id="blank lines"),
        pytest.param("Jane Roe\nMain Street 1", "Jane Roe\n\nMain Street 1", id="short lines"),
        pytest.param("- one\n- two\n  more", "- one\n- two\n  more", id="list"),
        pytest.param("name    value\nother   thing", "name value\nother thing", id="columns"),
        pytest.param(
            "Title\n=====\nSome text that follows.", "Title\n\nSome text that follows.", id="underlined title"
        ),
        pytest.param("a\r\n\r\nb", "a\n\nb", id="Windows line ends"),
        pytest.param("trailing  \n\nspaces\t", "trailing\n\nspaces", id="trailing spaces"),
        pytest.param("\n\n", "", id="nothing"),
        pytest.param("Just **bold** text.", "Just **bold** text.", id="stars in a short line"),
        pytest.param("It is *Apache 2*\nor *MIT*.", "It is *Apache 2*\n\nor *MIT*.", id="stars in short lines"),
        pytest.param("Rome · Milan", "Rome · Milan", id="a dot in a short line"),
        pytest.param("e la nave va,\nva, va", "e la nave va, va, va", id="an Italian and"),
        pytest.param("• one\nwhich goes on", "• one\nwhich goes on", id="a bullet"),
    ],
)
def test_paragraphs_are_made_whole(source, expected):
    assert clean_text(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("an exam-\nple", "an example", id="hyphenated word"),
        pytest.param("a well-\nknown fact", "a well-known fact", id="real hyphen"),
        pytest.param("pre- \n and post-war", "pre- and post-war", id="suspended hyphen"),
        pytest.param("the Jean-\nPaul", "the Jean-Paul", id="name"),
        pytest.param("GPT-\nfour", "GPT-four", id="acronym"),
    ],
)
def test_words_broken_at_a_line_end_are_joined(source, expected):
    assert join_broken_words(source) == expected


@given(st.text())
def test_no_text_raises_or_leaves_blank_lines_in_a_row(text):
    assert "\n\n\n" not in clean_text(text)


LINES = st.text("ab1 .,-*•·–(e", min_size=1, max_size=12).filter(lambda line: "***" not in line)  # a ruler


@given(st.lists(LINES, max_size=5))
def test_a_paragraph_loses_no_word_and_no_sign_but_hyphens_at_line_ends(lines):
    source = "\n".join(lines)
    kept, given_ = ("".join(text.replace("-", "").split()) for text in (clean_text(source), source))
    assert kept == given_


def test_cleaning_sends_nothing_to_the_makers_of_its_libraries():
    environment = {
        name: value for name, value in os.environ.items() if name not in {"DO_NOT_TRACK", "SCARF_NO_ANALYTICS"}
    }
    command = [sys.executable, "-c", CLEANING_WHILE_REQUESTS_ARE_TOLD]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "A paragraph wrapped hard at its line ends.\n"
