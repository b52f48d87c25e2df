"""The data card: what a data set holds, in Markdown, for people who may want to use it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from .census import OTHERS, SHORT_WORDS, UNTOLD, Census, Histogram, by
from .figures import place_name, ranges
from .history import Step
from .sources import SPLITS

_NUMBER = re.compile(r"[-\d.,e+]*%?")
MOST_LABELS = 60
MOST_ANSWERS = 6
MOST_REASONS = 5
MOST_PLACES = 15


def markdown(name: str, census: Census, steps: Sequence[Step]) -> str:
    """The card.

    Args:
        name: of the data set.
        census: its counts.
        steps: how it was made; empty where nothing tells.
    """
    sections = [
        f"# Data card: {name}\n\n{summary(census)}",
        _rows(census),
        _licences(census),
        _pictures(census),
        _ground(census),
        _texts(census),
        _regions(census),
        _labels(census),
        _answers(census),
        _funnel(steps),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def summary(census: Census) -> str:
    """The data set in one sentence."""
    pictures = census.pictures.total()
    sources = len({source for source, _, _ in census.cells})
    scenes = ", ".join(f"{census.scenes[split]:,} {split}" for split in splits(census))
    text = f"{_many(census.rows, 'row')} about {_many(pictures, 'picture')} of {_many(sources, 'source')}; "
    text += f"scenes: {scenes or 'none'}."
    if census.unreadable:
        text += f" **{_many(census.unreadable, 'row')} cannot be read.**"
    if census.shared_scenes:
        text += f" **{_many(census.shared_scenes, 'scene')} in more than one split.**"
    missing = rows_without_licence(census)
    return text + (f" **{_many(missing, 'row')} without a licence.**" if missing else " Every row has a licence.")


def splits(census: Census) -> list[str]:
    """The splits there are, the usual ones first."""
    found = {split for _, _, split in census.cells}
    return [*(split for split in SPLITS if split in found), *sorted(found - set(SPLITS))]


def rows_without_licence(census: Census) -> int:
    """How many rows tell no licence."""
    return sum(count for (licence, _), count in census.licences.items() if not licence)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A table of Markdown; columns of numbers stand on the right."""
    rows = [[_cell(value) for value in line] for line in lines]
    numbers = [all(_NUMBER.fullmatch(row[place]) for row in rows) for place in range(len(head))]
    rule = "|".join("---:" if number else "---" for number in numbers)
    body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", f"|{rule}|", *body])


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return " ".join(text.split()).replace("|", "\\|")


def _rows(census: Census) -> str:
    names = splits(census)
    tables = []
    for what, place in (("source", 0), ("task", 1)):
        found = by(census.cells, place, 2)
        lines = [(key, *(own[split] for split in names), own.total()) for key, own in found.items()]
        tables.append(table([what, *names, "rows"], lines))
    lines = [(*key, count) for key, count in sorted(census.cells.items())]
    return "## Rows\n\n" + "\n\n".join([*tables, table(["source", "task", "split", "rows"], lines)])


def _licences(census: Census) -> str:
    lines = [
        (licence or "**none**", own.total(), ", ".join(sorted(own)))
        for licence, own in by(census.licences, 0, 1).items()
    ]
    text = "## Licences\n\n" + table(["licence", "rows", "sources"], lines)
    if census.without_licence:
        text += "\n\nWithout a licence: " + ", ".join(f"`{name}`" for name in census.without_licence) + " ..."
    return text


def _pictures(census: Census) -> str:
    total = max(census.pictures.total(), 1)
    lines = []
    for sensor, count in census.sensors.most_common():
        gsd = census.gsd_m.get(sensor)
        told = (UNTOLD, "", "") if gsd is None else tuple(f"{x:.4g}" for x in (gsd.mean, gsd.low, gsd.high))
        lines.append((sensor, count, f"{count / total:.1%}", *told))
    text = "## Pictures\n\n" + table(["sensor", "pictures", "share", "mean m/px", "least", "most"], lines)
    text += f"\n\n{_many(census.without_gsd, 'picture')} tell no metres per pixel."
    sizes = census.commonest_sizes.counts
    if sizes:
        lines = [(size, count, f"{count / total:.1%}") for size, count in sizes.most_common(10)]
        text += "\n\n" + table(["size in pixels", "pictures", "share"], lines)
    unknown = census.pictures.total() - census.sizes.total
    return text + (f"\n\n{_many(unknown, 'picture')} tell no size." if unknown else "")


