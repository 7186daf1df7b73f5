"""How chunks of several sizes, and families of them, are shown."""

import re

import pytest

from feature_store.handles import Chunks, SampledChunk, SampledDocument
from feature_store.views import figures_of, views_of
from tests.views import Reader, tables_of

TEXT = "one two three four"


def handle_of(folder, sample, **counts):
    return Chunks(
        folder=folder, index="i", collection="i__0", since=0, version=1, chunks=4, token_counts=[1] * 11,
        samples=[sample], **{"window": 10, "windows": [10], **counts},
    )  # fmt: skip


def document_of(chunks, parents=()):
    return SampledDocument(
        document_id="d", category="c", title="t", text=TEXT, characters=18, chunks=chunks, parents=list(parents)
    )


@pytest.fixture
def families(tmp_path):
    parents = [
        SampledChunk(position=0, start=0, end=13, tokens=3),
        SampledChunk(position=1, start=14, end=18, tokens=1),
    ]
    chunks = [
        SampledChunk(position=0, start=0, end=7, tokens=2, parent=0),
        SampledChunk(position=1, start=4, end=13, tokens=2, parent=0),
        SampledChunk(position=2, start=14, end=18, tokens=1, parent=1, heading_path="A"),
    ]
    return handle_of(tmp_path, document_of(chunks, parents), parents=2, new_parents=2, moved_parents=0)


@pytest.fixture
def sizes(tmp_path):
    chunks = [
        SampledChunk(position=0, start=0, end=18, tokens=4, size=200),
        SampledChunk(position=0, start=0, end=7, tokens=2, size=48),
        SampledChunk(position=1, start=8, end=18, tokens=2, size=48),
    ]
    return handle_of(tmp_path, document_of(chunks), window=200, windows=[200, 48])


def drawn(view):
    """Return for each text that is drawn its pieces with their classes."""
    found = re.findall("<pre>(.*?)</pre>", view)
    return [re.findall(r"<span class=(\w+) title=\"[^\"]*\">(.*?)</span>", each) for each in found]


def legends(view):
    return [re.findall(r"class='swatch (\w+)'></span>(.*?)</li>", each) for each in re.findall("<ul.*?</ul>", view)]


def test_children_have_the_colour_of_their_parent_and_a_bar_where_they_begin(families):
    view = views_of(families)["chunks.html"]
    assert drawn(view) == [[("b0", "one "), ("o0", "two"), ("k0", " three"), ("b1", "four")]]
    assert ".b0{" in view
    assert legends(view) == [
        [
            ("s0", "parent 0: 3 tokens, characters 0-13, 2 chunks"),
            ("s1", "parent 1: 1 token, characters 14-18, 1 chunk"),
        ]
    ]
    assert "chunk 2: 1 token, characters 14-18, of parent 1, A" in Reader(view).titles
    assert "Each parent has its colour" in Reader(view).text


def test_parents_are_counted_in_the_summary_the_cards_and_the_metadata(families):
    views = views_of(families)
    shown = {row[0]: row[1] for row in tables_of(views["summary.md"])[0]}
    assert (shown["parents"], shown["new parents: to be written"]) == ("2", "2")
    assert shown["moved parents: payload to be updated"] == "0"
    assert "<b>2</b><span>parents</span>" in views["chunks.html"]
    assert figures_of(families)["parents"] == 2


def test_where_there_are_no_parents_nothing_is_said_of_them(sizes):
    views = views_of(sizes)
    assert "parent" not in views["summary.md"]
    assert "parents" not in Reader(views["chunks.html"]).text


def test_a_document_is_drawn_once_for_every_size(sizes):
    view = views_of(sizes)["chunks.html"]
    assert drawn(view) == [[("k0", TEXT)], [("k0", "one two"), ("k1", "three four")]]
    assert re.findall(r"<h3>([\d,]+ tokens)</h3>", view) == ["200 tokens", "48 tokens"]
    assert "shown once for every size" in Reader(view).text
    assert [len(legend) for legend in legends(view)] == [1, 2]


def test_sizes_are_told_in_shares_of_the_window_where_there_are_several(sizes, families):
    titles = [title for title in Reader(views_of(sizes)["chunks.html"]).titles if title.endswith(": 1 chunk")]
    assert titles[0] == "0 to 10 % of the window: 1 chunk"
    assert titles[-1] == "100 and more % of the window: 1 chunk"
    assert any(title.startswith("9 to 10 tokens") for title in Reader(views_of(families)["chunks.html"]).titles)


def test_the_metadata_name_all_windows_where_there_are_several(sizes, families):
    assert (figures_of(sizes)["window_tokens"], figures_of(sizes)["windows_tokens"]) == (200, "200, 48")
    assert figures_of(families)["window_tokens"] == 10
    assert "windows_tokens" not in figures_of(families)


def test_a_handle_of_an_earlier_release_is_shown_as_before(families):
    stored = families.model_dump(mode="json", exclude={"windows", "parents", "new_parents", "moved_parents"})
    old = Chunks.model_validate(stored)
    assert (old.windows, old.parents) == ([], 0)
    assert any(title.startswith("9 to 10 tokens") for title in Reader(views_of(old)["chunks.html"]).titles)
