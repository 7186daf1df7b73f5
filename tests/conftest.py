"""Isolation for all tests: no network, no model hub, a ZenML store of their own, no settings of the developer."""

import os
import secrets
import tempfile
from pathlib import Path

import hypothesis
import pytest

# No test asserts a time; in CI the examples are the same in every run.
hypothesis.settings.register_profile("calm", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("calm")

_ISOLATED = Path(tempfile.mkdtemp(prefix="feature-pipeline-tests-"))

# Before zenml, Ray or the hub's client are imported: they read the environment once.
os.environ.update(
    {
        "ENV_FILE": str(_ISOLATED / "none.env"),  # never a developer's own
        "HF_HUB_OFFLINE": "1",
        "RAY_AUTH_MODE": "token",  # a cluster of the tests listens beyond this machine
        "RAY_AUTH_TOKEN": secrets.token_hex(),
        "RAY_USAGE_STATS_ENABLED": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "XDG_CACHE_HOME": str(_ISOLATED / "cache"),
        "ZENML_CUSTOM_SOURCE_ROOT": str(Path(__file__).resolve().parents[1]),  # a worker of pytest has no main module
        "ZENML_CONFIG_PATH": str(_ISOLATED / "zenml"),
        "ZENML_LOCAL_STORES_PATH": str(_ISOLATED / "stores"),
        "ZENML_REPOSITORY_PATH": str(_ISOLATED),
        "ZENML_ANALYTICS_OPT_IN": "false",
        "ZENML_LOGGING_VERBOSITY": "WARN",
    }
)
_SETTINGS = (
    "DATA_DIR",
    "MINIMUM_FREE_DISK_MB",
    "MONGO_DATABASE",
    "MONGO_URI",
    "PARTS_URI",
    "QDRANT_API_KEY",
    "QDRANT_URL",
)
for name in (*_SETTINGS, "RAY_ADDRESS"):
    os.environ.pop(name, None)

from feature_store.settings import Settings  # noqa: E402
from tests.support import make_tiny_model  # noqa: E402


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real sentence-transformers model of 32 dimensions with random weights: fast, and as deterministic."""
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an installation of its own, all embedded."""
    return Settings(data_dir=tmp_path / "data", _env_file=None)
