"""Real documents for a newcomer: what is installed in this environment describes itself."""

from collections.abc import Callable, Iterator
from typing import Any

from warehouse.imports.distributions import read_distributions
from warehouse.imports.docstrings import SkippedFile, read_docstrings

DOCSTRING_PACKAGES = (
    "tenacity",
    "httpx",
    "trafilatura",
    "langchain_text_splitters",
    "markdownify",
    "pydantic_settings",
    "docutils.parsers",
    "zenml.materializers",
)


def read_samples(report_skipped: Callable[[SkippedFile], None]) -> dict[str, Iterator[dict[str, Any]]]:
    """Return documents by collection: READMEs as ``articles``, docstrings of some packages as ``docstrings``."""
    docstrings = (document for package in DOCSTRING_PACKAGES for document in read_docstrings(package, report_skipped))
    return {"articles": read_distributions(), "docstrings": docstrings}
