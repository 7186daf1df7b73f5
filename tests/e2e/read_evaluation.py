"""Prints, as JSON, what ZenML gives for the newest evaluation of an index."""

import json
import sys

from zenml.client import Client

client = Client()
version = client.get_artifact_version("retrieval_evaluation")
run = client.get_pipeline_run(version.producer_pipeline_run_id)
found = {
    "handle": version.load().model_dump(mode="json"),
    "metadata": dict(version.run_metadata),
    "views": {view.uri.rsplit("/", 1)[-1]: str(view.type) for view in version.visualizations or []},
    "run": [run.pipeline.name, str(run.status)],
}
json.dump(found, sys.stdout, default=str)
