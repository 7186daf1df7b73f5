"""What lets a process start quickly: fewer looks for garbage, no pandas, and no validators that nobody asks for.

Called before the imports that take long; it imports nothing itself. Only for processes of our own: who imports our
modules elsewhere gets Arrow and qdrant-client as they are.
"""

import gc
import sys
from types import SimpleNamespace
from typing import Any

OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""Imports make objects that stay: looking through them at every 700 takes a fifth of the start."""


def collect_rarely() -> None:
    """Look for garbage more seldom in this process, from now to its end."""
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)


def spare_pandas() -> None:
    """Import Arrow without pandas.

    Arrow imports pandas, a quarter of a second and 38 MB, with the first value that it is given: only to know whether
    that is a Series. Told that there is none, it looks again when somebody asks it for a data frame.
    """
    if "pandas" in sys.modules:
        return
    hiding: Any = SimpleNamespace(find_spec=_no_pandas)
    sys.meta_path.insert(0, hiding)
    try:
        import pyarrow as pa

        pa.scalar(0)
    finally:
        sys.meta_path.remove(hiding)


def _no_pandas(name: str, *_: Any) -> None:
    if name == "pandas":
        raise ModuleNotFoundError(name=name)


def import_qdrant_client() -> None:
    """Import qdrant-client without what takes half of its import: building the validators of all its 340 models.

    pydantic builds each one when it is first used. That is not meant for several threads, nor for objects made by
    `model_construct`; hence `build_qdrant_models`.
    """
    if "qdrant_client" in sys.modules:
        return
    from pydantic import BaseModel

    plain = vars(BaseModel)["model_rebuild"]
    BaseModel.model_rebuild = classmethod(lambda _model, **_options: None)  # type: ignore[assignment, method-assign]
    try:
        import qdrant_client  # noqa: F401
    finally:
        BaseModel.model_rebuild = plain  # type: ignore[method-assign]


def build_qdrant_models() -> None:
    """Build what is not built yet, as the plain import does: before a server gets points from several threads."""
    from pydantic import BaseModel
    from qdrant_client.http.models import models

    for model in vars(models).values():
        if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == models.__name__:
            model.model_rebuild()
