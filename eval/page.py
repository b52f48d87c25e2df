"""One HTML file with everything of a run: tables, plots, and every sample with its picture. It loads nothing else."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lhrs_chat.errors import LhrsError
from lhrs_chat.pages import fill, inline, to_html
from lhrs_chat.pages.regions import corners, jpeg, region
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
            self.uris[sha256] = jpeg(pixels)
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
    true = [corners(box, question.size_px) for box in targets.boxes]
    said = []
    if targets.boxes:
        found = answers.boxes(record.text, str(run.header["dialect"]), record.size_px)
        said = [corners(box, record.size_px, record.placement) for box in found]
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
        "masks": [
            {"whose": whose, **drawn}
            for mask, whose, size_px in regions
            if (drawn := region(mask, size_px, COLOURS[whose]))
        ],
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
        "facts": inline(_facts(summary)),
        "plots": "".join(plots.scores(summary)),
        "curves": _section(
            "Corrupted pictures",
            "What is left of the score, by severity; 0 is the picture as it is. Bold: "
            "mean over tasks with its 95 % interval; thin: each task.",
            curves,
        ),
        "calibration": _section("Calibration", "", plots.calibration(summary)),
        "tables": to_html(markdown(summary).split("\n", 1)[1]),
    }
    return fill(TEMPLATE, parts, data)


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


def write(run: ScoredRun, summary: Summary, limit: int = SAMPLES) -> Path:
    """Write `report.html` into the folder of a run."""
    return write_whole(run.folder / PAGE, render(run, summary, limit))
