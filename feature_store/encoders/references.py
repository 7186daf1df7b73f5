"""What a model gave for the check texts when sentence-transformers had it: kept, so that it need not be asked again.

Importing sentence-transformers and loading a model a second time only to compare with it takes seconds and 200 MB. The
vectors are kept for each model (its fingerprint covers all its files) and each release of the libraries that made
them. Those of the packaged model come with this package; those of others are in the user's cache, once they were made.
"""

from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from feature_store.encoders.precision import CHECK_TEXTS
from feature_store.ids import fingerprint
from feature_store.user_cache import user_cache

Vectors = npt.NDArray[np.float32]
PACKAGED_REFERENCES = Path(__file__).with_name("reference_vectors")
_LIBRARIES = ("sentence-transformers", "transformers", "tokenizers")


def recall_reference(model_fingerprint: str, dimension: int) -> Vectors | None:
    """Return the vectors of the check texts at float32, shape (texts, dimension); None where nobody has made them."""
    name = reference_name(model_fingerprint)
    for folder in (PACKAGED_REFERENCES, user_cache("models")):
        with suppress(OSError, ValueError):  # not there, or damaged: made anew
            vectors: Vectors = np.load(folder / name, allow_pickle=False)
            if vectors.shape == (len(CHECK_TEXTS), dimension) and vectors.dtype == np.float32:
                return vectors
    return None


def keep_reference(model_fingerprint: str, vectors: Vectors) -> None:
    """Keep vectors that sentence-transformers made of the check texts; where nothing can be written, nothing is."""
    place = user_cache("models") / reference_name(model_fingerprint)
    unfinished = place.with_name(f"{uuid4().hex}.npy")
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        np.save(unfinished, vectors, allow_pickle=False)
        unfinished.replace(place)


def reference_name(model_fingerprint: str) -> str:
    """Return the name of the file for a model, these check texts and the installed libraries."""
    made_by = fingerprint([CHECK_TEXTS, [version(library) for library in _LIBRARIES]])
    return f"{model_fingerprint}_{made_by}.npy"
