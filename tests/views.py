"""Reading views as a browser and a Markdown reader do, and checking that they run and load nothing."""

from html.parser import HTMLParser
from typing import Any

from markdown_it import MarkdownIt

EVIL = (
    "<script src='http://evil.example/x.js'>alert(1)</script> | a | <img src=x onerror=alert(1)> `b` & \"q\" 's' "
    "[x](javascript:alert(1)) ![y](http://evil.example/z) </title></style></pre></svg> \x00\x1b\u202e ${1} =1+1"
)
LOADING_TAGS = {"script", "img", "link", "iframe", "object", "embed", "image", "use", "video", "audio", "base", "form"}
LOADING_ATTRIBUTES = {"src", "srcset", "href", "xlink:href", "data", "action", "background", "poster", "style"}
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Reader(HTMLParser):
    """Checks that every tag is closed and none loads or runs anything, and keeps tags, texts and documents."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.titles: list[str] = []
        self.documents: list[str] = []
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert tag not in LOADING_TAGS
        assert not any(name.startswith("on") or name in LOADING_ATTRIBUTES for name, _ in attributes)
        values = dict(attributes)
        self.documents += [values["data-document"] or ""] if "data-document" in values else []
        self.titles += [values["title"] or ""] if "title" in values else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "title" and "svg" in self.open:
            self.titles.append(data)
            return
        if self.open and self.open[-1] == "style":
            assert "url(" not in data.replace(" ", "")
            assert "@import" not in data
            return
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All text that is shown."""
        return "".join(self.texts)


def tables_of(markdown: str) -> list[list[list[str]]]:
    """Return the tables that a reader of the Markdown sees: lists of rows of shown texts; no markup, no link."""
    tables: list[list[list[str]]] = []
    inside = False
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown):
        assert token.type != "html_block"
        if token.type in {"table_open", "table_close"}:
            inside = token.type == "table_open"
            tables += [[]] if inside else []
        if token.type == "tr_open":
            tables[-1].append([])
        if token.type == "inline":
            children: list[Any] = token.children or []
            assert {child.type for child in children} <= {"text", "strong_open", "strong_close", "softbreak"}
            if inside:
                tables[-1][-1].append("".join(child.content for child in children))
    return tables
