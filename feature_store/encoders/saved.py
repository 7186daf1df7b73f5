"""A BERT as it lies in its files: configuration and weights, without transformers. Importing this imports torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from safetensors.torch import load_file

from feature_store.encoders.packed import has_known_arithmetic

_PREFIX = "bert."  # of models that were saved with a head
_DEFAULTS = {"hidden_act": "gelu", "layer_norm_eps": 1e-12}  # of transformers' BertConfig
_EMBEDDINGS = ("word_embeddings", "position_embeddings", "token_type_embeddings")
_PER_LAYER = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)


@dataclass(frozen=True)
class SavedBert:
    """Stands for a BertModel of transformers in `feature_store.encoders.packed`."""

    config: SimpleNamespace
    weights: Mapping[str, Any]

    def state_dict(self) -> Mapping[str, Any]:
        """Return the weights by the names that they have in a BertModel."""
        return self.weights


def read_bert(folder: Path) -> SavedBert | None:
    """Read a BERT from ``config.json`` and ``model.safetensors``; None where they are not as transformers saves it."""
    config = SimpleNamespace(**_DEFAULTS | json.loads((folder / "config.json").read_text(encoding="utf-8")))
    file = folder / "model.safetensors"
    if not file.exists() or not has_known_arithmetic(config):
        return None
    weights = {name.removeprefix(_PREFIX): tensor for name, tensor in load_file(file).items()}
    return SavedBert(config, weights) if _names(config.num_hidden_layers) <= weights.keys() else None


def _names(layers: int) -> set[str]:
    embeddings = {f"embeddings.{name}.weight" for name in _EMBEDDINGS}
    norm = {f"embeddings.LayerNorm.{kind}" for kind in ("weight", "bias")}
    each = {
        f"encoder.layer.{layer}.{name}.{kind}"
        for layer in range(layers)
        for name in _PER_LAYER
        for kind in ("weight", "bias")
    }
    return embeddings | norm | each
