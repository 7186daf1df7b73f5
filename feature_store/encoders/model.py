"""A loaded model: the fastest way of embedding that gives the vectors of sentence-transformers at float32."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from loguru import logger

from feature_store.encoders.batches import (
    BATCH_TOKENS,
    BATCH_TOKENS_ON_GPU,
    Lanes,
    batches_by_tokens,
    open_lanes,
)
from feature_store.encoders.description import (
    Description,
    PlainModel,
    TokenSpans,
    cannot_be_loaded,
    check_same,
    describe_files,
    describe_model,
    read_tokenizer,
    spans_of,
)
from feature_store.encoders.files import location_of
from feature_store.encoders.operations import Dimensions, floating_point_operations
from feature_store.encoders.precision import CHECK_TEXTS, LEAST_COSINE, choose_precision, worst_cosine
from feature_store.encoders.references import keep_reference, recall_reference
from feature_store.errors import ConfigurationError, TerminalError
from feature_store.index_config import EncoderConfig

Vectors = npt.NDArray[np.float32]
Item = TypeVar("Item")
Result = TypeVar("Result")
_TEXTS_AT_ONCE = 1024


@dataclass
class Work:
    """What was embedded so far; counted by several threads."""

    tokens: int = 0
    operations: int = 0
    _alone: Lock = field(default_factory=Lock, repr=False)

    def add(self, dimensions: Dimensions | None, lengths: Sequence[int]) -> None:
        """Count texts of these lengths in tokens."""
        operations = 0 if dimensions is None else floating_point_operations(dimensions, lengths)
        with self._alone:
            self.tokens += sum(lengths)
            self.operations += operations


class Path(Protocol):
    """A way of embedding; ``name`` and ``precision`` say which."""

    name: str
    precision: str

    def embed(self, texts: Sequence[str], prompt: str, work: Work) -> Vectors: ...


class PackedPath:
    """Texts without padding, on all cores; see `feature_store.encoders.packed`."""

    name = "packed"

    def __init__(self, bert: Any, plain: PlainModel, config: EncoderConfig, precision: str) -> None:
        import torch

        from feature_store.encoders.packed import PackedBert

        self.precision = precision
        self._bert = PackedBert(bert, plain.pooling, getattr(torch, precision))
        self._tokenizer = read_tokenizer(plain.folder)
        self._tokenizer.enable_truncation(plain.longest)
        self._tokens = config.batch_tokens or BATCH_TOKENS
        self._texts = config.batch_size
        self._lanes: Lanes = open_lanes()

    def embed(self, texts: Sequence[str], prompt: str, work: Work) -> Vectors:
        vectors = np.empty((len(texts), self._bert.dimensions.hidden), np.float32)
        start = 0
        for ids in _ahead(self._tokenize, [(prompt, some) for some in _slices(texts)]):
            vectors[start : start + len(ids)] = self._embed_tokens(ids, work)
            start += len(ids)
        return vectors

    def _tokenize(self, prompted: tuple[str, Sequence[str]]) -> list[list[int]]:
        prompt, texts = prompted
        encodings = self._tokenizer.encode_batch_fast([prompt + text for text in texts])
        return [encoding.ids for encoding in encodings]

    def _embed_tokens(self, ids: Sequence[Sequence[int]], work: Work) -> Vectors:
        lengths = [len(some) for some in ids]
        vectors = np.empty((len(ids), self._bert.dimensions.hidden), np.float32)

        def embed_batch(places: list[int]) -> None:
            vectors[places] = self._bert.embed([ids[place] for place in places])
            work.add(self._bert.dimensions, [lengths[place] for place in places])

        share = self._lanes.share(sum(lengths), self._tokens)
        self._lanes.work(embed_batch, list(batches_by_tokens(lengths, share, self._texts)))
        return vectors


class PlainPath:
    """sentence-transformers' own modules, on whatever device they chose."""

    name = "sentence-transformers"

    def __init__(self, model: Any, config: EncoderConfig, precision: str) -> None:
        self.model = model
        self.precision = precision
        on_processor = model.device.type == "cpu"
        self._tokens = config.batch_tokens or (BATCH_TOKENS if on_processor else BATCH_TOKENS_ON_GPU)
        self._texts = config.batch_size
        self._dimensions = _dimensions(model)
        self._alone = Lock()  # a tokenizer of transformers is changed by each use

    def embed(self, texts: Sequence[str], prompt: str, work: Work) -> Vectors:
        with self._alone:
            prompted = [prompt + text for text in texts]
            tokens = self.model.tokenizer(prompted, truncation=False, padding=False, verbose=False)["input_ids"]
            lengths = [min(len(some), self.model.max_seq_length) for some in tokens]
            vectors = np.empty((len(texts), self.model.get_embedding_dimension()), np.float32)
            for places in batches_by_tokens(lengths, self._tokens, self._texts, padded=True):
                batch = [texts[place] for place in places]
                found = self.model.encode(batch, prompt=prompt, batch_size=len(batch), **_AS_TENSOR)
                vectors[places] = found.float().cpu().numpy()
                work.add(self._dimensions, [lengths[place] for place in places])
        return vectors


