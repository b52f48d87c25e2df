"""Questions and answers made from the facts of a scene. Answers are short and of one form for each task.

scene_class `airport`; presence `Yes.` or `No.`; count `3`; compare `Yes.`, `No.` or a cover; area_share `About 35%.`;
where_is `In the upper left: [10, 10, 40, 35]` (hundredths of the image's width and height, in steps of 5);
which_is_higher `the left one`; caption a sentence; which_parts `The upper left, centre.`; what_is_at `forest`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from lhrs_chat.errors import DataError
from lhrs_chat.schema import Box, Message, Number, Sample, Targets
from lhrs_chat.text.grounding import write

from . import Builder
from . import _places as places
from . import _wordings as wordings
from ._facts import Facts, Question, pick
from ._places import DIALECT

TASKS = ("caption", "scene_class", "presence", "count", "compare", "area_share", "where_is", "which_is_higher")
DRILLS = ("which_parts", "what_is_at")
"""Questions that teach to find the way in a picture; they are learned from, not asked in the probe."""
MOST_COUNTED = 20  # larger numbers are not asked for
_LEAST_GAP = 8.0  # percent of the image between two covers that are compared
_HEIGHT = re.compile(r"height of (?:box (\d+)|(.+))")
# Classes that could both be said of one picture: never an option beside one another.
_ALIKE = (
    {"lake", "pond", "river", "sea", "river lake"},
    {"beach", "sea", "port"},
    {"bare land", "desert", "mountain"},
    {"meadow", "farmland", "field", "grass", "park"},
    {"forest", "mountain", "park"},
    {"city", "commercial", "center", "square", "town", "church", "industrial", "school", "resort"},
    {"dense residential", "medium residential", "sparse residential", "resident", "residential", "town", "city"},
    {"industrial", "storage tanks", "port", "industry"},
    {"playground", "stadium", "school", "baseball field", "park"},
    {"bridge", "river", "viaduct", "railway station"},
    {"parking", "commercial", "industrial", "city"},
)
SCENE_CLASSES = (
    "airport",
    "bare land",
    "baseball field",
    "beach",
    "bridge",
    "city",
    "dense residential",
    "desert",
    "farmland",
    "forest",
    "industrial",
    "lake",
    "meadow",
    "mountain",
    "parking",
    "playground",
    "port",
    "railway station",
    "river",
    "sea",
    "sparse residential",
    "stadium",
    "storage tanks",
    "town",
    "viaduct",
)
# How readily a label is asked about where it is absent. Set so that "Yes." and "No." are about as frequent for each
# label over many procedural scenes; a label that is often there and rarely absent must be denied whenever it can be.
_DENIAL = {
    "water": 1.5,
    "forest": 1.3,
    "field": 8.0,
    "bare soil": 2.0,
    "grass": 6.0,
    "sand": 0.35,
    "road": 1.6,
    "pavement": 1.2,
    "building": 1.0,
    "built-up area": 0.25,
    "ship": 0.35,
    "airplane": 0.12,
    "storage tank": 0.08,
    "car": 0.25,
}
# Where the first is, a question about the second is a fair one.
_CREDIBLE = (("water", "ship"), ("pavement", "airplane"), ("pavement", "car"), ("road", "car"), ("grass", "forest"))


def rounded_share(percent: float) -> int:
    """Percent as it is answered: steps of 5, below that 0, 1, 2 or 5."""
    if percent < 3.5:
        return 0 if percent < 0.5 else 1 if percent < 1.5 else 2
    return max(5, 5 * round(percent / 5))


def _pairs(rng: np.random.Generator, items: list[str]) -> list[tuple[str, str]]:
    pairs = [(a, b) for a in items for b in items if a != b]
    return [pairs[int(i)] for i in rng.permutation(len(pairs))]


def clean_caption(text: str) -> str:
    """One space between words, none before a full stop or comma, a capital at the start, a full stop at the end."""
    text = re.sub(r"\s+([.,;:!?])", r"\1", re.sub(r"\s+", " ", text)).strip()
    text = text if text[-1:] in (".", "!", "?") else f"{text}."
    return text[0].upper() + text[1:]


def _caption(facts: Facts, rng: np.random.Generator) -> list[Question]:
    captions = [clean_caption(text) for text in facts.sample.targets.captions if text.strip(" .")]
    if not captions:
        return []
    answer = pick(rng, captions)
    targets = Targets(answer=answer, captions=tuple(dict.fromkeys(captions)), labels=facts.sample.targets.labels)
    return [Question("caption", pick(rng, wordings.CAPTION), answer, targets)]


def _scene_class(facts: Facts, rng: np.random.Generator) -> list[Question]:
    if not facts.sample.targets.labels:
        return []
    label = facts.sample.targets.labels[0]
    question = pick(rng, wordings.SCENE_CLASS)
    if rng.random() < 0.6:
        return [Question("scene_class", question, label, Targets(answer=label, labels=(label,)))]
    excluded = {label}.union(*(group for group in _ALIKE if label in group))
    others = [name for name in SCENE_CLASSES if name not in excluded]
    chosen = rng.choice(len(others), size=int(rng.integers(2, 6)), replace=False)
    options = [label, *(others[int(i)] for i in chosen)]
    options = [options[int(i)] for i in rng.permutation(len(options))]
    question = f"{question} {pick(rng, wordings.OPTIONS).format(options=', '.join(options))}"
    targets = Targets(answer=label, labels=(label,), choices=tuple(options))
    return [Question("scene_class", question, label, targets, {"options": options})]


def _presence(facts: Facts, rng: np.random.Generator, most: int = 2) -> list[Question]:
    """Ask for as many labels that are there as for absent ones; where one side is empty, ask on the toss of a coin."""
    present = [facts.present[int(i)] for i in rng.permutation(len(facts.present))]
    absent = _denied(facts, rng)
    each = min(most, len(present), len(absent))
    sides = [(present, "Yes."), (absent, "No.")] * each
    if not each and (present or absent) and rng.random() < 0.5:
        sides = [(present, "Yes.") if present else (absent, "No.")]
    made = []
    for pool, answer in sides:
        label = pool.pop()
        words = wordings.PRESENCE_COVER if label in wordings.UNCOUNTED else wordings.PRESENCE_THING
        question = pick(rng, words).format(name=label, a=wordings.indefinite(label), plural=wordings.plural(label))
        targets = Targets(answer=answer, choices=("Yes.", "No."), labels=(label,))
        made.append(Question("presence", question, answer, targets))
    return made


def _denied(facts: Facts, rng: np.random.Generator) -> list[str]:
    """Absent labels in a random order, credible and often present ones more likely at the end."""
    near = {b for a, b in _CREDIBLE if a in facts.present}
    weights = [_DENIAL.get(label, 1.0) * (2 if label in near else 1) for label in facts.absent]
    keys = [rng.random() ** (1 / weight) for weight in weights]
    return [label for _, label in sorted(zip(keys, facts.absent, strict=True))]


def _count(facts: Facts, rng: np.random.Generator, most: int = 2) -> list[Question]:
    counts = {label: n for label, n in facts.counts.items() if 0 < n <= MOST_COUNTED}
    nothing = [label for label in facts.absent if label not in wordings.UNCOUNTED and label not in facts.shares]
    nothing = [label for label in nothing if label in _DENIAL or label in facts.counts]
    nothing = [label for label in nothing if label not in ("field", "road")]
    if nothing and facts.sample.targets.numbers and rng.random() < 0.12:
        counts[pick(rng, nothing)] = 0
    labels = list(counts)
    made = []
    for i in rng.permutation(len(labels))[:most]:
        label = labels[int(i)]
        question = pick(rng, wordings.COUNT).format(plural=wordings.plural(label))
        number = Number(counts[label], "", "computed", label)
        targets = Targets(answer=str(counts[label]), labels=(label,), numbers=(number,))
        made.append(Question("count", question, str(counts[label]), targets))
    return made


def _compare(facts: Facts, rng: np.random.Generator, most: int = 2) -> list[Question]:
    made: list[Question] = []
    for first, second in _pairs(rng, [label for label, share in facts.shares.items() if share > 0]):
        gap = facts.shares[first] - facts.shares[second]
        if abs(gap) < _LEAST_GAP or len(made) >= most:
            continue
        numbers = tuple(Number(facts.shares[label], "%", "computed", label) for label in (first, second))
        names = {"first": wordings.area(first), "second": wordings.area(second)}
        if rng.random() < 0.5 or not {first, second} <= wordings.UNCOUNTED:
            winner = first if gap > 0 else second
            question = pick(rng, wordings.COMPARE_WHICH[:4]).format(first=first, second=second)
            targets = Targets(answer=winner, choices=(first, second), numbers=numbers)
            made.append(Question("compare", question, winner, targets))
        else:
            answer = "Yes." if gap > 0 else "No."
            question = pick(rng, wordings.COMPARE_YES_NO).format(**names)
            targets = Targets(answer=answer, choices=("Yes.", "No."), numbers=numbers, labels=(first, second))
            made.append(Question("compare", question, answer, targets))
    counted = [label for label, n in facts.counts.items() if n > 0]
    for first, second in _pairs(rng, counted)[:1]:
        if facts.counts[first] == facts.counts[second]:
            continue
        answer = "Yes." if facts.counts[first] > facts.counts[second] else "No."
        names = {"first": wordings.plural(first), "second": wordings.plural(second)}
        question = pick(rng, wordings.COMPARE_COUNTS).format(**names)
        numbers = tuple(Number(facts.counts[label], "", "computed", label) for label in (first, second))
        targets = Targets(answer=answer, choices=("Yes.", "No."), numbers=numbers, labels=(first, second))
        made.append(Question("compare", question, answer, targets))
    return made


def _area_share(facts: Facts, rng: np.random.Generator, most: int = 2) -> list[Question]:
    shares = dict(facts.shares)
    nothing = [label for label in facts.absent if label in _COVERS]
    if nothing and facts.sample.targets.numbers and rng.random() < 0.25:
        shares[pick(rng, nothing)] = 0.0
    labels = list(shares)
    made = []
    for i in rng.permutation(len(labels))[:most]:
        label = labels[int(i)]
        words: tuple[str, ...] = wordings.AREA_SHARE
        if label in wordings.UNCOUNTED:
            words = (*wordings.AREA_SHARE, *wordings.AREA_SHARE_MASS, *wordings.AREA_SHARE_MASS)
        answer = f"About {rounded_share(shares[label])}%."
        number = Number(shares[label], "%", "computed", label)
        targets = Targets(answer=answer, labels=(label,), numbers=(number,))
        made.append(Question("area_share", pick(rng, words).format(area=wordings.area(label)), answer, targets))
    return made


_COVERS = frozenset({"water", "forest", "field", "bare soil", "grass", "sand", "road", "pavement", "building"})


def _which_is_higher(facts: Facts, rng: np.random.Generator) -> list[Question]:
    of_box: dict[int, float] = {}
    of_name: dict[str, float] = {}
    for number in facts.sample.targets.numbers:
        match = _HEIGHT.fullmatch(number.label)
        if match and number.unit == "m" and match[1] is not None:
            of_box[int(match[1])] = number.value
        elif match and number.unit == "m":
            of_name[match[2]] = number.value
    made = _higher_of_two_boxes(facts, of_box, rng) + _higher_by_name(facts, of_box, of_name, rng)
    return [made[int(i)] for i in rng.permutation(len(made))[:1]]


def _higher_of_two_boxes(facts: Facts, heights: Mapping[int, float], rng: np.random.Generator) -> list[Question]:
    if facts.size_px is None:
        return []
    for label, found in facts.boxes.items():
        known = [(heights[index], facts.in_pixels(box)) for index, box in found if index in heights]
        pairs = [(a, b) for a in known for b in known if _left_of(a[1], b[1], facts.size_px[0])]
        pairs = [(a, b) for a, b in pairs if max(a[0], b[0]) >= 1.4 * min(a[0], b[0])]
        if label == "car" or not pairs:
            continue
        left, right = pairs[int(rng.integers(len(pairs)))]
        answer = "the left one" if left[0] > right[0] else "the right one"
        names = {"name": label, "plural": wordings.plural(label)}
        if len(found) == 2 and facts.counts.get(label) == 2:
            question = pick(rng, wordings.HIGHER_TWO).format(**names)
        else:
            texts = [write(box, DIALECT, facts.size_px) for _, box in (left, right)]
            texts = [texts[int(i)] for i in rng.permutation(2)]
            question = pick(rng, wordings.HIGHER_AT).format(first=texts[0], second=texts[1], **names)
        targets = Targets(
            answer=answer,
            choices=("the left one", "the right one"),
            boxes=(left[1], right[1]),
            numbers=tuple(
                Number(height, "m", "computed", f"height of the {side} one")
                for side, (height, _) in (("left", left), ("right", right))
            ),
        )
        return [Question("which_is_higher", question, answer, targets)]
    return []


def _left_of(a: Box, b: Box, width_px: int) -> bool:
    return a.xyxy[0] + a.xyxy[2] + 0.2 * width_px < b.xyxy[0] + b.xyxy[2]


def _higher_by_name(
    facts: Facts, of_box: Mapping[int, float], of_name: Mapping[str, float], rng: np.random.Generator
) -> list[Question]:
    heights = dict(of_name)
    for label, found in facts.boxes.items():
        if label in facts.counts and facts.counts[label] == len(found) == 1 and found[0][0] in of_box:
            heights[label] = of_box[found[0][0]]
    for first, second in _pairs(rng, list(heights)):
        low, high = sorted((heights[first], heights[second]))
        if high < 1.4 * low:
            continue
        answer = f"the {first if heights[first] == high else second}"
        question = pick(rng, wordings.HIGHER_NAMES).format(first=first, second=second)
        numbers = tuple(Number(heights[name], "m", "computed", f"height of the {name}") for name in (first, second))
        targets = Targets(answer=answer, choices=(f"the {first}", f"the {second}"), numbers=numbers)
        return [Question("which_is_higher", question, answer, targets)]
    return []


_MAKERS: tuple[Callable[[Facts, np.random.Generator], list[Question]], ...] = (
    _caption,
    _scene_class,
    _presence,
    _count,
    _compare,
    _area_share,
    places.where_is,
    places.which_parts,
    places.what_is_at,
    _which_is_higher,
)


def build(sample: Sample, rng: np.random.Generator, count: int | None = None) -> list[Sample]:
    """Turn a facts row into instruction rows.

    Args:
        sample: a row with the task `facts` and one image or more; questions are about the first.
        rng: decides what is asked and how it is worded.
        count: at most this many rows, drawn at random; None takes every row that was made.

    Raises:
        DataError: the row holds no facts or no image.
    """
    if sample.task != "facts" or not sample.images:
        raise DataError("questions are made from rows of facts with an image", found=sample.task, allowed="facts")
    facts = Facts(sample)
    made = [question for make in _MAKERS for question in make(facts, rng)]
    if count is not None and count < len(made):
        kept = sorted(int(i) for i in rng.choice(len(made), size=count, replace=False))
        made = [made[i] for i in kept]
    seen: dict[str, int] = {}
    rows = []
    for question in made:
        number = seen.get(question.task, 0)
        seen[question.task] = number + 1
        rows.append(_row(sample, question, number))
    return rows


def _row(sample: Sample, made: Question, number: int) -> Sample:
    kept: dict[str, Any] = {
        key: sample.meta[key] for key in ("sensor", "gsd_m", "seed", "image_file", "window") if key in sample.meta
    }
    return Sample(
        id=f"{sample.id}/{made.task}/{number}",
        images=sample.images,
        task=made.task,
        source=sample.source,
        licence=sample.licence,
        scene_id=sample.scene_id,
        messages=(Message.of("user", made.question, images=(0,)), Message.of("assistant", made.answer)),
        targets=made.targets,
        split=sample.split,
        footprint=sample.footprint,
        meta=kept | dict(made.meta),
    )


def _all(sample: Sample, rng: np.random.Generator) -> Iterator[Sample]:
    return iter(build(sample, rng))


BUILDER = Builder(needs="any facts of a picture: covers, things, shares, heights, captions", build=_all)
