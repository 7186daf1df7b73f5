"""The ZenML step that ends a run: it proves the invariants, reports, and cleans up."""

from typing import Annotated

from loguru import logger
from zenml import step

from feature_store import lock
from feature_store.files import write_json_atomically
from feature_store.handles import (
    Chunks,
    CleanedDocuments,
    Embeddings,
    IndexReport,
    RawDocuments,
    RunReport,
    ServingReport,
)
from feature_store.materializers import HandleMaterializer
from feature_store.parts import remove_folder
from steps.report.handle import to_report
from steps.report.summary import describe_held_back, summarise_run, to_lines
from steps.runtime import run_id, run_seconds, start_stage


@step(enable_cache=False, output_materializers=HandleMaterializer)
def report(
    raw_documents: RawDocuments,
    cleaned_documents: CleanedDocuments,
    chunks: list[Chunks],
    embeddings: list[Embeddings],
    index_reports: list[IndexReport],
    serving_report: ServingReport,
) -> Annotated[RunReport, "run_report"]:
    """Sum up the run; a promise that does not hold fails it."""
    settings, run_folder = start_stage()
    stages = list(zip(chunks, embeddings, index_reports, strict=True))
    summary = summarise_run(run_id(), raw_documents, cleaned_documents, stages, serving_report, run_seconds())
    write_json_atomically(settings.reports_folder / f"{summary.run_id}.json", summary.model_dump(mode="json"))
    remove_folder(run_folder)
    lock.release(settings.data_dir)
    for line in to_lines(summary):
        logger.info(line)
    for line in describe_held_back(summary):
        logger.warning(line)
    return to_report(summary)
