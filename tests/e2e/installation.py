"""An installation as a user has it: a data folder, a ZenML store, and the commands."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from feature_store.settings import Settings
from tests.support import REPOSITORY, make_parameters, write_config

COMMANDS = Path(sys.executable).parent


class Installation:
    """One data folder, one ZenML store, and the commands run on them from the root of the repository."""

    def __init__(self, folder: Path, model: Path, **parameters: Any) -> None:
        self.folder = folder
        self.settings = Settings(data_dir=folder / "data", _env_file=None)
        self.config = write_config(folder / "notes.yaml", make_parameters(model, **parameters))

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if name != "ZENML_CUSTOM_SOURCE_ROOT"},
            "DATA_DIR": str(self.settings.data_dir),
            "ZENML_CONFIG_PATH": str(self.folder / "zenml"),
            "ZENML_LOCAL_STORES_PATH": str(self.folder / "stores"),
            "ZENML_REPOSITORY_PATH": str(self.folder),
            "ZENML_LOGGING_VERBOSITY": "INFO",
            "PYTHONUNBUFFERED": "1",
            **more,
        }

    def start(self, *command: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(COMMANDS / command[0]), *command[1:]],
            cwd=REPOSITORY,
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def execute(self, *command: str, **more: str) -> tuple[int, str]:
        process = self.start(*command, **more)
        output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def status(self) -> dict[str, Any]:
        code, output = self.execute("feature-pipeline", "status", "--json", "-c", str(self.config))
        assert code == 0, output
        status: dict[str, Any] = json.loads(output[output.index("{") :])
        return status

    def last_report(self) -> dict[str, Any]:
        newest = max(self.settings.reports_folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        report: dict[str, Any] = json.loads(newest.read_text(encoding="utf-8"))
        return report
