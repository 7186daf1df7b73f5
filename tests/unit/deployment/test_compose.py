import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo.uri_parser import parse_uri

from feature_store.config import load_config
from feature_store.defaults import DEFAULT_CONFIG, REPOSITORY

COMPOSE_TEXT = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
RUN_ONCE = {"pipeline", "importer"}
STORES = "ZENML_LOCAL_STORES_PATH"
SECRET = re.compile(r"PASSWORD|KEY|TOKEN")
VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?P<rule>[^}]*)\}")
# Everything in front of it must be a doubled dollar, which Compose hands on as one.
BARE_VARIABLE = re.compile(r"(?<!\$)(?:\$\$)*\$(?![\${])")

each_service = pytest.mark.parametrize("name", sorted(SERVICES))


def environment_of(name: str) -> dict[str, str]:
    return SERVICES[name].get("environment", {})


def volumes_of(name: str) -> dict[str, str]:
    """Where a service has which volume: target to source."""
    parts = (volume.split(":") for volume in SERVICES[name].get("volumes", []))
    return {target: source for source, target, *_ in parts}


def filled_in(text: str) -> str:
    return VARIABLE.sub(lambda match: "ab" * 32, text)


def dependencies_of(name: str) -> dict[str, dict[str, str]]:
    return SERVICES[name].get("depends_on", {})


def test_there_are_the_services_that_the_pipeline_needs():
    assert {"mongo", "qdrant", "zenml", "zenml-database", "pipeline", "importer"} == set(SERVICES)


@each_service
def test_images_are_pinned_to_a_full_version(name):
    _, tag = SERVICES[name]["image"].rsplit(":", 1)
    assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag)


@each_service
def test_a_service_that_stays_up_has_a_health_check_and_restarts(name):
    service = SERVICES[name]
    if name in RUN_ONCE:
        assert service["restart"] == "no"
        assert service["profiles"] == ["run"], "else `up --wait` would start it and fail at its end"
    else:
        assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
        assert service["restart"] == "unless-stopped"
        assert "profiles" not in service


@each_service
def test_ports_are_bound_to_this_machine_only(name):
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")
    assert SERVICES[name].get("network_mode") is None


