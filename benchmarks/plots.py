"""Plots of results, as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIDTH = 300
BAR = 22  # pixels a bar


@dataclass(frozen=True)
class Panel:
    """Horizontal bars with one title; ``values`` are (name, value, kind), a kind has one colour in all panels."""

    title: str
    unit: str
    values: Sequence[tuple[str, float, str]]
    logarithmic: bool = False


def draw_panels(panels: Sequence[Panel], title: str, colours: dict[str, str], path: Path, columns: int = 2) -> None:
    """Draw panels side by side."""
    import altair as alt
    import vl_convert

    from feature_store.views.charts import without_labels

    drawn = alt.concat(*(_bars(panel, colours) for panel in panels), columns=columns).properties(
        title=title, background="white"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(without_labels(vl_convert.vegalite_to_svg(drawn.to_dict())) + "\n", encoding="utf-8")
    print(path)


def _bars(panel: Panel, colours: dict[str, str]) -> Any:
    import altair as alt

    values = [
        {"name": name, "value": value, "kind": kind, "label": _short(value)} for name, value, kind in panel.values
    ]
    scale = alt.Scale(type="log") if panel.logarithmic else alt.Scale(zero=True)
    place = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("name:N", title=None, sort=[name for name, _, _ in panel.values]),
        x=alt.X("value:Q", title=panel.unit, scale=scale),
    )
    colour = alt.Color(
        "kind:N", title=None, scale=alt.Scale(domain=list(colours), range=list(colours.values())), sort=list(colours)
    )
    labels = place.mark_text(align="left", dx=8).encode(text="label:N")
    # A bar of a logarithmic scale has no meaning of its own length: a point says all.
    marks = place.mark_point(filled=True, size=90) if panel.logarithmic else place.mark_bar()
    return alt.layer(marks.encode(color=colour), labels).properties(
        title=panel.title, width=WIDTH, height=BAR * len(panel.values)
    )


def _short(value: float) -> str:
    """Return three digits of a number, or all in front of the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004
