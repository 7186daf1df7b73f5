"""Small pieces of HTML, such as those inside Markdown, as Markdown."""

import re
import warnings
from html import unescape
from typing import Any

from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning, Tag
from bs4.element import PreformattedString
from markdownify import MarkdownConverter

from steps.clean.errors import UnparseableError
from steps.clean.markdown_inline import is_html_element

_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_INVISIBLE_ELEMENTS = ["script", "style", "template", "noscript", "svg", "iframe", "head", "button", "input", "select"]
PAGE_CHROME = ["nav", "header", "footer", "aside", "form"]


def fragment_to_markdown(fragment: str) -> str:
    """Return a fragment of HTML as Markdown; scripts, styles and comments are left out, unknown tags stay as text."""
    if not fragment.strip() or fragment.lstrip().startswith(("<!--", "<?", "<!")):
        fragment = re.sub(r"(?s)<!--.*?(?:-->|$)|<[?!].*?(?:>|$)", "", fragment)
    if not fragment.strip():
        return ""
    literal = _TAG.sub(lambda tag: tag.group() if is_html_element(tag.group()) else _quoted(tag.group()), fragment)
    try:
        return soup_to_markdown(parse_html(literal))
    except UnparseableError:
        # Tags nested hundreds deep: no structure that a reader could see is lost with them.
        return unescape(_TAG.sub(" ", fragment))


def parse_html(source: str) -> BeautifulSoup:
    """Parse HTML, however broken."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)
        return BeautifulSoup(source, "html.parser")


def soup_to_markdown(soup: Tag) -> str:
    """Return a parsed tree as Markdown, marks of Markdown in its text included; the tree is changed on the way."""
    return _convert(soup, escape_asterisks=False, escape_underscores=False, escape_misc=False)


def literal_soup_to_markdown(soup: Tag) -> str:
    """Return a parsed tree as Markdown in which text that looks like Markdown is escaped; the tree is changed.

    Raises:
        UnparseableError: if tags are nested too deep.
    """
    return _convert(soup, escape_asterisks=True, escape_underscores=True, escape_misc=True)


def _convert(soup: Tag, **options: Any) -> str:
    for comment in soup.find_all(string=lambda text: isinstance(text, PreformattedString)):
        comment.extract()
    for element in soup.find_all(_INVISIBLE_ELEMENTS):
        element.decompose()
    for link in soup.select("a a"):
        link.unwrap()
    for definitions in soup.find_all("dl"):
        _to_list(definitions)
    converter = MarkdownConverter(
        heading_style="ATX",
        bullets="-",
        code_language_callback=_code_language,
        table_infer_header=True,
        **options,
    )
    try:
        return str(converter.convert_soup(soup)).strip()
    except RecursionError as error:
        raise UnparseableError("tags are nested too deep") from error


def _to_list(definitions: Tag) -> None:
    # Markdown has no definition lists; markdownify's form of them would be read as text and indented code.
    definitions.name = "ul"
    item: Tag | None = None
    for child in definitions.find_all(["dt", "dd"], recursive=False):
        if child.name == "dd" and item:
            item.extend(list(child.children))
            child.decompose()
        else:
            item = child
            child.name = "li"


def _quoted(tag: str) -> str:
    return tag.replace("<", "\\&lt;").replace(">", "&gt;")


_NO_LANGUAGE = {"code", "literal-block", "doctest-block", "highlight", "highlight-default", "notranslate", "source"}


def _code_language(element: Tag) -> str:
    inner = element.find("code")
    names = [*(element.get_attribute_list("class")), *(inner.get_attribute_list("class") if inner else [])]
    for name in names:
        label = str(name or "").removeprefix("language-").removeprefix("highlight-").removeprefix("lang-")
        if name and name not in _NO_LANGUAGE and re.fullmatch(r"[\w+#.-]{1,20}", label):
            return label
    return ""
