"""Prints, as JSON, what ZenML gives for the newest training set, and for the documents that it was made from."""

import json
import sys

from zenml.client import Client

client = Client()
version = client.get_artifact_version("training_dataset")
run = client.get_pipeline_run(version.producer_pipeline_run_id)
(taken,) = run.steps["make_training_dataset"].inputs["cleaned_documents"]
origin = client.get_pipeline_run(taken.producer_pipeline_run_id)
training_set = version.load()
documents = client.get_artifact_version("cleaned_documents", taken.version).load()
found = {
    "handle": training_set.model_dump(mode="json"),
    "metadata": dict(version.run_metadata),
    "views": [view.uri.rsplit("/", 1)[-1] for view in version.visualizations or []],
    "runs": [run.pipeline.name, origin.pipeline.name, str(origin.status)],
    "documents_version": documents.version,
    "written": sorted(row["text"] for split in training_set.splits for row in training_set.to_huggingface(split)),
    "documents": sorted(row["text"] for row in documents.documents(["notes"], "characters > 0").to_huggingface()),
}
json.dump(found, sys.stdout, default=str)
