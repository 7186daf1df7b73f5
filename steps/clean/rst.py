"""reStructuredText → Markdown, Sphinx's roles and directives included."""

import re
from functools import cache
from typing import Any, ClassVar

from docutils import nodes
from docutils.core import publish_parts
from docutils.frontend import Values, get_default_settings
from docutils.parsers.rst import Directive, Parser, directives
from docutils.parsers.rst.languages import en
from docutils.parsers.rst.states import Inliner
from docutils.readers.standalone import Reader
from docutils.statemachine import StringList
from docutils.transforms import Transform
from docutils.utils import Reporter
from docutils.writers.html5_polyglot import Writer

from steps.clean.characters import remove_invisible
from steps.clean.errors import UnparseableError
from steps.clean.html_fragments import literal_soup_to_markdown, parse_html
from steps.clean.markdown import clean_markdown

# docutils takes the square of the length of a paragraph with unbalanced markup: 40,000 characters take 8 s.
_LONGEST_PARAGRAPH = 50_000
_BLANK_LINE = re.compile(r"\n[ \t]*\n")

_SETTINGS = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "report_level": 5,
    "halt_level": 5,
    "warning_stream": False,
    "doctitle_xform": False,
    "docinfo_xform": False,
    "sectsubtitle_xform": False,
    "initial_header_level": 1,
    "syntax_highlight": "none",
    "math_output": "LaTeX",
    "smart_quotes": False,
    "embed_stylesheet": False,
    "stylesheet_path": "",
    "toc_backlinks": False,
    "footnote_references": "brackets",
    "section_self_link": False,
    "line_length_limit": 1_000_000,
    "traceback": True,
}
_DIRECTIVE = re.compile(r"^[ \t]*(?:[-*+] +)*\.\. +(?:\|[^|\n]+\| +)?([\w.+:-]+?) ?::(?:\s|$)", re.MULTILINE)
_CODE_ROLES = re.compile(
    r"(?:(?:py|c|cpp|js|rst|std):)?(?:class|func|meth|mod|attr|exc|data|obj|const|var|type|macro|file|command|envvar|"
    r"option|program|kbd|samp|token|keyword|dir|role|makevar|regexp|mailheader|mimetype|any)"
)
_OPTION = re.compile(r"\s*:[\w-]+:(?:\s|$)")
_TARGET = re.compile(r"\A(.+?)\s*<[^<>]+>\Z", re.DOTALL)
_CODE_DIRECTIVES = frozenset(
    [
        "code",
        "code-block",
        "sourcecode",
        "prompt",
        "ipython",
        "doctest",
        "testcode",
        "testoutput",
        "console",
        "productionlist",
        "jupyter-execute",
    ]
)
_DROPPED_DIRECTIVES = frozenset(
    [
        "toctree",
        "contents",
        "sectnum",
        "index",
        "currentmodule",
        "module",
        "highlight",
        "automodule",
        "autoclass",
        "autofunction",
        "autosummary",
        "automethod",
        "autodata",
        "autoexception",
        "automodsumm",
        "literalinclude",
        "testsetup",
        "testcleanup",
        "default-domain",
        "tabularcolumns",
        "minigallery",
        "sectionauthor",
        "codeauthor",
        "role",
        "default-role",
    ]
)
VERSION_DIRECTIVES = {
    "versionadded": "Added in version",
    "versionchanged": "Changed in version",
    "deprecated": "Deprecated since version",
    "versionremoved": "Removed in version",
}


def clean_rst(text: str) -> str:
    """Return reStructuredText as cleaned Markdown.

    Nothing is included from files. The text of roles and directives that docutils does not know is kept.

    Raises:
        UnparseableError: if docutils gives up, or would take for ever.
    """
    source = remove_invisible(text)
    longest = max(len(paragraph) for paragraph in _BLANK_LINE.split(source))
    if longest > _LONGEST_PARAGRAPH:
        raise UnparseableError(f"a paragraph has {longest:,} characters, more than {_LONGEST_PARAGRAPH:,}")
    return clean_markdown(literal_soup_to_markdown(parse_html(_to_html(source))))


