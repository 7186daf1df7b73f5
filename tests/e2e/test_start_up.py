"""What each command imports: a second of start-up is an import that nobody needed. No test looks at a clock."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.installation import Installation
from tests.support import REPOSITORY, fill_warehouse, make_notes

NOTES = 5
RUNS = [("feature-pipeline", "run"), ("zenml", "pipeline", "run", "feature_pipeline")]
WATCHED = """
import gc, sys
processes = []
sys.addaudithook(lambda event, given: processes.append(str(given)) if event == "subprocess.Popen" else None)
if sys.argv[1] == "zenml":
    from zenml.cli.cli import cli as main
else:
    from cli import main
sys.argv = sys.argv[1:]
try:
    main()
except SystemExit as left:
    assert not left.code
from qdrant_client.http import models
print("models:", models.Filter.__pydantic_complete__, "garbage:", gc.get_threshold()[0])
print("servers:", sum("embedded_process.py" in given for given in processes))
"""
LOADED = re.compile(r"^import time:\s+\d+ \|\s+\d+ \|\s+([\w.]+)$", re.MULTILINE)
MODELS = {"torch", "transformers", "sentence_transformers", "sklearn", "scipy", "numba", "datasets", "accelerate"}
CLEANERS = {"unstructured", "trafilatura", "bs4", "docutils", "ftfy", "langchain_text_splitters", "pandera"}
CLUSTER = {"ray", "kubernetes", "loky", "s3fs", "boto3"}
STORES = {"numpy", "pandas", "pyarrow", "lance", "qdrant_client", "pymongo", "zenml"}
SHELL = {"loguru", "yaml", "pydantic_settings", "tenacity", "httpx"}
EVERY_HELP = """
import sys
from typer.testing import CliRunner
import cli
for command in (*cli.application.registered_commands, *cli.imports.registered_commands):
    name = command.name or command.callback.__name__
    group = [] if command in cli.application.registered_commands else ["import"]
    result = CliRunner().invoke(cli.application, [*group, name.replace("_", "-"), "--help"])
    assert result.exit_code == 0, result.output
"""


def loaded(output: str) -> set[str]:
    """Return the packages that a process imported, from what `-X importtime` prints."""
    modules = LOADED.findall(output)
    found = {name.partition(".")[0] for name in modules}
    assert "typing" in found, output[-2000:]
    # An import that failed has a line too.
    return found if "pandas.core" in modules else found - {"pandas"}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Installation:
    """An installation that is up to date."""
    made = Installation(tmp_path_factory.mktemp("start_up"), tiny_model)
    fill_warehouse(made.settings, make_notes(NOTES))
    code, output = made.execute("feature-pipeline", "run", "-c", str(made.config))
    assert code == 0, output
    return made


def imports_of(installation: Installation, *command: str) -> set[str]:
    code, output = installation.execute(*command, "-c", str(installation.config), PYTHONPROFILEIMPORTTIME="1")
    assert code == 0, output[-5000:]
    return loaded(output)


def watched(installation: Installation, *command: str) -> str:
    """Execute a command; return its output and, below it, what was built and how many servers it started."""
    program = installation.folder / "watched.py"
    program.write_text(WATCHED, encoding="utf-8")
    root = {"ZENML_CUSTOM_SOURCE_ROOT": str(REPOSITORY)}
    code, output = installation.execute("python", str(program), *command, "-c", str(installation.config), **root)
    assert code == 0, output[-5000:]
    return output


def test_help_needs_no_more_than_typer_and_rich() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "cli", "--help"]
    shown = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert loaded(shown.stderr) & {"pydantic", *SHELL, *STORES, *MODELS, *CLEANERS, *CLUSTER} == set()


def test_the_help_of_every_command_loads_nothing_that_works() -> None:
    command = [sys.executable, "-X", "importtime", "-c", EVERY_HELP]
    shown = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    # With pydantic: typer itself checks the options of a command by it.
    assert loaded(shown.stderr) & {*SHELL, *STORES, *MODELS, *CLEANERS, *CLUSTER} == set()


def test_status_reads_table_and_index_without_zenml_warehouse_and_model(installation: Installation) -> None:
    imported = imports_of(installation, "feature-pipeline", "status")
    assert {"lance", "qdrant_client"} <= imported
    assert imported & {"zenml", "pymongo", "pandas", *MODELS, *CLEANERS, *CLUSTER} == set()


def test_status_builds_no_validators_of_qdrant(installation: Installation) -> None:
    assert "models: False garbage: 50000" in watched(installation, "feature-pipeline", "status")


@pytest.mark.parametrize("command", RUNS, ids=["feature-pipeline", "zenml"])
def test_a_run_without_changes_builds_no_validators_of_qdrant_and_starts_one_server(
    command: tuple[str, ...], installation: Installation
) -> None:
    shown = watched(installation, *command)
    assert "models: False garbage: 50000" in shown
    assert "servers: 1" in shown


def test_where_nothing_waits_no_run_is_started_and_zenml_not_even_imported(installation: Installation) -> None:
    reports = sorted(installation.settings.reports_folder.iterdir())
    imported = imports_of(installation, "feature-pipeline", "run", "--if-changed")
    assert {"lance", "qdrant_client", "pymongo"} <= imported
    assert imported & {"zenml", "pandas", *MODELS, *CLEANERS, *CLUSTER} == set()
    assert sorted(installation.settings.reports_folder.iterdir()) == reports
    code, output = installation.execute(
        "feature-pipeline", "run", "--if-changed", "--json", "-c", str(installation.config)
    )
    assert (code, json.loads(output)) == (0, {"started": False})


def test_a_configuration_is_read_without_the_store_and_qdrant() -> None:
    program = "from feature_store import config, defaults; config.load_config(defaults.DEFAULT_CONFIG)"
    command = [sys.executable, "-X", "importtime", "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert loaded(done.stderr) & {*STORES, *MODELS, *CLEANERS, *CLUSTER} == set()


def test_versions_are_listed_without_zenml_warehouse_and_model(installation: Installation) -> None:
    code, output = installation.execute("feature-pipeline", "versions", PYTHONPROFILEIMPORTTIME="1")
    assert code == 0, output[-5000:]
    imported = loaded(output)
    assert "lance" in imported
    assert imported & {"zenml", "pymongo", "pandas", *MODELS, *CLEANERS, *CLUSTER} == set()


@pytest.mark.parametrize("command", RUNS, ids=["feature-pipeline", "zenml"])
def test_a_run_without_changes_loads_no_model_no_cleaner_and_no_integration(
    command: tuple[str, ...], installation: Installation
) -> None:
    imported = imports_of(installation, *command)
    assert {"zenml", "lance", "qdrant_client", "pymongo"} <= imported
    assert imported & {"pandas", *MODELS, *CLEANERS, *CLUSTER} == set()
    assert installation.last_report()["categories"]["notes"]["unchanged"] == NOTES
