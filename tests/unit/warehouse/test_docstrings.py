import importlib.metadata
import re
import sys

import pytest

from warehouse.imports.docstrings import read_docstrings
from warehouse.imports.errors import ImportSourceError

INIT = '''\
"""A package.

    Indented further.
"""
raise RuntimeError("This source was executed")
'''

CODE = '''\
"""Module text."""
from typing import overload

def plain(x: int = 1, *args, key: str = "k", **rest) -> str:
    """Plain text.

    Second line.
    """
    def inner():
        "Inner text."
        class Local:
            """Local text."""
    return ""

async def waits(): """Waits text."""

class Outer(dict, metaclass=type):
    """Outer text."""
    class Nested:
        """Nested text."""
        def method(self): """Method text."""
    @property
    def size(self) -> int:
        """Size text."""
    @size.setter
    def size(self, value):
        """Size setter text."""
    if True:
        async def conditional(self): """Conditional text."""

@overload
def many(x: int) -> int:
    """For int."""
@overload
def many(x: str) -> str: ...
def many(x):
    """For all."""

try:
    pass
except ImportError:
    def fallback():
        """Fallback text."""
match 1:
    case 1:
        def matched(): """Matched text."""

def undocumented(): pass
def empty():
    """   """
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "made_up_package"
    (folder / "sub").mkdir(parents=True)
    (folder / "__init__.py").write_text(INIT)
    (folder / "code.py").write_text(CODE)
    (folder / "sub" / "__init__.py").write_text("")
    (folder / "sub" / "deep.py").write_text('"""Deep text."""')
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return folder


def read(package_or_path):
    skipped = []
    return list(read_docstrings(str(package_or_path), skipped.append)), skipped


def test_every_docstring_of_a_package_is_found_and_none_of_its_code_is_run(package):
    documents, skipped = read("made_up_package")
    found = [(document["_id"], document["kind"], document["signature"]) for document in documents]
    assert found == [
        ("docstring:made_up_package", "module", None),
        ("docstring:made_up_package.code", "module", None),
        (
            "docstring:made_up_package.code.plain",
            "function",
            "def plain(x: int=1, *args, key: str='k', **rest) -> str",
        ),
        ("docstring:made_up_package.code.plain.inner", "function", "def inner()"),
        ("docstring:made_up_package.code.plain.inner.Local", "class", "class Local"),
        ("docstring:made_up_package.code.waits", "async function", "async def waits()"),
        ("docstring:made_up_package.code.Outer", "class", "class Outer(dict, metaclass=type)"),
        ("docstring:made_up_package.code.Outer.Nested", "class", "class Nested"),
        ("docstring:made_up_package.code.Outer.Nested.method", "method", "def method(self)"),
        ("docstring:made_up_package.code.Outer.size", "property", "def size(self) -> int"),
        ("docstring:made_up_package.code.Outer.size#2", "property", "def size(self, value)"),
        ("docstring:made_up_package.code.Outer.conditional", "method", "async def conditional(self)"),
        ("docstring:made_up_package.code.many", "function", "def many(x: int) -> int"),
        ("docstring:made_up_package.code.many#2", "function", "def many(x)"),
        ("docstring:made_up_package.code.fallback", "function", "def fallback()"),
        ("docstring:made_up_package.code.matched", "function", "def matched()"),
        ("docstring:made_up_package.sub.deep", "module", None),
    ]
    assert skipped == []
    assert "made_up_package" not in sys.modules


def test_a_docstring_becomes_a_document_with_its_place(package):
    documents, _ = read("made_up_package")
    assert next(document for document in documents if document["title"].endswith(".plain")) == {
        "_id": "docstring:made_up_package.code.plain",
        "title": "made_up_package.code.plain",
        "content": "Plain text.\n\nSecond line.",
        "module": "made_up_package.code",
        "qualified_name": "made_up_package.code.plain",
        "kind": "function",
        "signature": "def plain(x: int=1, *args, key: str='k', **rest) -> str",
        "package": "made_up_package",
        "version": None,
        "path": "made_up_package/code.py",
        "line": 4,
        "link": "made_up_package/code.py#L4",
    }


def test_a_part_of_a_package_is_read_without_importing_what_is_above_it(package):
    documents, _ = read("made_up_package.sub")
    assert [document["_id"] for document in documents] == ["docstring:made_up_package.sub.deep"]
    documents, _ = read("made_up_package.sub.deep")
    assert [document["path"] for document in documents] == ["made_up_package/sub/deep.py"]


def test_a_path_into_a_package_gives_the_same_documents_as_its_name(package):
    assert read(package) == read("made_up_package")
    assert read(package / "sub" / "deep.py") == read("made_up_package.sub.deep")


def test_a_folder_that_is_no_package_names_its_modules_by_their_place(tmp_path):
    folder = tmp_path / "my-scripts" / "tools"
    folder.mkdir(parents=True)
    (folder / "run.py").write_text('"""Runs."""')
    [document] = read(tmp_path / "my-scripts")[0]
    assert document["_id"] == "docstring:my-scripts.tools.run"
    assert document["link"] == "my-scripts/tools/run.py#L1"


def test_hidden_folders_and_caches_are_left_out_and_tests_are_not(package):
    for name in (".hidden", "__pycache__", "tests"):
        (package / name).mkdir()
        (package / name / "file.py").write_text(f'"""In {name}."""')
    (package / ".hidden.py").write_text('"""Hidden."""')
    contents = [document["content"] for document in read(package)[0]]
    assert [content for content in contents if "." in content and content.startswith(("In", "Hidden"))] == [
        "Inner text.",
        "In tests.",
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b'"""Text."""\ndef broken(:\n', "Line 2: invalid syntax", id="syntax error"),
        pytest.param(b'"""Text \xff."""', "utf-8", id="bytes that are no text"),
        pytest.param(b"# coding: no-such-encoding\n", "unknown encoding: no-such-encoding", id="unknown encoding"),
        pytest.param(b'"""Text."""\n\x00', "null bytes", id="null byte"),
        pytest.param(b"x = " + b"-" * 100_000 + b"1", "MemoryError|too complex", id="too deep"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_reported_and_the_others_are_read(package, content, reason):
    before, _ = read("made_up_package")
    (package / "broken.py").write_bytes(content)
    documents, skipped = read("made_up_package")
    assert documents == before
    assert [item.path for item in skipped] == [package / "broken.py"]
    assert re.search(reason, skipped[0].reason)


def test_the_encoding_that_a_file_declares_is_heeded(tmp_path):
    (tmp_path / "old.py").write_bytes('# coding: latin-1\n"""Café."""'.encode("latin-1"))
    (tmp_path / "windows.py").write_bytes(b'\xef\xbb\xbf"""First.\r\nSecond."""')
    assert [document["content"] for document in read(tmp_path)[0]] == ["Café.", "First.\nSecond."]


def test_files_come_in_the_same_order_on_every_machine(tmp_path):
    for name in "caebgdf":
        (tmp_path / name).mkdir()
        (tmp_path / name / "module.py").write_text('"""Text."""')
        (tmp_path / f"{name}.py").write_text('"""Text."""')
    paths = [document["path"].removeprefix(f"{tmp_path.name}/") for document in read(tmp_path)[0]]
    assert paths == [f"{name}.py" for name in "abcdefg"] + [f"{name}/module.py" for name in "abcdefg"]


def test_doubtful_source_raises_no_warning(tmp_path):
    (tmp_path / "doubtful.py").write_text('"""Path \\d."""\nx = 1 is 1\n')
    assert [document["content"] for document in read(tmp_path)[0]] == ["Path \\d."]


def test_the_version_is_that_of_the_distribution():
    documents, _ = read("tenacity.wait")
    assert {document["version"] for document in documents} == {importlib.metadata.version("tenacity")}
    assert {document["package"] for document in documents} == {"tenacity"}


def test_a_package_within_a_namespace_is_read(tmp_path, monkeypatch):
    (tmp_path / "shared_namespace" / "inner").mkdir(parents=True)
    (tmp_path / "shared_namespace" / "inner" / "__init__.py").write_text('"""Inner."""')
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert [document["_id"] for document in read("shared_namespace.inner")[0]] == ["docstring:shared_namespace.inner"]
    with pytest.raises(ImportSourceError, match=r"'shared_namespace' has no Python source.*within the namespace"):
        read("shared_namespace")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        pytest.param("no_such_package", r"no package 'no_such_package'.*\./no_such_package", id="unknown package"),
        pytest.param("tenacity.no_such_module", "'tenacity.no_such_module' has no Python source", id="unknown module"),
        pytest.param("sys", "'sys' has no Python source: it is compiled", id="built-in module"),
        pytest.param("__main__", "no package '__main__'", id="module without specification"),
        pytest.param("./no_such_folder", "no file or folder './no_such_folder'", id="unknown folder"),
        pytest.param("no_such_file.py", "no file or folder 'no_such_file.py'", id="unknown file"),
        pytest.param("", "no file or folder ''", id="nothing"),
    ],
)
def test_what_cannot_be_found_is_named(name, problem, monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    with pytest.raises(ImportSourceError, match=problem):
        read(name)


def test_a_folder_without_python_source_is_named(tmp_path):
    with pytest.raises(ImportSourceError, match=r"no Python source in .*\.py files"):
        read(tmp_path)
