"""A model described by its files: the same as by itself, and without waiting for torch."""

import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import asdict

import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

from feature_store.encoders import PACKAGED_MODEL, load_encoder
from feature_store.encoders.description import (
    Description,
    describe_files,
    describe_model,
    find_plain,
    read_tokenizer,
    spans_of,
)
from feature_store.encoders.files import packaged_model
from feature_store.errors import ConfigurationError, TerminalError
from feature_store.index_config import EncoderConfig
from tests.support import REPOSITORY

PROMPTS = {"query": "ask: ", "document": "this is a passage: "}


def both(config):
    """Return the description by the files, and that by the loaded model."""
    plain = find_plain(config)
    assert plain is not None
    model = SentenceTransformer(str(plain.folder), device="cpu")
    if config.max_tokens is not None:
        model.max_seq_length = min(config.max_tokens, model.max_seq_length)
    return describe_files(config, plain), describe_model(config, model)


def changed(folder, target, file, **values):
    """Copy a model, with other values in one of its files; None removes one."""
    shutil.copytree(folder, target)
    path = target / file
    content = {**(json.loads(path.read_text()) if path.exists() else {}), **values}
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
    return target


def save(folder, tiny_model, *modules, **options):
    bert = Transformer(str(tiny_model), **options.pop("transformer", {}))
    SentenceTransformer(modules=[bert, *modules], device="cpu", **options).save(str(folder))
    return EncoderConfig(model=str(folder), precision="float32")


@pytest.mark.parametrize("max_tokens", [None, 64, 9000])
def test_the_packaged_model_is_described_by_its_files_as_by_itself(max_tokens):
    files, model = both(EncoderConfig(max_tokens=max_tokens))
    assert files == model


def test_the_fingerprint_of_the_packaged_model_is_that_of_the_indexes_out_there():
    encoder = load_encoder(EncoderConfig())
    assert (encoder.name, encoder.fingerprint, encoder.token_limit) == (PACKAGED_MODEL, "9c24935f09da", 254)


@pytest.mark.parametrize(
    ("pooling", "normalised", "options"),
    [
        ("mean", True, {}),
        ("cls", False, {}),
        ("mean", True, {"prompts": PROMPTS}),
        ("cls", True, {"prompts": {"query": "ask: "}, "similarity_fn_name": "dot"}),
        ("mean", False, {"similarity_fn_name": "euclidean", "transformer": {"max_seq_length": 40}}),
    ],
    ids=["as packaged", "cls", "prompts", "prompt of queries, dot", "euclidean, short"],
)
def test_a_saved_model_is_described_by_its_files_as_by_itself(tiny_model, tmp_path, pooling, normalised, options):
    modules = [Pooling(32, pooling), *([Normalize()] if normalised else [])]
    files, model = both(save(tmp_path / "saved", tiny_model, *modules, **options))
    assert files == model
    assert files.normalised == normalised


def test_limits_come_from_where_sentence_transformers_has_them(tiny_model, tmp_path):
    without = changed(tiny_model, tmp_path / "without", "tokenizer_config.json", model_max_length=None)
    given = changed(tiny_model, tmp_path / "given", "sentence_bert_config.json", max_seq_length=50)
    for folder, limit in ((without, 510), (given, 48)):
        files, model = both(EncoderConfig(model=str(folder)))
        assert files == model
        assert files.token_limit == limit


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("config.json", {"model_type": "mpnet"}),
        ("config.json", {"auto_map": {"AutoModel": "modeling.Model"}}),
        ("config.json", {"is_decoder": True}),
        ("sentence_bert_config.json", {"do_lower_case": True}),
        ("sentence_bert_config.json", {"max_seq_length": 9000}),
        ("sentence_bert_config.json", {"unpad_inputs": True}),
        ("tokenizer_config.json", {"tokenizer_class": "OwnTokenizer"}),
        ("tokenizer_config.json", {"do_lower_case": False}),
        ("tokenizer_config.json", {"truncation_side": "left"}),
        ("config_sentence_transformers.json", {"truncate_dim": 16}),
        ("1_Pooling/config.json", {"pooling_mode": "max"}),
        ("1_Pooling/config.json", {"include_prompt": False}),
        ("added_tokens.json", {"[NEW]": 30522}),
    ],
    ids=str,
)
def test_whatever_is_not_plain_is_left_to_the_model_itself(tiny_model, tmp_path, file, values):
    folder = changed(tiny_model, tmp_path / "other", file, **values)
    assert find_plain(EncoderConfig(model=str(folder))) is None


