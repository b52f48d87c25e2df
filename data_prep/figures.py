"""Figures of a data set for a page: bars, histograms, the world. Colours come from the page."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from lhrs_chat.pages import figure, svg

from .census import Histogram, LonLat

LAND = Path(__file__).with_name("land.svg")
SERIES = 6
MOST_BARS = 20
COLUMN_PX, COLUMNS_PX, LEFT_PX, FOOT_PX = 30, 120, 4, 34
PANEL_PX = 300
PANELS = 6


def bars(caption: str, counts: Mapping[str, Mapping[str, int]], series: Sequence[str]) -> str:
    """Rows with a bar each, divided by series.

    Args:
        caption: what is counted.
        counts: by name and series, in the order to show.
        series: all of them; one gives plain bars without a legend.
    """
    totals = {name: sum(own.values()) for name, own in counts.items()}
    longest = max(totals.values(), default=0)
    lines = []
    for name, own in list(counts.items())[:MOST_BARS]:
        parts = "".join(
            f'<span class="part s{place % SERIES}" style="width:{100 * own[one] / longest:.2f}%" '
            f'title="{escape(f"{one}: {own[one]:,}")}"></span>'
            for place, one in enumerate(series)
            if own.get(one)
        )
        head = f'<th scope="row">{escape(name)}</th>'
        lines.append(f'<tr>{head}<td class="track">{parts}</td><td class="count">{totals[name]:,}</td></tr>')
    more = len(counts) - MOST_BARS
    if more > 0:
        lines.append(f'<tr><td class="more" colspan="3">and {more:,} more in the table below</td></tr>')
    legend = legend_of(series) if len(series) > 1 else ""
    return figure(escape(caption), f'<table class="bars"><tbody>{"".join(lines)}</tbody></table>', legend)


def legend_of(series: Sequence[str]) -> str:
    """The colours of series."""
    return " ".join(f'<span class="key s{n % SERIES}">{escape(name)}</span>' for n, name in enumerate(series))


def ranges(edges: Sequence[float]) -> list[str]:
    """The names of the bins between edges: the smallest value that belongs to each."""
    return [f"{edge:g}" for edge in (0, *edges)]


def columns(caption: str, histogram: Histogram, unit: str, *, percent: bool = False) -> str:
    """A column for each bin; under it stands the smallest value that belongs to it.

    Args:
        caption: what is counted.
        histogram: the counts.
        unit: of the values.
        percent: the values are shares, and are shown in percent.
    """
    factor = 100 if percent else 1
    names = ranges([edge * factor for edge in histogram.edges])
    most = max(histogram.counts)
    width, height = LEFT_PX + COLUMN_PX * len(names), 16 + COLUMNS_PX + FOOT_PX
    marks = []
    for place, (name, count) in enumerate(zip(names, histogram.counts, strict=True)):
        tall = COLUMNS_PX * count / most if most else 0
        x, y = LEFT_PX + COLUMN_PX * place, 16 + COLUMNS_PX - tall
        marks.append(f'<rect class="s0" x="{x + 2}" y="{y:.1f}" width="{COLUMN_PX - 4}" height="{tall:.1f}"/>')
        if count:
            marks.append(f'<text class="tick" x="{x + COLUMN_PX / 2}" y="{y - 4:.1f}">{short(count)}</text>')
        marks.append(f'<text class="tick" x="{x + COLUMN_PX / 2}" y="{16 + COLUMNS_PX + 14}">{escape(name)}</text>')
    line = 16 + COLUMNS_PX
    marks.append(f'<line class="grid" x1="{LEFT_PX}" x2="{width}" y1="{line}" y2="{line}"/>')
    marks.append(f'<text class="tick" x="{width / 2}" y="{height - 4}">from, in {escape(unit)}</text>')
    said = "; ".join(f"from {name}: {count}" for name, count in zip(names, histogram.counts, strict=True))
    told = f"{histogram.total:,} in all"
    if histogram.total:
        low, mean, high = (f"{value * factor:.3g}" for value in (histogram.low, histogram.mean, histogram.high))
        told += f"; {low} to {high} {escape(unit)}, mean {mean}"
    return figure(f"<b>{escape(caption)}</b>: {told}", svg(width, height, caption, said, marks))


def short(count: int) -> str:
    """A count in five signs or less."""
    if count < 10_000:
        return str(count)
    return f"{count / 1000:.0f}k" if count < 1_000_000 else f"{count / 1_000_000:.1f}M"


def world(ground: Mapping[tuple[int, int], int]) -> str:
    """Where the rows lie: a dot for each degree of longitude and latitude, its area by the number of rows."""
    most = max(ground.values(), default=1)
    dots = []
    for (west, south), count in sorted(ground.items(), key=lambda item: -item[1]):
        radius = 0.8 + 3.2 * math.sqrt(count / most)
        told = f"{place_name(west, south)}: {count:,} rows"
        dots.append(f'<circle cx="{west + 0.5}" cy="{-south - 0.5}" r="{radius:.2f}"><title>{told}</title></circle>')
    lines = "".join(f'<path class="grid" d="M{x},-90V90"/>' for x in range(-150, 180, 30))
    lines += "".join(f'<path class="grid" d="M-180,{y}H180"/>' for y in range(-60, 90, 30))
    land = re.sub(r"<!--.*?-->", "", LAND.read_text(encoding="utf-8"), flags=re.DOTALL)
    inside = re.sub(r"</?svg[^>]*>", "", land).strip()
    said = f"Rows lie in {len(ground)} cells of one degree."
    picture = (
        f'<svg class="world" viewBox="-180 -90 360 180" role="img" aria-label="Map of the world. {said}">'
        f'{inside}{lines}<g class="s1">{"".join(dots)}</g></svg>'
    )
    caption = "A dot for each degree of longitude and latitude that holds rows, its area by their number. "
    return figure(caption + "Land: Natural Earth.", picture)


def panels(footprints: Iterable[LonLat], ground: Mapping[tuple[int, int], int]) -> list[str]:
    """The footprints of the places with most rows, each place drawn as large as it needs."""
    places: dict[tuple[int, int], list[LonLat]] = {}
    for bounds in footprints:
        west, south, east, north = bounds
        if west <= east:
            cell = (math.floor((west + east) / 2), math.floor((south + north) / 2))
            places.setdefault(cell, []).append(bounds)
    ranked = sorted(places, key=lambda cell: (-ground.get(cell, 0), cell))
    return [_panel(cell, places[cell]) for cell in ranked[:PANELS]]


def _panel(cell: tuple[int, int], footprints: Sequence[LonLat]) -> str:
    wests, souths, easts, norths = zip(*footprints, strict=True)
    west, south, east, north = min(wests), min(souths), max(easts), max(norths)
    shrink = max(math.cos(math.radians((south + north) / 2)), 0.01)  # of a degree of longitude
    wide, tall = (east - west) * shrink, north - south
    scale = PANEL_PX / max(wide, tall, 1e-9)
    width, height = max(wide * scale, 8), max(tall * scale, 8)
    marks = [
        f'<rect class="ground" x="{(w - west) * shrink * scale:.2f}" y="{(north - n) * scale:.2f}" '
        f'width="{max((e - w) * shrink * scale, 0.5):.2f}" height="{max((n - s) * scale, 0.5):.2f}"/>'
        for w, s, e, n in footprints
    ]
    extent_km = max(wide, tall) * 111.32
    name = f"{place_name(*cell)}"
    caption = f"{name}: {len(footprints):,} footprints, {west:.4f} to {east:.4f}, {south:.4f} to {north:.4f}; "
    return figure(f"{caption}{extent_km:.3g} km across", svg(width, height, name, "Footprints, north up.", marks))


def place_name(west: int, south: int) -> str:
    """Name the degree whose corner this is: `7 to 8 E, 50 to 51 N`."""
    across = f"{west} to {west + 1} E" if west >= 0 else f"{-west - 1} to {-west} W"
    return f"{across}, " + (f"{south} to {south + 1} N" if south >= 0 else f"{-south - 1} to {-south} S")