_AS_TENSOR = {"show_progress_bar": False, "convert_to_tensor": True, "convert_to_numpy": False}


@dataclass(frozen=True)
class LoadedModel:
    """A model that was found to embed as it should."""

    description: Description
    path: Path
    token_spans: TokenSpans


def load_model(config: EncoderConfig, plain: PlainModel | None, expected: Description | None) -> LoadedModel:
    """Load a model, check it against its description, and choose how to embed with it.

    A plain model that sentence-transformers has loaded before, with the same files, is read from them without it.

    Raises:
        ConfigurationError: if it cannot be loaded, or is not made for text.
        TerminalError: if it is not the model that was described, or no way of embedding gives its vectors.
    """
    if plain is not None and expected is not None:
        known = _load_known(config, plain, expected)
        if known is not None:
            return known
    location = str(plain.folder) if plain is not None else location_of(config)
    precise = _load(config, location, "float32")
    description = describe_model(config, precise)
    if expected is not None:
        check_same(description, expected)
    reference = _reference(precise, description)
    if plain is not None:
        _check_tokenizer(precise, plain)
        keep_reference(description.fingerprint, reference)
    path = choose_path(description, reference, _paths(config, plain, location, precise))
    return LoadedModel(description, path, _spans(precise.tokenizer))


def _load_known(config: EncoderConfig, plain: PlainModel, expected: Description) -> LoadedModel | None:
    """Load a model whose vectors of the check texts are kept; None where they are not, or not those of its weights."""
    reference, precision = recall_reference(expected.fingerprint, expected.dimension), choose_precision(config)
    if reference is None or precision == "float16" or _has_accelerator():
        return None
    from feature_store.encoders.saved import read_bert

    check_same(describe_files(config, plain), expected)
    bert = read_bert(plain.folder)
    if bert is None:
        return None
    path = PackedPath(bert, plain, config, precision)
    cosine = worst_cosine(path.embed(CHECK_TEXTS, expected.document_prompt, Work()), reference)
    # A model that falls short is loaded the long way, which finds another path and says so.
    return LoadedModel(expected, path, spans_of(read_tokenizer(plain.folder))) if cosine >= LEAST_COSINE else None


def _has_accelerator() -> bool:
    import torch

    return torch.accelerator.is_available()


def choose_path(description: Description, reference: Vectors, paths: Iterator[Path]) -> Path:
    """Return the first path whose vectors are those of the reference; say so if it is not the first of all.

    Raises:
        TerminalError: if none is.
    """
    refused: list[str] = []
    for path in paths:
        cosine = worst_cosine(path.embed(CHECK_TEXTS, description.document_prompt, Work()), reference)
        told = f"{path.name} at {path.precision} (cosine {cosine:.5f})"
        if cosine >= LEAST_COSINE:
            if refused:
                logger.warning("{} embeds by {}; not exact enough: {}", description.name, told, ", ".join(refused))
            return path
        refused.append(told)
    raise TerminalError(
        f"No way of embedding with {description.name!r} gives its vectors at float32: {', '.join(refused)}.",
        "Set encoder.precision to float32, and report the model.",
    )


