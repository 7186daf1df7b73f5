import re

import pytest

from feature_store.defaults import REPOSITORY
from feature_store.settings import Settings

EXAMPLE = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
COMPOSE = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
ASSIGNMENT = re.compile(r"^(?P<commented># )?(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)$", re.MULTILINE)
SETTINGS = {match["name"] for match in ASSIGNMENT.finditer(EXAMPLE) if match["commented"]}
FOR_COMPOSE = {match["name"]: match["value"] for match in ASSIGNMENT.finditer(EXAMPLE) if not match["commented"]}
USED = dict(re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", COMPOSE))


def test_every_variable_of_compose_is_in_the_example_and_no_other():
    assert set(FOR_COMPOSE) == set(USED)


def test_what_compose_must_have_is_generated():
    generated = {name for name, value in FOR_COMPOSE.items() if value == "<generate>"}
    assert generated == {name for name, rule in USED.items() if rule.startswith(":?")}


@pytest.mark.parametrize("name", sorted(name for name, rule in USED.items() if rule.startswith(":-")))
def test_the_example_shows_the_default_that_compose_has(name):
    assert FOR_COMPOSE[name] == USED[name].removeprefix(":-")


def test_every_setting_of_the_pipeline_is_explained_but_commented_out():
    assert {*(name.upper() for name in Settings.model_fields), "RAY_ADDRESS"} == SETTINGS  # the latter is Ray's own


def test_a_file_for_compose_would_not_change_the_pipeline_on_this_machine():
    assert not set(FOR_COMPOSE) & {name.upper() for name in Settings.model_fields}


def test_the_example_used_as_it_is_leaves_the_defaults(monkeypatch):
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    assert Settings(_env_file=REPOSITORY / ".env.example") == Settings(_env_file=None)


def test_every_variable_has_an_explanation_above_it():
    for block in EXAMPLE.split("\n\n"):
        if ASSIGNMENT.search(block):
            assert block.startswith("# ")
            assert not ASSIGNMENT.match(block)