def sphinx_target(text: str) -> str:
    """Return what a reader sees of a Sphinx role: ``~a.B`` → ``B``, ``title <target>`` → ``title``, ``!x`` → ``x``."""
    titled = _TARGET.match(text)
    if titled:
        return titled.group(1)
    return text[1:].rpartition(".")[2] if text.startswith("~") else text.removeprefix("!").removeprefix(".")


def _tolerant_inliner() -> Inliner:
    """Return an inliner that keeps the text of roles unknown to docutils.

    A method is set on the instance since docutils reads its patterns from the very class, and registering roles would
    change the global registry, by which one document could influence the next.
    """
    inliner = Inliner()
    known = inliner.interpreted

    def interpreted(rawsource: str, text: str, role: str, lineno: int) -> tuple[list[nodes.Node], list[Any]]:
        if not role or role.lower() in en.roles:
            return known(rawsource, text, role, lineno)
        if "raw" in role or "html" in role:
            return [], []
        shown = sphinx_target(nodes.unescape(text))
        kind = nodes.literal if _CODE_ROLES.fullmatch(role) else nodes.inline
        return [kind(rawsource, shown)], []

    inliner.interpreted = interpreted  # type: ignore[method-assign]
    return inliner


class _SourceDirective(Directive):
    """A directive read as a whole, so that no unknown option can make docutils drop its text."""

    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        arguments, body = _split_directive(list(self.content))
        if self.name in _CODE_DIRECTIVES:
            return [_code_node("\n".join(body), arguments)]
        introduction = " ".join(arguments)
        if self.name in VERSION_DIRECTIVES:
            introduction = f"{VERSION_DIRECTIVES[self.name]} {introduction}:"
        node = nodes.container()
        for text in ([introduction] if introduction else [], body):
            self.state.nested_parse(StringList(text, "directive"), self.content_offset, node)
        return [node]


class _DroppedDirective(Directive):
    has_content = True

    def run(self) -> list[nodes.Node]:
        return []


class _KeepText(Transform):
    """Puts what docutils could not read where its error stood, and marks literals as code."""

    default_priority = 860  # just before docutils drops its messages

    def apply(self) -> None:
        for message in list(self.document.findall(nodes.system_message)):
            source = next(iter(message.findall(nodes.literal_block)), None)
            # Warnings quote text that is in the document too; errors and severe errors quote what they left out.
            if source is not None and message["level"] >= Reporter.ERROR_LEVEL:
                message.replace_self(nodes.literal_block(source.astext(), source.astext()))
        for literal in self.document.findall(nodes.literal):
            literal["classes"] = ["code"]


class _TolerantParser(Parser):
    def get_transforms(self) -> list[type[Transform]]:
        return [*super().get_transforms(), _KeepText]


def _split_directive(lines: list[str]) -> tuple[list[str], list[str]]:
    end = next((position for position, line in enumerate(lines) if not line.strip()), len(lines))
    arguments = [line.strip() for line in lines[:end] if not _OPTION.match(line)]
    if lines[:1] == [""] or not lines:
        return [], lines
    return arguments, lines[end + 1 :]


def _code_node(source: str, arguments: list[str]) -> nodes.Node:
    if not source.strip():
        # Without a blank line, what looks like arguments is the code itself.
        return nodes.literal_block("\n".join(arguments), "\n".join(arguments))
    return nodes.literal_block(source, source, classes=["code", *arguments[:1]])


def _register_directives(text: str) -> None:
    # The registry is global; the same name always gets the same class, so documents cannot influence each other.
    for name in {match.lower() for match in _DIRECTIVE.findall(text)}:
        if name in _DROPPED_DIRECTIVES:
            directives.register_directive(name, _DroppedDirective)
        elif name in _CODE_DIRECTIVES or name not in en.directives:
            directives.register_directive(name, _SourceDirective)


def _to_html(text: str) -> str:
    _register_directives(text)
    parser = _TolerantParser(inliner=_tolerant_inliner())
    try:
        parts = publish_parts(text, reader=Reader(), parser=parser, writer=Writer(), settings=_settings().copy())
    except Exception as error:
        raise UnparseableError(f"docutils: {type(error).__name__}: {error}") from error
    return str(parts["body"])


@cache
def _settings() -> Values:
    settings = get_default_settings(_TolerantParser, Reader, Writer)
    for name, value in _SETTINGS.items():
        setattr(settings, name, value)
    return settings
