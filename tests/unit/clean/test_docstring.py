import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.clean.docstring import clean_docstring


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("First.\n\n    Second.\n    ", "First.\n\nSecond.", id="indent of the source"),
        pytest.param("See :class:`~a.B` and :py:meth:`x <y.z>`.", "See `B` and `x`.", id="roles"),
        pytest.param("Uses ``f(x)``.", "Uses `f(x)`.", id="literals"),
        pytest.param(
            "Do.\n\n>>> f(1)\n2\n>>> g()\n\nEnd.", "Do.\n\n```python\n>>> f(1)\n2\n>>> g()\n```\n\nEnd.", id="doctest"
        ),
        pytest.param(
            "Like so::\n\n    x = 1\n\n    y = 2\n\nEnd.",
            "Like so:\n\n```\nx = 1\n\ny = 2\n```\n\nEnd.",
            id="literal block",
        ),
        pytest.param("Do.\n\nArgs:\n    x: the x", "Do.\n\n## Args\n\n  x: the x", id="Google section"),
        pytest.param("Returns\n-------\nint\n    The sum.", "## Returns\n\nint\n  The sum.", id="NumPy section"),
        pytest.param(":param x: the x\n:returns: y", "- `x`: the x\n- `returns`: y", id="Sphinx fields"),
        pytest.param(".. versionadded:: 2.0\n", "Added in version 2.0:", id="version"),
        pytest.param(".. code-block:: python\n\n    x = 1\n\nEnd.", "```\nx = 1\n```\n\nEnd.", id="code directive"),
        pytest.param("A.\n\n```\n:class:`x`\n```\n", "A.\n\n```\n:class:`x`\n```", id="fence"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_docstrings_become_markdown(source, expected):
    assert clean_docstring(source) == expected


@given(st.text(st.sampled_from("a :`.>\n~-=#\t"), max_size=60))
def test_no_docstring_raises(text):
    assert clean_docstring(text) == clean_docstring(text)
