"""The module behind ``zenml pipeline run training_dataset_pipeline``: importing it gives the pipeline, on its defaults.

ZenML takes a pipeline by its source, and a source without a dot must itself be the pipeline.
"""

import sys

from feature_store.defaults import DEFAULT_TRAINING_CONFIG
from pipelines.training import training_dataset_pipeline

sys.modules[__name__] = training_dataset_pipeline.with_options(  # type: ignore[assignment]
    config_path=str(DEFAULT_TRAINING_CONFIG)
)
