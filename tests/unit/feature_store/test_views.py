"""What the dashboard shows: well-formed, nothing of a document taken as markup, nothing loaded from elsewhere."""

import csv
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from feature_store.handles import CaptureCounts, Chunks, CleanedDocuments, Embeddings, IndexReport, RawDocuments
from feature_store.views import VIEWS, escape_markdown, histogram, length_histogram, markdown_table, page, views_of
from tests.flow import Flow, note, notes_config

EVIL = '<script src="http://evil.example/x.js">alert(1)</script> | a | <img src=x onerror=alert(1)> `b` & "q" \'s\''
LOADING_TAGS = {"script", "img", "link", "iframe", "object", "embed", "image", "use", "video", "audio", "base", "form"}
LOADING_ATTRIBUTES = {"src", "srcset", "href", "xlink:href", "data", "action", "background", "poster", "style"}
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Reader(HTMLParser):
    """Checks that every tag is closed and none loads or runs anything, and keeps tags and text."""

    def __init__(self, content):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        assert tag not in LOADING_TAGS
        assert not any(name.startswith("on") or name in LOADING_ATTRIBUTES for name, _ in attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] == "style":
            assert "url(" not in data.replace(" ", "")
            assert "@import" not in data


def tables_of(markdown):
    """Return the tables that a reader of the Markdown sees: lists of rows of shown texts."""
    tables = []
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown):
        assert token.type != "html_block"
        if token.type == "table_open":
            tables.append([])
        if token.type == "tr_open":
            tables[-1].append([])
        if token.type == "inline":
            assert not any(child.type == "html_inline" for child in token.children)
            if tables and token.level > 2:
                tables[-1][-1].append("".join(child.content for child in token.children))
    return tables


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """A store and a raw part whose every text is evil, and one handle of every type."""
    flow = Flow(tmp_path_factory.mktemp("evil"), notes_config())
    documents = [
        note(EVIL, f"# {EVIL}\n\n{EVIL} {EVIL}", title=EVIL, topic=EVIL),
        note("plain", "a text"),
        note("bad", None),
    ]
    raw, cleaned = flow.commit(documents)
    chunks = Chunks(
        folder=flow.store.folder, index="notes_index", collection="notes_index__0", since=0, version=1, chunks=1,
        documents=1, window=64, token_counts=[0] * 10 + [1], longest=64, token_limit=126,
        samples=[{"title": EVIL, "heading_path": EVIL, "span": "0-9", "tokens": "9", "text": EVIL}],
    )  # fmt: skip
    embeddings = Embeddings(
        folder=flow.store.folder, index="notes_index", collection="notes_index__0", version=1, model=EVIL,
        encoder_fingerprint="abc", dimension=32, precisions=["float32"], since=0, chunks=1, embedded=1, seconds=2.0,
    )  # fmt: skip
    report = IndexReport(
        index="notes_index",
        collection="notes_index__0",
        version_before=0,
        version=1,
        written=1234,
        points=1,
        expected_points=1,
    )
    return {type(handle): handle for handle in (raw, cleaned, chunks, embeddings, report)}


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    folder = tmp_path_factory.mktemp("empty")
    flow = Flow(folder, notes_config())
    _, cleaned = flow.commit([])
    return {
        RawDocuments: RawDocuments(folder=folder / "raw"),
        CleanedDocuments: cleaned,
        Chunks: Chunks(folder=folder, index="i", collection="i__0", since=1, version=1),
        Embeddings: Embeddings(
            folder=folder,
            index="i",
            collection="i__0",
            since=1,
            version=1,
            model="m",
            encoder_fingerprint="f",
            dimension=1,
        ),
        IndexReport: IndexReport(index="i", collection="i__0", version_before=1, version=1),
    }


