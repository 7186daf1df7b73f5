import re
import tomllib

import yaml

from feature_store.defaults import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
STAGES = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
BUILDER, FINAL = STAGES
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
SERVICES = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
ALLOWED = {
    line.removeprefix("!")
    for line in (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    if line.startswith("!")
}


def copied() -> set[str]:
    lines = re.findall(r"^COPY (?!--from)(.+)$", BUILDER, re.MULTILINE)
    return {source for line in lines for source in line.split()[:-1]}


def environment() -> dict[str, str]:
    block = re.search(r"^ENV (.+?)(?<!\\)$", FINAL, re.MULTILINE | re.DOTALL)
    return dict(pair.split("=", 1) for pair in block[1].replace("\\\n", " ").split())


def test_both_stages_start_from_one_python_pinned_to_its_full_version():
    bases = {stage.split()[0] for stage in STAGES}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases.pop())


def test_the_python_of_the_image_is_one_that_the_project_supports():
    minor = int(re.match(r"python:3\.(\d+)", BUILDER)[1])
    assert PROJECT["project"]["requires-python"] == ">=3.11,<3.14"
    assert 11 <= minor < 14


def test_the_image_runs_as_a_fixed_user_who_is_not_root():
    users = re.findall(r"^USER (.+)$", FINAL, re.MULTILINE)
    assert users == ["1000:1000"]
    assert "useradd --uid 1000" in FINAL


def test_the_folders_that_become_volumes_belong_to_that_user():
    stores = SERVICES["zenml"]["environment"]["ZENML_LOCAL_STORES_PATH"]
    made = re.search(r"install --directory --owner=pipeline --group=pipeline (.+)$", FINAL, re.MULTILINE)
    assert set(made[1].split()) == {environment()["DATA_DIR"], stores}


def test_the_builder_copies_all_that_the_distribution_is_made_of():
    setuptools = PROJECT["tool"]["setuptools"]
    packages = {pattern.removesuffix("*") for pattern in setuptools["packages"]["find"]["include"]}
    modules = {f"{name}.py" for name in setuptools["py-modules"]}
    papers = {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"], "pyproject.toml"}
    assert packages | modules | papers | {"requirements.lock", "configs"} == copied()


def test_the_build_sees_what_it_copies_and_nothing_else():
    assert copied() == ALLOWED


def test_commands_of_image_and_services_are_console_scripts():
    scripts = set(PROJECT["project"]["scripts"]) | {"zenml"}  # the latter is that of the dependency
    command = re.search(r'^CMD \["([^"]+)"', FINAL, re.MULTILINE)
    assert command[1] in scripts
    assert SERVICES["importer"]["command"][0] in scripts
    assert "ENTRYPOINT" not in DOCKERFILE, "else a command would be its argument"


def test_the_command_is_the_one_of_the_readme():
    assert 'CMD ["zenml", "pipeline", "run", "feature_pipeline"]' in FINAL


def test_what_is_written_at_run_time_lies_outside_of_the_code():
    values = environment()
    folders = [values[name] for name in ("DATA_DIR", "HF_HOME", "ZENML_CONFIG_PATH")]
    assert all(folder == "/data" or folder.startswith("/data/") for folder in folders)
    assert values["ZENML_CUSTOM_SOURCE_ROOT"] == "/app"
    assert "WORKDIR /app" in FINAL
    assert ".zen" not in copied()


def test_the_image_asks_no_hub_for_models():
    assert environment()["HF_HUB_OFFLINE"] == "1"


def test_no_index_is_written_into_the_image():
    assert "://" not in DOCKERFILE
    assert re.findall(r"^ARG (.+)$", DOCKERFILE, re.MULTILINE) == ["PIP_INDEX_URL=", "TORCH_INDEX_URL=", "EXTRAS="]
