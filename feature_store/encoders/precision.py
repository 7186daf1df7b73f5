"""At which precision to embed: what the hardware does fast, and what a check finds to be exact enough."""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feature_store.index_config import EncoderConfig

LEAST_COSINE = 0.999
_SIGNS_OF_A_GPU = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")
_IN_HARDWARE = {"amx_bf16", "avx512_bf16"}  # emulated, bfloat16 is six times slower than float32

_SENTENCE = "The harbour pilot wrote a letter about silver light on stones, and the river carried it away. "
CHECK_TEXTS = (
    "river",
    "Stone bridge",
    "What does it cost?",
    "def add(left: int, right: int) -> int:\n    return left + right",
    "naïve café, Müller & Søn: 東京 と 大阪, привет",
    "1,024.50 | 3e-7 | 0xFF | 12:45 | 2026-01-31",
    "",
    "a" * 120,
    "# Heading\n\n* one\n* two\n\n| a | b |\n|---|---|\n| 1 | 2 |",
    _SENTENCE,
    _SENTENCE * 3,
    _SENTENCE * 6,
)


def choose_precision(config: EncoderConfig) -> str:
    """Return the precision to try; without importing torch where the processor decides."""
    if config.precision != "auto":
        return config.precision
    flags = _processor_flags()
    if flags is not None and not any(Path(path).exists() for path in _SIGNS_OF_A_GPU):
        return "bfloat16" if flags & _IN_HARDWARE else "float32"
    import torch

    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    capabilities = torch.cpu.get_capabilities()
    return "bfloat16" if any(capabilities.get(name, False) for name in _IN_HARDWARE) else "float32"


def worst_cosine(vectors: npt.NDArray[np.float32], reference: npt.NDArray[np.float32]) -> float:
    """Return the lowest cosine between vectors and what they should be, row by row; -1 where one is not finite."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
    cosines = (vectors * reference).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    return float(np.nan_to_num(cosines, nan=-1).min())


def _processor_flags() -> set[str] | None:
    """Return what the processors of a Linux machine can do; None where that is not to be read."""
    if sys.platform != "linux":
        return None
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((set(line.split()) for line in lines if line.startswith("flags")), None)
