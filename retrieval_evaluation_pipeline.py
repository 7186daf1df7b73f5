"""The module behind ``zenml pipeline run retrieval_evaluation_pipeline``: importing it gives the pipeline.

ZenML takes a pipeline by its source, and a source without a dot must itself be the pipeline.
"""

import sys

from inference.evaluation.config import DEFAULT_EVALUATION_CONFIG
from pipelines.evaluation import retrieval_evaluation_pipeline

sys.modules[__name__] = retrieval_evaluation_pipeline.with_options(  # type: ignore[assignment]
    config_path=str(DEFAULT_EVALUATION_CONFIG)
)
