"""One encoder for documents and queries: described at once, its model loaded when the first text is embedded."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property, lru_cache
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_store.encoders.description import (
    Description,
    PlainModel,
    TokenSpans,
    check_same,
    describe_files,
    find_plain,
    read_tokenizer,
    spans_of,
)
from feature_store.encoders.model import LoadedModel, Work, load_model
from feature_store.encoders.precision import choose_precision
from feature_store.encoders.words import separates_words
from feature_store.index_config import EncoderConfig


@dataclass(frozen=True, eq=False)
class Encoder(Description):
    """An embedding model; may be used by several threads, and sent to another process without its weights.

    There it is the same object for all that is sent of it, and finds its own files; they have to be the same ones.
    """

    _config: EncoderConfig = field(repr=False)
    _place: "_Place" = field(repr=False)

    @property
    def precision(self) -> str:
        """What the hardware does fast; once a text was embedded, that at which it was."""
        return self._place.precision

    @property
    def path(self) -> str | None:
        """How it embeds: ``packed`` or ``sentence-transformers``; None as long as it did not."""
        return self._place.path

    @property
    def tokens_embedded(self) -> int:
        """The tokens that this object embedded in this process, special ones and prompts included."""
        return self._place.work.tokens

    @property
    def operations_embedded(self) -> int:
        """The floating-point operations that took; see `feature_store.encoders.floating_point_operations`."""
        return self._place.work.operations

    @property
    def separates_words(self) -> bool:
        """Whether the tokens on one side of blanks and line ends never depend on what is on the other."""
        return self._place.separates_words

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return the character span of every token of ``text``, special tokens left out, nothing truncated."""
        return self._place.token_spans(text)

    def embed_documents(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one vector a text: float32, shape (len(texts), dimension).

        Raises:
            ConfigurationError: if the model cannot be loaded.
            TerminalError: if what is loaded is not the model that was described.
        """
        return self._embed(texts, self.document_prompt)

    def embed_query(self, text: str) -> npt.NDArray[np.float32]:
        """Return the vector of a query: float32, shape (dimension,)."""
        vector: npt.NDArray[np.float32] = self.embed_queries([text])[0]
        return vector

    def embed_queries(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one vector a query: float32, shape (len(texts), dimension)."""
        return self._embed(texts, self.query_prompt)

    def load(self) -> None:
        """Load the model now, and not with the first text.

        Raises:
            ConfigurationError: if it cannot be loaded.
            TerminalError: if it is not the model that was described.
        """
        self._place.loaded  # noqa: B018 - loads

    def _embed(self, texts: Sequence[str], prompt: str) -> npt.NDArray[np.float32]:
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        vectors = self._place.loaded.path.embed(texts, prompt, self._place.work)
        if not self.normalised:
            return vectors
        # In float32: at bfloat16 the model's own normalisation is off by up to 0.3 %.
        exact: npt.NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return exact

    def __reduce__(self) -> tuple[Callable[..., "Encoder"], tuple[Any, ...]]:
        values = tuple(getattr(self, described.name) for described in fields(Description))
        return _restored, (self._config, Description(*values))


class _Place:
    """What an encoder holds in this process: the files it found, its tokenizer, and its model once that is needed."""

    def __init__(self, config: EncoderConfig, plain: PlainModel | None, described: Description | None) -> None:
        self._config = config
        self._plain = plain
        self._described = described
        self._alone = Lock()
        self._loaded: LoadedModel | None = None
        self.work = Work()

    @cached_property
    def _chosen(self) -> str:
        return choose_precision(self._config)

    @property
    def precision(self) -> str:
        return self._chosen if self._loaded is None else self._loaded.path.precision

    @property
    def path(self) -> str | None:
        return None if self._loaded is None else self._loaded.path.name

    @property
    def loaded(self) -> LoadedModel:
        with self._alone:
            if self._loaded is None:
                self._loaded = load_model(self._config, self._plain, self._described)
            return self._loaded

    @cached_property
    def separates_words(self) -> bool:
        return self._plain is not None and separates_words(self._plain.folder)

    @cached_property
    def token_spans(self) -> TokenSpans:
        return self.loaded.token_spans if self._plain is None else spans_of(read_tokenizer(self._plain.folder))


@lru_cache(maxsize=4)
def load_encoder(config: EncoderConfig) -> Encoder:
    """Return the encoder of a model by name or folder; the default one comes from the package that carries its weights.

    A plain model (see `feature_store.encoders.description`) is described by its files, and loaded when it embeds; any
    other one is loaded here. A name on the hub means the files in its local cache where they are there.

    Raises:
        ConfigurationError: if it cannot be loaded, or is not made for text.
    """
    plain = find_plain(config)
    place = _Place(config, plain, None)
    description = place.loaded.description if plain is None else describe_files(config, plain)
    if plain is not None:
        place = _Place(config, plain, description)
    return Encoder(**asdict(description), _config=config, _place=place)


def _restored(config: EncoderConfig, description: Description) -> Encoder:
    """Return the encoder that was sent to this process, with the files that are here."""
    encoder = load_encoder(config)
    check_same(encoder, description)
    return encoder
