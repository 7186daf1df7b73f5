"""Running the feature pipeline from Python, and getting its summary."""

from pathlib import Path

from feature_store.config import DEFAULT_CONFIG, RunOptions, load_config
from feature_store.errors import ConfigurationError, PipelineError, TerminalError
from feature_store.settings import Settings
from steps.report.summary import RunSummary


def run_feature_pipeline(config_path: Path, settings: Settings, options: RunOptions) -> RunSummary:
    """Run the pipeline on a configuration file and return the summary of the run.

    ``options`` take the place of those in the file, which is there to give them by `zenml pipeline run`.

    Raises:
        PipelineError: whatever stopped it.
        ConfigurationError: if the file has options too.
        KeyboardInterrupt: if a signal asked it to end.
    """
    from zenml.exceptions import RunInterruptedException

    from pipelines.feature import feature_pipeline

    configured = feature_pipeline.with_options(config_path=str(DEFAULT_CONFIG))
    if config_path.resolve() != DEFAULT_CONFIG.resolve():
        configured = configured.with_options(config_path=str(config_path))
    if options.model_fields_set and "options" in load_config(config_path).model_fields_set:
        raise ConfigurationError(
            f"Options of the run are given on the command line and in {config_path}.", "Give them in one place."
        )
    try:
        run = configured(options=options) if options.model_fields_set else configured()
    except RunInterruptedException:
        raise KeyboardInterrupt from None
    if run is None:
        raise TerminalError("The pipeline was scheduled, not run.", "Use a stack whose orchestrator runs at once.")
    path = settings.reports_folder / f"{run.id}.json"
    if not path.exists():
        raise PipelineError(f"The run {run.name} ended without a report.", "See its logs: `make dashboard`.")
    return RunSummary.model_validate_json(path.read_bytes())
