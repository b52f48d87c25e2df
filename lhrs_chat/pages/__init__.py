"""Static pages: one HTML file that loads nothing else, in one look, with pictures that carry boxes and regions.

A page is a template with `{{name}}` where its parts go. `{{style}}` and `{{viewer}}` are the look and the drawing of
pictures that all pages share (`style.css`, `viewer.js`).
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_SHARED = {"style": "style.css", "viewer": "viewer.js"}


def fill(template: Path, parts: Mapping[str, str], data: Mapping[str, Any]) -> str:
    """Put the parts of a page into its template.

    Args:
        template: the HTML file.
        parts: HTML by name.
        data: what the script of the page reads, in plain values; it stands at `{{data}}`.
    """
    shared = {name: (_HERE / file).read_text(encoding="utf-8") for name, file in _SHARED.items()}
    all_parts = {**shared, **parts, "data": json.dumps(data).replace("<", "\\u003c")}
    text = template.read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: all_parts[match[1]], text)


def to_html(text: str) -> str:
    """The Markdown of our own tables as HTML: headings, tables, lists and paragraphs."""
    out = []
    for block in re.split(r"\n{2,}", text.strip()):
        lines = block.split("\n")
        if lines[0].startswith("#"):
            depth = len(lines[0]) - len(lines[0].lstrip("#"))
            out.append(f"<h{depth}>{inline(lines[0].lstrip('# '))}</h{depth}>")
        elif lines[0].startswith("| "):
            out.append(_table(lines))
        elif lines[0].startswith("- "):
            out.append("<ul>" + "".join(f"<li>{inline(row[2:])}</li>" for row in lines) + "</ul>")
        else:
            out.append(f"<p>{inline(' '.join(lines))}</p>")
    return "\n".join(out)


def inline(text: str) -> str:
    """The bold words and code of a line of Markdown as HTML."""
    safe = html.escape(text, quote=False)
    safe = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", safe)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", safe)


def _table(lines: Sequence[str]) -> str:
    rows = [[cell.replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in lines]
    head = "".join(f'<th scope="col">{inline(cell.strip())}</th>' for cell in rows[0])
    body = "".join(_table_row(row) for row in rows[2:])
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _table_row(cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<td>{inline(cell.strip())}</td>" for cell in cells) + "</tr>"


def svg(width: float, height: float, title: str, description: str, marks: Iterable[str]) -> str:
    """A drawing that says what it shows to those who cannot see it."""
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img" '
        f'aria-label="{html.escape(f"{title}. {description}")}">{"".join(marks)}</svg>'
    )


def figure(caption: str, picture: str, legend: str = "") -> str:
    """A drawing with its caption above; what is wider than the screen can be moved."""
    keys = f'<div class="keys">{legend}</div>' if legend else ""
    return f'<figure><figcaption>{caption}</figcaption>{keys}<div class="scroll">{picture}</div></figure>'
