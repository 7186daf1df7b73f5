"""Filters, contamination and token counts: each document by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.errors import ConfigurationError
from feature_store.training import DecontaminationConfig, FilterConfig
from steps.export.contamination import EvaluationTexts, read_evaluation_texts
from steps.export.filters import Filters, share_of_duplicate_lines
from steps.export.tokens import load_token_counter
from steps.export.words import sequences
from tests.unit.export.corpus import text_of

DEFAULT = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 0), ("a", 0), ("a\na", 0.5), ("a\n\n  a \nb\n\n", 1 / 3), ("a\n\n\n\nb", 0), ("x\n" * 10, 0.9)],
)
def test_the_share_of_lines_that_repeat_an_earlier_one(text, share):
    assert share_of_duplicate_lines(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("options", "text", "language", "reason"),
    [
        ({"min_characters": 3}, "ab", "en", "too_short"),
        ({"min_characters": 3}, "abc", "en", None),
        ({"max_characters": 3}, "abcd", "en", "too_long"),
        ({"max_characters": 3}, "abc", "en", None),
        ({"languages": ["en"]}, "abc", None, "language"),
        ({"languages": ["en", "de"]}, "abc", "de", None),
        ({}, "abc", None, None),
        ({"max_duplicate_lines": 0.5}, "a\na", "en", None),
        ({"max_duplicate_lines": 0.49}, "a\na", "en", "duplicate_lines"),
        ({"max_duplicate_lines": None}, "a\n" * 50, "en", None),
    ],
)
def test_a_document_is_measured_against_each_bound(options, text, language, reason):
    filters = Filters(FilterConfig.model_validate(options), EvaluationTexts())
    assert filters.reason_against(text, language) == reason


def evaluation(tmp_path, content, name="eval.txt", **options):
    (tmp_path / name).write_text(content, encoding="utf-8")
    file = {"path": str(tmp_path / name), **options}
    return read_evaluation_texts(DecontaminationConfig.model_validate({"files": [file]}))


def test_thirteen_words_in_a_row_are_an_overlap_and_twelve_are_not(tmp_path):
    words = text_of("q", 40).split()
    texts = evaluation(tmp_path, " ".join(words))
    around = text_of("other", 20)
    assert texts.overlap(f"{around} {' '.join(words[5:18])} {around}")
    assert not texts.overlap(f"{around} {' '.join(words[5:17])} {around}")


def test_case_and_punctuation_hide_no_overlap(tmp_path):
    texts = evaluation(tmp_path, "What is the capital of the small country between France, Spain and the sea?")
    assert texts.overlap("Q: what is THE capital - of the small country between 'France', Spain; and the sea")


def test_a_short_text_must_occur_whole_and_a_very_short_one_is_counted_only(tmp_path):
    texts = evaluation(tmp_path, "one two three four five six seven eight nine\nyes\n\n")
    assert (texts.count, texts.too_short) == (2, 1)
    assert texts.overlap("so one two three four five six seven eight nine it is")
    assert not texts.overlap("so two three four five six seven eight nine it is yes")


def test_a_small_ngram_makes_short_texts_count(tmp_path):
    (tmp_path / "eval.txt").write_text("red green blue\n", encoding="utf-8")
    config = DecontaminationConfig.model_validate({"files": [str(tmp_path / "eval.txt")], "ngram": 3})
    texts = read_evaluation_texts(config)
    assert texts.too_short == 0
    assert texts.overlap("a red green blue one")


def test_json_lines_hold_the_text_in_a_field(tmp_path):
    line = '{"question": "' + text_of("q", 20) + '", "text": "other"}\n'
    texts = evaluation(tmp_path, line, "eval.jsonl", field="question")
    assert texts.overlap(text_of("q", 20))


@pytest.mark.parametrize("line", ['{"question": 3}', "{}", "no json", "[1]"])
def test_a_line_without_the_text_is_named(tmp_path, line):
    with pytest.raises(ConfigurationError, match=r"eval\.jsonl, line 2 .*'question'"):
        evaluation(tmp_path, '{"question": "fine"}\n' + line, "eval.jsonl", field="question")


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
    (tmp_path / "q.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a question"}\r\n{"text": "another"}\r\n')
    config = DecontaminationConfig.model_validate({"files": [tmp_path / "q.jsonl"], "ngram": 1})
    assert read_evaluation_texts(config).sequences == {1: {"a", "question", "another"}}


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "eval.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigurationError, match=r"eval\.txt is not UTF-8"):
        read_evaluation_texts(DecontaminationConfig.model_validate({"files": [str(tmp_path / "eval.txt")]}))


@given(st.lists(st.text("ab", min_size=1), max_size=8), st.integers(1, 9))
def test_sequences_are_every_run_of_words(words, length):
    expected = [" ".join(words[at : at + length]) for at in range(len(words)) if at + length <= len(words)]
    assert list(sequences(words, length)) == expected


def test_tokens_are_those_of_the_model_without_special_ones_and_uncut():
    counter = load_token_counter(DEFAULT)
    assert counter.count(["", "hello world", "hello " * 3000]) == [0, 2, 3000]
    assert counter.count(["hello"] * 200) == [1] * 200
    assert counter.count([]) == []


def test_a_tokenizer_is_named_by_its_file_folder_or_model(tiny_model):
    by_folder = load_token_counter(str(tiny_model))
    by_file = load_token_counter(str(tiny_model / "tokenizer.json"))
    assert by_folder.fingerprint == by_file.fingerprint != load_token_counter(DEFAULT).fingerprint


def test_a_file_that_is_no_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        load_token_counter(str(tmp_path))
