import json
import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.encoders import load_encoder, packaged_model
from feature_store.encoders.words import separates_words
from feature_store.index_config import (
    EncoderConfig,
    MultiSizeConfig,
    ParentConfig,
    SlidingWindowConfig,
    SmallToBigConfig,
    WindowSize,
)
from steps.chunk.strategies import CHUNKERS
from steps.chunk.tokens import TokenRuler, WordTokens, measure_tokens, tokens_of
from tests.stand_in import HashEncoder
from tests.unit.chunk.nasty import HUGE, texts


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


STRATEGIES = [
    SlidingWindowConfig(window=24, overlap=8, heading_prefix=True),
    SmallToBigConfig(strategy="small_to_big", child=WindowSize(window=12, overlap=4), parent=ParentConfig(window=48)),
    MultiSizeConfig(strategy="multi_size", sizes=(WindowSize(window=48, overlap=24), WindowSize(window=12))),
]


@given(texts, st.sampled_from(STRATEGIES), st.integers(1, 30), st.booleans())
def test_counts_from_the_document_are_those_of_each_chunk_on_its_own(
    wordpiece, make_document, text, chunking, times, printable
):
    if printable:  # where a text has control characters, every chunk is counted on its own
        text = "".join(sign for sign in text if sign.isprintable() or sign in " \t\n\r\u2028\u00a0")
    document = make_document(text * times, title="A Title")
    cut = CHUNKERS[chunking.strategy]
    assert cut(document, chunking, WordTokens(wordpiece), 40) == cut(document, chunking, wordpiece, 40)


@pytest.mark.parametrize("name", ["words of 150 characters", "CJK sentences", "right-to-left", "one table"])
def test_counts_from_a_large_document_are_those_of_each_chunk_on_its_own(wordpiece, make_document, name):
    document, chunking = make_document(HUGE[name][:20_000]), STRATEGIES[0]
    cut = CHUNKERS[chunking.strategy]
    assert cut(document, chunking, WordTokens(wordpiece), 60) == cut(document, chunking, wordpiece, 60)


def test_a_document_of_words_is_tokenised_once(wordpiece, make_document):
    asked = []

    def tokens(text):
        asked.append(len(text))
        return wordpiece(text)

    text = " ".join(random.Random(1).choices(["light", "river", "stone.", "bridge,", "Tower"], k=3_000))
    chunking = STRATEGIES[2]
    CHUNKERS[chunking.strategy](make_document(text), chunking, WordTokens(tokens), 60)
    assert sum(asked) <= len(text)


@given(st.lists(texts, max_size=4), st.integers(0, 100))
def test_the_tokens_of_known_words_are_those_of_the_text(wordpiece, parts, most_characters):
    stand_in = HashEncoder().token_spans
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steps.chunk.tokens._KNOWN_CHARACTERS", most_characters)
        for tokens in (wordpiece, stand_in):
            learning = WordTokens(tokens)
            for text in parts:
                assert measure_tokens(text, learning).starts == measure_tokens(text, tokens).starts


def test_a_word_is_tokenised_when_it_is_first_met(words):
    asked = []

    def tokens(text):
        asked.append(text)
        return words(text)

    learning = WordTokens(tokens)
    measure_tokens("stone and river", learning)
    measure_tokens("river and\tbridge", learning)
    assert asked == ["and river stone", "bridge"]


def test_a_process_is_sent_the_tokenizer_without_what_it_learned():
    learning = WordTokens(HashEncoder().token_spans)
    before = len(pickle.dumps(learning))
    measure_tokens("stone and river", learning)
    sent = pickle.dumps(learning)
    assert len(sent) == before
    assert measure_tokens("a stone", pickle.loads(sent)).starts == [0, 2]


@pytest.mark.parametrize("sign", ["\x0b", "\x0c", "\x1c", "\x85", "\x00"])
def test_white_space_that_the_tokenizer_leaves_out_separates_nothing(wordpiece, sign):
    text = f"river{sign}stone and more"
    assert measure_tokens(text, WordTokens(wordpiece)).separators == ""
    assert measure_tokens(text.replace(sign, " "), WordTokens(wordpiece)).separators != ""


def test_the_packaged_model_reads_word_by_word():
    encoder = load_encoder(EncoderConfig())
    assert encoder.separates_words
    assert isinstance(tokens_of(encoder), WordTokens)


@pytest.mark.parametrize(
    "change",
    [
        {"pre_tokenizer": {"type": "ByteLevel"}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "BertPreTokenizer"}]}},
        {"pre_tokenizer": None},
        {"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "_"}},
        {"normalizer": None},
        {"added_tokens": [{"content": "two words", "lstrip": False, "rstrip": False, "single_word": False}]},
        {"added_tokens": [{"content": "<mask>", "lstrip": True, "rstrip": False, "single_word": False}]},
    ],
    ids=str,
)
def test_of_any_other_tokenizer_nothing_is_assumed(tmp_path, change):
    file = json.loads((packaged_model() / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer.json").write_text(json.dumps({**file, **change}), encoding="utf-8")
    assert not separates_words(tmp_path)
