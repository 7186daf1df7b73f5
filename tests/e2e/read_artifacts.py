"""Prints, as JSON, what ZenML's own client gives for the artifacts of the last run; run inside an installation."""

import json
import sys

from zenml.artifacts.utils import load_artifact_visualization
from zenml.client import Client

client = Client()
artifacts = {}
for name in ("raw_documents", "cleaned_documents", "chunks", "embeddings", "index_report", "run_report"):
    version = client.get_artifact_version(name)
    views = []
    for position, view in enumerate(version.visualizations or []):
        loaded = load_artifact_visualization(version, index=position, zen_store=client.zen_store, encode_image=True)
        views.append({"name": view.uri.rsplit("/", 1)[-1], "type": str(loaded.type), "content": loaded.value})
    metadata = dict(version.run_metadata)
    artifacts[name] = {"views": views, "metadata": metadata, "loaded": type(version.load()).__name__}
handle = client.get_artifact_version("cleaned_documents").load()
artifacts["documents"] = handle.dataset().count_rows(filter="state = 'live'")
artifacts["version"] = handle.version
json.dump(artifacts, sys.stdout, default=str)