@each_service
def test_a_container_can_gain_no_privileges(name):
    service = SERVICES[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["cap_drop"] == ["ALL"]
    assert "privileged" not in service


@each_service
def test_logs_and_memory_are_bounded(name):
    assert SERVICES[name]["logging"]["options"].keys() == {"max-size", "max-file"}
    assert re.fullmatch(r"\d+g", SERVICES[name]["mem_limit"])


@each_service
def test_secrets_come_from_variables_that_must_be_set(name):
    for key, value in environment_of(name).items():
        has_password = "://" in value and "@" in value
        if SECRET.search(key) or has_password:
            rules = [match["rule"] for match in VARIABLE.finditer(value)]
            assert rules, f"{key} is written out"
            assert all(rule.startswith(":?") for rule in rules), f"{key} may be missing"


@each_service
def test_dollars_that_are_not_for_compose_are_doubled(name):
    assert not BARE_VARIABLE.search(str(SERVICES[name]))


@each_service
def test_a_dependency_is_known_and_waited_for(name):
    for other, rule in dependencies_of(name).items():
        assert rule == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[other]


@each_service
def test_a_service_shares_a_network_with_what_it_depends_on(name):
    for other in dependencies_of(name):
        assert set(SERVICES[name]["networks"]) & set(SERVICES[other]["networks"])


@pytest.mark.parametrize("kind", ["volumes", "networks"])
def test_what_is_declared_is_what_is_used(kind):
    if kind == "volumes":
        used = {source for name in SERVICES for source in volumes_of(name).values() if not source.startswith(".")}
    else:
        used = {network for service in SERVICES.values() for network in service["networks"]}
    assert used == set(COMPOSE[kind])


def test_only_zenml_reaches_its_database():
    assert COMPOSE["networks"]["zenml_database"]["internal"] is True
    assert {name for name in SERVICES if "zenml_database" in SERVICES[name]["networks"]} == {"zenml", "zenml-database"}
    assert "ports" not in SERVICES["zenml-database"]


def test_pipeline_and_server_have_one_volume_at_one_path_for_artifacts():
    path = environment_of("zenml")[STORES]
    assert environment_of("pipeline")[STORES] == path
    assert volumes_of("pipeline")[path] == volumes_of("zenml")[path]


def test_the_server_has_the_version_of_the_client():
    locked = re.search(r"^zenml==(\S+)", (REPOSITORY / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    assert SERVICES["zenml"]["image"] == f"zenmldocker/zenml-server:{locked[1]}"


def test_qdrant_is_at_most_one_minor_version_from_its_client():
    lock = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    client = re.search(r"^qdrant-client==(\d+)\.(\d+)", lock, re.MULTILINE)
    server = re.search(r":v(\d+)\.(\d+)", SERVICES["qdrant"]["image"])
    assert client[1] == server[1]
    assert abs(int(client[2]) - int(server[2])) <= 1


@pytest.mark.parametrize(("service", "user"), [("pipeline", "pipeline"), ("importer", "importer")])
def test_each_command_goes_to_mongodb_as_its_own_user(service, user):
    address = parse_uri(filled_in(environment_of(service)["MONGO_URI"]), warn=False)
    assert address["username"] == user
    assert address["nodelist"] == [("mongo", 27017)]
    assert dict(address["options"]) == {"replicaSet": "rs0", "authSource": "admin"}


def test_mongodb_gives_the_pipeline_the_right_to_read_only():
    check = SERVICES["mongo"]["healthcheck"]["test"][-1]
    rights = dict(re.findall(r'user: "(\w+)", pwd: process\.env\.\w+, role: "(\w+)"', check))
    assert rights == {"pipeline": "read", "importer": "readWrite"}
    assert f'db: "{environment_of("pipeline")["MONGO_DATABASE"]}"' in check


def test_both_sides_of_a_password_take_it_from_one_variable():
    def variables(name: str, key: str) -> list[str]:
        return [match["name"] for match in VARIABLE.finditer(environment_of(name)[key])]

    assert variables("pipeline", "MONGO_URI") == variables("mongo", "MONGO_READER_PASSWORD")
    assert variables("importer", "MONGO_URI") == variables("mongo", "MONGO_WRITER_PASSWORD")
    assert variables("pipeline", "QDRANT_API_KEY") == variables("qdrant", "QDRANT__SERVICE__API_KEY")
    assert variables("pipeline", "ZENML_STORE_PASSWORD") == variables("zenml", "ZENML_DEFAULT_USER_PASSWORD")
    assert variables("zenml", "ZENML_STORE_URL") == variables("zenml-database", "MYSQL_PASSWORD")


def test_the_replica_set_of_the_check_is_the_one_that_mongod_and_clients_name():
    check = SERVICES["mongo"]["healthcheck"]["test"][-1]
    assert '_id: "rs0", members: [{_id: 0, host: "mongo:27017"}]' in check
    assert "--replSet rs0 " in SERVICES["mongo"]["command"][0]
    assert SERVICES["mongo"]["hostname"] == "mongo"


def test_containers_of_the_pipeline_have_a_read_only_root():
    for name in RUN_ONCE:
        assert SERVICES[name]["read_only"] is True
        assert any(mount.startswith("/tmp") for mount in SERVICES[name]["tmpfs"])


def test_the_production_configuration_is_valid_and_wants_every_collection():
    config = load_config(REPOSITORY / "configs" / "production.yaml")
    assert not any(category.optional for category in config.categories)
    assert all(index.encoder.precision != "auto" for index in config.indexes)


def test_the_production_configuration_maps_fields_as_the_default_does():
    defaults = {category.name: category for category in load_config(DEFAULT_CONFIG).categories}
    for category in load_config(REPOSITORY / "configs" / "production.yaml").categories:
        assert category.model_copy(update={"optional": True}) == defaults[category.name]


def test_the_production_configuration_makes_the_same_chunks_as_the_default_does():
    def chunking(path: Path) -> dict[str, Any]:
        return {index.name: index.chunking for index in load_config(path).indexes}

    assert chunking(REPOSITORY / "configs" / "production.yaml") == chunking(DEFAULT_CONFIG)


def test_the_guide_names_no_file_that_is_missing():
    guide = (REPOSITORY / "docs" / "deployment.md").read_text(encoding="utf-8")
    named = set(re.findall(r"configs/\w+\.yaml|docker-compose\.yml|\.env\.example|\bcli\.py|\bDockerfile", guide))
    assert named
    assert all(Path(REPOSITORY / name).is_file() for name in named)
