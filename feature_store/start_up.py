"""What lets a command start quickly: fewer looks for garbage, and no validators that nobody asks for.

Called before the imports that take long; it imports nothing itself.
"""

import gc
import sys

OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""Imports make objects that stay: looking through them at every 700 takes a fifth of the start."""


def collect_rarely() -> None:
    """Look for garbage more seldom in this process, from now to its end."""
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)


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