def test_a_model_with_a_module_more_is_loaded_to_be_described(tiny_model, tmp_path):
    config = save(tmp_path / "dense", tiny_model, Pooling(32), Dense(32, 8), Normalize())
    assert find_plain(config) is None
    encoder = load_encoder(config)
    assert (encoder.dimension, encoder.path) == (8, "sentence-transformers")
    assert encoder.embed_documents(["a river", "a stone and a river"]).shape == (2, 8)
    assert encoder.tokens_embedded == 4 + 7
    assert encoder.token_spans("a river") == [(0, 1), (2, 7)]
    assert pickle.loads(pickle.dumps(encoder)) is encoder


def test_a_model_whose_weights_are_cut_off_is_found_without_loading_it(tiny_model, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(tiny_model, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        load_encoder(EncoderConfig(model=str(folder)))


def test_tokens_are_those_of_the_model_itself(tiny_model):
    model = SentenceTransformer(str(tiny_model), device="cpu")
    spans = spans_of(read_tokenizer(tiny_model))
    for text in ("", "Ünïcode, 東京 \u200b\x00 [SEP] don't", "word " * 400, "\n\n# Heading\n* `a_b`"):
        offsets = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        assert spans(text) == offsets["offset_mapping"]


def test_an_encoder_is_sent_without_its_model_and_is_one_in_each_process(tiny_model):
    encoder = load_encoder(EncoderConfig(model=str(tiny_model), precision="float32"))
    encoder.embed_documents(["a river"])
    sent = pickle.dumps(encoder.token_spans)
    assert len(sent) < 2000
    assert pickle.loads(sent).__self__ is encoder


def test_an_encoder_does_not_arrive_where_the_model_is_another_one(tiny_model, tmp_path):
    folder = tmp_path / "moving"
    shutil.copytree(tiny_model, folder)
    sent = pickle.dumps(load_encoder(EncoderConfig(model=str(folder))))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": PROMPTS}))
    load_encoder.cache_clear()
    with pytest.raises(TerminalError, match=r"is not the one that was described.*document_prompt 'this is a passage"):
        pickle.loads(sent)


def test_a_model_that_changes_before_it_is_loaded_makes_no_vector(tiny_model, tmp_path):
    folder = tmp_path / "changing"
    shutil.copytree(tiny_model, folder)
    encoder = load_encoder(EncoderConfig(model=str(folder)))
    (folder / "vocab.txt").write_text("changed")
    with pytest.raises(TerminalError, match=r"run began: fingerprint '\w+', not '\w+'\. Leave"):
        encoder.embed_documents(["a river"])


def test_description_tokens_and_precision_need_no_torch():
    code = (
        "import sys\n"
        "from feature_store.encoders import load_encoder\n"
        "from feature_store.index_config import EncoderConfig\n"
        "encoder = load_encoder(EncoderConfig())\n"
        "assert encoder.token_spans('a river') == [(0, 1), (2, 7)]\n"
        "assert encoder.precision\n"
        "print(sorted({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout.strip() == "[]"


def test_a_description_has_all_that_an_index_records(tiny_model):
    encoder = load_encoder(EncoderConfig(model=str(tiny_model)))
    plain = find_plain(EncoderConfig(model=str(tiny_model)))
    described = describe_files(EncoderConfig(model=str(tiny_model)), plain)
    assert {name: getattr(encoder, name) for name in asdict(described)} == asdict(described)
    assert isinstance(encoder, Description)
    assert packaged_model() is not None
