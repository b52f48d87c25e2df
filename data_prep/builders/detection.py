"""Boxes -> caption, counting, presence, referring expressions, grounding, region description.

What the row does not tell all of (`meta["complete"]`) is never counted, denied or singled out. An expression is asked
for only where it is proven to fit one thing; see `_expressions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from lhrs_chat.geo.frames import clip
from lhrs_chat.schema import Box, Number, Sample, Targets

from . import Builder, _expressions, _nouns, _phrases, _presence
from ._expressions import Thing
from ._facts import Facts, pick
from ._rows import Rows

LEAST_PX = 6.0  # side of a box; nobody asks for a smaller one by itself
MOST_REFERRED = 3  # rows of one scene that single out a thing
MOST_TRIED = 100  # things that are tried for them
MOST_DESCRIBED = 2
MOST_GROUNDED = 15  # boxes of one answer
_MOST = 0.75  # of the things: so many are `most`
_EDGE = 0.03  # of the picture: nearer to the middle line, a thing is in neither half


class _Scene:
    """The boxes of a row, in pixels and by name."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.rows = Rows(facts.sample, "detection")

    @cached_property
    def things(self) -> list[Thing]:
        """Boxes of the first image that lie in the picture."""
        size_px = self.facts.size_px
        images = self.facts.sample.meta.get("box_images")
        if size_px is None:
            return []
        found = []
        for number, box in enumerate(self.facts.sample.targets.boxes):
            if images is not None and images[number] != 0:
                continue
            x1, y1, x2, y2 = (inside := self.facts.in_pixels(box)).xyxy
            if x2 > 0 and y2 > 0 and x1 < size_px[0] and y1 < size_px[1]:
                found.append(Thing.of(number, box.label, clip(inside, size_px), size_px))
        return found

    @cached_property
    def complete(self) -> set[str]:
        """Names of which all things are boxed; not `vehicle` where a thing is labelled `small vehicle`."""
        counts = self.facts.counts
        listed = [name for name in self.facts.complete if not _nouns.is_head(name, self.names)]
        return {name for name in listed if counts.get(name, len(self.called(name))) == len(self.called(name))}

    @cached_property
    def names(self) -> list[str]:
        """Of the things, the most numerous first."""
        names = dict.fromkeys(thing.name for thing in self.things)
        return sorted(names, key=lambda name: -len(self.called(name)))

    def called(self, name: str) -> list[Thing]:
        """All things of a name."""
        return [thing for thing in self.things if thing.name == name]

    def drawn(self, rng: np.random.Generator, most: int, names: set[str] | None = None) -> list[Thing]:
        """Draw things that are large enough to be asked for."""
        able = [thing for thing in self.things if _is_seen(thing) and (names is None or thing.name in names)]
        return [able[int(i)] for i in rng.permutation(len(able))[:most]]


def _is_seen(thing: Thing) -> bool:
    x1, y1, x2, y2 = thing.box.xyxy
    return min(x2 - x1, y2 - y1) >= LEAST_PX


def build(sample: Sample, rng: np.random.Generator) -> Iterator[Sample]:
    """Yield the rows of one scene."""
    scene = _Scene(Facts(sample))
    if scene.things:
        yield from _caption(scene, rng)
        yield from _referring(scene, rng)
        yield from _grounding(scene, rng)
        yield from _described(scene, rng)
    if scene.things or scene.complete:
        yield from _counts(scene, rng)
        yield from _presence.balanced(scene.rows, scene.names, _absent(scene), rng)


# ---------------------------------------------------------------- caption


def _caption(scene: _Scene, rng: np.random.Generator) -> Iterator[Sample]:
    parts = [_amount(scene, name) for name in scene.names]
    first = pick(rng, _phrases.CAPTION_OPENINGS).format(things=_nouns.listed(parts))
    sentences = [_nouns.sentence(first)]
    for name in scene.names[:3]:
        if name in scene.complete:
            sentences += _place(scene.called(name), name, rng)
    text = " ".join(sentences)
    question = pick(rng, _phrases.CAPTION)
    yield scene.rows.make("caption", [(question, text)], Targets(captions=(text,), labels=tuple(scene.names)))


def _amount(scene: _Scene, name: str) -> str:
    number = len(scene.called(name))
    if name in scene.complete:
        return _nouns.counted(number, name)
    return _nouns.one(name) if number == 1 else _nouns.plural(name)


def _place(things: Sequence[Thing], name: str, rng: np.random.Generator) -> list[str]:
    """Tell where a lone thing or most of several lie; nothing where that is not clear."""
    if len(things) == 1:
        region = _expressions.region_of(things[0])
        if not _expressions.within(region, things[0], False):
            return []
        return [_nouns.sentence(pick(rng, _phrases.ONE_PLACE).format(name=name, region=region))]
    if len(things) < 3:
        return []
    for half in _phrases.HALVES:
        inside = sum(_half(thing, half) is True for thing in things)
        names = {"plural": _nouns.plural(name), "half": half}
        if inside == len(things):
            return [_nouns.sentence(pick(rng, _phrases.ALL_IN_HALF).format(**names))]
        if inside >= _MOST * len(things):
            return [_nouns.sentence(pick(rng, _phrases.MOST_IN_HALF).format(**names))]
    return []