@pytest.mark.parametrize("content", ["evil", "empty"])
@pytest.mark.parametrize("kind", VIEWS, ids=lambda kind: kind.__name__)
def test_every_view_is_well_formed_escaped_and_loads_nothing(request, kind, content):
    views = views_of(request.getfixturevalue(content)[kind])
    assert next(iter(views)) == "summary.md"
    for name, view in views.items():
        if name.endswith(".html"):
            assert "<script" not in view
            assert {"html", "body", "h1"} <= set(Reader(view).tags)
        elif name.endswith(".csv"):
            rows = list(csv.reader(io.StringIO(view)))
            assert {len(row) for row in rows} == {3}
        else:
            assert view.startswith("# ")
            assert "<script" not in view
            for table in tables_of(view):
                assert {len(row) for row in table} == {len(table[0])}


def test_every_handle_has_views(evil):
    assert set(VIEWS) == set(evil)


def test_texts_of_a_document_are_shown_as_they_are(evil):
    samples = "".join(Reader(views_of(evil[CleanedDocuments])["samples.html"]).texts)
    assert samples.count("alert(1)</script> | a | <img") >= 2
    assert "".join(Reader(views_of(evil[Chunks])["chunks.html"]).texts).count(EVIL) == 3
    rows = list(csv.reader(io.StringIO(views_of(evil[RawDocuments])["samples.csv"])))
    assert [row[1] for row in rows] == ["source_id", EVIL, "plain", "bad"]


def test_the_summary_of_cleaned_documents_counts_documents_and_reasons(evil):
    summary = views_of(evil[CleanedDocuments])["summary.md"]
    assert "2 documents," in summary
    assert "Made from an empty store." in summary
    run, by_category, _, by_reason = tables_of(summary)
    assert run == [
        ["category", "read", "added", "changed", "metadata_changed", "unchanged", "deleted", "rejected"],
        ["notes", "3", "2", "0", "0", "0", "0", "1"],
    ]
    assert by_category[1] == ["notes", "2"]
    assert by_reason[1] == ["missing_text", "1"]


def test_the_summary_of_raw_documents_counts_by_category(tmp_path):
    counts = CaptureCounts(read=1234, added=1000, changed=200, unchanged=30, rejected=4, deleted=5)
    summary = views_of(RawDocuments(folder=tmp_path, categories={"notes": counts}))["summary.md"]
    assert tables_of(summary) == [
        [
            ["category", "read", "added", "changed", "unchanged", "rejected", "deleted"],
            ["notes", "1,234", "1,000", "200", "30", "4", "5"],
        ]
    ]


def test_the_summary_of_embeddings_tells_the_rate_only_where_something_was_embedded(evil):
    def shown(handle):
        return {row[0]: row[1] for row in tables_of(views_of(handle)["summary.md"])[0]}

    assert shown(evil[Embeddings].model_copy(update={"embedded": 3000}))["texts a second"] == "1,500.0"
    assert shown(evil[Embeddings].model_copy(update={"embedded": 0}))["texts a second"] == "-"


def test_the_summary_of_chunks_tells_what_they_cost(evil):
    chunks = evil[Chunks].model_copy(update={"chunks": 1234, "new": 1000, "moved": 200, "unchanged": 34, "stale": 5})
    shown = {row[0]: row[1] for row in tables_of(views_of(chunks)["summary.md"])[0]}
    names = ["chunks", "new: to be embedded and written", "moved: payload to be updated", "as they were"]
    assert [shown[name] for name in names] == ["1,234", "1,000", "200", "34"]
    assert shown["stale: to be removed"] == "5"


def test_the_summary_of_a_load_tells_points_from_payloads(evil):
    report = evil[IndexReport].model_copy(update={"written": 1000, "updated": 200, "removed": 34})
    shown = {row[0]: row[1] for row in tables_of(views_of(report)["summary.md"])[0]}
    assert [shown[name] for name in ("points written", "payloads updated", "stale points removed")] == [
        "1,000",
        "200",
        "34",
    ]


