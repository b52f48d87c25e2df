"""Plots as inline SVG: scores with intervals, curves over severities, calibration. Colours come from the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from lhrs_chat.pages import figure, svg

Z95 = 1.96
LABEL_PX = 190
PLOT_PX = 330
ROW_PX = 15
GAP_PX = 10
CURVE_PX = (200, 130)
CURVE_LEFT_PX = 44
CURVE_HIGH = 1.5
"""All curves are drawn on one scale; what lies above it is drawn at its upper end."""
SMALLEST_REAL = 0.05
"""Curves show what is left of a score; of one that is nearly 0 nothing is left to lose."""
SERIES = 6


def scores(summary: Mapping[str, Any]) -> list[str]:
    """A figure for each protocol and metric: a row for each set and task, a dot for each condition."""
    conditions = [c for c in summary["conditions"] if c not in summary["corruptions"]]
    groups: dict[tuple[str, str], list[tuple[str, Mapping[str, Any]]]] = {}
    mains = {(r["protocol"], r["subset"], r["task"]): r["metric"] for r in summary["rows"] if r["main"]}
    for row in summary["rows"]:
        place = (row["protocol"], row["subset"], row["task"])
        main = mains.get(place, "")
        if row["main"]:
            groups.setdefault((row["protocol"], main), []).append((f"{row['subset']} · {row['task']}", row))
        elif main and row["metric"].startswith(f"{main}_"):
            kind = row["metric"].removeprefix(f"{main}_").replace("_", " ")
            groups.setdefault((row["protocol"], main), []).append((f"{row['subset']} · {kind}", row))
    return [_dots(*key, rows, conditions) for key, rows in groups.items()]


def _dots(protocol: str, metric: str, rows: Sequence[tuple[str, Mapping[str, Any]]], conditions: Sequence[str]) -> str:
    estimates = [e for _, row in rows for e in row["conditions"].values()]
    high = 1.0
    if max(e["mean"] for e in estimates) > high:
        high = 2.0 * math.ceil(max(e["mean"] + Z95 * (e["stderr"] or 0) for e in estimates) / 2)
    block = max(2, len(conditions)) * ROW_PX * 0.6 + GAP_PX
    height = len(rows) * block + 34

    def at(value: float) -> float:
        return LABEL_PX + PLOT_PX * float(min(max(value / high, 0.0), 1.0))

    marks = [_grid(at, high, height - 26)]
    words = []
    for number, (label, row) in enumerate(rows):
        top = number * block + GAP_PX / 2
        middle = top + (block - GAP_PX) / 2
        marks.append(f'<text class="label" x="{LABEL_PX - 8}" y="{middle + 4:.1f}">{escape(label)}</text>')
        for place, condition in enumerate(conditions):
            estimate = row["conditions"].get(condition)
            if estimate is None:
                continue
            y = top + (place + 0.5) * (block - GAP_PX) / len(conditions)
            said = f"{label}, {condition}: {_told(estimate)}"
            words.append(said)
            marks.append(f"<g class='s{place % SERIES}'><title>{escape(said)}</title>")
            if estimate["stderr"] is not None:
                reach = Z95 * estimate["stderr"]
                ends = (at(estimate["mean"] - reach), at(estimate["mean"] + reach))
                marks.append(f'<line class="whisker" x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
            marks.append(f'<circle cx="{at(estimate["mean"]):.1f}" cy="{y:.1f}" r="4"/></g>')
    legend = " ".join(f'<span class="key s{n % SERIES}">{escape(c)}</span>' for n, c in enumerate(conditions))
    caption = f"<b>{escape(metric)}</b> under <code>{escape(protocol)}</code>, with 95 % intervals clustered by picture"
    picture = svg(LABEL_PX + PLOT_PX + 16, height, f"{metric} under {protocol}", "; ".join(words), marks)
    return figure(caption, picture, legend)


def _grid(at: Callable[[float], float], high: float, bottom: float) -> str:
    parts = []
    for step in range(5):
        value = high * step / 4
        x = at(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom:.1f}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 16:.1f}">{value:g}</text>')
    return "".join(parts)


Points = list[tuple[int, float, float]]
"""Severity, share of the score that is left, its standard error."""


def left(summary: Mapping[str, Any]) -> dict[str, list[tuple[str, Points]]]:
    """By corruption, what is left of the main score of each task under the first protocol; errors are left out."""
    names = list(dict.fromkeys(name for name, _ in summary["corruptions"].values()))
    first = next(iter(summary["run"]["protocols"].values()))
    rows = [r for r in summary["rows"] if r["main"] and not r["lower_is_better"] and r["protocol"] == first]
    found = {}
    for name in names:
        severities = sorted(s for n, s in summary["corruptions"].values() if n == name)
        lines = [(f"{r['subset']} · {r['task']}", _left(r, name, severities)) for r in rows]
        found[name] = [(label, points) for label, points in lines if points]
    return {name: lines for name, lines in found.items() if lines}


def mean_left(lines: Sequence[tuple[str, Points]]) -> Points:
    """The mean over tasks at each severity: stderr^2 = sum stderr_i^2 / n^2."""
    by_severity: dict[int, list[tuple[float, float]]] = {}
    for _, points in lines:
        for severity, share, stderr in points:
            by_severity.setdefault(severity, []).append((share, stderr))
    return [
        (severity, sum(s for s, _ in own) / len(own), math.sqrt(sum(e**2 for _, e in own)) / len(own))
        for severity, own in sorted(by_severity.items())
    ]


def curves(summary: Mapping[str, Any]) -> list[str]:
    """A small figure for each corruption: what is left of the score, by severity, of each task and on average."""
    return [_curve(name, lines) for name, lines in left(summary).items()]


def _left(row: Mapping[str, Any], name: str, severities: Iterable[int]) -> Points:
    """What is left of the score of the questions that were asked about both pictures."""
    points: Points = [(0, 1.0, 0.0)]
    for severity in severities:
        drop = row["differences"].get(f"{name}:{severity}")
        if drop is not None:
            left = row["conditions"][f"{name}:{severity}"]["mean"]
            real = left + drop["mean"]
            if real < SMALLEST_REAL:
                return []
            points.append((severity, left / real, (drop["stderr"] or 0.0) / real))
    return points if len(points) > 1 else []


def _curve(name: str, lines: Sequence[tuple[str, Points]]) -> str:
    width, height = CURVE_PX
    last = max(severity for _, points in lines for severity, _, _ in points)

    def xy(severity: float, share: float) -> tuple[float, float]:
        x = CURVE_LEFT_PX + (width - CURVE_LEFT_PX - 10) * severity / max(last, 1)
        return x, 8 + (height - 34) * (1 - min(max(share, 0.0), CURVE_HIGH) / CURVE_HIGH)

    marks = []
    for share in (0.0, 0.5, 1.0):
        y = xy(0, share)[1]
        marks.append(f'<line class="grid" x1="{CURVE_LEFT_PX}" x2="{width - 10}" y1="{y:.1f}" y2="{y:.1f}"/>')
        marks.append(f'<text class="label" x="{CURVE_LEFT_PX - 6}" y="{y + 4:.1f}">{share:.0%}</text>')
    for severity in range(last + 1):
        marks.append(f'<text class="tick" x="{xy(severity, 0)[0]:.1f}" y="{height - 8}">{severity}</text>')
    for label, points in lines:
        path = " ".join("{:.1f},{:.1f}".format(*xy(severity, share)) for severity, share, _ in points)
        marks.append(f'<polyline class="thin" points="{path}"><title>{escape(label)}</title></polyline>')
    mean = mean_left(lines)
    path = " ".join("{:.1f},{:.1f}".format(*xy(severity, share)) for severity, share, _ in mean)
    marks.append(f'<polyline class="bold" points="{path}"/>')
    for severity, share, stderr in mean:
        x, top = xy(severity, share + Z95 * stderr)
        bottom = xy(severity, share - Z95 * stderr)[1]
        marks.append(f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>')
        marks.append(f'<circle cx="{x:.1f}" cy="{xy(severity, share)[1]:.1f}" r="3"/>')
    said = "; ".join(f"severity {severity}: {share:.0%} left" for severity, share, _ in mean)
    return figure(
        escape(name), svg(width, height, f"Score left under {name}", said, [f'<g class="s0">{"".join(marks)}</g>'])
    )


def calibration(summary: Mapping[str, Any]) -> list[str]:
    """A figure for each protocol: how often answers of a confidence are right."""
    return [_reliability(found) for found in summary["calibration"]]


def _reliability(found: Mapping[str, Any]) -> str:
    side, left, top = 220, 40, 8

    def xy(confidence: float, accuracy: float) -> tuple[float, float]:
        return left + side * confidence, top + side * (1 - accuracy)

    most = max(b["answers"] for b in found["bins"])
    marks = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = xy(value, value)
        marks.append(f'<line class="grid" x1="{left}" x2="{left + side}" y1="{y:.1f}" y2="{y:.1f}"/>')
        marks.append(f'<text class="label" x="{left - 6}" y="{y + 4:.1f}">{value:g}</text>')
        marks.append(f'<text class="tick" x="{x:.1f}" y="{top + side + 16}">{value:g}</text>')
    marks.append(f'<line class="grid dashed" x1="{left}" y1="{top + side}" x2="{left + side}" y2="{top}"/>')
    words = []
    for each in found["bins"]:
        x, y = xy(each["confidence"], each["accuracy"])
        said = f"confidence {each['confidence']:.2f}: {each['accuracy']:.2f} right of {each['answers']} answers"
        words.append(said)
        radius = 3 + 9 * math.sqrt(each["answers"] / most)
        marks.append(f'<circle class="s0" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"><title>{said}</title></circle>')
    marks.append(f'<text class="tick" x="{left + side / 2}" y="{top + side + 34}">confidence of the model</text>')
    caption = f"Share of right answers by confidence, <code>{escape(found['protocol'])}</code>; expected calibration "
    caption += f"error {found['ece']:.3f} over {found['answers']} answers. On the dashed line confidence is earned."
    return figure(caption, svg(left + side + 14, top + side + 44, "Calibration", "; ".join(words), marks))


def _told(estimate: Mapping[str, Any]) -> str:
    stderr = "" if estimate["stderr"] is None else f" ± {Z95 * estimate['stderr']:.3f}"
    return f"{estimate['mean']:.3f}{stderr} ({estimate['questions']} questions)"
