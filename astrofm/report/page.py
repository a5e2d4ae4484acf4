"""Self-contained HTML pages: no script, no external resource, one file that can be mailed.

Every helper escapes the text it is given; what it returns is HTML and goes into a :class:`Section` as it is.
"""

from __future__ import annotations

__all__ = ["Section", "command", "figure", "gallery", "page", "paragraph", "side_by_side", "table"]

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from astrofm.errors import DataError

_STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfb; --ink: #1d2126; --quiet: #5d6670; --rule: #d9dbd8;
  --tint: #f2f3ef; --accent: #a8441a; --mock: #fff1c9; --mock-ink: #5b4300; --mock-rule: #e3bd4b; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --ink: #e4e6e8; --quiet: #9aa3ad; --rule: #343a41;
  --tint: #1d2126; --accent: #f0935f; --mock: #392c08; --mock-ink: #f6dc93; --mock-rule: #7d6318;
  --series-1: #56b4e9; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1.0625rem/1.6 Charter, "Bitstream Charter", "Iowan Old Style", "Palatino Linotype", Georgia, serif; }
main, header, footer { max-width: 46rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 3.5rem; }
h1 { font-size: 2.1rem; line-height: 1.2; font-weight: 600; letter-spacing: -0.01em; margin: 0; text-wrap: balance; }
.subtitle { color: var(--quiet); font-size: 1.15rem; line-height: 1.5; margin: 0.6rem 0 0; text-wrap: pretty; }
h2 { font-size: 1.35rem; line-height: 1.3; font-weight: 600; margin: 3rem 0 0.75rem; padding-top: 1.25rem;
  border-top: 1px solid var(--rule); text-wrap: balance; }
p { margin: 0.8rem 0; overflow-wrap: anywhere; text-wrap: pretty; }
.banner, table, figcaption, svg, footer { font-family: system-ui, -apple-system, "Segoe UI", "Noto Sans",
  "Liberation Sans", sans-serif; }
.banner { background: var(--mock); color: var(--mock-ink); border-bottom: 1px solid var(--mock-rule);
  padding: 0.6rem 1.25rem; text-align: center; font-size: 0.95rem; line-height: 1.45; font-weight: 600;
  position: sticky; top: 0; z-index: 1; }
figure { margin: 1.75rem 0; }
figcaption { color: var(--quiet); font-size: 0.875rem; line-height: 1.5; margin-top: 0.6rem; text-wrap: pretty; }
.beside { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(18rem, 100%), 1fr)); gap: 0 1.75rem; }
.beside figure { margin: 0.9rem 0; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.25rem, 1fr)); gap: 1rem 0.75rem;
  margin: 1.25rem 0; padding: 0; list-style: none; }
.gallery figure { margin: 0; }
.gallery img { display: block; width: 100%; height: auto; border-radius: 3px; background: var(--tint); }
.gallery figcaption { margin-top: 0.35rem; font-size: 0.8rem; line-height: 1.4; overflow-wrap: anywhere; }
.gallery .highlight img { outline: 2.5px solid var(--accent); outline-offset: 2.5px; }
.gallery .highlight figcaption { color: var(--ink); font-weight: 600; margin-top: 0.55rem; }
.scroll { overflow-x: auto; margin: 1.5rem 0; }
table { border-collapse: collapse; font-size: 0.9rem; line-height: 1.4; width: 100%;
  font-variant-numeric: tabular-nums lining-nums; border-bottom: 1.5px solid var(--ink); }
caption { caption-side: bottom; text-align: left; color: var(--quiet); font-size: 0.875rem; line-height: 1.5;
  padding-top: 0.6rem; }
th { text-align: left; font-weight: 600; vertical-align: bottom; border-top: 1.5px solid var(--ink);
  border-bottom: 1px solid var(--ink); }
