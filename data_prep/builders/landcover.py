"""Land cover masks -> shares, layout by quarter and centre -> captions and questions.

All shares are counted in the masks. A statement is made only where its numbers leave no doubt: what is `mostly` there
fills 60 %, what is compared differs by 8 points, and traces under 2 % are neither named nor denied.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from lhrs_chat.schema import Number, Sample, Targets

from . import Builder, _nouns, _phrases, _presence, _wordings
from ._facts import Facts, pick
from ._rows import Rows
from .nano import rounded_share

QUARTERS = ("upper left quarter", "upper right quarter", "lower left quarter", "lower right quarter")
PARTS = (*QUARTERS, "centre")
LEAST_SHARE = 2.0  # percent; less is a trace
MOSTLY = 60.0  # percent of a part, or of a cover
_ALMOST_ALL = 95.0
_LEAST_GAP = 8.0  # percent of the picture between two covers that are compared
_MOST_NAMED = 5
_WHOLE = 0.9  # of the picture


class _Ground:
    """The covers of a row of facts: their shares in percent, of the picture and of its parts."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.rows = Rows(facts.sample, "landcover")

    @cached_property
    def masks(self) -> dict[str, np.ndarray]:
        """Masks of the first image by cover, (H, W) bool; empty where they do not share one grid, or tell change."""
        if "masks_tell" in self.facts.sample.meta:
            return {}
        of_image = self.facts.sample.meta.get("mask_images")
        found: dict[str, np.ndarray] = {}
        for number, mask in enumerate(self.facts.sample.targets.masks):
            if mask.rle is None or (of_image is not None and of_image[number] != 0):
                continue
            array = mask.to_array()
            found[mask.label] = found[mask.label] | array if mask.label in found else array
        return found if len({array.shape for array in found.values()}) == 1 else {}

    @cached_property
    def shares(self) -> dict[str, float]:
        """Of the picture, the largest first; traces left out."""
        named = {cover: self.facts.shares.get(cover, 100 * float(m.mean())) for cover, m in self.masks.items()}
        kept = {cover: share for cover, share in named.items() if share >= LEAST_SHARE}
        return dict(sorted(kept.items(), key=lambda item: -item[1]))

    @property
    def is_whole(self) -> bool:
        """Whether the cover of all ground is told, so that the largest of the covers is the largest there is."""
        return sum(float(mask.mean()) for mask in self.masks.values()) >= _WHOLE

    @property
    def absent(self) -> list[str]:
        """Covers that are not there for sure; absent things are not asked for here."""
        seen = {cover for cover, mask in self.masks.items() if mask.any()}
        covers = (name for name in self.facts.absent if not _nouns.is_counted(name) or _is_plural(name))
        return [name for name in covers if name not in seen]

    @cached_property
    def of_part(self) -> dict[str, dict[str, float]]:
        """Share of each cover in each part, percent of the part."""
        return {
            part: {cover: 100 * float(_cut(mask, part).mean()) for cover, mask in self.masks.items()} for part in PARTS
        }

    @cached_property
    def filling(self) -> dict[str, str]:
        """The cover that a part is mostly made of."""
        found = {}
        for part, shares in self.of_part.items():
            cover = max(shares, key=lambda name: shares[name])
            if shares[cover] >= MOSTLY:
                found[part] = cover
        return found

    @cached_property
    def gathered(self) -> dict[str, str]:
        """The quarter that most of a cover lies in, by cover."""
        found = {}
        for cover in self.shares:
            total = self.masks[cover].sum()
            inside = {part: 100 * _cut(self.masks[cover], part).sum() / total for part in QUARTERS}
            part = max(inside, key=lambda name: inside[name])
            if inside[part] >= MOSTLY:
                found[cover] = part
        return found


