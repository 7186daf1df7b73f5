"""Web pages → Markdown: the main content, without navigation and notices; and what a page says about itself."""

from dataclasses import dataclass

from steps.clean.characters import remove_invisible
from steps.clean.errors import UnparseableError
from steps.clean.html_fragments import PAGE_CHROME, literal_soup_to_markdown, parse_html
from steps.clean.markdown import clean_markdown

# Parsing takes the square of the number of tags that are opened before one is closed: 13,000 take 14 s.
_MOST_OPENED_TAGS = 2000

# Without a fixed last day the result of the date search would depend on today.
_DATE_SEARCH = {"original_date": True, "extensive_search": False, "max_date": "2100-01-01"}


@dataclass(frozen=True, slots=True)
class PageMetadata:
    """What an HTML page says about itself; ``date`` is ISO 8601."""

    title: str | None = None
    author: str | None = None
    url: str | None = None
    date: str | None = None


def clean_html(text: str) -> str:
    """Return the main content of an HTML page or fragment as cleaned Markdown.

    Raises:
        UnparseableError: if the parser gives up, or would take for ever.
    """
    source = remove_invisible(text)
    opened = max(part.count("<") for part in source.split(">"))
    if opened > _MOST_OPENED_TAGS:
        raise UnparseableError(f"{opened:,} tags are opened in a row and none is closed")
    import trafilatura  # 40 MB, for pages alone

    try:
        content = trafilatura.extract(
            source,
            output_format="markdown",
            include_comments=False,
            include_tables=True,
            include_formatting=True,
        )
    except Exception as error:
        raise UnparseableError(f"trafilatura: {type(error).__name__}: {error}") from error
    return clean_markdown(content) if content else _whole_body(source)


def read_page_metadata(text: str) -> PageMetadata:
    """Return title, author, address and date from the head of an HTML page, as far as it states them."""
    import trafilatura

    try:
        found = trafilatura.extract_metadata(remove_invisible(text), date_config=dict(_DATE_SEARCH), extensive=False)
    except Exception:  # noqa: BLE001 - as above; the text is good, and a head that nobody can read states nothing
        return PageMetadata()
    return PageMetadata(found.title, found.author, found.url, found.date)


def _whole_body(source: str) -> str:
    soup = parse_html(source)
    for element in soup.find_all(PAGE_CHROME):
        element.decompose()
    return clean_markdown(literal_soup_to_markdown(soup.body or soup))
