"""Texts that are hard to cut, and what holds for every cut."""

from hypothesis import strategies as st

SENTENCE_ENDS = set(".!?…\"'”’»)]*_`。！？｡」』）")

FRAGMENTS = [
    "word ", "A sentence of some length, no more. ", "Is it? Yes! It is… ", "e.g. this ", "\n", "\n\n", "\r\n", "\r",
    "   ", "\t", "\u00a0", "\u2028", "\x0b", "\x1c", "\x00", "\u200b", "\ufeff", "# Heading\n", "\n## Deeper\n", "#\n",
    "######\n", "\nSetext\n===\n", "\n---\n", "\n```python\ndef f():\n    return 1\n\nclass A:\n    pass\n```\n",
    "\n```\n", "~~~\n", "    code\n", "- item\n", "  1. nested\n", "> quoted\n", "\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    "<div>\n", "[ref]: http://example.org\n", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "é", "e\u0301", "\u0301\u0302\u0303",
    "שלום עולם ", "مرحبا بالعالم ", "你好世界。", "日本語の文章です", "ﷺ", "x" * 130, "a-b/c.d_e" * 20,
    "0123456789" * 30,
    "https://example.org/a/b?c=d&e=f#g ", "\\", "***", "....", "[[[[", "&nbsp;", "ｗｉｄｅ ", "𝗯𝗼𝗹𝗱 ", "i\u0307",
]  # fmt: skip
texts = st.lists(
    st.one_of(st.sampled_from(FRAGMENTS), st.text(st.characters(exclude_categories=["Cs"]), max_size=12)), max_size=60
).map("".join)

HUGE = {
    "one word": "x" * 100_000,
    "a word between others": "before " + "0123456789" * 10_000 + " after",
    "words of 150 characters": ("y" * 150 + " ") * 700,
    "only spaces": " " * 100_000,
    "only newlines": "\n" * 100_000,
    "only dots": "." * 100_000,
    "dots and spaces": ". " * 50_000,
    "only stars": "*" * 100_000,
    "NULs": "\x00" * 100_000,
    "combining characters": "e" + "\u0301" * 100_000,
    "families": "👩‍👩‍👧‍👦" * 14_000,
    "CJK without stops": "漢字" * 50_000,
    "CJK sentences": "これは文章です。" * 12_000,
    "right-to-left": "مرحبا بالعالم " * 7_000,
    "headings": "# Heading\n" * 10_000,
    "empty headings": "#\n" * 50_000,
    "deep headings": "".join(f"{'#' * (i % 6 + 1)} Heading {i}\n\nText.\n\n" for i in range(4_000)),
    "unclosed fence": "```python\n" + "value = 1\n" * 10_000,
    "one table": "| a | b |\n|---|---|\n" + "| one | two |\n" * 7_000,
    "a wide row": "| a |\n|---|\n|" + " cell" * 20_000 + " |\n",
    "brackets": "[" * 100_000,
    "quotations": ">" * 100_000,
    "nested lists": "- " * 50_000,
    "one long line": "some words and more " * 5_000,
    "a long heading": "# " + "heading [text](" * 7_000,
}


def assert_cut_is_allowed(text, end, tokens, window):
    """Check that no word is cut at ``end`` that would fit into the window."""
    if end == len(text) or text[end].isspace() or text[end - 1] in SENTENCE_ENDS:
        return
    longest = window * 16
    word = (text[max(0, end - longest) : end].split() or [""])[-1] + (text[end : end + longest].split() or [""])[0]
    assert len(word) > window * 16 or len(tokens(word)) > window, f"cut inside of {word!r}"
