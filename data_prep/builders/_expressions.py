"""Referring expressions as predicates: words that fit one thing of a scene and, even read generously, no other.

Every expression holds a predicate that is read in two ways. Strictly, it fits only what clearly is what the words say;
generously, it fits all that a person could take them to mean (almost the largest, hardly left of it, at the edge of
the upper left). An expression singles out a thing when the strict reading fits it and the generous one no other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lhrs_chat.schema import Box

from ._regions import REGIONS

SLACK = 0.04  # of the side of the picture: positions nearer than this may be confused
REGION_SLACK = 0.1  # of the side of the picture: so far beyond a ninth, a thing may still be said to lie in it
SIZE_SLACK = 1.3  # areas and distances whose ratio is smaller may be confused
LENGTH_SLACK = 1.2  # the same for lengths; the box of a turned thing is larger than that of an upright one
NEAR_PX = 4.0  # distances that differ by less may be confused
EDGE = 0.003  # of the side of the picture
_MOST_IN_A_ROW = 6  # more things than this are not numbered from one side
_ORDINALS = {2: "second", 3: "third"}


@dataclass(frozen=True)
class Thing:
    """A box of a scene; its place in shares of the picture's width and height."""

    number: int
    name: str
    box: Box
    x1: float
    y1: float
    x2: float
    y2: float

    @staticmethod
    def of(number: int, name: str, box: Box, size_px: tuple[int, int]) -> Thing:
        """Make a thing of a box in pixels."""
        width, height = size_px
        x1, y1, x2, y2 = box.xyxy
        return Thing(number, name, box, x1 / width, y1 / height, x2 / width, y2 / height)

    @property
    def x(self) -> float:
        """Of its centre."""
        return (self.x1 + self.x2) / 2

    @property
    def y(self) -> float:
        """Of its centre."""
        return (self.y1 + self.y2) / 2

    @property
    def area_px(self) -> float:
        """Of the box, a turned one by its own corners."""
        x1, y1, x2, y2 = self.box.xyxy
        if self.box.points is None:
            return (x2 - x1) * (y2 - y1)
        corners = self.box.points
        turned = zip(corners, corners[1:] + corners[:1], strict=True)
        return abs(sum(ax * by - bx * ay for (ax, ay), (bx, by) in turned)) / 2

    @property
    def length_px(self) -> float:
        """Across the box; for a slim thing this is its length, however it is turned."""
        x1, y1, x2, y2 = self.box.xyxy
        if self.box.points is None:
            return math.hypot(x2 - x1, y2 - y1)
        return math.dist(self.box.points[0], self.box.points[2])

    @property
    def is_cut(self) -> bool:
        """Whether it touches the edge of the picture: then its size is not seen."""
        return min(self.x1, self.y1) <= EDGE or max(self.x2, self.y2) >= 1 - EDGE


@dataclass(frozen=True)
class Expression:
    """Words for a thing.

    Args:
        kind: what makes it unique: alone, region, size, side, order, relation or both.
        words: `the largest ship`.
        fits: whether a thing is what the words say; the flag asks for the generous reading.
        anchor: name of the other thing that the words speak of; it has to be the only one of its name.
    """

    kind: str
    words: str
    fits: Callable[[Thing, bool], bool]
    anchor: str | None = None

    def singles_out(self, target: Thing, things: Sequence[Thing]) -> bool:
        """Tell whether the words fit `target` strictly and nothing else of `things` even generously."""
        others = (thing for thing in things if thing is not target)
        return self.fits(target, False) and not any(self.fits(thing, True) for thing in others)


def region_of(thing: Thing) -> str:
    """The ninth of the picture that holds the centre of a thing."""
    return REGIONS[3 * min(2, int(3 * thing.y)) + min(2, int(3 * thing.x))]


def within(region: str, thing: Thing, generous: bool) -> bool:
    """Tell whether the centre of a thing lies in a ninth; strictly, clear of its inner borders."""
    row, column = divmod(REGIONS.index(region), 3)
    slack = REGION_SLACK if generous else -SLACK / 2
    return all(
        (place == 0 or place / 3 - slack <= at) and (place == 2 or at <= (place + 1) / 3 + slack)
        for place, at in ((column, thing.x), (row, thing.y))
    )


def unique(target: Thing, things: Sequence[Thing]) -> list[Expression]:
    """All expressions of this module that single out `target` among all `things` of the picture."""
    return [made for made in _candidates(target, things) if made.singles_out(target, things)]


def _candidates(target: Thing, things: Sequence[Thing]) -> Iterator[Expression]:
    alike = [thing for thing in things if thing.name == target.name]
    if len(alike) == 1:
        yield Expression("alone", f"the {target.name}", lambda thing, _: thing.name == target.name)
    else:
        region = region_of(target)
        nearby = [thing for thing in alike if within(region, thing, False)]
        place = f"in the {region} of the picture"
        yield Expression(
            "region",
            f"the {target.name} {place}",
            lambda thing, generous: thing.name == target.name and within(region, thing, generous),
        )
        yield from _by_size(target.name, alike)
        yield from _by_side(target.name, alike)
        for size in _by_size(target.name, nearby):
            yield _both(size, region, f"{size.words} {place}")
    numbers = Counter(thing.name for thing in things)
    for anchor in things:
        if anchor.name != target.name and numbers[anchor.name] == 1:
            yield from _by_relation(target.name, alike, anchor)


