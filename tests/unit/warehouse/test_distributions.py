import sys

import pytest

from warehouse.imports.distributions import read_distributions

FULL = """\
Metadata-Version: 2.4
Name: Nice_Tool
Version: 1.2
Summary: Does nice things
Author-email: "Ada L." <ada@example.invalid>, Grace <grace@example.invalid>
License-Expression: MIT
Keywords: nice, useful tool
Project-URL: Source Code, https://example.invalid/source
Project-URL: Documentation, https://example.invalid/docs
Description-Content-Type: text/markdown

# Nice tool

It is *nice* – really.
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [])

    def install_metadata(metadata, folder="site"):
        name = metadata.partition("Name: ")[2].partition("\n")[0]
        location = tmp_path / folder / f"{name}.dist-info"
        location.mkdir(parents=True)
        (location / "METADATA").write_text(metadata, encoding="utf-8")
        if str(location.parent) not in sys.path:
            sys.path.append(str(location.parent))

    return install_metadata


def metadata(*headers, description="About it.", name="tool"):
    return "\n".join(["Metadata-Version: 2.1", f"Name: {name}", "Version: 1", *headers, "", description])


def test_a_distribution_becomes_an_article(install):
    install(FULL)
    assert list(read_distributions()) == [
        {
            "_id": "distribution:nice-tool",
            "content": {
                "Title": "Nice_Tool: Does nice things",
                "Subtitle": "Does nice things",
                "Content": "# Nice tool\n\nIt is *nice* – really.",
                "language": None,
            },
            "content_type": "text/markdown",
            "platform": "pypi",
            "link": "https://example.invalid/docs",
            "author_full_name": "Ada L., Grace",
            "version": "1.2",
            "license": "MIT",
            "keywords": ["nice", "useful tool"],
        }
    ]


def test_a_bare_distribution_has_nulls_and_nothing_invented(install):
    install(metadata())
    [document] = read_distributions()
    assert document["content"]["Title"] == "tool"
    assert document["keywords"] == []
    assert document["content_type"] == "text/x-rst"  # what packaging says of a description without a type
    assert {name for name, value in document.items() if value is None} == {
        "link",
        "author_full_name",
        "license",
    }


@pytest.mark.parametrize("description", ["", " \n\n", "UNKNOWN"])
def test_a_distribution_without_long_description_is_left_out(install, description):
    install(metadata(description=description))
    assert list(read_distributions()) == []


def test_distributions_come_by_name(install):
    for name in ("zebra", "Apple", "mango"):
        install(metadata(name=name))
    assert [document["_id"] for document in read_distributions()] == [
        "distribution:apple",
        "distribution:mango",
        "distribution:zebra",
    ]


def test_of_a_distribution_installed_twice_the_first_on_the_path_counts(install):
    install(metadata(name="some.tool", description="First."), folder="a")
    install(metadata(name="Some-Tool", description="Second."), folder="b")
    [document] = read_distributions()
    assert document["content"]["Content"] == "First."


def test_a_first_distribution_without_description_hides_the_second(install):
    install(metadata(description=""), folder="a")
    install(metadata(description="Second."), folder="b")
    assert list(read_distributions()) == []


@pytest.mark.parametrize(
    ("headers", "link"),
    [
        (["Project-URL: Home-Page, https://h.invalid", "Project-URL: docs, https://d.invalid"], "https://h.invalid"),
        (["Home-page: https://h.invalid", "Project-URL: Documentation, https://d.invalid"], "https://h.invalid"),
        (["Project-URL: GitHub, https://g.invalid", "Project-URL: Docs, https://d.invalid"], "https://d.invalid"),
        (["Project-URL: Issues, https://i.invalid", "Project-URL: Repository, https://r.invalid"], "https://r.invalid"),
        (["Project-URL: Funding, https://f.invalid", "Home-page: UNKNOWN"], None),
        (["Project-URL: Homepage,", "Project-URL: Source, https://s.invalid"], "https://s.invalid"),
    ],
)
def test_the_link_is_the_most_telling_one_of_the_authors(install, headers, link):
    install(metadata(*headers))
    [document] = read_distributions()
    assert document["link"] == link


@pytest.mark.parametrize(
    ("headers", "author"),
    [
        (["Author: Ada", "Maintainer: Grace"], "Ada"),
        (["Author: UNKNOWN", "Maintainer: Grace"], "Grace"),
        (["Author-email: ada@example.invalid", "Maintainer-email: Grace <g@example.invalid>"], "Grace"),
        (["Author: Ada <ada@example.invalid>"], "Ada"),
        (["Author-email: ada@example.invalid"], None),
    ],
)
def test_the_author_is_a_name_and_never_a_mail_address(install, headers, author):
    install(metadata(*headers))
    [document] = read_distributions()
    assert document["author_full_name"] == author


@pytest.mark.parametrize(
    ("headers", "license_name"),
    [
        (["License: BSD", "License-Expression: BSD-3-Clause"], "BSD-3-Clause"),
        (["License: BSD", "Classifier: License :: OSI Approved :: MIT License"], "BSD"),
        (["License: A long text\n        of many lines", "Classifier: License :: OSI Approved :: ISC"], "ISC"),
        (["License: " + "x" * 101, "Classifier: Topic :: Text"], None),
    ],
)
def test_the_license_is_a_name_and_not_a_text(install, headers, license_name):
    install(metadata(*headers))
    [document] = read_distributions()
    assert document["license"] == license_name


def test_keywords_without_commas_are_separated_by_spaces(install):
    install(metadata("Keywords: fast small  safe"))
    [document] = read_distributions()
    assert document["keywords"] == ["fast", "small", "safe"]


def test_the_distributions_of_this_installation_can_be_read():
    documents = {document["_id"]: document for document in read_distributions()}
    assert documents["distribution:pymongo"]["link"].startswith("http")
    assert len(documents["distribution:pymongo"]["content"]["Content"]) > 500
