"""Reads the long descriptions of the installed Python distributions, as documents in the shape of an article.

Sources of the fields: https://packaging.python.org/en/latest/specifications/core-metadata/. Links are those that the
authors of a distribution put into its metadata.
"""

import re
from collections.abc import Iterator
from email.utils import getaddresses
from importlib.metadata import Distribution, PackageMetadata, distributions
from typing import Any

_LINK_LABELS = ("homepage", "documentation", "docs", "source", "sourcecode", "repository", "github", "code")
_LICENSE_CHARACTERS = 100

# What packaging says of a description without a type: https://packaging.python.org/specifications/core-metadata/.
DEFAULT_CONTENT_TYPE = "text/x-rst"


def read_distributions() -> Iterator[dict[str, Any]]:
    """Give one document for each installed distribution that has a long description, by canonical name.

    Where a name is installed twice the first on ``sys.path`` counts, which is also the one that gets imported.
    """
    first: dict[str, Distribution] = {}
    for distribution in distributions():
        name = distribution.metadata["Name"]
        if name:
            first.setdefault(canonical_name(name), distribution)
    for name in sorted(first):
        document = _document(name, first[name])
        if document is not None:
            yield document


def canonical_name(name: str) -> str:
    """Return a distribution's normalized name: https://packaging.python.org/en/latest/specifications/name-normalization/."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _document(name: str, distribution: Distribution) -> dict[str, Any] | None:
    metadata = distribution.metadata
    description = _field(metadata, "Description")
    if description is None:
        return None
    summary = _field(metadata, "Summary")
    title = metadata["Name"]
    return {
        "_id": f"distribution:{name}",
        "content": {
            "Title": f"{title}: {summary}" if summary else title,
            "Subtitle": summary,
            "Content": description,
            "language": None,
        },
        "content_type": _field(metadata, "Description-Content-Type") or DEFAULT_CONTENT_TYPE,
        "platform": "pypi",
        "link": _link(metadata),
        "author_full_name": _author(metadata),
        "version": distribution.version,
        "license": _license(metadata),
        "keywords": _keywords(metadata),
    }


def _field(metadata: PackageMetadata, name: str) -> str | None:
    # Old versions of setuptools wrote UNKNOWN for what was not given.
    value = (metadata[name] or "").strip() if name in metadata else ""
    return value if value not in {"", "UNKNOWN"} else None


def _link(metadata: PackageMetadata) -> str | None:
    links: dict[str, str] = {}
    for entry in metadata.get_all("Project-URL") or []:
        label, _, address = entry.partition(",")
        links.setdefault(re.sub(r"[^a-z]", "", label.lower()), address.strip())
    home_page = _field(metadata, "Home-page")
    if home_page is not None:
        links.setdefault("homepage", home_page)
    return next((links[label] for label in _LINK_LABELS if links.get(label)), None)


def _author(metadata: PackageMetadata) -> str | None:
    for name in ("Author", "Maintainer"):
        person = _field(metadata, name)
        if person is not None:
            # Some write the address behind the name: it is nobody's business here.
            return re.sub(r"\s*<[^>]*>", "", person)
        people = [full_name for full_name, _ in getaddresses([_field(metadata, f"{name}-email") or ""]) if full_name]
        if people:
            return ", ".join(people)
    return None


def _license(metadata: PackageMetadata) -> str | None:
    expression = _field(metadata, "License-Expression")
    if expression is not None:
        return expression
    stated = _field(metadata, "License")
    # Some put the whole text of the licence here.
    if stated is not None and "\n" not in stated and len(stated) <= _LICENSE_CHARACTERS:
        return stated
    classifiers = metadata.get_all("Classifier") or []
    return next((entry.rsplit(" :: ", 1)[-1] for entry in classifiers if entry.startswith("License :: ")), None)


def _keywords(metadata: PackageMetadata) -> list[str]:
    stated = _field(metadata, "Keywords") or ""
    parts = stated.split(",") if "," in stated else stated.split()
    return [part.strip() for part in parts if part.strip()]
