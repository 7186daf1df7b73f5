"""The ZenML step that makes a training set from one version of the cleaned documents."""

import time
from typing import Annotated

from loguru import logger
from zenml import ArtifactConfig, step

from feature_store.exports import ExportFormat, ExportRecord, save_export
from feature_store.handles import CleanedDocuments, TrainingDataset
from feature_store.materializers import HandleMaterializer
from feature_store.parts import remove_folder
from feature_store.training import TrainingConfig
from steps.export.apply import export_training_set
from steps.runtime import run_id, start_step

_TOKENS = "tokens_"
_EXCLUDED = "excluded_"


@step(enable_cache=False, output_materializers=HandleMaterializer)
def make_training_dataset(
    cleaned_documents: CleanedDocuments, training: TrainingConfig, output_format: ExportFormat
) -> Annotated[TrainingDataset, ArtifactConfig(name="training_dataset", tags=["feature-store"])]:
    """Write the training set into the data folder, under its export id, and register it."""
    settings, _ = start_step()
    started = time.monotonic()
    store, version = cleaned_documents.store(), cleaned_documents.at()
    folder = settings.data_dir / "training"
    unfinished = folder / f".{run_id()}"  # its id is known when it is made
    record = export_training_set(store, version, training, output_format, unfinished)
    record = record.model_copy(update={"folder": folder / record.export_id})
    remove_folder(record.folder)
    unfinished.rename(record.folder)
    save_export(store.folder, record)
    made = describe_training_dataset(record, cleaned_documents)
    logger.info("The training set {} of version {} is in {}", made.export_id, made.version, made.folder)
    for split, documents in made.splits.items():
        logger.info("{}: {:,} documents, {:,} tokens", split, documents, made.tokens[split])
    return made.model_copy(update={"seconds": time.monotonic() - started})


def describe_training_dataset(record: ExportRecord, cleaned_documents: CleanedDocuments) -> TrainingDataset:
    """Return the handle of a registered export."""
    tokens = {name.removeprefix(_TOKENS): count for name, count in record.counts.items() if name.startswith(_TOKENS)}
    return TrainingDataset(
        folder=record.folder,
        store_folder=cleaned_documents.folder,
        store_id=record.store_id,
        version=record.version,
        version_run_id=record.version_run_id,
        since=record.since,
        export_id=record.export_id,
        format=record.format,
        considered=record.counts["considered"],
        splits={split: record.counts[split] for split in tokens},
        tokens=tokens,
        excluded={
            name.removeprefix(_EXCLUDED): count for name, count in record.counts.items() if name.startswith(_EXCLUDED)
        },
        files={file.name: file.sha256 for file in record.files},
        near_duplicate_pairs=record.near_duplicate_pairs,
    )
