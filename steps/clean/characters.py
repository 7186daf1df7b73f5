"""Character-level cleaning, the same for every format."""

import re
import unicodedata

import ftfy

# Bytes of a picture read as Latin-1 or UTF-8 give 15 % to 60 % of these; real text with a few strays stays far below.
MAXIMUM_BINARY_SHARE = 0.05
_MINIMUM_BINARY_COUNT = 3

_USUAL = bytes([*b"\n\t", *range(ord(" "), ord("~") + 1)])
_TERMINAL_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_BINARY = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd\ufffe\uffff\ud800-\udfff]")
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufdd0-\ufdef"
    "\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
# Arabic, Syriac, N'Ko and the Indic, Myanmar, Khmer and Mongolian scripts, in which joiners change the spelling.
_JOINING = "\u0600-\u0605\u0607-\u061b\u061d-\u085f\u0860-\u109f\u1780-\u180d\u180f-\u18af\ufb50-\ufdcf\ufdf0-\ufdff"
_EMOJI = "\u00a9\u00ae\u2190-\u21ff\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\ufe0f\U0001f000-\U0001faff"
_STRAY_JOINER = re.compile(
    f"[\u200c\u200d]+(?![{_JOINING}{_EMOJI}])|(?<![{_JOINING}{_EMOJI}\u200c\u200d])[\u200c\u200d]+"
    "|[\u200c\u200d](?=[\u200c\u200d])"
)
_SPACES = re.compile("[\t \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
# 𝗯𝗼𝗹𝗱 and 𝘪𝘵𝘢𝘭𝘪𝘤 "fonts" of social networks: no tokenizer and no keyword search reads them as letters.
_STYLED_LETTERS = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0x1D400, 0x1D800)}
_REPAIR = ftfy.TextFixerConfig(
    unescape_html=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    normalization="NFC",
    explain=False,
)


def looks_binary(text: str) -> bool:
    """Tell whether a string holds decoded binary data, by its share of control and replacement characters."""
    count = len(_BINARY.findall(_TERMINAL_ESCAPE.sub("", text)))
    return count >= _MINIMUM_BINARY_COUNT and count > MAXIMUM_BINARY_SHARE * len(text)


def remove_invisible(text: str) -> str:
    r"""Return the text with ``\n`` line ends and without characters that have no shape; code may pass through it.

    Removed are control characters, terminal colours, byte-order marks, soft hyphens, zero-width spaces, direction
    marks and tag characters. Joiners stay between emoji and between letters of scripts that need them. Surrogate pairs
    become the character that they encode, lone surrogates become U+FFFD.
    """
    if text.isascii() and not text.encode().translate(None, _USUAL):  # ten times as quick as a pattern
        return text
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    text = _LINE_ENDS.sub("\n", _TERMINAL_ESCAPE.sub("", text))
    return _STRAY_JOINER.sub("", _INVISIBLE.sub("", text))


def normalise_prose(text: str) -> str:
    """Return prose in NFC with ligatures, styled letters and mis-decoded bytes resolved and one space between words.

    Line ends stay. It is not for code.
    """
    text = remove_invisible(text)
    if text.isascii():
        return _SPACES.sub(" ", text) if "  " in text or "\t" in text else text
    text = remove_invisible(ftfy.fix_text(text.translate(_STYLED_LETTERS), _REPAIR))
    text = unicodedata.normalize("NFC", text)
    return _SPACES.sub(" ", text)


def one_line(text: str) -> str:
    """Return normalised prose on a single line, without space at its ends."""
    return " ".join(normalise_prose(text).split())


def excerpt(value: object, length: int = 200) -> str:
    """Return the start of a value as printable characters, at most ``length`` of them."""
    start = value[: length * 2] if isinstance(value, str) else repr(value)[: length * 2]
    printable = "".join(character if character.isprintable() else " " for character in start)
    return " ".join(printable.split())[:length].rstrip()
