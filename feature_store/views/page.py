"""HTML pages for the dashboard's frame, which runs no script and loads nothing: inline CSS and SVG only."""

from collections.abc import Mapping, Sequence

from feature_store.views.text import figure, shown

LIMIT = 1_000_000  # bytes of a view
COLOURS = 6  # that CSS names: --c0 to --c5

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
:root{color-scheme:light dark;--c0:#3b6fd4;--c1:#d9730d;--c2:#0f8a6d;--c3:#a23fb8;--c4:#c2375a;--c5:#6b7d12;
--quiet:#6b7280;--line:#8883;--soft:#8881;--good:#15803d;--bad:#c62828}
@media(prefers-color-scheme:dark){:root{--c0:#7aa7ff;--c1:#ffa657;--c2:#4fd1a8;--c3:#d78bf0;--c4:#ff8ba3;--c5:#c3d45a;
--quiet:#9aa4b2;--good:#4ade80;--bad:#ff8a80}}
*{box-sizing:border-box}
body{font:14px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;margin:0 auto;padding:20px 24px 32px;
max-width:1080px;background:Canvas;color:CanvasText}
h1{font-size:22px;line-height:1.25;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:16px;margin:28px 0 10px}h3{font-size:14px;margin:0 0 4px}
p{margin:4px 0 10px;max-width:76ch}.quiet{color:var(--quiet)}.small{font-size:12px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(130px,1fr));gap:10px;margin:16px 0}
.card{border:1px solid var(--line);border-radius:10px;padding:10px 14px;background:var(--soft)}
.card b{display:block;font-size:20px;line-height:1.3;font-weight:600;font-variant-numeric:tabular-nums;
overflow-wrap:anywhere}
.card span{color:var(--quiet);font-size:12px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(380px,1fr));gap:8px 32px}
figure{margin:0;min-width:0}figcaption{font-weight:600;margin:12px 0 6px}
svg{max-width:100%;height:auto;overflow:visible;display:block}
table{border-collapse:collapse;margin:8px 0;font-variant-numeric:tabular-nums}
td,th{padding:5px 14px 5px 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;
overflow-wrap:anywhere}
th{font-weight:600;color:var(--quiet);font-size:12px;white-space:nowrap}
td.number,th.number{text-align:right;white-space:nowrap}
.scroll{overflow-x:auto}.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
code,.id{font:12px/1.5 ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}
.sample{border:1px solid var(--line);border-radius:10px;padding:12px 16px;margin:12px 0}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:8px 0 0;padding:10px 12px;background:var(--soft);
border-radius:8px;font:12.5px/1.6 ui-monospace,Menlo,Consolas,monospace;unicode-bidi:plaintext}
"""


def page(title: str, *parts: str, style: str = "") -> str:
    """Return a whole HTML page of at most ``LIMIT`` bytes; parts that no longer fit are left out, and it says so.

    ``title`` is any text; ``parts`` are HTML, ``style`` is CSS of ours.
    """
    head = (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><title>{shown(title)}</title>'
        f"<style>{STYLE}{style}</style></head><body><h1>{shown(title)}</h1>"
    )
    notice, end = "<p class=quiet>There is more: this view shows the first of it.</p>", "</body></html>"
    left = LIMIT - len((head + notice + end).encode())
    fitting = []
    for part in parts:
        left -= len(part.encode())
        if left < 0:
            fitting.append(notice)
            break
        fitting.append(part)
    return head + "".join(fitting) + end


def heading(text: str) -> str:
    """Return a heading of a part of the page."""
    return f"<h2>{shown(text)}</h2>"


def sentence(text: str) -> str:
    """Return a paragraph of any text."""
    return f"<p>{shown(text, 1000)}</p>"


def note(text: str) -> str:
    """Return a paragraph of any text, less prominent."""
    return f'<p class="quiet small">{shown(text, 1000)}</p>'


def cards(figures: Mapping[str, object]) -> str:
    """Return the key figures, each with its name."""
    made = "".join(
        f"<div class=card><b>{shown(figure(value))}</b><span>{shown(name)}</span></div>"
        for name, value in figures.items()
    )
    return f"<div class=cards>{made}</div>"


def side_by_side(*figures: str) -> str:
    """Return charts side by side, where there is room."""
    return f"<div class=charts>{''.join(figures)}</div>"


def html_table(header: Sequence[str], rows: Sequence[Sequence[object]], documents: Sequence[str] | None = None) -> str:
    """Return a table of any texts, or nothing for no rows; ``documents`` are the ids of those that the rows show."""
    if not rows:
        return ""
    numeric = [all(_is_number(row[column]) for row in rows) for column in range(len(header))]
    kinds = [" class=number" if is_number else "" for is_number in numeric]
    top = "".join(f"<th{kind}>{shown(name)}</th>" for name, kind in zip(header, kinds, strict=True))
    ids: Sequence[str | None] = documents if documents is not None else [None] * len(rows)
    body = "".join(
        f"<tr{of_document(document_id)}>"
        + "".join(f"<td{kind}>{_marked(value)}</td>" for value, kind in zip(row, kinds, strict=True))
        + "</tr>"
        for row, document_id in zip(rows, ids, strict=True)
    )
    return f"<div class=scroll><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def sample(document_id: str, title: str, described: Sequence[str], text: str, limit: int) -> str:
    """Return the beginning of a document, up to ``limit`` characters."""
    facts = " · ".join(shown(fact) for fact in described if fact)
    return (
        f'<div class=sample{of_document(document_id)}><h3>{shown(title)}</h3><div class="quiet small">{facts}</div>'
        f"<div class=id>{shown(document_id)}</div><pre>{shown(text, limit)}</pre></div>"
    )


def of_document(document_id: str | None) -> str:
    """Return the attribute that says whose text an element shows: erasure finds it by that."""
    return "" if document_id is None else f' data-document="{shown(document_id)}"'


def _marked(value: object) -> str:
    if isinstance(value, bool):
        return "<span class=good>✓ yes</span>" if value else "<span class=bad>✗ no</span>"
    return shown(figure(value), 400)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
