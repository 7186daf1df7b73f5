"""Counting tokens by a model's own tokenizer, without loading the model."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feature_store.encoders import PACKAGED_MODEL, packaged_model
from feature_store.errors import ConfigurationError

_TEXTS_AT_ONCE = 64


@dataclass(frozen=True)
class TokenCounter:
    """A tokenizer; ``fingerprint`` names its file."""

    name: str
    fingerprint: str
    tokenizer: Any

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, special tokens left out, nothing truncated."""
        counts: list[int] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            some = list(texts[start : start + _TEXTS_AT_ONCE])
            counts += map(len, self.tokenizer.encode_batch_fast(some, add_special_tokens=False))
        return counts


def load_token_counter(name: str) -> TokenCounter:
    """Load the tokenizer of a model by name, folder or ``tokenizer.json``; the default one comes from its package.

    Raises:
        ConfigurationError: if there is none.
    """
    from tokenizers import Tokenizer

    content = _file(name).read_bytes()
    try:
        tokenizer = Tokenizer.from_buffer(content)
    except ValueError as error:
        raise _unusable(name, str(error)) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return TokenCounter(name, hashlib.sha256(content).hexdigest()[:12], tokenizer)


def _file(name: str) -> Path:
    place = (packaged_model() if name == PACKAGED_MODEL else None) or Path(name)
    if place.is_dir():
        place /= "tokenizer.json"
    return place if place.is_file() else _downloaded(name)


def _downloaded(name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(name, "tokenizer.json"))
    except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
        raise _unusable(name, str(error).strip().split("\n", 1)[0]) from None


def _unusable(name: str, detail: str) -> ConfigurationError:
    return ConfigurationError(
        f"The tokenizer {name!r} cannot be loaded: {detail}",
        "Give the path of a tokenizer.json or of its folder, or a name on a hub that this machine reaches.",
    )
