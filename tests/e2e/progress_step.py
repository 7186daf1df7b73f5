"""Runs a step that takes a while, and prints what ZenML's own client says of it meanwhile and afterwards, as JSON."""

import json
import sys
import time
from typing import Any

from zenml import get_step_context, pipeline, step
from zenml.client import Client

from feature_store import progress as progress_module
from feature_store.progress import observers, progress
from steps.runtime import start_step

told: dict[str, Any] = {}


def look() -> dict[str, Any]:
    running = Client().get_run_step(told["id"])
    return {"status": str(running.status), "metadata": dict(running.run_metadata)}


@step(enable_cache=False)
def work() -> None:
    start_step()
    told["id"] = str(get_step_context().step_run.id)
    with progress("reading notes", 40, "document") as advance:
        for _ in range(40):
            time.sleep(0.05)
            advance(1)
        observers[0].wait()  # type: ignore[attr-defined]
        told["meanwhile"] = look()


@pipeline
def watched() -> None:
    work()


if __name__ == "__main__":
    progress_module._SECONDS_BETWEEN_OBSERVATIONS = 0.2
    watched()
    observers[0].wait()  # type: ignore[attr-defined]
    told["afterwards"] = look()
    json.dump(told, sys.stdout)