def _by_size(name: str, alike: Sequence[Thing]) -> Iterator[Expression]:
    if len(alike) < 2:
        return
    for word, sign in (("largest", 1), ("smallest", -1)):

        def fits(thing: Thing, generous: bool, sign: int = sign) -> bool:
            others = [other for other in alike if other is not thing]
            area = math.log(SIZE_SLACK) if generous else 0.0
            length = math.log(LENGTH_SLACK) if generous else 0.0
            votes = [
                all(sign * _log_ratio(thing.area_px, other.area_px) >= -area for other in others),
                all(sign * _log_ratio(thing.length_px, other.length_px) >= -length for other in others),
            ]
            if generous:
                return thing.name == name and any(votes)
            return thing.name == name and all(votes) and not thing.is_cut

        yield Expression("size", f"the {word} {name}", fits)


def _by_side(name: str, alike: Sequence[Thing]) -> Iterator[Expression]:
    """The first, second and third from each side."""
    sides: tuple[tuple[str, str, Callable[[Thing], float]], ...] = (
        ("leftmost", "left", lambda thing: thing.x),
        ("rightmost", "right", lambda thing: -thing.x),
        ("topmost", "top", lambda thing: thing.y),
        ("bottommost", "bottom", lambda thing: -thing.y),
    )
    ranks = range(1, min(len(alike), 4)) if len(alike) <= _MOST_IN_A_ROW else range(1, 2)
    for first, side, at in sides:
        for rank in ranks:

            def fits(thing: Thing, generous: bool, rank: int = rank, at: Callable[[Thing], float] = at) -> bool:
                slack = SLACK if generous else 0.0
                others = [at(other) - at(thing) for other in alike if other is not thing]
                surely_before = sum(gap < -slack for gap in others)
                maybe_before = sum(gap < slack for gap in others)
                return thing.name == name and surely_before < rank <= maybe_before + 1

            if rank == 1:
                yield Expression("side", f"the {first} {name}", fits)
            elif len(alike) > 2:
                yield Expression("order", f"the {_ORDINALS[rank]} {name} from the {side}", fits)


def _both(inner: Expression, region: str, words: str) -> Expression:
    return Expression(
        "both", words, lambda thing, generous: inner.fits(thing, generous) and within(region, thing, generous)
    )


def _by_relation(name: str, alike: Sequence[Thing], anchor: Thing) -> Iterator[Expression]:
    sides: tuple[tuple[str, Callable[[Thing], float], Callable[[Thing], bool], Callable[[Thing], bool]], ...] = (
        ("to the left of", lambda t: anchor.x1 - t.x2, lambda t: t.x < anchor.x, lambda t: _overlap(t, anchor, "y")),
        ("to the right of", lambda t: t.x1 - anchor.x2, lambda t: t.x > anchor.x, lambda t: _overlap(t, anchor, "y")),
        ("above", lambda t: anchor.y1 - t.y2, lambda t: t.y < anchor.y, lambda t: _overlap(t, anchor, "x")),
        ("below", lambda t: t.y1 - anchor.y2, lambda t: t.y > anchor.y, lambda t: _overlap(t, anchor, "x")),
    )
    for word, gap, beyond, beside in sides:

        def fits(
            thing: Thing,
            generous: bool,
            gap: Callable[[Thing], float] = gap,
            beyond: Callable[[Thing], bool] = beyond,
            beside: Callable[[Thing], bool] = beside,
        ) -> bool:
            return thing.name == name and (beyond(thing) if generous else gap(thing) >= 0 and beside(thing))

        yield Expression("relation", f"the {name} {word} the {anchor.name}", fits, anchor.name)
    if len(alike) > 1:

        def nearest(thing: Thing, generous: bool) -> bool:
            slack = SIZE_SLACK if generous else 1.0
            others = [other for other in alike if other is not thing]
            near = NEAR_PX if generous else 0.0
            votes = [far(thing) <= slack * min(map(far, others)) + near for far in (centres_px, edges_px)]
            return thing.name == name and (any(votes) if generous else all(votes))

        def centres_px(thing: Thing) -> float:
            return math.hypot(*(a - b for a, b in zip(_centre_px(thing), _centre_px(anchor), strict=True)))

        def edges_px(thing: Thing) -> float:
            ax1, ay1, ax2, ay2 = thing.box.xyxy
            bx1, by1, bx2, by2 = anchor.box.xyxy
            return math.hypot(max(ax1 - bx2, bx1 - ax2, 0.0), max(ay1 - by2, by1 - ay2, 0.0))

        yield Expression("relation", f"the {name} nearest to the {anchor.name}", nearest, anchor.name)


def _overlap(one: Thing, other: Thing, axis: str) -> bool:
    if axis == "x":
        return min(one.x2, other.x2) > max(one.x1, other.x1)
    return min(one.y2, other.y2) > max(one.y1, other.y1)


def _log_ratio(one: float, other: float) -> float:
    return math.log(max(one, 1e-9) / max(other, 1e-9))


def _centre_px(thing: Thing) -> tuple[float, float]:
    x1, y1, x2, y2 = thing.box.xyxy
    return (x1 + x2) / 2, (y1 + y2) / 2
