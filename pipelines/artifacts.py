"""What ZenML keeps of this pipeline, as files of its artifact store: samples, views and the logs of steps."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from feature_store.suppression import HIDDEN
from feature_store.traces import Traces

OUR_MODULES = ("feature_store.", "steps.", "pipelines.")
OUR_NAMES = {"run_report", "preflight"}
NOTE = (
    "What was here showed a document that was erased, or texts of documents that it did not name. "
    "It was replaced by this note (feature-pipeline forget)."
)
_PAGE_SIZE = 100
_VIEWS = {".html", ".md", ".csv"}
_DOCUMENT_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(slots=True)
class ArtifactChanges:
    """Files that named or showed erased documents, by kind: ``handles``, ``views``, ``logs``.

    ``metadata`` names artifacts whose figures in ZenML's own database name one, ``elsewhere`` counts artifacts that lie
    in another artifact store than the active one.
    """

    files: Counter[str] = field(default_factory=Counter)
    metadata: list[str] = field(default_factory=list)
    elsewhere: int = 0


def erase_from_artifacts(traces: Traces) -> ArtifactChanges:
    """Take the documents out of every artifact of this pipeline, at every version, and out of the logs of steps."""
    changes = ArtifactChanges()
    for kind, path, content in _files(traces, changes):
        cleaned = clean_file(path, content, traces)
        if cleaned != content:
            _write(path, cleaned)
            changes.files[kind] += 1
    return changes


def search_artifacts(traces: Traces) -> ArtifactChanges:
    """Return what ``erase_from_artifacts`` would still change; nothing is written."""
    changes = ArtifactChanges()
    for kind, path, content in _files(traces, changes):
        changes.files[kind] += clean_file(path, content, traces) != content
    return changes


def clean_file(path: str, content: str, traces: Traces) -> str:
    """Return a file without the documents; as it is where it does not name, quote or show one."""
    name = PurePosixPath(path)
    if name.suffix == ".json":
        try:
            value = json.loads(content)
        except ValueError:
            return NOTE if traces.are_in(content) else content
        hidden = traces.hidden_in(value)
        return content if hidden == value else json.dumps(hidden, ensure_ascii=False, indent=2)
    if name.suffix in _VIEWS:
        return _as_view(name.suffix) if traces.are_in(content) or _shows_unnamed(name.suffix, content) else content
    return "".join(_clean_line(line, traces) for line in content.splitlines(keepends=True))


def _clean_line(line: str, traces: Traces) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    # JSON may spell other letters than those of ASCII by their numbers.
    if not (traces.are_in(line) or (entry is not None and traces.are_in(json.dumps(entry, ensure_ascii=False)))):
        return line
    end = "\n" if line.endswith("\n") else ""
    if not isinstance(entry, dict):
        return HIDDEN + end
    return json.dumps({**traces.hidden_in(entry), "message": HIDDEN}, ensure_ascii=False) + end


def _shows_unnamed(suffix: str, content: str) -> bool:
    """Return whether a view shows texts and not whose they are, as those of earlier releases did."""
    if suffix == ".csv":
        columns = content.partition("\n")[0].strip().split(",")
        return "fields" in columns and "document_id" not in columns
    return suffix == ".html" and "<pre" in content and _DOCUMENT_ID.search(content) is None


def _as_view(suffix: str) -> str:
    match suffix:
        case ".html":
            head = "<!doctype html><html lang=en><head><meta charset=utf-8><title>Erased</title></head>"
            return f"{head}<body><h1>Erased</h1><p>{NOTE}</p></body></html>"
        case ".csv":
            return f'note\n"{NOTE}"\n'
        case _:
            return f"# Erased\n\n{NOTE}\n"


def _files(traces: Traces, changes: ArtifactChanges) -> Iterator[tuple[str, str, str]]:
    """Yield kind, path and content of every text file; what else is found goes into ``changes``."""
    from zenml.client import Client
    from zenml.io import fileio

    store = Client().active_stack.artifact_store
    for version in _artifact_versions(Client()):
        if version.artifact_store_id not in {None, store.id}:
            changes.elsewhere += 1
            continue
        if traces.are_in(json.dumps(version.run_metadata, default=str, ensure_ascii=False)):
            changes.metadata.append(f"{version.artifact.name} {version.version}")
        if fileio.exists(version.uri):
            for path in _below(version.uri):
                yield ("handles" if path.endswith(".json") else "views"), path, _read(path)
    logs = f"{store.path}/logs"
    if fileio.exists(logs):
        for path in _below(logs):
            yield "logs", path, _read(path)


def _artifact_versions(client: Any) -> Iterator[Any]:
    page = 1
    while True:
        found = client.list_artifact_versions(page=page, size=_PAGE_SIZE, hydrate=True)
        for version in found.items:
            if version.artifact.name in OUR_NAMES or (version.materializer.module or "").startswith(OUR_MODULES):
                yield version
        if page >= found.total_pages:
            return
        page += 1


def _below(folder: str) -> Iterator[str]:
    from zenml.io import fileio

    for root, _, names in fileio.walk(folder):
        yield from (f"{_text(root)}/{_text(name)}" for name in names)


def _text(path: str | bytes) -> str:
    return path.decode() if isinstance(path, bytes) else path


def _read(path: str) -> str:
    from zenml.io import fileio

    with fileio.open(path, "rb") as file:
        content: bytes = file.read()
    return content.decode("utf-8", "surrogateescape")


def _write(path: str, content: str) -> None:
    from zenml.io import fileio

    with fileio.open(path, "wb") as file:
        file.write(content.encode("utf-8", "surrogateescape"))
