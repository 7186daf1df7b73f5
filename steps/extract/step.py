"""The ZenML step that reads the warehouse."""

from typing import Annotated

from zenml import step

from feature_store.config import CategoryConfig, DeletionGuard, RunOptions
from feature_store.handles import RawDocuments
from feature_store.materializers import HandleMaterializer
from feature_store.profile import Meter
from feature_store.store import open_feature_store
from steps.extract.apply import CapturePolicy, capture_categories
from steps.runtime import start_stage
from warehouse.connection import open_warehouse
from warehouse.keeping import let_go


@step(enable_cache=False, output_materializers=HandleMaterializer)
def extract(
    categories: list[CategoryConfig], rules: str, deletions: DeletionGuard, options: RunOptions
) -> Annotated[RawDocuments, "raw_documents"]:
    """Capture the documents that are new, changed or gone in all categories; ``rules`` names the cleaning rules."""
    settings, run_folder = start_stage()
    meter = Meter()
    store = open_feature_store(settings.feature_store_folder)
    policy = CapturePolicy(rules, deletions, options)
    with open_warehouse(settings) as database:
        raw = capture_categories(database, store, categories, policy, run_folder / "raw")
    let_go()
    return raw.model_copy(update=meter.read())
