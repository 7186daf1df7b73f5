"""What matters of a model to the vectors it makes: from its files where they are of the plain kind, else from itself.

Plain is a folder of sentence-transformers with a BERT, its pooling and, maybe, its normalisation. Its description needs
neither torch nor transformers, so that a run with nothing to embed does not wait for them. Every other model is loaded
to be described, as sentence-transformers understands it.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from feature_store.encoders.files import folder_of, hash_files
from feature_store.errors import ConfigurationError, TerminalError, first_line
from feature_store.ids import fingerprint
from feature_store.index_config import EncoderConfig

TokenSpans = Callable[[str], Sequence[tuple[int, int]]]
"""Gives the (start, end) character span of every token of a text: no special tokens, no truncation."""

_SANE_LIMIT = 1_000_000
_UNLIMITED = 10**30  # what transformers takes where a tokenizer states no limit
_SIMILARITIES = {"cosine", "dot", "euclidean", "manhattan"}
_TOKENIZERS = {"BertTokenizer", "BertTokenizerFast"}
_TRANSFORMER_KEYS = {"max_seq_length", "do_lower_case", "transformer_task", "modality_config", "module_output_name"}
_LAST_HIDDEN_STATE = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class Description:
    """A model, as far as its vectors depend on it.

    ``token_limit`` is the most tokens of text that fit with the document prompt and the special tokens.
    ``fingerprint`` names everything that decides the vectors, except for the precision: the same text at float32 and
    at bfloat16 differs by about 1e-4, which is recorded but makes no other index.
    """

    name: str
    fingerprint: str
    dimension: int
    token_limit: int
    document_prompt: str
    query_prompt: str
    normalised: bool
    similarity: str


@dataclass(frozen=True)
class PlainModel:
    """The files of a model of the plain kind; ``longest`` is its limit, prompt and special tokens included."""

    folder: Path
    pooling: str
    normalised: bool
    dimension: int
    longest: int
    prompts: dict[str, str]
    similarity: str


def describe_files(config: EncoderConfig, plain: PlainModel) -> Description:
    """Describe a model by its files.

    Raises:
        ConfigurationError: if the model states no limit, or its weights cannot be read.
    """
    _check_weights(config, plain.folder)
    tokenizer = read_tokenizer(plain.folder)
    prompt = plain.prompts.get("document") or ""
    return _description(
        config,
        files=hash_files(plain.folder),
        longest=plain.longest,
        special=tokenizer.num_special_tokens_to_add(is_pair=False),
        prompt_tokens=len(tokenizer.encode(prompt, add_special_tokens=False).ids),
        document_prompt=prompt,
        query_prompt=plain.prompts.get("query") or "",
        dimension=plain.dimension,
        normalised=plain.normalised,
        similarity=plain.similarity,
    )


def describe_model(config: EncoderConfig, model: Any) -> Description:
    """Describe a loaded SentenceTransformer.

    Raises:
        ConfigurationError: if the model states no limit, or its files are not in the hub's cache.
    """
    # What encode_document and encode_query take; a default prompt is not used by them.
    document_prompt = model.prompts.get("document") or ""
    folder = folder_of(config)
    if folder is None:
        raise ConfigurationError(
            f"The files of the embedding model {config.model!r} are not in the hub's cache.", "Give the model's folder."
        )
    return _description(
        config,
        files=hash_files(folder),
        longest=model.max_seq_length,
        special=model.tokenizer.num_special_tokens_to_add(pair=False),
        prompt_tokens=len(model.tokenizer(document_prompt, add_special_tokens=False)["input_ids"]),
        document_prompt=document_prompt,
        query_prompt=model.prompts.get("query") or "",
        dimension=model.get_embedding_dimension(),
        normalised=any(type(module).__name__ == "Normalize" for module in model),
        similarity=str(model.similarity_fn_name),
    )


def check_same(found: Description, expected: Description) -> None:
    """Check that the model that was loaded is the one that was described.

    Raises:
        TerminalError: if it is not.
    """
    names = [field.name for field in fields(Description)]
    wrong = [name for name in names if getattr(found, name) != getattr(expected, name)]
    if wrong:
        values = ", ".join(f"{name} {getattr(found, name)!r}, not {getattr(expected, name)!r}" for name in wrong)
        raise TerminalError(
            f"The embedding model {expected.name!r} is not the one that was described when this run began: {values}.",
            "Leave the model's files alone while a run works, and give every worker the same ones; then run again.",
        )


def read_tokenizer(folder: Path) -> Any:
    """Read the tokenizer of a plain model; it truncates and pads nothing."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def spans_of(tokenizer: Any) -> TokenSpans:
    """Return the function that gives the character span of every token of a text; threads may share it."""

    def token_spans(text: str) -> Sequence[tuple[int, int]]:
        spans: list[tuple[int, int]] = tokenizer.encode(text, add_special_tokens=False).offsets
        return spans

    return token_spans


