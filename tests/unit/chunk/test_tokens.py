import pytest

from steps.chunk.tokens import TokenRuler, measure_tokens


def test_a_ruler_counts_the_tokens_that_begin_in_a_stretch(words):
    ruler = measure_tokens("one two, three", words)
    assert ruler.starts == [0, 4, 7, 9]
    assert [ruler.count(0, 14), ruler.count(1, 9), ruler.count(9, 9)] == [4, 2, 0]


def test_reach_is_where_the_first_token_begins_that_does_not_fit(words):
    ruler = measure_tokens("one two, three", words)
    assert [ruler.reach(0, 2), ruler.reach(4, 2), ruler.reach(4, 3)] == [7, 9, 14]


def test_reach_back_is_where_the_last_tokens_begin(words):
    ruler = measure_tokens("one two, three", words)
    assert [ruler.reach_back(14, 1), ruler.reach_back(9, 2), ruler.reach_back(9, 5)] == [9, 4, 0]


def test_reach_back_leaves_out_a_character_whose_tokens_do_not_all_fit(utf8_bytes):
    ruler = measure_tokens("aé", utf8_bytes)
    assert [ruler.reach_back(2, 1), ruler.reach_back(2, 2), ruler.reach_back(2, 3)] == [2, 1, 0]


def test_a_window_holds_at_most_sixteen_characters_for_each_token():
    one_unknown_word = TokenRuler(length=1_000, starts=[0])
    assert one_unknown_word.reach(0, 8) == 128
    assert one_unknown_word.reach_back(1_000, 8) == 872


@pytest.mark.parametrize(
    "text", ["", "x" * 20_000, "some words, and more " * 1_000, "a\n" * 9_000], ids=["empty", "word", "words", "lines"]
)
def test_a_long_text_is_tokenised_in_parts_as_if_in_one(wordpiece, text):
    seen = []

    def tokens(part):
        seen.append(part)
        return wordpiece(part)

    assert measure_tokens(text, tokens).starts == [start for start, _ in wordpiece(text)]
    assert "".join(seen) == text