def _cut(mask: np.ndarray, part: str) -> np.ndarray:
    height, width = mask.shape
    if part == "centre":
        return mask[height // 3 : max(1, 2 * height // 3), width // 3 : max(1, 2 * width // 3)]
    rows = slice(0, height // 2) if part.startswith("upper") else slice(height // 2, height)
    columns = slice(0, width // 2) if "left" in part else slice(width // 2, width)
    return mask[rows, columns]


def build(sample: Sample, rng: np.random.Generator) -> Iterator[Sample]:
    """Yield the rows of one scene."""
    ground = _Ground(Facts(sample))
    if not ground.shares or min(next(iter(ground.masks.values())).shape) < len(PARTS):
        return
    yield _caption(ground, rng)
    yield from _shares(ground, rng)
    yield from _comparisons(ground, rng)
    yield from _presence.balanced(ground.rows, list(ground.shares), ground.absent, rng)
    yield from _places(ground, rng)


def _caption(ground: _Ground, rng: np.random.Generator) -> Sample:
    sentences = [_amounts(ground, rng)]
    main = next(iter(ground.shares))
    told: dict[str, list[str]] = {}
    for part, cover in ground.filling.items():
        if cover != main or ground.shares[main] < MOSTLY:
            told.setdefault(cover, []).append(part)
    for cover, parts in list(told.items())[:3]:
        parts = _halves(parts)
        be = "is" if len(parts) == 1 else "are"
        words = pick(rng, _phrases.COVER_PARTS)
        sentences.append(words.format(parts=_nouns.listed(parts), be=be, cover=_wordings.area(cover)))
    for cover, part in ground.gathered.items():
        if cover != main and cover not in told and not _is_plural(cover) and len(sentences) < 4:
            sentences.append(pick(rng, _phrases.COVER_GATHERED).format(cover=cover, part=part))
    text = " ".join(map(_nouns.sentence, sentences))
    numbers = tuple(Number(share, "%", "computed", cover) for cover, share in ground.shares.items())
    targets = Targets(captions=(text,), labels=tuple(ground.shares), numbers=numbers)
    return ground.rows.make("caption", [(pick(rng, _phrases.CAPTION), text)], targets)


def _halves(parts: list[str]) -> list[str]:
    """Call two quarters side by side a half."""
    left = list(parts)
    for side in ("upper", "lower", "left", "right"):
        pair = [part for part in left if side in part.split()]
        if len(pair) == 2:
            left = [f"{side} half", *(part for part in left if part not in pair)]
    return left


def _amounts(ground: _Ground, rng: np.random.Generator) -> str:
    """The first sentence: what there is, and about how much of it."""
    if not ground.is_whole:
        amount = pick(rng, _phrases.COVER_SOME)
        covers = list(ground.shares.items())[:_MOST_NAMED]
        told = [amount.format(share=f"about {rounded_share(s)}%", cover=_wordings.area(cover)) for cover, s in covers]
        return _nouns.listed(told)
    (main, share), *others = ground.shares.items()
    first = f"{_wordings.area(main)} (about {rounded_share(share)}%)"
    if share >= _ALMOST_ALL:
        return pick(rng, _phrases.COVER_ALL).format(first=_wordings.area(main))
    said = [f"{_wordings.area(cover)} (about {rounded_share(part)}%)" for cover, part in others[: _MOST_NAMED - 1]]
    rest = pick(rng, _phrases.COVER_REST).format(others=_nouns.listed(said)) if said else ""
    if share >= MOSTLY:
        return pick(rng, _phrases.COVER_MOSTLY).format(first=first, rest=rest)
    if others and share - others[0][1] >= _LEAST_GAP:
        words = _phrases.COVER_LARGEST[:1] if _is_plural(main) else _phrases.COVER_LARGEST
        return pick(rng, words).format(first=first, rest=rest)
    return f"the ground is covered by {_nouns.listed([first, *said])}"


def _is_plural(cover: str) -> bool:
    return _wordings.area(cover) != cover


def _shares(ground: _Ground, rng: np.random.Generator) -> Iterator[Sample]:
    covers = list(ground.shares)
    for i in rng.permutation(len(covers))[:2]:
        cover = covers[int(i)]
        number = Number(ground.shares[cover], "%", "computed", cover)
        question = pick(rng, _wordings.AREA_SHARE).format(area=_wordings.area(cover))
        answer = f"About {rounded_share(number.value)}%."
        yield ground.rows.make("area_share", [(question, answer)], Targets(labels=(cover,), numbers=(number,)))


def _comparisons(ground: _Ground, rng: np.random.Generator) -> Iterator[Sample]:
    shares = ground.shares
    covers = list(shares)
    if len(covers) > 1 and ground.is_whole and shares[covers[0]] - shares[covers[1]] >= _LEAST_GAP:
        question = pick(rng, _phrases.COVER_DOMINANT)
        yield ground.rows.make("vqa", [(question, _wordings.area(covers[0]))], Targets(labels=(covers[0],)))
    pairs = [(a, b) for a in covers for b in covers if a != b and abs(shares[a] - shares[b]) >= _LEAST_GAP]
    if pairs:
        pair = pairs[int(rng.integers(len(pairs)))]
        first, second = map(_wordings.area, pair)
        answer = first if shares[pair[0]] > shares[pair[1]] else second
        question = pick(rng, _wordings.COMPARE_WHICH[:4]).format(first=first, second=second)
        numbers = tuple(Number(shares[cover], "%", "computed", cover) for cover in pair)
        yield ground.rows.make("compare", [(question, answer)], Targets(choices=(first, second), numbers=numbers))


def _places(ground: _Ground, rng: np.random.Generator) -> Iterator[Sample]:
    """Ask what fills a part, where not all are filled by the same, and for the quarter that holds a cover."""
    if len(set(ground.filling.values())) > 1:
        parts = list(ground.filling)
        for i in rng.permutation(len(parts))[:2]:
            part = parts[int(i)]
            cover = ground.filling[part]
            number = Number(round(ground.of_part[part][cover], 1), "%", "computed", cover)
            question = pick(rng, _phrases.COVER_AT).format(part=part)
            targets = Targets(labels=(cover,), numbers=(number,))
            yield ground.rows.make("what_is_at", [(question, _wordings.area(cover))], targets)
    gathered = [cover for cover in ground.gathered if not _is_plural(cover)]
    for i in rng.permutation(len(gathered))[:1]:
        cover = gathered[int(i)]
        question = pick(rng, _phrases.COVER_WHERE).format(cover=cover)
        targets = Targets(choices=tuple(f"The {quarter}." for quarter in QUARTERS), labels=(cover,))
        yield ground.rows.make("which_parts", [(question, f"The {ground.gathered[cover]}.")], targets)


BUILDER = Builder("masks of land cover", build)
