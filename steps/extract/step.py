"""The ZenML step that reads the warehouse."""

import time
from typing import Annotated

from loguru import logger
from zenml import step

from feature_store.config import CategoryConfig
from feature_store.handles import RawDocuments
from feature_store.materializers import HandleMaterializer
from feature_store.progress import progress
from feature_store.store import open_feature_store
from steps.extract.capture import capture_changes
from steps.extract.read import count_documents, read_pages
from steps.runtime import start_step
from warehouse.connection import collection_names, open_warehouse


@step(enable_cache=False, output_materializers=HandleMaterializer)
def extract(categories: list[CategoryConfig], rules: str) -> Annotated[RawDocuments, "raw_documents"]:
    """Read all categories and keep the documents that are new, changed or gone; ``rules`` names the cleaning rules."""
    settings, run_folder = start_step()
    started = time.monotonic()
    folder = run_folder / "raw"
    store = open_feature_store(settings.feature_store_folder)
    counts = {}
    with open_warehouse(settings) as database:
        present = set(collection_names(database))
        for category in categories:
            if category.collection not in present and category.optional:
                logger.info("{}: the optional collection {} does not exist", category.name, category.collection)
                continue
            total = count_documents(database, category.collection)
            with progress(f"reading {category.name}", total) as advance:
                pages = read_pages(database, category.collection, category.paths())
                counts[category.name] = capture_changes(store, category, pages, rules, folder, advance)
            logger.info("{}: {}", category.name, counts[category.name])
    return RawDocuments(folder=folder, categories=counts, seconds=time.monotonic() - started)
