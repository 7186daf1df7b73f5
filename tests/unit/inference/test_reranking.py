import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from loguru import logger

from feature_store.errors import ConfigurationError
from inference.reranking import Reranker

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "tea", "coffee", "milk", "sugar", "hot", "cold", "a", "is", "what"]
QUERY = "what is hot tea"
TEXTS = ["tea is hot", "coffee is cold", "a cold milk", "sugar", "hot hot hot tea a a a"]


def save_model(folder, **config):
    """Save a cross-encoder with random weights: two layers, eight dimensions, 32 positions."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    torch.manual_seed(7)
    vocabulary = folder / "vocabulary.txt"
    vocabulary.write_text("\n".join(WORDS), encoding="utf-8")
    tokenizer = BertTokenizerFast(str(vocabulary))
    settings = {"num_labels": 1, "initializer_range": 1.0, "max_position_embeddings": 32, **config}
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(WORDS),
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            **settings,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("cross-encoder"))


@pytest.fixture(scope="module")
def reranker(model):
    return Reranker.load(model)


@pytest.fixture
def warnings_said():
    said = []
    sink = logger.add(lambda message: said.append(message.record["message"]), level="WARNING")
    yield said
    logger.remove(sink)


def test_every_text_gets_its_own_relevance_between_0_and_1(reranker):
    relevance = reranker(QUERY, TEXTS)
    assert len(relevance) == len(TEXTS) == len(set(relevance))
    assert all(isinstance(value, float) and 0 < value < 1 for value in relevance)


def test_relevance_stays_with_its_text(reranker):
    backwards = reranker(QUERY, TEXTS[::-1])
    assert backwards[::-1] == pytest.approx(reranker(QUERY, TEXTS), abs=1e-6)


def test_the_query_matters(reranker):
    assert reranker("what is a cold coffee", TEXTS) != pytest.approx(reranker(QUERY, TEXTS), abs=1e-6)


def test_relevance_is_the_logistic_function_of_what_the_model_puts_out(model, reranker):
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    outputs = CrossEncoder(model).predict([(QUERY, text) for text in TEXTS], activation_fn=Identity())
    expected = [1 / (1 + math.exp(-output)) for output in outputs.tolist()]
    assert reranker(QUERY, TEXTS) == pytest.approx(expected, abs=1e-6)


def test_a_model_that_gives_its_output_as_score_is_on_the_same_scale(tmp_path, reranker):
    activation = {"activation_fn": "torch.nn.modules.linear.Identity"}
    plain = Reranker.load(save_model(tmp_path, sentence_transformers=activation))
    assert plain(QUERY, TEXTS) == pytest.approx(reranker(QUERY, TEXTS), abs=1e-6)


def test_very_relevant_texts_can_still_be_told_apart(reranker):
    class Certain:
        tokenizer = staticmethod(reranker.model.tokenizer)

        def predict(self, pairs, **_):
            return [20.0 + number for number in range(len(pairs))]

    relevance = Reranker(Certain(), 32)(QUERY, TEXTS)
    assert relevance == sorted(set(relevance))


def test_small_batches_give_the_same(model, reranker):
    small = Reranker(reranker.model, reranker.token_limit, batch_size=2)
    assert small(QUERY, TEXTS) == pytest.approx(reranker(QUERY, TEXTS), abs=1e-5)


def test_no_texts_have_no_relevance(reranker):
    assert reranker(QUERY, []) == []


def test_what_is_too_long_is_cut_and_said(reranker, warnings_said):
    head = "tea is hot " * 10
    relevance = reranker(QUERY, [head + "sugar", head + "milk milk", "tea"])
    assert relevance[0] == pytest.approx(relevance[1], abs=1e-6)
    assert len(warnings_said) == 1
    assert warnings_said[0].startswith("2 of 3 texts are longer with the query than the 32 tokens")


def test_what_just_fits_is_not_called_too_long(reranker, warnings_said):
    # 32 positions hold 4 tokens of the query, 3 special ones, and 25 of the text.
    reranker(QUERY, ["tea " * 25])
    assert not warnings_said
    reranker(QUERY, ["tea " * 26])
    assert len(warnings_said) == 1


def test_a_lower_limit_can_be_chosen_but_no_higher_one(model):
    low, high = Reranker.load(model, max_length=12), Reranker.load(model, max_length=1000)
    assert (low.token_limit, high.token_limit) == (12, 32)
    start = "tea is hot a"
    assert low(QUERY, [f"{start} milk cold"]) == pytest.approx(low(QUERY, [f"{start} milk sugar"]), abs=1e-6)
    assert high(QUERY, [f"{start} milk cold"]) != pytest.approx(high(QUERY, [f"{start} milk sugar"]), abs=1e-6)


def test_threads_may_share_a_reranker(reranker):
    expected = reranker(QUERY, TEXTS)
    with ThreadPoolExecutor(4) as pool:
        for relevance in pool.map(lambda _: reranker(QUERY, TEXTS), range(16)):
            assert relevance == pytest.approx(expected, abs=1e-6)


def test_a_model_with_several_outputs_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="has 3 outputs"):
        Reranker.load(save_model(tmp_path, num_labels=3))


def test_a_model_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        Reranker.load(str(tmp_path / "nothing"))
