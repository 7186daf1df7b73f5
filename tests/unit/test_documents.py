"""The documents that people read: complete, and true in what can be checked."""

import re
import tomllib

import pytest

from tests.support import REPOSITORY

PAGES = [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_placeholder_is_left(page):
    assert "@@" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_dependency_is_explained_in_the_readme():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[\[<>=]", dependency)[0] for dependency in project["dependencies"]}
    table = (REPOSITORY / "README.md").read_text(encoding="utf-8").partition("## Dependencies")[2]
    explained = {name.strip() for row in re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE) for name in row.split(",")}
    assert names - explained == set()


def test_every_dependency_is_pinned_in_the_lock():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    lock = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    pinned = {_canonical(line.partition("==")[0]) for line in lock.splitlines()}
    named = {_canonical(re.split(r"[\[<>=]", dependency)[0]) for dependency in wanted} - {project["name"]}
    assert named - pinned == set()


def _canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()