def _half(thing: Thing, half: str) -> bool | None:
    """Whether a thing lies in a half of the picture; None on its border."""
    at = thing.x if half in ("left", "right") else thing.y
    if abs(at - 0.5) < _EDGE:
        return None
    return (at < 0.5) == (half in ("left", "upper"))


# ---------------------------------------------------------------- counting and presence


def _counts(scene: _Scene, rng: np.random.Generator) -> Iterator[Sample]:
    counted = [name for name in scene.names if name in scene.complete and _nouns.is_counted(name)]
    absent = [name for name in _absent(scene) if _nouns.is_counted(name)]
    asked = [counted[int(i)] for i in rng.permutation(len(counted))[:2]]
    if absent and rng.random() < 0.3:
        asked.append(pick(rng, absent))
    for name in asked:
        question = pick(rng, _phrases.COUNT).format(plural=_nouns.plural(name))
        yield _count(scene, question, len(scene.called(name)), name)
    for i in rng.permutation(len(counted))[:1]:
        name, half = counted[int(i)], pick(rng, _phrases.HALVES)
        sides = [_half(thing, half) for thing in scene.called(name)]
        if len(sides) > 1 and None not in sides:
            question = pick(rng, _phrases.COUNT_HALF).format(plural=_nouns.plural(name), half=half)
            yield _count(scene, question, sides.count(True), name)


def _count(scene: _Scene, question: str, number: int, name: str) -> Sample:
    targets = Targets(labels=(name,), numbers=(Number(number, "", "computed", name),))
    return scene.rows.make("count", [(question, str(number))], targets)


def _absent(scene: _Scene) -> list[str]:
    masked = {mask.label for mask in scene.facts.sample.targets.masks}
    return [name for name in scene.facts.absent if name in scene.complete and name not in masked]


# ---------------------------------------------------------------- one thing, all things


def _referring(scene: _Scene, rng: np.random.Generator) -> Iterator[Sample]:
    made = 0
    for thing in scene.drawn(rng, MOST_TRIED, scene.complete):
        found = [one for one in _expressions.unique(thing, scene.things) if _names_complete(one, scene)]
        if not found:
            continue
        kind = pick(rng, list(dict.fromkeys(one.kind for one in found)))
        expression = pick(rng, [one for one in found if one.kind == kind])
        question = pick(rng, _phrases.REFER).format(expression=expression.words)
        answer = (_nouns.sentence(expression.words).rstrip(".") + ": ", thing.box)
        targets = Targets(labels=(thing.name,), boxes=(thing.box,))
        meta = {"expression": expression.words, "kind": expression.kind}
        yield scene.rows.make("referring", [(question, answer)], targets, meta=meta)
        made += 1
        if made == MOST_REFERRED:
            return


def _names_complete(expression: _expressions.Expression, scene: _Scene) -> bool:
    """Whether all things that the words speak of are known: an anchor may have an unboxed twin."""
    return expression.anchor is None or expression.anchor in scene.complete


def _grounding(scene: _Scene, rng: np.random.Generator) -> Iterator[Sample]:
    able = [name for name in scene.names if name in scene.complete and len(scene.called(name)) <= MOST_GROUNDED]
    able = [name for name in able if all(_is_seen(thing) for thing in scene.called(name))]
    for i in rng.permutation(len(able))[:2]:
        name = able[int(i)]
        boxes = [thing.box for thing in sorted(scene.called(name), key=lambda thing: (thing.y, thing.x))]
        question = pick(rng, _phrases.GROUND).format(plural=_nouns.plural(name))
        answer: list[str | Box] = [_nouns.sentence(_nouns.counted(len(boxes), name)).rstrip(".") + ": "]
        for box in boxes:
            answer += [box, ", "]
        yield scene.rows.make("grounding", [(question, answer[:-1])], Targets(labels=(name,), boxes=tuple(boxes)))


def _described(scene: _Scene, rng: np.random.Generator) -> Iterator[Sample]:
    """Tell what is in a box, where that is, and what makes it stand out."""
    for thing in scene.drawn(rng, MOST_DESCRIBED):
        parts = [f"{_nouns.one(thing.name)}"]
        region = _expressions.region_of(thing)
        if _expressions.within(region, thing, False):
            parts.append(f"in the {region} of the picture")
        text = _nouns.sentence(" ".join(parts))
        if thing.name in scene.complete:
            kinds = ("size", "side", "relation")
            found = [one for one in _expressions.unique(thing, scene.things) if one.kind in kinds]
            found = [one for one in found if _names_complete(one, scene)]
            if found:
                text += f" {_nouns.sentence(f'it is {pick(rng, found).words}')}"
            elif len(scene.called(thing.name)) == 1:
                text += f" It is the only {thing.name}."
        before, after = pick(rng, _phrases.REGION)
        targets = Targets(labels=(thing.name,), boxes=(thing.box,), captions=(text,))
        yield scene.rows.make("region_caption", [((before, thing.box, after), text)], targets)


BUILDER = Builder("boxes", build)
