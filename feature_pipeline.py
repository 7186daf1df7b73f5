"""The module behind ``zenml pipeline run feature_pipeline``: importing it gives the pipeline, on its defaults.

ZenML takes a pipeline by its source, and a source without a dot must itself be the pipeline.
"""

import sys

from feature_store.defaults import DEFAULT_CONFIG
from feature_store.start_up import collect_rarely, import_qdrant_client, spare_pandas

collect_rarely()
spare_pandas()
import_qdrant_client()
from pipelines.feature import feature_pipeline  # noqa: E402

sys.modules[__name__] = feature_pipeline.with_options(config_path=str(DEFAULT_CONFIG))  # type: ignore[assignment]
