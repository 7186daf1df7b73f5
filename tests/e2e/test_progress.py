"""How far a step is can be looked up in ZenML while it works."""

import json
import re
from pathlib import Path

from tests.e2e.installation import Installation
from tests.support import REPOSITORY


def test_the_metadata_of_a_step_tell_its_progress_while_it_runs(tmp_path: Path, tiny_model: Path) -> None:
    installation = Installation(tmp_path, tiny_model)
    code, output = installation.execute(
        "python", "-m", "tests.e2e.progress_step", ZENML_CUSTOM_SOURCE_ROOT=str(REPOSITORY)
    )
    assert code == 0, output
    told = json.loads(output[output.index('{"id"') :])
    assert told["meanwhile"]["status"] == "running"
    line = told["meanwhile"]["metadata"]["progress"]["reading notes"]
    assert re.fullmatch(r"\d+ of 40 documents, [\d.]+/s, about \d+ s left", line)
    assert told["afterwards"]["status"] == "completed"
    line = told["afterwards"]["metadata"]["progress"]["reading notes"]
    assert re.fullmatch(r"40 of 40 documents in \d+ s, [\d.]+/s", line)
