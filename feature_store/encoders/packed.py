"""BERT without padding: the tokens of all texts of a batch in one row of vectors, attention text by text.

Weights are those of transformers' BertModel, the arithmetic is that of Devlin et al. 2018 (arXiv:1810.04805). Query,
key and value are one product. Only inside of attention long texts are filled up by a few masked places, because its
kernel is slow at lengths that are no multiple of 16.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from feature_store.encoders.operations import Dimensions

Linear = Callable[[torch.Tensor], torch.Tensor]


class Group(NamedTuple):
    """Texts of one length that follow one another: their tokens are rows ``start`` to ``end``."""

    start: int
    end: int
    texts: int
    length: int


class Block(NamedTuple):
    """Texts that attend at the same time, each to itself: rows ``start`` to ``end``, with ``length`` places a text.

    Where that is more than their tokens, ``places`` is the row for each place, any row for one that is filled up,
    ``tokens`` are the other places, and ``mask`` is 0 for these and minus infinity for what is filled up.
    """

    start: int
    end: int
    texts: int
    length: int
    places: torch.Tensor | None = None
    tokens: torch.Tensor | None = None
    mask: torch.Tensor | None = None


class Layer(NamedTuple):
    """One layer; ``widen`` includes the activation."""

    query_key_value: Linear
    attended: Linear
    attention_norm: tuple[torch.Tensor, torch.Tensor]
    widen: Linear
    narrow: Linear
    output_norm: tuple[torch.Tensor, torch.Tensor]


class PackedBert:
    """A BERT with its pooling, at one precision; may be called by several threads."""

    def __init__(self, bert: Any, pooling: str, dtype: torch.dtype) -> None:
        config = bert.config
        weights = {name: tensor.detach().to(dtype) for name, tensor in bert.state_dict().items()}
        self.dimensions = Dimensions(config.num_hidden_layers, config.hidden_size, config.intermediate_size)
        self._pooling = pooling
        self._heads = config.num_attention_heads
        self._epsilon = config.layer_norm_eps
        self._words = weights["embeddings.word_embeddings.weight"]
        # Texts stand alone, so every token is of type 0.
        kind = weights["embeddings.token_type_embeddings.weight"][0]
        self._places = weights["embeddings.position_embeddings.weight"] + kind
        self._norm = _norm(weights, "embeddings.LayerNorm")
        self._layers = [_layer(weights, f"encoder.layer.{number}.") for number in range(config.num_hidden_layers)]

    @torch.inference_mode()
    def embed(self, texts: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """Return a vector a text, not normalised: float32, shape (len(texts), hidden).

        ``texts`` are token ids, special ones included; texts of equal length should stand side by side.
        """
        lengths = list(map(len, texts))
        blocks = list(_blocks(lengths, self._words.dtype))
        words = torch.from_numpy(np.concatenate([np.asarray(text, np.int64) for text in texts]))
        places = torch.from_numpy(np.concatenate([np.arange(length) for length in lengths]))
        hidden = self._normalise(_filled_up(self._words[words] + self._places[places]), self._norm)
        attended = torch.zeros_like(hidden)
        for layer in self._layers:
            self._attend(layer.query_key_value(hidden), blocks, attended)
            hidden = self._normalise(layer.attended(attended) + hidden, layer.attention_norm)
            hidden = self._normalise(layer.narrow(layer.widen(hidden)) + hidden, layer.output_norm)
        pooled: npt.NDArray[np.float32] = torch.cat([self._pool(hidden, group) for group in _groups(lengths)]).numpy()
        return pooled

    def _attend(self, projected: torch.Tensor, blocks: Sequence[Block], attended: torch.Tensor) -> None:
        for start, end, texts, length, places, tokens, mask in blocks:
            rows = projected[start:end] if places is None else projected[places]
            query, key, value = rows.view(texts, length, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
            found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            by_place = found.transpose(1, 2).reshape(texts * length, -1)
            attended[start:end] = by_place if tokens is None else by_place[tokens]

    def _normalise(self, hidden: torch.Tensor, norm: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        # Mean and variance are computed in float32 at every precision.
        return functional.layer_norm(hidden, (hidden.shape[1],), *norm, self._epsilon)

    def _pool(self, hidden: torch.Tensor, group: Group) -> torch.Tensor:
        tokens = hidden[group.start : group.end].view(group.texts, group.length, -1)
        return tokens[:, 0].float() if self._pooling == "cls" else tokens.mean(1, dtype=torch.float32)


def can_be_packed(bert: Any) -> bool:
    """Return whether a model of transformers is a BERT as this module knows it."""
    kind = type(bert)
    is_bert = (kind.__module__, kind.__name__) == ("transformers.models.bert.modeling_bert", "BertModel")
    return is_bert and has_known_arithmetic(bert.config)


def has_known_arithmetic(config: Any) -> bool:
    """Return whether a BERT with this configuration, of transformers or read from its file, computes as here."""
    return (
        config.hidden_act == "gelu"
        and getattr(config, "position_embedding_type", "absolute") in ("absolute", None)
        and not getattr(config, "is_decoder", False)
        and not getattr(config, "add_cross_attention", False)
    )


def _filled_up(rows: torch.Tensor) -> torch.Tensor:
    """Add rows of zeros that nobody reads, up to the next multiple of 128.

    oneDNN compiles and keeps a kernel for each shape of a product: with fewer shapes memory grew half as fast.
    """
    missing = -len(rows) % _ROWS_AT_ONCE
    return functional.pad(rows, (0, 0, 0, missing))


def _groups(lengths: Sequence[int]) -> Iterator[Group]:
    start = 0
    for length, same in groupby(lengths):
        count = len(list(same))
        yield Group(start, start + count * length, count, length)
        start += count * length


def _blocks(lengths: Sequence[int], dtype: torch.dtype) -> Iterator[Block]:
    """Yield blocks of neighbours, small enough for query, key and value to stay in a core's cache."""
    start = 0
    for places, neighbours in groupby(lengths, _places_for):
        some = list(neighbours)
        at_once = max(1, _PLACES_AT_ONCE // places)
        for first in range(0, len(some), at_once):
            block = _block(start, some[first : first + at_once], places, dtype)
            yield block
            start = block.end


def _block(start: int, lengths: Sequence[int], places: int, dtype: torch.dtype) -> Block:
    end = start + sum(lengths)
    are_tokens = np.arange(places) < np.array(lengths)[:, None]
    if are_tokens.all():
        return Block(start, end, len(lengths), places)
    rows = np.full(are_tokens.shape, start)
    rows[are_tokens] = np.arange(start, end)
    mask = torch.zeros(len(lengths), 1, 1, places, dtype=dtype)
    mask[torch.from_numpy(~are_tokens)[:, None, None]] = -torch.inf
    tokens = torch.from_numpy(np.flatnonzero(are_tokens))
    return Block(start, end, len(lengths), places, torch.from_numpy(rows.reshape(-1)), tokens, mask)


def _places_for(length: int) -> int:
    return length if length < _SHORT else -(-length // _ALIGNMENT) * _ALIGNMENT


def _layer(weights: dict[str, torch.Tensor], prefix: str) -> Layer:
    attention = [f"{prefix}attention.self.{name}" for name in ("query", "key", "value")]
    merged = [torch.cat([weights[f"{name}.{kind}"] for name in attention]) for kind in ("weight", "bias")]
    return Layer(
        query_key_value=_linear(merged[0], merged[1]),
        attended=_linear(*_norm(weights, f"{prefix}attention.output.dense")),
        attention_norm=_norm(weights, f"{prefix}attention.output.LayerNorm"),
        widen=_linear(*_norm(weights, f"{prefix}intermediate.dense"), activation="gelu"),
        narrow=_linear(*_norm(weights, f"{prefix}output.dense")),
        output_norm=_norm(weights, f"{prefix}output.LayerNorm"),
    )


def _norm(weights: dict[str, torch.Tensor], name: str) -> tuple[torch.Tensor, torch.Tensor]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


def _linear(weight: torch.Tensor, bias: torch.Tensor, activation: str = "none") -> Linear:
    """Return a product with its activation; at bfloat16 as one operation of oneDNN, its weights laid out once.

    That is what torch.compile makes of it too, and 8 % faster on the whole.
    """
    if weight.dtype is torch.bfloat16 and _has_fused_products():
        ready = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)  # noqa: SLF001
        product = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001
        return lambda hidden: product(hidden, ready, bias, activation, [], "none")
    if activation == "gelu":
        return lambda hidden: functional.gelu(functional.linear(hidden, weight, bias))
    return lambda hidden: functional.linear(hidden, weight, bias)


_ROWS_AT_ONCE = 128
_ALIGNMENT = 16  # with AMX, a text of 199 tokens attends in 0.7 ms, of 208 in 0.46 ms
_SHORT = 96  # tokens, below which filling up gains nothing
_PLACES_AT_ONCE = 512
_ROWS = 4096  # that the layout of the weights is made for; any other number works


def _has_fused_products() -> bool:
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return bool(torch.backends.mkldnn.enabled) and all(hasattr(torch.ops.mkldnn, name) for name in names)
