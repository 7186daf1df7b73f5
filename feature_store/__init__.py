"""What both sides of the product share: schema, ids, tables, index naming, encoders and errors.

For a training job: ``feature_store.documents(version="v12").to_huggingface()``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feature_store.dataset import DocumentDataset


def documents(
    version: str = "latest",
    categories: Sequence[str] | None = None,
    where: str | None = None,
    data_dir: Path | str | None = None,
) -> "DocumentDataset":
    """Return the cleaned documents at one version, to be read lazily.

    Args:
        version: a number (``v12``), ``latest``, a tag or a release.
        categories: names of categories; None for all.
        where: an SQL condition over the columns of ``feature_store.schema.DOCUMENTS``, such as
            ``language = 'en' AND characters > 500``.
        data_dir: the data folder of an installation; None for that of the environment (``DATA_DIR``).

    Raises:
        ConfigurationError: if ``where`` cannot be understood, or a category is not known.
        TerminalError: if there is no such version.
    """
    # Whoever needs a part of this package imports no more than that.
    from feature_store.dataset import DocumentDataset
    from feature_store.names import find_version
    from feature_store.settings import load_settings
    from feature_store.store import open_feature_store

    settings = load_settings()
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": Path(data_dir).expanduser().resolve()})
    folder = settings.feature_store_folder
    names = [categories] if isinstance(categories, str) else categories
    return DocumentDataset(
        open_feature_store(folder), find_version(folder, version), None if names is None else tuple(names), where
    )
