"""Pipelines that start without importing every library that ZenML has an integration for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zenml.client import Client
from zenml.integrations.registry import integration_registry
from zenml.models import PipelineRunResponse
from zenml.pipelines.pipeline_definition import Pipeline

_OF_ZENML = "built-in"


class LightPipeline(Pipeline):
    """A pipeline whose steps all name the materializers of what they hand on.

    To find materializers, ZenML activates every integration whose library is installed before it compiles a pipeline:
    torch, scikit-learn and SciPy are imported, for seconds. Here that happens only where the stack has a component of
    an integration.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> PipelineRunResponse | None:
        if needs_integrations():
            return super().__call__(*args, **kwargs)
        with no_integrations():
            return super().__call__(*args, **kwargs)


def needs_integrations() -> bool:
    """Return whether the active stack has a component that does not come with ZenML itself."""
    kinds = Client().active_stack_model.components.values()
    return any(component.integration != _OF_ZENML for components in kinds for component in components)


@contextmanager
def no_integrations() -> Iterator[None]:
    """Let ZenML activate no integration; a release that does it in another way activates all of them as before."""
    # On the object, not its class: taking it away again uncovers the method.
    integration_registry.activate_integrations = _nothing  # type: ignore[method-assign]
    try:
        yield
    finally:
        del integration_registry.activate_integrations


def _nothing() -> None:
    pass
