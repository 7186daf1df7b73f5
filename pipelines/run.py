"""Running the feature pipeline from Python, and getting its summary."""

from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from feature_store.config import RunOptions, load_config
from feature_store.defaults import DEFAULT_CONFIG
from feature_store.errors import PipelineError, TerminalError
from feature_store.settings import Settings
from steps.report.summary import RunSummary


def run_feature_pipeline(config_path: Path, settings: Settings, options: RunOptions) -> RunSummary:
    """Run the pipeline on a configuration file and return the summary of the run.

    ``options`` take the place of those in the file.

    Raises:
        PipelineError: whatever stopped it.
        KeyboardInterrupt: if a signal asked it to end.
    """
    from zenml.exceptions import RunInterruptedException

    from pipelines.feature import feature_pipeline

    with TemporaryDirectory(prefix="feature-pipeline-") as folder:
        path = _with_options(config_path, options, Path(folder))
        configured = feature_pipeline.with_options(config_path=str(DEFAULT_CONFIG))
        if path.resolve() != DEFAULT_CONFIG.resolve():
            configured = configured.with_options(config_path=str(path))
        try:
            run = configured()
        except RunInterruptedException:
            raise KeyboardInterrupt from None
    if run is None:
        raise TerminalError("The pipeline was scheduled, not run.", "Use a stack whose orchestrator runs at once.")
    path = settings.reports_folder / f"{run.id}.json"
    if not path.exists():
        raise PipelineError(f"The run {run.name} ended without a report.", "See its logs: `make dashboard`.")
    return RunSummary.model_validate_json(path.read_bytes())


def _with_options(config_path: Path, options: RunOptions, folder: Path) -> Path:
    """Return a configuration file like that one, but for its options."""
    if load_config(config_path).options == options:
        return config_path
    content = yaml.safe_load(config_path.read_text(encoding="utf-8"))
    parameters = {**(content.get("parameters") or {}), "options": options.model_dump(mode="json", exclude_unset=True)}
    changed = folder / config_path.name
    changed.write_text(yaml.safe_dump({**content, "parameters": parameters}), encoding="utf-8")
    return changed
