"""How fast this machine could have been: to be set beside what the model of an encoder did."""

from typing import Protocol

from feature_store.encoders import measure_gemm

TEXTS_WORTH_MEASURING = 1000
"""Texts after which the speed of matrix multiplication is measured: it takes 0.2 s."""


class Counting(Protocol):
    """An encoder that counts what it embeds in this process."""

    @property
    def operations_embedded(self) -> int: ...

    @property
    def precision(self) -> str: ...


class ModelMeter:
    """Counts from when it is made. Encoders in other processes or on other machines are none of its business."""

    def __init__(self, encoder: Counting) -> None:
        self._encoder = encoder
        self._operations = encoder.operations_embedded

    def gemm_speed(self, texts: int) -> float:
        """Return the operations a second of this machine's matrix multiplication; 0 if it embedded few ``texts``."""
        if texts <= TEXTS_WORTH_MEASURING or self._encoder.operations_embedded == self._operations:
            return 0.0
        return measure_gemm(self._encoder.precision)
