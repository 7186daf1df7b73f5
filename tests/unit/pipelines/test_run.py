"""Options of a run reach it from the command line and from the file."""

import pytest
import yaml

from commands.running import _options
from feature_store.config import RunOptions, load_config
from pipelines.run import _with_options


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "mine.yaml"
    options = {"max_changes": 10, "capture": "hash"}
    path.write_text(yaml.safe_dump({"parameters": {"cleaning": {"min_characters": 3}, "options": options}}))
    return path


def test_a_file_with_these_options_is_used_as_it_is(config, tmp_path):
    assert _with_options(config, load_config(config).options, tmp_path) == config


def test_other_options_take_the_place_of_those_in_the_file(config, tmp_path):
    (tmp_path / "x").mkdir()
    options = RunOptions(approved_deletions={"articles": 5})
    changed = load_config(_with_options(config, options, tmp_path / "x"))
    assert changed.options == options
    assert changed.fingerprint() == load_config(config).fingerprint()


def test_the_command_line_adds_to_the_options_of_the_file(config):
    of_file = load_config(config)
    assert _options(of_file) == of_file.options
    assert _options(of_file, approved_deletions={"articles": 5}, max_changes=20) == RunOptions(
        capture="hash", max_changes=20, approved_deletions={"articles": 5}
    )