th, td { padding: 0.45rem 1.1rem 0.45rem 0; }
th:last-child, td:last-child { padding-right: 0; }
td { border-top: 1px solid var(--rule); }
tbody tr:first-child td { border-top: 0; }
.number { text-align: right; white-space: nowrap; }
pre { background: var(--tint); border: 1px solid var(--rule); border-radius: 4px; padding: 0.75rem 1rem;
  overflow-x: auto; font: 0.875rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
footer { color: var(--quiet); font-size: 0.85rem; line-height: 1.5; margin-top: 3.5rem; padding-bottom: 3rem; }
footer p { border-top: 1px solid var(--rule); padding-top: 1rem; margin: 0; }
@media print { .banner { position: static; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
"""

_NUMBER = re.compile(r"\s*[+\-\N{MINUS SIGN}\N{PLUS-MINUS SIGN}<>]?\s*\d.*")
_HAS_WORD = re.compile(r"(?!to\b)\b[A-Za-z]{2,}")


@dataclass(frozen=True)
class Section:
    """A heading, which is text, and what follows it, which is HTML made by the helpers of this module."""

    title: str
    html: str


def page(title: str, sections: Iterable[Section], *, subtitle: str = "", banner: str = "", footer: str = "") -> str:
    """Return a whole HTML page.

    Args:
        title: Title of the page and its first heading.
        sections: In order.
        subtitle: One sentence below the title.
        banner: What must not be overlooked, across the top of the page at every place of it: that the data are mock.
        footer: Versions, seeds and the like, in small print.
    """
    body = "\n".join(f"<section>\n<h2>{escape(one.title)}</h2>\n{one.html}\n</section>" for one in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + (f'<div class="banner" role="note">{escape(banner)}</div>\n' if banner else "")
        + f"<header>\n<h1>{escape(title)}</h1>\n"
        + (f'<p class="subtitle">{escape(subtitle)}</p>\n' if subtitle else "")
        + f"</header>\n<main>\n{body}\n</main>\n"
        + (f"<footer><p>{escape(footer)}</p></footer>\n" if footer else "")
        + "</body>\n</html>\n"
    )


def paragraph(text: str) -> str:
    """Return text as a paragraph."""
    return f"<p>{escape(text)}</p>"


def command(text: str) -> str:
    """Return a command, or several lines of them, to be copied."""
    return f"<pre><code>{escape(text)}</code></pre>"


def figure(svg: str, caption: str) -> str:
    """Return a chart with its caption.

    Args:
        svg: From :mod:`astrofm.report.charts`; inserted as it is.
        caption: Below the chart.
    """
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def side_by_side(figures: Iterable[str]) -> str:
    """Return small figures, two in a line where the page is wide enough."""
    return f'<div class="beside">{"".join(figures)}</div>'


def gallery(pictures: Iterable[tuple[bytes, str, bool]]) -> str:
    """Return pictures side by side.

    Args:
        pictures: PNG, caption, and whether to frame it (the query of a search, say).
    """
    return f'<ul class="gallery">{"".join(_picture(*one) for one in pictures)}</ul>'


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str = "") -> str:
    """Return a table; a column whose cells all read as numbers is aligned to the right.

    Args:
        columns: Headings.
        rows: Cells, written as ``str`` does; format numbers before.
        caption: Below the table.

    Raises:
        DataError: If a row has another number of cells than there are columns.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    for row in cells:
        if len(row) != len(columns):
            raise DataError(f"a table of {len(columns)} columns got a row of {len(row)}: {', '.join(row)}")
    is_number = [bool(cells) and all(_reads_as_number(row[i]) for row in cells) for i in range(len(columns))]
    head = "".join(_cell("th", name, right) for name, right in zip(columns, is_number, strict=True))
    body = "\n".join(
        f"<tr>{''.join(_cell('td', text, right) for text, right in zip(row, is_number, strict=True))}</tr>"
        for row in cells
    )
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{said}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'
    )


def _picture(png: bytes, caption: str, highlight: bool) -> str:
    framed = ' class="highlight"' if highlight else ""
    source = f"data:image/png;base64,{b64encode(png).decode()}"
    return (
        f'<li{framed}><figure><img src="{source}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure></li>"
    )


def _reads_as_number(text: str) -> bool:
    """Tell numbers, intervals and percentages from names; a blank or a dash stands for a missing number."""
    is_missing = text.strip() in {"", "-", "\N{EN DASH}", "\N{EM DASH}"}
    return is_missing or (_NUMBER.fullmatch(text) is not None and _HAS_WORD.search(text) is None)


def _cell(tag: str, text: str, right: bool) -> str:
    aligned = ' class="number"' if right else ""
    scope = ' scope="col"' if tag == "th" else ""
    return f"<{tag}{scope}{aligned}>{escape(text)}</{tag}>"
