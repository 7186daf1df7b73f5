"""No integration of ZenML is activated for a stack of ZenML's own components."""

from types import SimpleNamespace

import pytest
from zenml.integrations.registry import IntegrationRegistry, integration_registry
from zenml.pipelines.pipeline_definition import Pipeline

from pipelines import light
from pipelines.evaluation import retrieval_evaluation_pipeline
from pipelines.feature import feature_pipeline
from pipelines.light import LightPipeline, needs_integrations, no_integrations
from pipelines.training import training_dataset_pipeline


@pytest.fixture
def activated(monkeypatch):
    """How often ZenML activated all integrations."""
    times = []
    monkeypatch.setattr(IntegrationRegistry, "activate_integrations", lambda self: times.append("all"))
    # Stands for what compiling does; nothing is run.
    monkeypatch.setattr(Pipeline, "__call__", lambda self: integration_registry.activate_integrations())
    return times


def use_stack(monkeypatch, *integrations):
    components = {name: [SimpleNamespace(integration=name)] for name in integrations}
    client = SimpleNamespace(active_stack_model=SimpleNamespace(components=components))
    monkeypatch.setattr(light, "Client", lambda: client)


def pipeline():
    return LightPipeline(name="light", entrypoint=lambda: None)


def test_the_default_stack_needs_no_integration():
    assert not needs_integrations()


def test_a_pipeline_on_components_of_zenml_activates_none(monkeypatch, activated):
    use_stack(monkeypatch, "built-in", "built-in")
    pipeline()()
    assert not activated


@pytest.mark.parametrize("integrations", [("built-in", "s3"), ("kubernetes",), (None,)], ids=str)
def test_one_component_of_an_integration_activates_all(monkeypatch, activated, integrations):
    use_stack(monkeypatch, *integrations)
    pipeline()()
    assert activated


def test_afterwards_zenml_activates_as_before(activated):
    with no_integrations():
        integration_registry.activate_integrations()
    assert not activated
    integration_registry.activate_integrations()
    assert activated


def test_a_failure_leaves_nothing_behind(activated):
    with pytest.raises(ValueError, match="failed"), no_integrations():
        raise ValueError("failed")
    integration_registry.activate_integrations()
    assert activated


@pytest.mark.parametrize(
    "made", [feature_pipeline, training_dataset_pipeline, retrieval_evaluation_pipeline], ids=lambda made: made.name
)
def test_all_our_pipelines_are_light_with_other_options_too(made):
    assert isinstance(made, LightPipeline)
    assert isinstance(made.with_options(enable_cache=False), LightPipeline)