def test_a_load_that_swapped_the_alias_names_the_collection_before(evil):
    report = evil[IndexReport].model_copy(update={"previous_collection": "notes_index__old"})
    shown = [row for table in tables_of(views_of(report)["summary.md"]) for row in table]
    assert ["collection that served before", "notes_index__old"] in shown
    assert "the same" in views_of(evil[IndexReport])["summary.md"]


def bars_of(svg):
    root = ET.fromstring(svg[svg.index("<svg") :])
    spaces = {"s": "http://www.w3.org/2000/svg"}
    labels = [group.find("s:text", spaces).text for group in root.findall("s:g", spaces)]
    widths = [int(group.find("s:rect", spaces).get("width")) for group in root.findall("s:g", spaces)]
    return labels, widths


@given(st.dictionaries(st.text("abc<>&\"'| ", min_size=1), st.integers(0, 10**9), max_size=6))
def test_a_histogram_is_valid_svg_whose_longest_bar_is_the_largest_count(counts):
    labels, widths = bars_of(histogram("<title> & 'more'", counts))
    assert labels == list(counts)
    values = list(counts.values())
    assert all(
        (values[i] <= values[j]) <= (widths[i] <= widths[j]) for i in range(len(values)) for j in range(len(values))
    )
    assert all(0 <= width <= 380 for width in widths)
    if any(values):
        assert max(widths) == 380


@pytest.mark.parametrize("window", [200, 64])
def test_the_labels_of_chunk_sizes_hold_the_sizes_that_are_counted_there(evil, window):
    chunks = evil[Chunks].model_copy(update={"window": window, "token_counts": [0] * 11})
    labels, _ = bars_of(re.search("<svg.*</svg>", views_of(chunks)["chunks.html"])[0])
    assert len(labels) == 11
    for tokens in range(window + 1):
        low, *high = re.findall(r"\d+", labels[min(tokens * 10 // window, 10)])
        assert int(low) <= tokens
        assert not high or tokens <= int(high[0])


@given(st.lists(st.integers(0, 200_000)))
def test_a_histogram_of_lengths_counts_everything_once(lengths):
    counts = length_histogram(lengths)
    assert sum(counts.values()) == len(lengths)
    assert list(counts) == list(length_histogram([]))


@pytest.mark.parametrize(
    ("length", "label"),
    [
        (0, "0 to 250"),
        (249, "0 to 250"),
        (250, "250 to 500"),
        (999, "500 to 1,000"),
        (64_000, "64,000 and more"),
        (10**9, "64,000 and more"),
    ],
)
def test_a_length_is_counted_in_its_step(length, label):
    assert {name for name, count in length_histogram([length]).items() if count} == {label}


cells = st.text("ab<>&|\n\"' 1", max_size=12).map(lambda text: f"x{text}x")


@given(st.lists(st.lists(cells, min_size=2, max_size=2), min_size=1, max_size=4))
def test_a_table_shows_every_cell_as_it_is(rows):
    (table,) = tables_of(markdown_table(["one", "two"], rows))
    assert table == [["one", "two"], *([cell.replace("\n", " ") for cell in row] for row in rows)]


@pytest.mark.parametrize("text", ["a\\|b", "*a*", "_a_", "`a`", "[a](http://b)", "![a](http://b)", "a\rb", "\\*"])
def test_markdown_shows_an_escaped_text_as_it_is(text):
    (table,) = tables_of(f"| {escape_markdown('h')} | i |\n| --- | --- |\n| {escape_markdown(text)} | j |\n")
    assert table[1] == [text.replace("\r", " "), "j"]


def test_numbers_have_thousands_separators_and_no_rows_give_no_table():
    assert markdown_table(["n"], [[1234567]]) == "| n |\n| --- |\n| 1,234,567 |\n"
    assert markdown_table(["n"], []) == ""


def test_the_title_of_a_page_is_escaped():
    assert Reader(page("<b>", "<p>x</p>")).tags.count("b") == 0
