"""Vectors are those of sentence-transformers at float32, whatever the way of embedding; batches and lanes."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loguru import logger
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

from feature_store.encoders import Dimensions, floating_point_operations, load_encoder, measure_gemm
from feature_store.encoders import model as models
from feature_store.encoders import precision as precisions
from feature_store.encoders.batches import Lanes, batches_by_tokens
from feature_store.encoders.description import find_plain
from feature_store.encoders.model import PackedPath, PlainPath, Work, choose_path
from feature_store.encoders.packed import PackedBert, can_be_packed
from feature_store.encoders.precision import CHECK_TEXTS, choose_precision, worst_cosine
from feature_store.errors import TerminalError
from feature_store.index_config import EncoderConfig

EXOTIC = [
    "",
    " ",
    "\u200b",
    "\x00",
    "𝔘𝔫𝔦",
    "東京",
    "a" * 300,
    "[SEP] [PAD]",
    "naïve Ñandú",
    "👩‍👩‍👧 emoji",
    "word " * 400,
]


@pytest.fixture(scope="module", params=["mean", "cls"])
def saved(request, tiny_model, tmp_path_factory):
    """A model with prompts, of each pooling: its configuration, and itself as sentence-transformers has it."""
    folder = tmp_path_factory.mktemp(request.param) / "model"
    modules = [Transformer(str(tiny_model)), Pooling(32, request.param), Normalize()]
    prompts = {"query": "ask: ", "document": "passage: "}
    SentenceTransformer(modules=modules, device="cpu", prompts=prompts).save(str(folder))
    config = EncoderConfig(model=str(folder), precision="float32", batch_tokens=300)
    return config, SentenceTransformer(str(folder), device="cpu")


@pytest.fixture(scope="module")
def encoder(saved):
    return load_encoder(saved[0])


texts_of_all_lengths = st.lists(
    st.one_of(
        st.sampled_from(EXOTIC),
        st.integers(1, 200).map(lambda count: "stone " * count),
        st.text(max_size=80).filter(lambda text: text.isprintable()),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(texts=texts_of_all_lengths)
def test_packed_texts_have_the_vectors_of_sentence_transformers(saved, encoder, texts):
    found = encoder.embed_documents(texts)
    assert encoder.path == "packed"
    assert np.allclose(found, saved[1].encode_document(texts), atol=2e-5)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_texts_of_like_lengths_that_attend_together_see_only_themselves(saved):
    encoder = load_encoder(saved[0].model_copy(update={"batch_tokens": 4096}))
    texts = ["stone river " * (count // 2) + "stone" * (count % 2) for count in range(80, 122)]
    assert np.allclose(encoder.embed_documents(texts), saved[1].encode_document(texts), atol=2e-5)


def test_queries_take_their_own_prompt(saved, encoder):
    queries = ["a river", "what is a stone?"]
    assert np.allclose(encoder.embed_queries(queries), saved[1].encode_query(queries), atol=2e-5)
    assert np.abs(encoder.embed_queries(queries) - encoder.embed_documents(queries)).max() > 1e-4
    assert np.allclose(encoder.embed_query(queries[1]), encoder.embed_queries(queries)[1], atol=2e-5)


def test_a_text_that_is_too_long_is_cut_as_by_sentence_transformers(saved, encoder):
    limit = encoder.token_limit
    fits, longer = "stone " * limit, "stone " * (limit + 50)
    vectors = encoder.embed_documents([fits, longer, "stone " * (limit - 1)])
    assert np.allclose(vectors[0], vectors[1], atol=2e-5)
    assert not np.allclose(vectors[0], vectors[2], atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_text_has_the_same_vector_in_every_company(tiny_model, precision):
    encoder = load_encoder(EncoderConfig(model=str(tiny_model), precision=precision, batch_tokens=512))
    texts = [f"{'river ' * (number % 37)}stone {number}" for number in range(120)]
    together = encoder.embed_documents(texts)
    alone = np.stack([encoder.embed_documents([text])[0] for text in texts[:20]])
    assert (together[:20] * alone).sum(axis=1).min() > 0.9995
    turned = encoder.embed_documents(texts[::-1])[::-1]
    assert (together * turned).sum(axis=1).min() > 0.9995


def test_texts_beyond_one_slice_keep_their_order(tiny_model, monkeypatch):
    monkeypatch.setattr(models, "_TEXTS_AT_ONCE", 7)
    encoder = load_encoder(EncoderConfig(model=str(tiny_model), precision="float32"))
    texts = [f"stone number {number} " * (number % 5 + 1) for number in range(40)]
    monkeypatch.setattr(models, "_TEXTS_AT_ONCE", 7)
    sliced = encoder.embed_documents(texts)
    monkeypatch.setattr(models, "_TEXTS_AT_ONCE", 1000)
    assert np.allclose(sliced, encoder.embed_documents(texts), atol=2e-5)


def test_the_plain_path_gives_the_same_vectors_and_counts_the_same_tokens(saved):
    config, model = saved
    packed, plain = Work(), Work()
    texts = [*EXOTIC, "a river and a stone"]
    left = PackedPath(model[0].model, find_plain(config), config, "float32").embed(texts, "passage: ", packed)
    right = PlainPath(model, config, "float32").embed(texts, "passage: ", plain)
    assert np.allclose(left / np.linalg.norm(left, axis=1, keepdims=True), right, atol=2e-5)
    assert (packed.tokens, packed.operations) == (plain.tokens, plain.operations)
    assert packed.tokens > len(texts)


def test_threads_may_share_an_encoder(tiny_model):
    encoder = load_encoder(EncoderConfig(model=str(tiny_model), precision="float32", batch_tokens=64))
    texts = [f"stone {number} " * 9 for number in range(60)]
    wanted, found, before = encoder.embed_documents(texts), {}, encoder.tokens_embedded
    threads = [
        threading.Thread(target=lambda number=number: found.update({number: encoder.embed_documents(texts)}))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.allclose(vectors, wanted, atol=2e-5) for vectors in found.values())
    assert len(found) == 4
    assert encoder.tokens_embedded == before + 4 * sum(len(encoder.token_spans(text)) + 2 for text in texts)


# The self-check


class Wrong:
    """A way of embedding that turns every vector of another one by a little, or a lot."""

    def __init__(self, path, turn, name="wrong"):
        self.embed_right, self.turn, self.name, self.precision = path.embed, turn, name, "bfloat16"

    def embed(self, texts, prompt, work):
        vectors = self.embed_right(texts, prompt, work)
        return vectors + self.turn * np.roll(vectors, 1, axis=1)


@pytest.fixture
def warnings():
    lines = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="WARNING")
    yield lines
    logger.remove(sink)


@pytest.fixture
def described(saved):
    config, model = saved
    right = PlainPath(model, config, "float32")
    encoder = load_encoder(config)
    return encoder, right, right.embed(CHECK_TEXTS, encoder.document_prompt, Work())


def test_the_first_way_is_taken_if_it_is_exact(described, warnings):
    encoder, right, reference = described
    near = Wrong(right, 1e-3)
    assert choose_path(encoder, reference, iter([near, right])) is near
    assert warnings == []


@pytest.mark.parametrize("turn", [0.5, float("nan"), -1e9])
def test_a_way_that_gives_wrong_vectors_is_not_taken_and_said(described, warnings, turn):
    encoder, right, reference = described
    assert choose_path(encoder, reference, iter([Wrong(right, turn), right])) is right
    assert len(warnings) == 1
    assert "sentence-transformers at float32" in warnings[0]
    assert "wrong at bfloat16 (cosine" in warnings[0]


def test_without_any_exact_way_nothing_is_embedded(described):
    encoder, right, reference = described
    with pytest.raises(TerminalError, match=r"No way of embedding.*first at.*second at"):
        choose_path(encoder, reference, iter([Wrong(right, 0.5, "first"), Wrong(right, 2, "second")]))


def test_a_wrong_packed_forward_falls_back_to_the_modules_at_the_same_precision(tiny_model, monkeypatch, warnings):
    right = PackedBert.embed
    monkeypatch.setattr(PackedBert, "embed", lambda self, ids: np.roll(right(self, ids), 1, axis=1))
    load_encoder.cache_clear()
    encoder = load_encoder(EncoderConfig(model=str(tiny_model), precision="bfloat16"))
    vectors = encoder.embed_documents(["a river"])
    load_encoder.cache_clear()
    assert (encoder.path, encoder.precision) == ("sentence-transformers", "bfloat16")
    assert len(warnings) == 1
    assert np.allclose(vectors, SentenceTransformer(str(tiny_model)).encode(["a river"]), atol=0.01)


def test_a_precision_that_is_not_exact_falls_back_to_float32_and_is_what_counts(tiny_model, monkeypatch, warnings):
    monkeypatch.setattr(precisions, "LEAST_COSINE", 1)
    monkeypatch.setattr(models, "LEAST_COSINE", 1 - 1e-9)
    load_encoder.cache_clear()
    encoder = load_encoder(EncoderConfig(model=str(tiny_model), precision="bfloat16"))
    before = encoder.precision
    encoder.load()
    load_encoder.cache_clear()
    assert (before, encoder.precision) == ("bfloat16", "float32")
    assert "at bfloat16" in warnings[0]


def test_the_worst_vector_decides():
    right = np.eye(3, dtype=np.float32)
    assert worst_cosine(right, right) == pytest.approx(1)
    assert worst_cosine(right[[0, 1, 1]], right) == pytest.approx(0)
    assert worst_cosine(right * np.float32(np.nan), right) == -1


def test_only_what_is_a_bert_is_packed(tiny_model):
    bert = SentenceTransformer(str(tiny_model), device="cpu")[0].model
    assert can_be_packed(bert)
    bert.config.hidden_act = "relu"
    assert not can_be_packed(bert)


# Precision by hardware


@pytest.mark.parametrize(
    ("flags", "precision"),
    [("fpu avx2", "float32"), ("fpu avx512_bf16", "bfloat16"), ("avx512f amx_bf16", "bfloat16"), ("bf16", "float32")],
)
def test_the_processor_decides_where_there_is_no_gpu(monkeypatch, flags, precision):
    monkeypatch.setattr(precisions, "_processor_flags", lambda: set(flags.split()))
    monkeypatch.setattr(precisions, "_SIGNS_OF_A_GPU", ())
    assert choose_precision(EncoderConfig()) == precision
    assert choose_precision(EncoderConfig(precision="float32")) == "float32"


def test_what_the_system_says_of_the_processor_is_what_torch_says(monkeypatch):
    monkeypatch.setattr(precisions, "_SIGNS_OF_A_GPU", ())
    by_flags = choose_precision(EncoderConfig())
    monkeypatch.setattr(precisions, "_processor_flags", lambda: None)
    if not torch.cuda.is_available():
        assert by_flags == choose_precision(EncoderConfig())


# Batches and lanes


@given(
    lengths=st.lists(st.integers(1, 300), max_size=80),
    tokens=st.integers(1, 1000),
    texts=st.none() | st.integers(1, 9),
    padded=st.booleans(),
)
def test_batches_respect_their_budgets_and_hold_every_text_once(lengths, tokens, texts, padded):
    batches = list(batches_by_tokens(lengths, tokens, texts, padded=padded))
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    longest_first = [lengths[place] for batch in batches for place in batch]
    assert longest_first == sorted(lengths, reverse=True)
    for batch in batches:
        taken = (
            max(lengths[place] for place in batch) * len(batch) if padded else sum(lengths[place] for place in batch)
        )
        assert taken <= tokens or len(batch) == 1
        assert texts is None or len(batch) <= texts


@given(tokens=st.integers(0, 1_000_000), most=st.integers(16, 10_000), count=st.integers(1, 8))
def test_all_lanes_get_as_many_batches_within_the_budget(tokens, most, count):
    lanes = Lanes(1)
    lanes.count = count
    share = lanes.share(tokens, most)
    assert 1 <= share <= most
    if tokens >= 1024:
        batches, as_large_as_can_be = -(-tokens // share), -(-tokens // most)
        assert as_large_as_can_be <= batches < as_large_as_can_be + count
        assert share * count * -(-batches // count) < tokens + share * count


def test_lanes_leave_the_cores_of_other_threads_alone():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        lanes = Lanes(4)
        assert lanes.work(lambda batch: (torch.get_num_threads(), batch), [[1], [2], [3]]) == [
            (1, [1]),
            (1, [2]),
            (1, [3]),
        ]
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


# What a report says


def test_operations_are_two_for_each_weight_and_product():
    # A layer of 2 hidden and 3 intermediate numbers has 4 x 4 + 2 x 6 = 28 weights.
    assert floating_point_operations(Dimensions(1, 2, 3), [1]) == 2 * (28 + 2 * 2)
    assert floating_point_operations(Dimensions(5, 2, 3), [1, 4]) == 5 * 2 * (28 * 5 + 2 * 2 * 17)
    assert floating_point_operations(Dimensions(5, 2, 3), []) == 0


def test_the_machine_can_do_some_arithmetic():
    assert measure_gemm("float32") > 1e8