def _slices(texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[start : start + _TEXTS_AT_ONCE] for start in range(0, len(texts), _TEXTS_AT_ONCE)]


def _ahead(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield the result for each item; while the caller works on one, a thread makes the next."""
    if len(items) == 1:
        yield function(items[0])
        return
    with ThreadPoolExecutor(1, thread_name_prefix="tokenizer") as thread:
        ready = [thread.submit(function, item) for item in items[:2]]
        for item in [*items[2:], None, None]:
            yield ready.pop(0).result()
            if item is not None:
                ready.append(thread.submit(function, item))


def _paths(config: EncoderConfig, plain: PlainModel | None, location: str, precise: Any) -> Iterator[Path]:
    """Yield the ways of embedding, the fastest first; each is made only when it is its turn."""
    precision = choose_precision(config)
    packable = plain is not None and _can_be_packed(precise)
    for at in dict.fromkeys([precision, "float32"]):
        if packable and plain is not None and at != "float16":
            yield PackedPath(precise[0].model, plain, config, at)
        if at == "float32":
            yield PlainPath(precise, config, at)
        else:
            yield PlainPath(_load(config, location, at), config, at)


def _can_be_packed(precise: Any) -> bool:
    from feature_store.encoders.packed import can_be_packed

    return precise.device.type == "cpu" and can_be_packed(precise[0].model)


def _load(config: EncoderConfig, location: str, precision: str) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = SentenceTransformer(
            location,
            revision=config.revision,
            trust_remote_code=config.trust_remote_code,
            model_kwargs={"dtype": getattr(torch, precision)},
        )
    except (OSError, ValueError, ImportError, RuntimeError, KeyError) as error:
        raise cannot_be_loaded(config, error) from error
    if config.max_tokens is not None:
        model.max_seq_length = min(config.max_tokens, model.max_seq_length or config.max_tokens)
    return model


def _reference(precise: Any, description: Description) -> Vectors:
    found = precise.encode(list(CHECK_TEXTS), prompt=description.document_prompt, batch_size=4, **_AS_TENSOR)
    reference: Vectors = found.float().cpu().numpy()
    return reference


def _check_tokenizer(precise: Any, plain: PlainModel) -> None:
    theirs, ours = precise.tokenizer, read_tokenizer(plain.folder)
    ours.enable_truncation(plain.longest)
    wanted = theirs(list(CHECK_TEXTS), truncation=True, max_length=plain.longest, verbose=False)["input_ids"]
    if [encoding.ids for encoding in ours.encode_batch(list(CHECK_TEXTS))] != wanted:
        raise ConfigurationError(
            f"The tokenizer.json of {plain.folder} is not what transformers makes of the model's tokenizer.",
            "Save the model anew by sentence-transformers, or remove tokenizer.json so that the others count.",
        )


def _spans(tokenizer: Any) -> TokenSpans:
    alone = Lock()  # a tokenizer of transformers is changed by each use

    def token_spans(text: str) -> Sequence[tuple[int, int]]:
        with alone:
            encoding = tokenizer(
                text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False
            )
        spans: list[tuple[int, int]] = encoding["offset_mapping"]
        return spans

    return token_spans


def _dimensions(model: Any) -> Dimensions | None:
    config = getattr(model[0], "config", None)
    layers, hidden = getattr(config, "num_hidden_layers", None), getattr(config, "hidden_size", None)
    intermediate = getattr(config, "intermediate_size", None)
    return Dimensions(layers, hidden, intermediate) if layers and hidden and intermediate else None
