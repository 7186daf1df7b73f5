"""The stack on Kubernetes: made by the commands of the page, and compiled for, as far as goes without a cluster."""

import re
import shlex

import pytest
import yaml
from zenml.client import Client
from zenml.config import DockerSettings

from feature_store.config import load_config
from feature_store.defaults import DEFAULT_CONFIG, REPOSITORY
from feature_store.errors import ConfigurationError

pytest.importorskip("kubernetes", reason="needs the extra `kubernetes`")

from click.testing import CliRunner
from kubernetes.client import ApiClient
from zenml.cli.cli import cli
from zenml.cli.stack import stack as _stack_commands  # noqa: F401 - registers the commands with `cli`
from zenml.integrations.kubernetes import manifest_utils
from zenml.integrations.kubernetes.flavors.kubernetes_orchestrator_flavor import KubernetesOrchestratorSettings
from zenml.integrations.kubernetes.pod_settings import KubernetesPodSettings

CONFIG = REPOSITORY / "configs" / "kubernetes.yaml"
CONTENT = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
PAGE = (REPOSITORY / "docs" / "cluster.md").read_text(encoding="utf-8")
SETTINGS = CONTENT["settings"]["orchestrator.kubernetes"]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def stack_commands() -> list[list[str]]:
    """Return the commands of the page that make the stack; the server to log in to is none of a test."""
    lines = re.findall(r"^zenml (.+)$", PAGE, re.MULTILINE)
    return [shlex.split(line) for line in lines if line.split()[1] in {"register", "set"}]


@pytest.fixture(scope="module")
def snapshot():
    """The pipeline, compiled with the file for the stack that the commands of the page make."""
    client = Client()
    before = client.active_stack_model.id
    for command in stack_commands():
        done = CliRunner().invoke(cli, command, catch_exceptions=False)
        assert done.exit_code == 0, (command, done.output)
    try:
        import feature_pipeline

        pipeline = feature_pipeline.with_options(config_path=str(CONFIG))
        pipeline.prepare()
        yield pipeline._compile()[0]
    finally:
        client.activate_stack(before)


def pod_of(settings):
    """Return the manifest that ZenML makes of the settings of a step."""
    pod = manifest_utils.build_pod_manifest(
        pod_name="step", image_name="image", command=[], args=[], privileged=False, pod_settings=settings
    )
    return ApiClient().sanitize_for_serialization(pod)


def test_the_page_makes_every_component_of_the_stack():
    made = [command[0] for command in stack_commands() if command[1] == "register"]
    assert made == ["artifact-store", "container-registry", "image-builder", "orchestrator", "stack"]


def test_every_setting_is_one_that_zenml_knows():
    assert set(SETTINGS) <= set(KubernetesOrchestratorSettings.model_fields)
    assert set(SETTINGS["pod_settings"]) <= set(KubernetesPodSettings.model_fields)
    assert set(CONTENT["settings"]["docker"]) <= set(DockerSettings.model_fields)
    assert set(CONTENT["settings"]) == {"docker", "orchestrator.kubernetes"}


def test_the_file_starts_from_the_default_configuration_and_changes_no_result():
    assert load_config(CONFIG).fingerprint() == load_config(DEFAULT_CONFIG).fingerprint()


def test_each_step_gets_our_image_and_a_pod_with_data_folder_and_secrets(snapshot):
    steps = snapshot.step_configurations
    assert {"preflight", "extract", "clean", "chunk_documents", "embed_documents", "load_documents"} < set(steps)
    for name, step in steps.items():
        settings = next(value for key, value in step.config.settings.items() if key.startswith("orchestrator"))
        (container,) = (spec := pod_of(KubernetesPodSettings(**settings.pod_settings))["spec"])["containers"]
        (volume,) = spec["volumes"]
        (mount,) = container["volumeMounts"]
        assert step.config.docker_settings.parent_image == CONTENT["settings"]["docker"]["parent_image"], name
        assert step.config.docker_settings.skip_build, name
        assert mount["name"] == volume["name"]
        assert {"name": "DATA_DIR", "value": mount["mountPath"]} in container["env"]
        assert container["envFrom"] == [{"secretRef": {"name": "feature-pipeline"}}]
        assert volume["persistentVolumeClaim"]["claimName"] == "feature-pipeline"


def test_no_pod_runs_as_root_and_no_setting_is_ignored(snapshot, caplog):
    (settings,) = {
        str(value.pod_settings): KubernetesPodSettings(**value.pod_settings)
        for step in snapshot.step_configurations.values()
        for key, value in step.config.settings.items()
        if key.startswith("orchestrator")
    }.values()
    spec = pod_of(settings)["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False
    assert not [record for record in caplog.records if "nvalid" in record.message]


def test_steps_take_turns_because_they_share_a_data_folder(snapshot):
    settings = snapshot.pipeline_configuration.settings
    assert [value.max_parallelism for key, value in settings.items() if key.startswith("orchestrator")] == [1]


def test_a_step_may_have_pods_of_another_kind(tmp_path):
    text = CONFIG.read_text(encoding="utf-8")
    commented = re.search(r"^# steps:\n(#.*\n)+", text, re.MULTILINE)[0]
    path = tmp_path / "gpu.yaml"
    path.write_text(text.replace(commented, re.sub(r"^# ", "", commented, flags=re.MULTILINE)), encoding="utf-8")
    load_config(path)
    settings = yaml.safe_load(path.read_text())["steps"]["embed_documents"]["settings"]["orchestrator.kubernetes"]
    spec = pod_of(KubernetesPodSettings(**settings["pod_settings"]))["spec"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert spec["nodeSelector"]


def test_the_page_and_the_file_speak_of_the_same_things():
    assert CONTENT["settings"]["docker"]["parent_image"] in PAGE
    claims = re.search(r"kind: PersistentVolumeClaim\nmetadata: {name: ([\w-]+)}\nspec: {accessModes: \[(\w+)\]", PAGE)
    assert claims.groups() == ("feature-pipeline", "ReadWriteMany")
    assert "create secret generic feature-pipeline " in PAGE


def test_a_misspelt_key_of_the_file_is_refused(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(CONFIG.read_text(encoding="utf-8").replace("settings:", "setings:", 1), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="setings"):
        load_config(path)
