"""Docstrings → Markdown: roles resolved, doctests and literal blocks fenced, sections as headings and lists."""

import inspect
import re

from steps.clean.characters import normalise_prose, remove_invisible
from steps.clean.rst import VERSION_DIRECTIVES, sphinx_target

_ROLE = re.compile(r":(?:[a-zA-Z]+:)?[a-zA-Z]+:`([^`]+)`")
_DOUBLE_BACKTICKS = re.compile(r"``([^`]+)``")
_DOCTEST = re.compile(r"\s*>>>(?: |$)")
_UNDERLINE = re.compile(r"\s*(-{3,}|={3,})\s*")
_SECTIONS = (
    "Args|Arguments|Parameters|Other Parameters|Keyword Args|Keyword Arguments|Attributes|Returns|Return|Yields|Yield|"
    "Raises|Warns|Warnings?|Examples?|Notes?|See Also|References|Methods|Receives|Todo"
)
_SECTION = re.compile(rf"({_SECTIONS}):\s*")
_FIELD = re.compile(
    r"\s*:(?:param|parameter|arg|argument|key|keyword|type|raises?|except|exception|var|ivar|cvar|vartype|returns?|rtype|yields?)"
    r"(?: ([^:]+))?:\s*(.*)"
)
_DIRECTIVE = re.compile(r"\s*\.\. ([\w:-]+)::\s*(.*)")
_CODE_DIRECTIVES = {"code", "code-block", "sourcecode", "testcode", "prompt", "ipython", "doctest"}


def clean_docstring(text: str) -> str:
    """Return a docstring, indented as it stands in its source, as Markdown."""
    lines = inspect.cleandoc(remove_invisible(text)).split("\n")
    written: list[str] = []
    position = 0
    while position < len(lines):
        taken, block = _next_block(lines, position)
        written.extend(block)
        position += taken
    return "\n".join(_single_blank_lines(written)).strip("\n")


def _next_block(lines: list[str], position: int) -> tuple[int, list[str]]:
    line = lines[position]
    if _DOCTEST.match(line):
        return _doctest(lines, position)
    if line.lstrip().startswith("```"):
        return _fence(lines, position)
    directive = _DIRECTIVE.match(line)
    if directive:
        return _directive(lines, position, directive)
    if line.rstrip().endswith("::"):
        introduction = _prose(line.rstrip().removesuffix("::"))
        return _literal_block(lines, position, [f"{introduction}:"] if introduction.strip() else [])
    return _section_or_line(lines, position)


def _section_or_line(lines: list[str], position: int) -> tuple[int, list[str]]:
    line = lines[position]
    following = lines[position + 1] if position + 1 < len(lines) else ""
    if line.strip() and _UNDERLINE.fullmatch(following):
        return 2, ["", f"## {_prose(line).strip()}", ""]
    section = _SECTION.fullmatch(line) if ":" in line else None
    if section:
        return 1, ["", f"## {section.group(1)}", ""]
    return 1, [_field_or_prose(line)]


def _directive(lines: list[str], position: int, directive: re.Match[str]) -> tuple[int, list[str]]:
    name, argument = directive.groups()
    if name in _CODE_DIRECTIVES:
        return _literal_block(lines, position, [])
    label = VERSION_DIRECTIVES.get(name, name.rpartition(":")[2].capitalize())
    return 1, [f"{label} {_prose(argument).strip()}".rstrip() + ":"]


def _doctest(lines: list[str], position: int) -> tuple[int, list[str]]:
    end = next((index for index in range(position, len(lines)) if not lines[index].strip()), len(lines))
    return end - position, _fenced(lines[position:end], "python")


def _fence(lines: list[str], position: int) -> tuple[int, list[str]]:
    mark = lines[position].strip()[:3]
    closing = (index for index in range(position + 1, len(lines)) if lines[index].strip() == mark)
    end = next(closing, len(lines) - 1) + 1
    return end - position, lines[position:end]


def _literal_block(lines: list[str], position: int, introduction: list[str]) -> tuple[int, list[str]]:
    indent = _indent(lines[position])
    end = position + 1
    while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > indent):
        end += 1
    code = lines[position + 1 : end]
    while code and not code[-1].strip():
        code.pop()
    while code and (not code[0].strip() or re.fullmatch(r"\s*:[\w-]+:.*", code[0])):
        code.pop(0)
    if not code:
        return 1, introduction
    return end - position, [*introduction, *_fenced(code, "")]


def _fenced(code: list[str], language: str) -> list[str]:
    margin = min(_indent(line) for line in code if line.strip())
    longest = max((len(run) for line in code for run in re.findall("`{3,}", line)), default=2)
    mark = "`" * (longest + 1)
    return ["", f"{mark}{language}", *(line[margin:].rstrip() for line in code), mark, ""]


def _field_or_prose(line: str) -> str:
    field = _FIELD.fullmatch(line) if ":" in line else None
    if not field:
        return _prose(line)
    label = field.group(1) or line.strip().split(":")[1]
    return f"- `{label.strip()}`: {_prose(field.group(2))}".rstrip()


def _prose(line: str) -> str:
    if "`" in line:
        line = _ROLE.sub(lambda role: f"`{sphinx_target(role.group(1))}`", line)
        line = _DOUBLE_BACKTICKS.sub(r"`\1`", line)
    indent = _indent(line)
    # Four spaces would be code in Markdown.
    return " " * (indent if indent < 4 else 2 * (indent // 4)) + normalise_prose(line.strip())  # noqa: PLR2004


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _single_blank_lines(lines: list[str]) -> list[str]:
    kept: list[str] = []
    for line in lines:
        if line.strip() or (kept and kept[-1]):
            kept.append(line.rstrip())
    return kept
