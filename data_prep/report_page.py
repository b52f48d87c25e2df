"""The page of a data set: one HTML file with figures, a viewer of rows with their pictures, and the tables."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lhrs_chat.errors import LhrsError
from lhrs_chat.geo.overlay import COLOURS
from lhrs_chat.geo.raster import Raster
from lhrs_chat.pages import fill, inline, to_html
from lhrs_chat.pages.regions import PICTURE_PX, corners, jpeg, region
from lhrs_chat.schema import Image, Sample

from . import figures
from .card import splits, summary
from .census import GSD_M, UNTOLD, Census, Histogram, by, image_of, regions
from .history import Example, Step

TEMPLATE = Path(__file__).with_name("report.html")
MOST_BOXES = 200
MOST_MASKS = 24
"""Of one row, that are drawn; the page says how many more there are."""
MOST_FACTS = 40


def render(name: str, census: Census, steps: Sequence[Step], rows: Sequence[Sample], card: str) -> str:
    """The page.

    Args:
        name: of the data set.
        census: its counts.
        steps: how it was made, with examples of what was left out.
        rows: those to show.
        card: the data card, whose tables stand at the end.
    """
    album = _Album()
    shown = [_shown(row, album, None) for row in rows]
    for example in (one for step in steps for filtered in step.filters.values() for one in filtered.examples):
        row = example.row()
        shown.append(_blank(example) if row is None else _shown(row, album, example))
    parts = {
        "title": html.escape(name),
        "facts": inline(summary(census)),
        "balance": "".join(_balance(census)),
        "map": "".join(_map(census)),
        "sizes": "".join(_sizes(census)),
        "funnel": _funnel(steps),
        "tables": to_html(card.split("\n\n", 2)[2]),
    }
    data = {"samples": shown, "pictures": album.uris, "rows": census.rows}
    return fill(TEMPLATE, parts, data)


def _balance(census: Census) -> list[str]:
    names = splits(census)
    labels = {name: label.rows for name, label in census.labels.items()}
    found = [
        figures.bars("Rows of each source, by split", by(census.cells, 0, 2), names),
        figures.bars("Rows of each task, by split", by(census.cells, 1, 2), names),
        figures.bars("Rows under each licence", _plain({k or "none": v for k, v in _licences(census).items()}), [""]),
        figures.bars("Pictures of each sensor", _plain(census.sensors), [""]),
    ]
    if labels:
        found.append(figures.bars("Rows that tell each class", _plain(labels), [""]))
    answers = {
        f"{task}: {answer}": count
        for task, names_of in sorted(census.short_answers.items())
        for answer, count in names_of.counts.most_common(3)
        if count > 1
    }
    if answers:
        found.append(figures.bars("The three commonest short answers of each task", _plain(answers, keep=True), [""]))
    return found


def _licences(census: Census) -> Counter[str]:
    found: Counter[str] = Counter()
    for (licence, _), count in census.licences.items():
        found[licence] += count
    return found


def _plain(counts: Mapping[str, int], *, keep: bool = False) -> dict[str, dict[str, int]]:
    """Counts as bars of one series, the longest first or in the order they have."""
    ordered = counts.items() if keep else sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {name: {"": count} for name, count in ordered}


def _map(census: Census) -> list[str]:
    untold = census.zones[UNTOLD]
    if untold == census.rows:
        return ["<p>No row tells where on the earth it lies.</p>"]
    found = [figures.world(census.ground)]
    if untold:
        found.append(f"<p>{untold:,} of {census.rows:,} rows do not tell where they lie.</p>")
    panels = figures.panels(census.footprints.items(), census.ground)
    return [*found, f'<div class="figures">{"".join(panels)}</div>']


def _sizes(census: Census) -> list[str]:
    gsd = Histogram(GSD_M)
    for own in census.gsd_m.values():
        gsd.join(own)
    parts = (
        ("Questions", census.questions, "words", False),
        ("Answers", census.answers, "words", False),
        ("Captions of facts", census.captions, "words", False),
        ("Longer side of the pictures", census.sizes, "pixels", False),
        ("Ground sample distance of the pictures", gsd, "metres", False),
        ("Boxes, root of their area", census.box_sides_px, "pixels", False),
        ("Boxes, share of their picture", census.box_shares, "%", True),
        ("Masks, share of their picture", census.mask_shares, "%", True),
    )
    return [figures.columns(what, found, unit, percent=percent) for what, found, unit, percent in parts if found.total]


def _funnel(steps: Sequence[Step]) -> str:
    if not steps:
        return "<p>No manifest tells how this data set was made.</p>"
    counts: dict[str, dict[str, int]] = {}
    for number, step in enumerate(steps, 1):
        left_out = sum(filtered.count for filtered in step.filters.values())
        counts[f"{number}. {step.verb}"] = {"rows out": step.rows_out, "left out": left_out}
    found = figures.bars("Rows that each step wrote, and rows that it left out", counts, ["rows out", "left out"])
    reasons = {
        f"{step.verb}: {name}": {"": filtered.count}
        for step in steps
        for name, filtered in step.filters.items()
        if filtered.count
    }
    return found + (figures.bars("Rows left out, by filter", reasons, [""]) if reasons else "")


class _Album:
    """The pictures of the page, each once, as data URIs."""

    def __init__(self) -> None:
        self.uris: dict[str, str] = {}
        self._known: dict[str, tuple[str | None, tuple[int, int] | None]] = {}

    def add(self, image: Image) -> tuple[str | None, tuple[int, int] | None]:
        """The name of a picture on the page, and its width and height; None where it cannot be read."""
        path = image.path or ""
        if path not in self._known:
            name = f"p{len(self.uris)}"
            try:
                with Raster.open(image) as raster:
                    self.uris[name] = jpeg(raster.rgb(max_size_px=PICTURE_PX))
                    self._known[path] = name, raster.size_px
            except (LhrsError, OSError):
                self._known[path] = None, None
        return self._known[path]


def _shown(row: Sample, album: _Album, example: Example | None) -> dict[str, Any]:
    """What the page shows of a row."""
    roles = row.meta.get("image_roles")
    roles = roles if isinstance(roles, list) and len(roles) == len(row.images) else [""] * len(row.images)
    found = [album.add(image) for image in row.images]
    sized = (replace(image, size_px=image.size_px or size) for image, (_, size) in zip(row.images, found, strict=True))
    row = replace(row, images=tuple(sized))
    pictures = [
        {"name": name, "role": role, "about": _about(image)}
        for image, (name, _), role in zip(row.images, found, roles, strict=True)
    ]
    turns, parts = _turns(row)
    shapes, more = _shapes(row, parts)
    return {
        **_place(example),
        "id": row.id,
        "source": row.source,
        "task": row.task,
        "split": row.split,
        "licence": row.licence.strip() or "none",
        "scene": row.scene_id,
        "score": row.score,
        "pictures": pictures,
        "shapes": [*parts, *shapes],
        "more": more,
        "turns": turns,
        "facts": _facts(row),
    }


def _place(example: Example | None) -> dict[str, Any]:
    if example is None:
        return {"state": "kept", "why": ""}
    return {"state": f"left out by {example.step}: {example.filter}", "why": example.reason}


def _blank(example: Example) -> dict[str, Any]:
    """What the page shows of a row that could not be read."""
    told = dict.fromkeys(("source", "task", "split", "licence", "scene"), UNTOLD)
    empty: dict[str, Any] = {"score": None, "pictures": [], "shapes": [], "more": 0, "turns": [], "facts": []}
    return {**_place(example), "id": example.id, **told, **empty}


def _about(image: Image) -> str:
    parts = [image.sensor or "", "" if image.gsd_m is None else f"{image.gsd_m:.3g} m/px", image.date or ""]
    parts.append("" if image.size_px is None else "{} x {} px".format(*image.size_px))
    return ", ".join(part for part in parts if part)


def _shapes(row: Sample, parts: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """The boxes and masks of a row as shares of their pictures, without the `parts`, and how many more there are."""
    labels = [*(mask.label for mask in row.targets.masks), *(box.label for box in row.targets.boxes)]
    colours = {label: COLOURS[place % len(COLOURS)] for place, label in enumerate(dict.fromkeys(labels))}
    found: list[dict[str, Any]] = []
    for mask, number in list(regions(row, row.targets.masks, "mask_images"))[:MOST_MASKS]:
        image = image_of(row, number)
        if image is not None:
            drawn = region(mask, image.size_px or (1, 1), colours[mask.label], image.georef)
            found.append({**_shape("mask", mask.label, number, colours[mask.label]), **drawn})
    for box, number in list(regions(row, row.targets.boxes, "box_images"))[:MOST_BOXES]:
        image = image_of(row, number)
        ring = [] if image is None else corners(box, image.size_px or (1, 1), georef=image.georef)
        if ring and not any(part["rings"] == [ring] and part["image"] == number for part in parts):
            found.append({**_shape("box", box.label, number, colours[box.label]), "rings": [ring]})
    more = max(len(row.targets.boxes) - MOST_BOXES, 0) + max(len(row.targets.masks) - MOST_MASKS, 0)
    return found, more


def _shape(kind: str, label: str, image: int, colour: tuple[int, int, int]) -> dict[str, Any]:
    return {"kind": kind, "label": label, "image": image, "colour": "rgb({}, {}, {})".format(*colour)}


def _turns(row: Sample) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The turns in words, pictures and numbered regions, and these regions."""
    parts: list[dict[str, Any]] = []
    turns = []
    for message in row.messages:
        said: list[dict[str, Any]] = []
        for part in message.content:
            if part.type == "region" and part.region is not None:
                number = part.image or 0
                image = image_of(row, number)
                ring = [] if image is None else corners(part.region, image.size_px or (1, 1), georef=image.georef)
                label = f"{len(parts) + 1} {part.region.label}".strip()
                shape = _shape("part", label, number, COLOURS[len(parts) % len(COLOURS)])
                parts.append({**shape, "rings": [ring] if ring else []})
                said.append({"part": len(parts) - 1})
            elif part.type == "image":
                said.append({"image": (part.image or 0) + 1})
            else:
                said.append({"text": part.text})
        turns.append({"role": message.role, "said": said})
    return turns, parts


def _facts(row: Sample) -> list[tuple[str, str]]:
    """What is true of a row, by name."""
    targets = row.targets
    numbers = [f"{number.label} {number.value:g} {number.unit}".strip() for number in targets.numbers]
    said = targets.answer or ""
    if row.messages and said.strip() == row.messages[-1].text.strip():
        said = ""
    found = [
        ("answer", said),
        ("choices", ", ".join(targets.choices)),
        ("classes", ", ".join(targets.labels[:MOST_FACTS])),
        ("numbers", ", ".join(numbers[:MOST_FACTS])),
        ("captions", "\n".join(targets.captions[:MOST_FACTS]) if not row.messages else ""),
    ]
    return [(name, text) for name, text in found if text]
