"""Two dates with the covers of both -> the eight types of question of CDVQA, a caption, a mask of the change.

Covers are gathered in CDVQA's six classes, by `CLASSES`; a cover of no class is left out. A pixel has changed where its
class is known at both dates and differs. The answers of the eight types are CDVQA's 19: yes, no, the six classes and
eleven ranges of per cent, `0` for nothing, else the range of ten that ends at or above the share (10 is in `0_to_10`).

change_or_not: has a class lost or gained a pixel; asked of one date, whether its pixels of that date changed.
increase_or_not, decrease_or_not: is its area larger, smaller at the later date.
largest_change, smallest_change: of the classes with a changed pixel (at one date, or of both dates together) the one
with most, with fewest; asked only where the next is 10 % away. change_to_what: what most of its changed pixels are now.
change_ratio: share of the picture that has, or has not, changed. change_ratio_types: the changed pixels of a class at
one date, as a share of the picture. The masks of sets that label only what has changed serve as well as complete ones.

Where one mask alone tells which things have changed, and no cover of either date (LEVIR-CD: `changed building`), it is
asked whether they have, on which share of the picture, and where.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np

from lhrs_chat.schema import Number, Sample, Targets

from . import Builder, _nouns, _tasks
from ._facts import CHANGED_COVERS, CHANGED_THINGS, pick
from ._rasters import Rasters, components, region
from ._rows import Rows
from ._tasks import Step

CLASSES: dict[str, tuple[str, ...]] = {
    "NVG_surface": ("bare ground", "bare soil", "sand", "road", "pavement", "non-vegetated ground surface"),
    "buildings": ("building", "built-up area"),
    "low_vegetation": ("low vegetation", "grass", "field"),
    "playgrounds": ("playground",),
    "trees": ("tree", "forest"),
    "water": ("water",),
}
SPOKEN = {"NVG_surface": "non-vegetated ground", "low_vegetation": "low vegetation"}
RANGES = ("0", *(f"{low}_to_{low + 10}" for low in range(0, 100, 10)))
YES_NO = ("yes", "no")
_DATES = ("in the first picture", "in the second picture")
_GAP = 1.1  # between the largest and the next
_LEAST_TOLD = 0.5  # percent of the picture; less is not spoken of in a caption
_LEAST_BUILDING_PX = 12
_OPENING = "The first picture is from before, the second from after. "
_WORDS = {
    "change_or_not": ("Have the {name} areas changed{date}?", "Is there any change in the {name} areas{date}?"),
    "increase_or_not": ("Is there more {name} area than before?", "Has the area of {name} grown?"),
    "decrease_or_not": ("Is there less {name} area than before?", "Has the area of {name} shrunk?"),
    "largest_change": ("Which class has changed most{date}?", "Which class has the largest changed area{date}?"),
    "smallest_change": (
        "Of the classes that have changed{date}, which has changed least?",
        "Which changed class has the smallest changed area{date}?",
    ),
    "change_to_what": (
        "What have most of the changed {name} areas become?",
        "What did the {name} areas mostly turn to?",
    ),
    "changed": ("Which share of the area has changed?", "How much of the scene has changed?"),
    "unchanged": ("Which share of the area has stayed the same?", "How much of the scene has not changed?"),
    "change_ratio_types": (
        "Which share of the scene is {name} area that has changed, {date}?",
        "How large is the changed {name} area {date}, as a share of the scene?",
    ),
}
_CAPTION = (
    "Describe what has changed.",
    "What is different in the second picture?",
    "Compare the two pictures.",
    "Write a caption of the change between the two dates.",
)
_MARK = (
    "Mark everything that has changed.",
    "Segment the changed areas.",
    "Where has the land cover changed? Mark it.",
)
_SAME = (
    "Nothing has changed but the light.",
    "The land cover is the same at both dates.",
    "No change of the land cover can be seen.",
)
_THINGS = {
    "change_or_not": ("Has any {name} appeared or disappeared?", "Is there a {name} at one of the two dates only?"),
    "change_ratio_types": (
        "Which share of the scene is taken by {plural} that have changed?",
        "How large is the area of the changed {plural}, as a share of the scene?",
    ),
    "caption": (
        "Which {plural} have changed?",
        "Compare the {plural} of the two pictures.",
        "What became of the {plural}?",
    ),
    "change_mask": ("Mark the {plural} that have changed.", "Segment all changed {plural}."),
}
_BECAME = ("{old} became {new}", "{old} turned into {new}", "{old} gave way to {new}")


def percent_range(percent: float) -> str:
    """One of `RANGES`."""
    return RANGES[math.ceil(round(percent, 9) / 10)]


class _Pair:
    """The two dates of a row of facts, in CDVQA's classes."""

    def __init__(self, facts: Sample) -> None:
        self.facts = facts
        self.rasters = Rasters(facts)
        roles = self.rasters.roles
        self.images = (roles.index("before"), roles.index("after"))
        self.rows = Rows(facts, "change")

    @cached_property
    def covers(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Masks by cover, at each date."""
        before, after = (self.rasters.covers(image) for image in self.images)
        return before, after

    @cached_property
    def codes(self) -> tuple[np.ndarray, np.ndarray]:
        """Place of each pixel's class in `CLASSES`, -1 where it is not known: (H, W) at each date."""
        dates = []
        for covers in self.covers:
            code = np.full(self.rasters.size_px[::-1], -1, dtype=np.int8)
            for number, labels in enumerate(CLASSES.values()):
                for label in labels:
                    if label in covers:
                        code[covers[label]] = number
            dates.append(code)
        return dates[0], dates[1]

    @cached_property
    def changed(self) -> np.ndarray:
        """(H, W) bool."""
        before, after = self.codes
        return np.asarray((before != after) & (before >= 0) & (after >= 0))

    @cached_property
    def moved(self) -> np.ndarray:
        """Pixels that went from a class (row) to a class (column): (6, 6)."""
        before, after = (code[self.changed].astype(np.int64) for code in self.codes)
        counts = np.bincount(before * len(CLASSES) + after, minlength=len(CLASSES) ** 2)
        return np.asarray(counts.reshape(len(CLASSES), -1))

    @cached_property
    def known(self) -> list[int]:
        """Classes that are there at a date, or whose absence is certain; none where a date tells no cover."""
        if self.facts.meta.get("masks_tell") == CHANGED_COVERS:
            return list(range(len(CLASSES)))
        labels = {label for labels in CLASSES.values() for label in labels}
        if not all(labels & set(covers) for covers in self.covers):
            return []
        told = {*self.covers[0], *self.covers[1], *self.facts.meta.get("complete", ())}
        return [number for number, labels in enumerate(CLASSES.values()) if told & set(labels)]

    def of_date(self, date: int | None) -> np.ndarray:
        """Changed pixels of each class at one date, or at both together: (6,)."""
        parts: tuple[np.ndarray, np.ndarray] = (self.moved.sum(axis=1), self.moved.sum(axis=0))
        return np.asarray(parts[0] + parts[1] if date is None else parts[date])

    def ask(self, subtask: str, question: str, answer: str, choices: tuple[str, ...]) -> Sample:
        """One question with a fixed answer."""
        hint = " Answer yes or no." if choices == YES_NO else f" Answer with one of: {', '.join(choices)}."
        return _tasks.make(
            self.rows,
            "change",
            subtask,
            _OPENING + question + hint,
            [Step(answer)],
            Targets(choices=choices),
            images=self.images,
        )


def _spoken(name: str) -> str:
    return SPOKEN.get(name, name)


def _name(number: int) -> str:
    """A class before the word area."""
    return _spoken(list(CLASSES)[number]).removesuffix("s")


def _yes_or_no(pair: _Pair, rng: np.random.Generator) -> Iterator[Sample]:
    """Ask whether classes changed, grew and shrank; where there are both answers, one of each."""
    lost, gained = pair.of_date(0), pair.of_date(1)
    kinds: list[tuple[str, str, np.ndarray]] = [
        ("change_or_not", "", lost + gained > 0),
        ("change_or_not", f" {_DATES[0]}", lost > 0),
        ("change_or_not", f" {_DATES[1]}", gained > 0),
        ("increase_or_not", "", gained > lost),
        ("decrease_or_not", "", gained < lost),
    ]
    for subtask, date, truth in kinds:
        for wanted in (True, False):
            fitting = [number for number in pair.known if bool(truth[number]) == wanted]
            if fitting:
                number = fitting[int(rng.integers(len(fitting)))]
                question = pick(rng, _WORDS[subtask]).format(name=_name(number), date=date)
                yield pair.ask(subtask, question, YES_NO[0 if wanted else 1], YES_NO)


def _extremes(pair: _Pair, rng: np.random.Generator) -> Iterator[Sample]:
    """Ask which class changed most and least."""
    for date in (None, 0, 1):
        counts = pair.of_date(date)
        order = sorted((number for number in pair.known if counts[number]), key=lambda number: int(counts[number]))
        when = "" if date is None else f" {_DATES[date]}"
        for subtask, ranked in (("smallest_change", order), ("largest_change", order[::-1])):
            if len(ranked) > 1 and max(counts[ranked[:2]]) >= _GAP * min(counts[ranked[:2]]):
                question = pick(rng, _WORDS[subtask]).format(date=when)
                yield pair.ask(subtask, question, list(CLASSES)[ranked[0]], tuple(CLASSES))


def _to_what(pair: _Pair, rng: np.random.Generator) -> Iterator[Sample]:
    for number, row in enumerate(pair.moved):
        order = np.argsort(-row, kind="stable")
        if row[order[0]] > 0 and row[order[0]] >= _GAP * row[order[1]]:
            question = pick(rng, _WORDS["change_to_what"]).format(name=_name(number))
            yield pair.ask("change_to_what", question, list(CLASSES)[int(order[0])], tuple(CLASSES))


def _ratios(pair: _Pair, rng: np.random.Generator) -> Iterator[Sample]:
    share = 100 * float(pair.changed.mean())
    for kind, percent in (("changed", share), ("unchanged", 100 - share)):
        yield pair.ask("change_ratio", pick(rng, _WORDS[kind]), percent_range(percent), RANGES)
    for date in (0, 1):
        counts = pair.of_date(date)
        changed = [number for number in pair.known if counts[number]]
        others = [number for number in pair.known if not counts[number]]
        for fitting in (changed, changed, others):
            if fitting:
                number = fitting.pop(int(rng.integers(len(fitting))))
                question = pick(rng, _WORDS["change_ratio_types"]).format(name=_name(number), date=_DATES[date])
                percent = 100 * float(counts[number]) / pair.changed.size
                yield pair.ask("change_ratio_types", question, percent_range(percent), RANGES)


def _caption(pair: _Pair, rng: np.random.Generator) -> Iterator[Sample]:
    """Say what became what, most first, and which buildings came and went; the mask shows it."""
    size = pair.changed.size
    steps: list[Step] = []
    moves = [(int(n), int(i), int(j)) for (i, j), n in np.ndenumerate(pair.moved) if 100 * n / size >= _LEAST_TOLD]
    for count, old, new in sorted(moves, key=lambda move: -move[0]):
        where = (pair.codes[0] == old) & (pair.codes[1] == new)
        words = [_spoken(list(CLASSES)[number]) for number in (old, new)]
        told = pick(rng, _BECAME).format(old=words[0], new=words[1])
        share = f"{100 * count / size:.1f}".removesuffix(".0")
        place = f", mainly in the {place}" if (place := _together(where)) else ""
        steps.append(
            Step(
                f"{told[0].upper()}{told[1:]} on {share} % of the area{place}.",
                where,
                f"{words[0]} to {words[1]}",
                pair.images[1],
            )
        )
    steps += _buildings(pair)
    if not steps and not pair.changed.any():
        steps = [Step(pick(rng, _SAME))]
    if steps:
        text = " ".join(step.text for step in steps)
        yield _tasks.make(
            pair.rows,
            "change",
            "caption",
            _OPENING + pick(rng, _CAPTION),
            steps,
            Targets(captions=(text,)),
            images=pair.images,
        )


def _together(mask: np.ndarray) -> str:
    """Where the largest piece of a mask lies, if it is most of the mask."""
    largest = max(components(mask), key=lambda piece: int(piece.sum()))
    return region(largest) if largest.sum() > 0.6 * mask.sum() else ""


def _buildings(pair: _Pair) -> list[Step]:
    """Buildings, each a piece of the cover, that are only there at one date. Only where the facts tell all of them."""
    before, after = (covers.get("building", np.zeros_like(pair.changed)) for covers in pair.covers)
    if "building" not in pair.facts.meta.get("complete", ()):
        return []
    steps = []
    for there, gone, words, date in (
        (before, after, ("is gone", "are gone"), 0),
        (after, before, ("is new", "are new"), 1),
    ):
        pieces = [p for p in components(there, _LEAST_BUILDING_PX) if not (p & gone).any()]
        if pieces:
            counted = _nouns.counted(len(pieces), "building")
            text = f"{counted[0].upper()}{counted[1:]} {words[len(pieces) > 1]}."
            steps.append(Step(text, np.logical_or.reduce(pieces), "building", pair.images[date]))
    return steps


def _mark(pair: _Pair, rng: np.random.Generator) -> Iterator[Sample]:
    share = round(100 * float(pair.changed.mean()), 1)
    if share >= _LEAST_TOLD:
        yield _tasks.make(
            pair.rows,
            "segmentation",
            "change_mask",
            _OPENING + pick(rng, _MARK),
            [
                Step(
                    f"The changed areas are marked; they take {share:g} % of the picture.",
                    pair.changed,
                    "change",
                    pair.images[1],
                )
            ],
            Targets(numbers=(Number(share, "%", "computed", "change"), Number(2.0, "%", "computed", "tolerance"))),
            images=pair.images,
        )


_MAKERS: tuple[Callable[[_Pair, np.random.Generator], Iterator[Sample]], ...] = (
    *(_yes_or_no, _extremes, _to_what, _ratios),
    *(_caption, _mark),
)


def _things(pair: _Pair, rng: np.random.Generator) -> Iterator[Sample]:
    """Ask about the things of one kind that came or went, of which one mask tells all."""
    for label in pair.facts.meta["complete"]:
        name = label.removeprefix("changed ")
        words = {"name": name, "plural": _nouns.plural(name)}
        asked = {subtask: _OPENING + pick(rng, texts).format(**words) for subtask, texts in _THINGS.items()}
        covers = [pair.rasters.covers(image) for image in pair.images]
        mask = np.logical_or.reduce([found.get(label, np.zeros(pair.rasters.size_px[::-1], bool)) for found in covers])
        share = 100 * float(mask.mean())
        for subtask, answer, choices in (
            ("change_or_not", YES_NO[0 if mask.any() else 1], YES_NO),
            ("change_ratio_types", percent_range(share), RANGES),
        ):
            yield pair.ask(subtask, asked[subtask].removeprefix(_OPENING), answer, choices)
        step = Step(f"No {name} has appeared or disappeared.")
        if mask.any():
            place = f", mainly in the {where}" if (where := _together(mask)) else ""
            said = f"Changed {words['plural']} take {_percent(share)} of the picture{place}."
            step = Step(said, mask, label, pair.images[1])
            numbers = (Number(round(share, 1), "%", "computed", label), Number(2.0, "%", "computed", "tolerance"))
            targets = Targets(numbers=numbers)
            question = asked["change_mask"]
            yield _tasks.make(pair.rows, "segmentation", "change_mask", question, [step], targets, images=pair.images)
        targets = Targets(captions=(step.text,))
        yield _tasks.make(pair.rows, "change", "caption", asked["caption"], [step], targets, images=pair.images)


def _percent(share: float) -> str:
    return f"{share:.1f} %" if share >= 0.05 else "less than 0.1 %"


def build(facts: Sample, rng: np.random.Generator) -> Iterator[Sample]:
    """Make the questions of one pair; nothing where the row is no pair, or no change of the six classes is told."""
    roles = facts.meta.get("image_roles", ())
    tells = facts.meta.get("masks_tell")
    if "before" not in roles or "after" not in roles or not (facts.targets.masks or tells):
        return
    pair = _Pair(facts)
    if tells == CHANGED_THINGS:
        yield from _things(pair, rng)
    elif pair.known:
        for make in _MAKERS:
            yield from make(pair, rng)


BUILDER = Builder(needs="two dates (roles before, after) and cover masks of both", build=build)
