"""One HTML file with everything of a run: tables, plots, and every sample with its picture. It loads nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from lhrs_chat.errors import GeoError, LhrsError
from lhrs_chat.geo.frames import convert, convert_mask
from lhrs_chat.schema import Box, Mask
from lhrs_chat.text import answers

from . import plots
from .benchmarks import REAL
from .conditions import Ask
from .judge import is_free
from .pictures import Pictures
from .records import Key, Record
from .report import Summary, label, markdown, write_whole
from .runs import ScoredRun
from .samples import scores_of, true_text

PAGE = "report.html"
TEMPLATE = Path(__file__).with_name("page.html")
PICTURE_PX = 480
QUALITY = 82
SAMPLES = 300
MAX_PARSED_CHARS = 500
COLOURS = {"true": (0, 158, 115), "said": (230, 120, 0)}
"""Of regions, red, green and blue; page.html draws outlines in the like."""


def choose(run: ScoredRun, limit: int) -> list[Record]:
    """At most `limit` samples: failures first, then in turns from every condition, set and task, drawn by their id."""
    cells: dict[tuple[str, ...], list[Record]] = {}
    for key, record in run.records.items():
        question = run.asks[key].question
        cells.setdefault((record.condition, question.subset, question.task), []).append(record)
    ranked: list[tuple[int, int, Record]] = []
    for number, cell in enumerate(cells.values()):
        cell.sort(key=lambda r: (not r.error, hashlib.sha256(r.id.encode()).digest()))
        ranked += [(-1 if record.error else place, number, record) for place, record in enumerate(cell)]
    ranked.sort(key=lambda row: row[:2])
    return [record for _, _, record in ranked[:limit]]


class _Album:
    """The pictures of the page, each once, as data URIs."""

    def __init__(self) -> None:
        self.uris: dict[str, str] = {}
        self._pictures = Pictures()

    def add(self, ask: Ask, path: Path) -> str | None:
        """The name of a picture on the page; None where it cannot be read."""
        try:
            pixels, sha256 = self._pictures.get(path, ask.condition, ask.drawn)
        except (LhrsError, OSError):
            return None
        if sha256 not in self.uris:
            picture = PIL.Image.fromarray(pixels)
            picture.thumbnail((PICTURE_PX, PICTURE_PX))
            out = io.BytesIO()
            picture.save(out, "JPEG", quality=QUALITY)
            self.uris[sha256] = "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
        return sha256


def sample(
    run: ScoredRun,
    record: Record,
    album: _Album,
    scores: Mapping[Key, Mapping[str, float]],
    verdicts: Mapping[str, bool | None] | None,
) -> dict[str, Any]:
    """What the page shows of one answer.

    Args:
        run: where it stands.
        record: the answer.
        album: gets its pictures.
        scores: every metric of every answer, as `scores_of` tells them.
        verdicts: of a judge on the free text about real pictures, by question; None where none was asked.
    """
    ask = run.asks[record.key]
    question, targets = ask.question, ask.question.targets
    true = [_corners(box, question.size_px) for box in targets.boxes]
    said = []
    if targets.boxes:
        found = answers.boxes(record.text, str(run.header["dialect"]), record.size_px)
        said = [_corners(box, record.size_px, record) for box in found]
    regions = [(mask, "true", question.size_px) for mask in targets.masks]
    if targets.masks:
        regions += [(mask, "said", record.size_px) for mask in answers.masks(record.text)]
    readings = []
    for name, protocol in run.data.benchmark.protocols.items():
        metric = protocol.main.get(question.task, "")
        value = scores[record.key].get(f"{name}.{metric}")
        lower = metric in protocol.lower_is_better
        parsed = record.parsed[name]
        readings.append(
            {
                "protocol": protocol.id,
                "parsed": None if parsed is None else _words(parsed),
                "metric": metric,
                "score": value,
                "verdict": _verdict(record, record.scores[name].get(metric), lower=lower, read=parsed is not None),
            }
        )
    return {
        "id": record.id,
        "set": question.subset,
        "task": question.task,
        "condition": record.condition,
        "prompt": question.text,
        "truth": true_text(question),
        "answer": record.text,
        "error": record.error,
        "confidence": record.confidence,
        "pictures": [album.add(ask, path) for path in ask.shown],
        "true": [box for box in true if box],
        "said": [box for box in said if box],
        "masks": [drawn for mask, whose, size_px in regions if (drawn := _mask(mask, whose, size_px))],
        "readings": readings,
        "judge": _judged(record, verdicts) if is_free(question) and record.condition == REAL else None,
        "verdict": readings[0]["verdict"],
    }


def _judged(record: Record, verdicts: Mapping[str, bool | None] | None) -> str | None:
    """What the judge said of an answer; it is not shown blank ones."""
    if verdicts is None:
        return None
    if record.id not in verdicts:
        return "not shown to it"
    return {True: "right", False: "not right", None: "unreadable"}[verdicts[record.id]]


def _verdict(record: Record, value: float | None, *, lower: bool, read: bool) -> str:
    if record.error:
        return "failed"
    if value is None:
        return "scored" if read else "unreadable"
    if not read:
        return "unreadable"
    if lower:
        return "right" if value == 0 else "off"
    return "right" if value >= 1 else "wrong" if value <= 0 else "partly"


def _words(parsed: object) -> str:
    parts = parsed if isinstance(parsed, tuple) else (parsed,)
    return ", ".join(f"{part:g}" if isinstance(part, float) else str(part) for part in parts)[:MAX_PARSED_CHARS]


def _corners(box: Box, size_px: tuple[int, int], record: Record | None = None) -> list[list[float]]:
    """The corners of a box as shares of the picture; none where its frame has no place in it."""
    try:
        moved = convert(box, "unit", size_px=size_px, placement=None if record is None else record.placement)
    except GeoError:
        return []
    x1, y1, x2, y2 = moved.xyxy
    points = moved.points if moved.points is not None else ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    return [[round(x, 4), round(y, 4)] for x, y in points]


def _mask(mask: Mask, whose: str, size_px: tuple[int, int]) -> dict[str, Any] | None:
    """A region for the page, `true` or `said`: rings as shares of the picture, or a small transparent picture."""
    try:
        if mask.polygons is not None:
            moved = convert_mask(mask, "unit", size_px=size_px)
            rings = [[[round(x, 4), round(y, 4)] for x, y in ring] for ring in moved.polygons or ()]
            return {"whose": whose, "rings": rings}
    except GeoError:
        return None
    inside = PIL.Image.fromarray((mask.to_array() * 255).astype(np.uint8))
    inside.thumbnail((PICTURE_PX, PICTURE_PX))
    tinted = PIL.Image.new("RGBA", inside.size, (*COLOURS[whose], 0))
    tinted.putalpha(inside.point(lambda value: value * 0.45))
    out = io.BytesIO()
    tinted.save(out, "PNG")
    return {"whose": whose, "uri": "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")}


def render(run: ScoredRun, summary: Summary, limit: int = SAMPLES) -> str:
    """The page.

    Args:
        run: the answers.
        summary: their scores.
        limit: samples that are shown at most; the page says how many there are.
    """
    album = _Album()
    scores = scores_of(run)
    verdicts = summary.get("judge", {}).get("verdicts")
    shown = [sample(run, record, album, scores, verdicts) for record in choose(run, limit)]
    data = {"samples": shown, "pictures": album.uris, "answers": len(run.records)}
    title = f"{summary['run']['benchmark']}: {summary['run']['model']}"
    curves = plots.curves(summary)
    parts = {
        "title": html.escape(title),
        "banner": f'<p class="banner" role="note">{html.escape(label(summary))}</p>' if _altered(summary) else "",
        "facts": _inline(_facts(summary)),
        "plots": "".join(plots.scores(summary)),
        "curves": _section(
            "Corrupted pictures",
            "What is left of the score, by severity; 0 is the picture as it is. Bold: "
            "mean over tasks with its 95 % interval; thin: each task.",
            curves,
        ),
        "calibration": _section("Calibration", "", plots.calibration(summary)),
        "tables": to_html(markdown(summary).split("\n", 1)[1]),
        "data": json.dumps(data).replace("<", "\\u003c"),
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], text)


def _facts(summary: Summary) -> str:
    run = summary["run"]
    protocols = " and ".join(f"`{protocol}`" for protocol in run["protocols"].values())
    failed = sum(failure["questions"] for failure in summary["failures"])
    text = f"{summary['answers']:,} answers, scored by {protocols}. "
    text += f"{failed:,} questions failed and count as blank. " if failed else ""
    text += f"Data `{run['data_sha256'][:12]}` ({summary['passport']['state']}), weights "
    return text + f"`{run['weights_sha256'][:12]}`, seed {run['seed']}, version {run['version']}."


def _altered(summary: Summary) -> bool:
    return bool(summary["passport"]["state"] == "altered copy")


def _section(title: str, about: str, figures: Sequence[str]) -> str:
    if not figures:
        return ""
    words = f"<p>{html.escape(about)}</p>" if about else ""
    return f'<section><h2>{title}</h2>{words}<div class="figures">{"".join(figures)}</div></section>'


def to_html(text: str) -> str:
    """The Markdown of our own tables as HTML: headings, tables, lists and paragraphs."""
    out = []
    for block in re.split(r"\n{2,}", text.strip()):
        lines = block.split("\n")
        if lines[0].startswith("#"):
            depth = len(lines[0]) - len(lines[0].lstrip("#"))
            out.append(f"<h{depth}>{_inline(lines[0].lstrip('# '))}</h{depth}>")
        elif lines[0].startswith("| "):
            out.append(_table(lines))
        elif lines[0].startswith("- "):
            out.append("<ul>" + "".join(f"<li>{_inline(row[2:])}</li>" for row in lines) + "</ul>")
        else:
            out.append(f"<p>{_inline(' '.join(lines))}</p>")
    return "\n".join(out)


def _table(lines: Sequence[str]) -> str:
    rows = [[cell.replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in lines]
    head = "".join(f'<th scope="col">{_inline(cell.strip())}</th>' for cell in rows[0])
    body = "".join(_table_row(row) for row in rows[2:])
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _table_row(cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<td>{_inline(cell.strip())}</td>" for cell in cells) + "</tr>"


def _inline(text: str) -> str:
    safe = html.escape(text, quote=False)
    safe = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", safe)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", safe)


def write(run: ScoredRun, summary: Summary, limit: int = SAMPLES) -> Path:
    """Write `report.html` into the folder of a run."""
    return write_whole(run.folder / PAGE, render(run, summary, limit))