def find_plain(config: EncoderConfig) -> PlainModel | None:
    """Return what the files of a model say of it; None if they are not here, or not of the plain kind.

    In doubt they are not: the model then tells itself.
    """
    folder = folder_of(config)
    if folder is None:
        return None
    try:
        return _plain(folder, config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # sentence-transformers says better what is wrong with them


def _plain(folder: Path, config: EncoderConfig) -> PlainModel | None:
    modules = _modules(folder)
    kinds = [kind for kind, _ in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]) or modules[0][1] != folder:
        return None
    bert, own = _json(folder / "config.json"), _json(folder / "config_sentence_transformers.json", {})
    pooling, dimension = _pooling(_json(modules[1][1] / "config.json"))
    normalising = _json(modules[2][1] / "config.json", {}) if len(modules) > 2 else {}  # noqa: PLR2004
    similarity = own.get("similarity_fn_name")
    plain = (
        bert["model_type"] == "bert"
        and not bert.get("is_decoder")
        and "auto_map" not in bert
        and pooling in {"mean", "cls"}
        and dimension == bert["hidden_size"]
        and set(normalising.values()) <= {"sentence_embedding", None}
        and own.get("truncate_dim") is None
        and own.get("model_type", "SentenceTransformer") == "SentenceTransformer"
        and _has_plain_tokenizer(folder)
        and _has_weights(folder)
    )
    longest = _longest(folder, bert, config)
    if not plain or longest is None:
        return None
    return PlainModel(
        folder=folder,
        pooling=pooling,
        normalised="Normalize" in kinds,
        dimension=dimension,
        longest=longest,
        prompts=dict(own.get("prompts", {})),
        similarity=similarity if similarity in _SIMILARITIES else "cosine",
    )


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """Return kind and folder of each module; a kind that is not sentence-transformers' own is given in full."""
    return [
        (kind.rsplit(".", 1)[1] if kind.startswith("sentence_transformers.") else kind, folder / module["path"])
        for module in _json(folder / "modules.json")
        for kind in [module["type"]]
    ]


def _pooling(values: dict[str, Any]) -> tuple[str, int]:
    modes = values.get("pooling_mode") or [mode for flag, mode in _POOLING_FLAGS.items() if values.get(flag)] or "mean"
    if not isinstance(modes, str):
        (modes,) = modes  # several ones are not plain
    if not values.get("include_prompt", True):
        modes = f"{modes} without the prompt"
    return modes, values["embedding_dimension" if "embedding_dimension" in values else "word_embedding_dimension"]


def _longest(folder: Path, bert: dict[str, Any], config: EncoderConfig) -> int | None:
    """Return the limit in tokens, as sentence-transformers' Transformer sets it; None where that is not plain."""
    values = _json(folder / "sentence_bert_config.json", {})
    given = {name: value for name, value in values.items() if value is not None}
    if (
        not set(given) <= _TRANSFORMER_KEYS
        or given.get("do_lower_case", False)
        or given.get("transformer_task", "feature-extraction") != "feature-extraction"
        or given.get("modality_config", _LAST_HIDDEN_STATE) != _LAST_HIDDEN_STATE
        or given.get("module_output_name", "token_embeddings") != "token_embeddings"
    ):
        return None
    longest: int | None = given.get("max_seq_length")
    positions: int = bert["max_position_embeddings"]
    if longest is None:
        longest = min(_json(folder / "tokenizer_config.json").get("model_max_length", _UNLIMITED), positions)
    if config.max_tokens is not None:
        longest = min(config.max_tokens, longest)
    return longest if longest <= positions else None


def _has_plain_tokenizer(folder: Path) -> bool:
    """Return whether tokenizer.json alone is what transformers makes of all files."""
    file, settings = _json(folder / "tokenizer.json"), _json(folder / "tokenizer_config.json")
    normalizer = file["normalizer"]
    same = ("do_lower_case", "lowercase"), ("strip_accents", "strip_accents")
    return (
        settings.get("tokenizer_class") in _TOKENIZERS
        and "auto_map" not in settings
        and settings.get("truncation_side", "right") == "right"
        and file["model"]["type"] == "WordPiece"
        and normalizer["type"] == "BertNormalizer"
        and all(settings.get(ours, normalizer[theirs]) == normalizer[theirs] for ours, theirs in same)
        and not (folder / "added_tokens.json").exists()
    )


def _has_weights(folder: Path) -> bool:
    return any(any(folder.glob(pattern)) for pattern in ("*.safetensors", "pytorch_model*.bin"))


def _check_weights(config: EncoderConfig, folder: Path) -> None:
    from safetensors import SafetensorError, safe_open

    for path in folder.glob("*.safetensors"):
        try:
            with safe_open(path, framework="numpy"):
                """Opening compares what the header says with the length of the file."""
        except (OSError, SafetensorError) as error:
            raise cannot_be_loaded(config, error) from error


def cannot_be_loaded(config: EncoderConfig, error: Exception) -> ConfigurationError:
    """Return the error that says so, and what to do."""
    return ConfigurationError(
        f"The embedding model {config.model!r} cannot be loaded: {first_line(error)}",
        "Give the folder of a sentence-transformers model, or a name on a hub that this machine reaches.",
    )


def _description(  # noqa: PLR0913 - all that a model is described by
    config: EncoderConfig,
    *,
    files: str,
    longest: int | None,
    special: int,
    prompt_tokens: int,
    document_prompt: str,
    query_prompt: str,
    dimension: int,
    normalised: bool,
    similarity: str,
) -> Description:
    if longest is None or longest > _SANE_LIMIT:
        raise ConfigurationError(
            f"The embedding model {config.model!r} states no limit of tokens.", "Set encoder.max_tokens."
        )
    identity = {"files": files, "limit": longest, "document_prompt": document_prompt, "normalised": normalised}
    return Description(
        name=config.model,
        fingerprint=fingerprint(identity),
        dimension=dimension,
        token_limit=longest - special - prompt_tokens,
        document_prompt=document_prompt,
        query_prompt=query_prompt,
        normalised=normalised,
        similarity=similarity,
    )


def _json(path: Path, default: Any = None) -> Any:
    if default is not None and not path.exists():
        return default
    return json.loads(path.read_text(encoding="utf-8"))
