"""Where the defaults are, and how the newest version is called: known before anything heavy is imported."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DEFAULT_CONFIG = REPOSITORY / "configs" / "feature.yaml"
DEFAULT_TRAINING_CONFIG = REPOSITORY / "configs" / "training.yaml"
LATEST = "latest"
