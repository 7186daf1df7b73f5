"""What a person sees of an artifact: Markdown for the overview, HTML for charts, CSV for rows. Pure functions.

The dashboard shows HTML in a frame that runs no script and loads nothing, so charts are inline SVG. Every text that
comes from a document is escaped and cut to a length, and every sample says which document it is of.
"""

from collections.abc import Callable
from typing import Any

from feature_store.handles import (
    Chunks,
    CleanedDocuments,
    Embeddings,
    Handle,
    IndexReport,
    RawDocuments,
    RetrievalEvaluation,
    RunReport,
    ServingReport,
    TrainingDataset,
)
from feature_store.views.chunks import describe_chunks, view_chunks
from feature_store.views.cleaned_documents import describe_cleaned_documents, view_cleaned_documents
from feature_store.views.embeddings import describe_embeddings, view_embeddings
from feature_store.views.index_report import describe_index_report, view_index_report
from feature_store.views.raw_documents import describe_raw_documents, view_raw_documents
from feature_store.views.retrieval_evaluation import describe_retrieval_evaluation, view_retrieval_evaluation
from feature_store.views.run_report import describe_run_report, view_run_report
from feature_store.views.serving_report import describe_serving_report, view_serving_report
from feature_store.views.training_dataset import describe_training_dataset, view_training_dataset

Views = dict[str, str]
Figures = dict[str, str | int | float | bool]

VIEWS: dict[type[Handle], Callable[[Any], Views]] = {
    RawDocuments: view_raw_documents,
    CleanedDocuments: view_cleaned_documents,
    Chunks: view_chunks,
    Embeddings: view_embeddings,
    IndexReport: view_index_report,
    RunReport: view_run_report,
    ServingReport: view_serving_report,
    TrainingDataset: view_training_dataset,
    RetrievalEvaluation: view_retrieval_evaluation,
}
FIGURES: dict[type[Handle], Callable[[Any], dict[str, Any]]] = {
    RawDocuments: describe_raw_documents,
    CleanedDocuments: describe_cleaned_documents,
    Chunks: describe_chunks,
    Embeddings: describe_embeddings,
    IndexReport: describe_index_report,
    RunReport: describe_run_report,
    ServingReport: describe_serving_report,
    TrainingDataset: describe_training_dataset,
    RetrievalEvaluation: describe_retrieval_evaluation,
}


def views_of(handle: Handle) -> Views:
    """Return file name to content for a handle; the first is what the dashboard offers first."""
    return VIEWS[type(handle)](handle)


def figures_of(handle: Handle) -> Figures:
    """Return what is worth reading of a handle, by name: single values, none of them unknown."""
    return {name: value for name, value in FIGURES[type(handle)](handle).items() if value is not None}
