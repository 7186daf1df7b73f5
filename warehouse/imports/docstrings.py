"""Reads the docstrings of a package by parsing its source: nothing of it is ever imported or executed."""

import ast
import copy
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import distribution, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from warehouse.imports.errors import ImportSourceError

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = ast.ClassDef | _Function
_PROPERTY_DECORATORS = {"property", "cached_property", "setter", "getter", "deleter"}


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file or folder whose docstrings could not be read."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class _Docstring:
    qualified_name: str
    kind: str
    signature: str | None
    content: str
    line: int


def read_docstrings(package_or_path: str, report_skipped: Callable[[SkippedFile], None]) -> Iterator[dict[str, Any]]:
    """Give one document for each docstring of an installed package, of a folder or of one Python file.

    A dotted name gives a part of a package. A name with a slash, a leading dot or the ending ``.py`` is a path.
    ``link`` is the path of the file within the project, with the line. Definitions nested in functions are named
    ``outer.inner``; the second documented definition of the same name has ``#2`` at the end of its ``_id``.

    Args:
        package_or_path: what to read.
        report_skipped: called for each file that cannot be parsed; the others are read.

    Raises:
        ImportSourceError: if there is no such package or path, or no Python source in it.
    """
    root, base, package_version = _located(package_or_path)
    occurrences: Counter[str] = Counter()
    found = False
    for path in _python_files(root, report_skipped):
        found = True
        relative = path.relative_to(base)
        module = ".".join(part for part in relative.with_suffix("").parts if part != "__init__")
        for docstring in _docstrings(path, module, report_skipped):
            occurrences[docstring.qualified_name] += 1
            yield {
                "_id": _id(docstring.qualified_name, occurrences[docstring.qualified_name]),
                "title": docstring.qualified_name,
                "content": docstring.content,
                "module": module,
                "qualified_name": docstring.qualified_name,
                "kind": docstring.kind,
                "signature": docstring.signature,
                "package": relative.with_suffix("").parts[0],
                "version": package_version,
                "path": relative.as_posix(),
                "line": docstring.line,
                "link": f"{relative.as_posix()}#L{docstring.line}",
            }
    if not found:
        raise ImportSourceError(f"There is no Python source in {root}.", "Give a folder that holds .py files.")


def _id(qualified_name: str, occurrence: int) -> str:
    return f"docstring:{qualified_name}" + (f"#{occurrence}" if occurrence > 1 else "")


def _located(package_or_path: str) -> tuple[Path, Path, str | None]:
    """Return the file or folder to read, the folder that paths and module names start from, and the version."""
    parts = package_or_path.split(".")
    if all(part.isidentifier() for part in parts) and not package_or_path.endswith(".py"):
        root = _package_source(parts)
        base = root.parents[len(parts) - 1]
        return root, base, _version(parts[0], root.relative_to(base))
    root = Path(package_or_path).expanduser().resolve()
    if not package_or_path or not root.exists():
        raise ImportSourceError(
            f"There is no file or folder {package_or_path!r}.", "Give a path, or the name of an installed package."
        )
    return root, next(folder for folder in root.parents if not (folder / "__init__.py").is_file()), None


def _package_source(parts: list[str]) -> Path:
    name = ".".join(parts)
    try:
        # Only the first part: to find a submodule, Python would import the packages above it.
        spec = find_spec(parts[0])
    except ValueError:
        spec = None
    if spec is None:
        raise ImportSourceError(
            f"There is no package {name!r}.", f"Install it, or give a path such as ./{name} if it is a folder."
        )
    origin = Path(spec.origin or "")
    candidates = [origin.parent if origin.name == "__init__.py" else origin]
    folders = [Path(location) for location in spec.submodule_search_locations or []]
    for part in parts[1:]:
        candidates = [path for folder in folders for path in (folder / part, folder / f"{part}.py") if path.exists()]
        folders = [path for path in candidates if path.is_dir()]
    source = next((path for path in candidates if path.suffix == ".py" or (path.name and path.is_dir())), None)
    if source is None:
        raise ImportSourceError(
            f"{name!r} has no Python source: it is compiled, or a namespace that several packages share.",
            "Give a package or module with source, such as one within the namespace.",
        )
    return source


def _version(package: str, source: Path) -> str | None:
    names = sorted(set(packages_distributions().get(package, [])))
    if len(names) > 1:
        # Several distributions share the namespace: take the one that installed this source.
        prefix = source.as_posix()
        names = [
            name
            for name in names
            if any(f"{file.as_posix()}/".startswith(f"{prefix}/") for file in distribution(name).files or [])
        ]
    return version(names[0]) if names else None


def _python_files(root: Path, report_skipped: Callable[[SkippedFile], None]) -> Iterator[Path]:
    if root.is_file():
        yield root
        return

    def report(error: OSError) -> None:
        report_skipped(SkippedFile(Path(error.filename), f"It cannot be read: {error.strerror}"))

    for folder, folders, files in os.walk(root, onerror=report):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        for name in sorted(files):
            if name.endswith(".py") and not name.startswith("."):
                yield Path(folder) / name


def _docstrings(path: Path, module: str, report_skipped: Callable[[SkippedFile], None]) -> list[_Docstring]:
    try:
        with warnings.catch_warnings():
            # The parser warns of doubtful escapes and the like in source that is not ours.
            warnings.simplefilter("ignore")
            # Bytes: the parser itself heeds a byte order mark and an encoding declared in the file.
            tree = ast.parse(path.read_bytes(), filename=str(path))
        return list(_documented(tree, module))
    except SyntaxError as error:
        report_skipped(SkippedFile(path, f"Line {error.lineno}: {error.msg}"))
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        # MemoryError: what the parser raises where brackets or operators are nested too deep.
        report_skipped(SkippedFile(path, f"It cannot be parsed: {str(error) or type(error).__name__}"))
    return []


def _documented(tree: ast.Module, module: str) -> Iterator[_Docstring]:
    content = ast.get_docstring(tree)
    if content:
        yield _Docstring(module, "module", None, content, 1)
    yield from _documented_below(tree, module, tree)


def _documented_below(parent: ast.AST, prefix: str, owner: ast.Module | _Definition) -> Iterator[_Docstring]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, _Definition):
            name = f"{prefix}.{node.name}"
            content = ast.get_docstring(node)
            if content:
                yield _Docstring(name, _kind(node, owner), _signature(node), content, node.lineno)
            yield from _documented_below(node, name, node)
        # Definitions stand in statements only (`if`, `try`, `with`, `match`, …): no need to enter expressions.
        elif isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            yield from _documented_below(node, prefix, owner)


def _kind(node: _Definition, owner: ast.Module | _Definition) -> str:
    if isinstance(node, ast.ClassDef):
        return "class"
    if isinstance(owner, ast.ClassDef):
        decorators = {ast.unparse(decorator).rsplit(".", 1)[-1] for decorator in node.decorator_list}
        return "property" if decorators & _PROPERTY_DECORATORS else "method"
    return "async function" if isinstance(node, ast.AsyncFunctionDef) else "function"


def _signature(node: _Definition) -> str:
    head = copy.copy(node)
    head.body = []
    head.decorator_list = []
    return ast.unparse(head).strip().removesuffix(":")
