"""The ZenML step that checks everything before any work, and takes the lock of the data folder."""

from typing import Annotated

from loguru import logger
from zenml import step

from feature_store import lock
from feature_store.config import CategoryConfig, ExecutorConfig, PipelineConfig, RunOptions
from feature_store.index_config import IndexConfig
from steps.preflight.checks import require_readiness
from steps.runtime import FEATURE_PIPELINE, remove_other_runs, run_id, start_step


@step(enable_cache=False)
def preflight(
    categories: list[CategoryConfig], indexes: list[IndexConfig], executor: ExecutorConfig, options: RunOptions
) -> Annotated[dict[str, str], "preflight"]:
    """Report everything that is wrong at once, or take the lock and let the run begin."""
    settings, run_folder = start_step()
    lock.acquire(settings.data_dir, FEATURE_PIPELINE, run_id())
    remove_other_runs(settings, run_folder)
    config = PipelineConfig(categories=categories, indexes=indexes, executor=executor, options=options)
    findings = require_readiness(settings, config)
    for finding in findings:
        logger.info("{}: {}", finding.check, finding.detail)
    return {finding.check: finding.detail for finding in findings}
