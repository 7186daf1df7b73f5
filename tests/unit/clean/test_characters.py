import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.clean.characters import excerpt, looks_binary, normalise_prose, one_line, remove_invisible

any_text = st.text(st.characters(exclude_categories=[]))


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        pytest.param("a\u200bb", "ab", id="zero-width space"),
        pytest.param("\ufeffstart", "start", id="byte-order mark"),
        pytest.param("exam\u00adple", "example", id="soft hyphen"),
        pytest.param("a\u202eb\u2066c", "abc", id="direction overrides"),
        pytest.param("a\x00b\x07c\x85d", "abc\nd", id="control characters"),
        pytest.param("a\r\nb\rc\u2028d", "a\nb\nc\nd", id="line ends"),
        pytest.param("\x1b[31mred\x1b[0m", "red", id="terminal colours"),
        pytest.param("a\u200db", "ab", id="joiner between Latin letters"),
        pytest.param("👩\u200d💻", "👩\u200d💻", id="joiner between emoji"),
        pytest.param("❤\ufe0f\u200d🔥", "❤\ufe0f\u200d🔥", id="joiner after a variation selector"),
        pytest.param("می\u200cخواهم", "می\u200cخواهم", id="non-joiner between Persian letters"),
        pytest.param("क\u094d\u200dष", "क\u094d\u200dष", id="joiner between Devanagari letters"),
        pytest.param("می\u200c", "می", id="non-joiner at the end"),
        pytest.param("\ud83d\ude00", "😀", id="surrogate pair"),
        pytest.param("a\ud800b", "a\ufffdb", id="lone surrogate"),
        pytest.param("tab\tstays", "tab\tstays", id="tab"),
    ],
)
def test_characters_without_shape_go_and_needed_joiners_stay(given_text, expected):
    assert remove_invisible(given_text) == expected


@given(any_text)
def test_no_text_leaves_control_or_zero_width_characters_behind(text):
    cleaned = remove_invisible(text)
    assert not {unicodedata.category(character) for character in cleaned if character not in "\n\t"} & {"Cc", "Cs"}
    assert not set(cleaned) & set("\u200b\u2060\ufeff\u00ad\u202a\u202e\u2066\u2069")
    assert remove_invisible(cleaned) == cleaned


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        pytest.param("e\u0301", "é", id="NFC"),
        pytest.param("ﬁrst eﬀort", "first effort", id="ligatures"),
        pytest.param("𝗪𝗵𝗮𝘁 𝘪𝘴 it", "What is it", id="styled letters"),
        pytest.param("a\u00a0 \t b", "a b", id="spaces"),
        pytest.param("donâ€™t", "don’t", id="mis-decoded UTF-8"),
        pytest.param("ænd œuvre", "ænd œuvre", id="letters that only look like ligatures"),
        pytest.param("a\nb", "a\nb", id="line ends stay"),
    ],
)
def test_prose_is_normalised(given_text, expected):
    assert normalise_prose(given_text) == expected


def test_one_line_holds_no_line_end():
    assert one_line("  A\n title \t here ") == "A title here"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(bytes(range(256)).decode("latin-1") * 4, True, id="bytes as Latin-1"),
        pytest.param(
            b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe\xfd\xfc".decode("utf-8", "replace"), True, id="picture as UTF-8"
        ),
        pytest.param("\x1b[32mOK\x1b[0m " * 40, False, id="coloured log"),
        pytest.param("A long sentence with one stray \x00 in it.", False, id="single stray character"),
        pytest.param("Prose \ufffd with \ufffd some \ufffd lost letters. " + "x" * 200, False, id="few lost letters"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_binary_data_is_told_by_its_share_of_strange_characters(text, expected):
    assert looks_binary(text) is expected


@given(any_text)
def test_an_excerpt_is_short_and_printable(text):
    shortened = excerpt(text)
    assert len(shortened) <= 200
    assert shortened.isprintable()


def test_an_excerpt_of_bytes_shows_them():
    assert excerpt(b"\x00abc") == r"b'\x00abc'"
