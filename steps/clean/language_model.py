"""The model of py3langid, unpacked once for this machine: after that every process maps the same files.

Packed it is 5 MB. To unpack it takes a second and 78 MB in each process; to map it takes 20 ms, and the processes share
what they read of it.
"""

import os
import shutil
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from uuid import uuid4

import numpy as np
from py3langid.langid import MODEL_DIR, MODEL_FILE, LanguageIdentifier

from feature_store.user_cache import user_cache

_ARRAYS = ("nb_ptc", "nb_pc", "nb_classes", "tk_nextmove", "tk_output", "tk_row")


def load_identifier() -> LanguageIdentifier:
    """Return the identifier; where its files are missing or damaged they are made, as far as they can be written."""
    packed = MODEL_DIR / MODEL_FILE
    folder = user_cache("languages") / blake2b(packed.read_bytes(), digest_size=8).hexdigest()
    try:
        return _mapped(folder)
    except (OSError, ValueError):
        shutil.rmtree(folder, ignore_errors=True)
    identifier = LanguageIdentifier.from_model_file(packed)
    with suppress(OSError):
        _unpack(identifier, folder)
    return identifier


def _mapped(folder: Path) -> LanguageIdentifier:
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
    return LanguageIdentifier(
        np.asarray(arrays["nb_ptc"]),
        np.asarray(arrays["nb_pc"]),
        arrays["nb_classes"].tolist(),
        memoryview(arrays["tk_nextmove"]),  # gives numbers one by one several times as quickly as an array
        arrays["tk_output"].tolist(),
        tk_row=arrays["tk_row"].tolist(),
    )


def _unpack(identifier: LanguageIdentifier, folder: Path) -> None:
    unfinished = folder.with_name(uuid4().hex)
    unfinished.mkdir(parents=True)
    try:
        for name in _ARRAYS:
            with (unfinished / f"{name}.npy").open("wb") as file:
                np.save(file, np.asarray(getattr(identifier, name)), allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())  # or a power cut could leave names without contents
        unfinished.rename(folder)  # fails where another process was quicker: its files are the same
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