def _ground(census: Census) -> str:
    if set(census.zones) <= {UNTOLD}:
        return "## Ground\n\nNo row tells where on the earth it lies."
    lines = [(name, count, f"{count / census.rows:.1%}") for name, count in census.zones.most_common()]
    text = "## Ground\n\n" + table(["zone", "rows", "share"], lines)
    lines = [
        (place_name(*cell), count, f"{count / census.rows:.1%}")
        for cell, count in census.ground.most_common(MOST_PLACES)
    ]
    many = _many(len(census.ground), "cell")
    return f"{text}\n\n{many} of one degree; those with most rows:\n\n" + table(["place", "rows", "share"], lines)


def _texts(census: Census) -> str:
    kinds = {"questions": census.questions, "answers": census.answers, "captions of facts": census.captions}
    lines = [(name, *_spread(found)) for name, found in kinds.items() if found.total]
    if not lines:
        return ""
    text = "## Texts\n\n" + table(["words of", "texts", "mean", "least", "most"], lines)
    several = sum(count for turns, count in census.turns.items() if turns > 1)
    return f"{text}\n\n{_many(several, 'row')} with more than one answer."


def _spread(found: Histogram) -> tuple[object, ...]:
    return found.total, f"{found.mean:.3g}", f"{found.low:.3g}", f"{found.high:.3g}"


def _regions(census: Census) -> str:
    text = ""
    if census.boxes:
        text += "\n\n" + table(["boxes", "count"], census.boxes.most_common())
    parts = (
        ("side of a box in pixels (root of its area), from", census.box_sides_px, 1, "boxes"),
        ("share of the picture in a box, in %, from", census.box_shares, 100, "boxes"),
        ("share of the picture under a mask, in %, from", census.mask_shares, 100, "masks"),
    )
    for head, found, factor, what in parts:
        if found.total:
            names = ranges([edge * factor for edge in found.edges])
            text += "\n\n" + table([head, what], zip(names, found.counts, strict=True))
    return f"## Boxes and masks{text}" if text else ""


def _labels(census: Census) -> str:
    if not census.labels:
        return ""
    ranked = sorted(census.labels.items(), key=lambda item: (item[0] == OTHERS, -item[1].rows, item[0]))
    lines = [(name, found.rows, found.boxes, found.masks) for name, found in ranked[:MOST_LABELS]]
    text = f"## Classes\n\n{_many(len(ranked), 'name')}; those in most rows:\n\n"
    return text + table(["class", "rows", "boxes", "masks"], lines)


def _answers(census: Census) -> str:
    lines = []
    for task, names in sorted(census.short_answers.items()):
        short = names.counts.total()
        top = names.counts.most_common(MOST_ANSWERS)
        told = ", ".join(f"{answer} {count / short:.0%}" for answer, count in top)
        lines.append((task, census.answered[task], f"{short / census.answered[task]:.0%}", len(names.counts), told))
    if not lines:
        return ""
    head = ["task", "rows", "short", "different", "commonest, of the short ones"]
    return f"## Answers of at most {SHORT_WORDS} words\n\n" + table(head, lines)


def _funnel(steps: Sequence[Step]) -> str:
    if not steps:
        return ""
    lines = []
    reasons = []
    for step in steps:
        dropped = sum(filtered.count for filtered in step.filters.values())
        told = ", ".join(f"{key}={json.dumps(value)}" for key, value in step.options.items() if value is not None)
        lines.append((f"`{step.verb}`", step.rows_in, dropped, step.rows_out, f"`{told}`" if told else ""))
        for name, filtered in step.filters.items():
            if filtered.count:
                common = filtered.reasons.most_common(MOST_REASONS)
                why = "; ".join(f"{reason} ({count:,})" for reason, count in common)
                reasons.append((f"{step.verb}: {name}", filtered.count, why))
    text = "## How it was made\n\n" + table(["step", "rows in", "left out", "rows out", "options"], lines)
    return text + ("\n\n" + table(["left out by", "rows", "why"], reasons) if reasons else "")
