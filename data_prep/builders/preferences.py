"""Facts -> preference pairs: a true text about a picture and a worse one, for models that score texts.

A row has the task `preference`; its answer is the better text. `meta["rejected"]` lists worse ones, from better to
worse, `meta["error"]` names what is wrong with them and `meta["severity"]` tells how bad the first one is, from 1 to 3.
All texts of a row share its pictures and its question. What is put in wrongly is what other pictures truly show, as
often as they show it, and errors keep the length or make a text longer as often as shorter: neither words nor length
alone tell which is better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from lhrs_chat.schema import Sample, Targets

from . import Builder, _nouns, _wordings
from ._beside import Beside, Neighbours
from ._caption_errors import errors
from ._claims import Claims, vocabulary_of
from ._facts import Facts, is_of_first, pick
from ._rows import Rows
from ._statements import Statement, Wrong, invented, statements
from .captions import tidy

TASK = "preference"
SAID_WRONGLY = ("wrong_count", "swapped_object", "wrong_relation", "wrong_height")
ERRORS = (*SAID_WRONGLY, "wrong_colour", "dropped_facts", "invented_facts", "verbose", "other_caption")
EMPTY = (
    "the picture was taken from above",
    "this is a remote sensing image",
    "it shows a part of the surface of the earth",
    "the image can be used to study the ground",
    "such pictures are taken by satellites or aircraft",
    "one can look at the scene and see what is there",
    "the view is straight down onto the ground",
    "it is a picture of a place on the earth",
)
"""True of any picture, and so of no use."""
_MOST_TOLD = 4
_LISTED = 0.3  # of the rows whose error has degrees: a slightly and a badly wrong text
_ALONE = 0.4  # of the statements that a question asks for
_ASKED = 0.5  # of the descriptions
_PADDED = 0.2  # of the pairs: both texts hold an empty sentence
_LONGEST = 600  # characters of a padded text
_NEAREST = 6  # texts of other pictures of which the one of the nearest length is taken

Made = Iterator[Sample]


class _Pairs:
    """Makes the rows of one picture."""

    def __init__(self, sample: Sample, beside: Beside, rng: np.random.Generator) -> None:
        self.facts = Facts(sample)
        self.rng = rng
        self.beside = beside
        self.others = [one.row for one in beside.shown if _differ(sample, one.row)]
        self.rows = Rows(sample, "preferences")
        self.names = vocabulary_of(sample) | set(self.beside.things) | set(self.beside.scenes)

    def every(self) -> Made:
        told = statements(self.facts, self.beside, self.rng)
        for kind in SAID_WRONGLY:
            yield from self.said_wrongly(told, kind)
        if len(told) > 1:
            yield from self.invented([one.text for one in told])
            yield from self.other_statements(told)
        captions = list(dict.fromkeys(filter(None, map(tidy, self.facts.sample.targets.captions))))
        yield from self.captions(captions)
        texts = [one.text for one in told] if len(told) > 1 else captions
        if len(texts) > 1:
            yield from self.dropped(texts)
            yield from self.verbose(texts)

    def said_wrongly(self, told: Sequence[Statement], kind: str) -> Made:
        """One statement is false, alone as an answer or among others that are true."""
        wrong = [number for number, one in enumerate(told) if any(false.kind == kind for false in one.wrong)]
        if not wrong:
            return
        number = pick(self.rng, wrong)
        one = told[number]
        false = self._degrees([other for other in one.wrong if other.kind == kind])
        if one.question and self.rng.random() < _ALONE:
            yield from self.pair(_text([one.text]), [(_text([w.text]), w.severity) for w in false], kind, one.question)
            return
        around = [other.text for place, other in enumerate(told) if place != number][: self._some(0, _MOST_TOLD - 1)]
        place = self._some(0, len(around))
        good, *bad = ([*around[:place], text, *around[place:]] for text in (one.text, *(w.text for w in false)))
        empty = self._empty(1) if self.rng.random() < _PADDED else []
        worse = [(_text([*words, *empty]), w.severity) for words, w in zip(bad, false, strict=True)]
        yield from self.pair(_text([*good, *empty]), worse, kind, self._question())

    def dropped(self, told: Sequence[str]) -> Made:
        """Facts are left out; in half of the rows empty sentences take their place."""
        said = told[: self._some(2, _MOST_TOLD)]
        fewer = self._some(1, min(3, len(said) - 1))
        filled = self._empty(fewer) if self.rng.random() < 0.5 else []
        kept = [*said[: len(said) - fewer], *filled]
        yield from self.pair(_text(said), [(_text(kept), fewer)], "dropped_facts", self._question())

    def invented(self, told: Sequence[str]) -> Made:
        """What is not there takes the place of what is."""
        false = invented(self.facts, self.beside, self.rng)
        if not false:
            return
        said = told[: self._some(2, _MOST_TOLD)]
        false = false[: self._some(1, len(said) - 1)]
        mixed = [*said[: len(said) - len(false)], *(one.text for one in false)]
        order = self.rng.permutation(len(mixed)).tolist()
        better, worse = (_text([words[i] for i in order]) for words in (said, mixed))
        yield from self.pair(better, [(worse, len(false))], "invented_facts", self._question())

    def verbose(self, told: Sequence[str]) -> Made:
        """Empty sentences, the last one twice, are added; in half of the rows in the place of facts."""
        said = _text(told[: self._some(2, _MOST_TOLD)])
        instead = self.rng.random() < 0.5
        kept, most = (told[0], len(said)) if instead else (said, _LONGEST)
        empty = self._empty(self._some(1, 3))
        while len(empty) > 1 and len(_text([kept, *empty, empty[-1]])) > most:
            empty.pop()
        padded = [kept, *empty, empty[-1]]
        yield from self.pair(said, [(_text(padded), len(empty))], "verbose", self._question())

    def other_statements(self, told: Sequence[Statement]) -> Made:
        """What is true of a picture of another scene class."""
        if not self.others or not self.facts.sample.targets.labels:
            return
        rest = [one for one in told if one.question not in _wordings.SCENE_CLASS]
        scene = [one for one in told if one.question in _wordings.SCENE_CLASS]
        said = _text([one.text for one in (*scene, *rest[: self._some(1, 2)])])
        texts = []
        for row in self._drawn(_NEAREST):
            theirs = statements(Facts(row), Beside(), self.rng)
            scenes = [one for one in theirs if one.question in _wordings.SCENE_CLASS]
            more = [one for one in theirs if one.question not in _wordings.SCENE_CLASS]
            texts.append(_text([one.text for one in (*scenes, *more[: len(rest[:2])])]))
        yield from self.pair(said, [(_nearest(said, texts), 3)], "other_caption", self._question())

    def captions(self, own: Sequence[str]) -> Made:
        """Captions of people with words changed, and those of other pictures."""
        by_kind: dict[str, list[tuple[str, Wrong]]] = {}
        for caption in own:
            for wrong in errors(caption, self.facts, self.beside, self.rng):
                by_kind.setdefault(wrong.kind, []).append((caption, wrong))
        for kind, found in by_kind.items():
            caption = pick(self.rng, found)[0]
            false = self._degrees([wrong for said, wrong in found if said == caption])
            yield from self.pair(caption, [(one.text, one.severity) for one in false], kind, self._question())
        texts = [tidy(pick(self.rng, row.targets.captions)) for row in self._drawn(_NEAREST) if row.targets.captions]
        texts = [text for text in texts if text and text not in own]
        if own and texts and self.facts.sample.targets.labels:
            caption = pick(self.rng, own)
            yield from self.pair(caption, [(_nearest(caption, texts), 3)], "other_caption", self._question())

    def pair(self, better: str, worse: Sequence[tuple[str, int]], kind: str, question: str) -> Made:
        """Make a row, unless the texts cannot be told apart by what they claim."""
        said = Claims.of(better, self.names)
        proven = kind in ("wrong_colour", "verbose", "other_caption")
        if any(text == better or not (proven or said.faults(Claims.of(text, self.names))) for text, _ in worse):
            return
        meta = {"rejected": [text for text, _ in worse], "error": kind, "severity": worse[0][1]}
        yield self.rows.make(TASK, [(question, better)], Targets(labels=self.facts.sample.targets.labels), meta=meta)

    def _degrees(self, wrong: Sequence[Wrong]) -> list[Wrong]:
        """Draw one of the false versions, or a slight and a bad one."""
        drawn = [wrong[i] for i in self.rng.permutation(len(wrong))]
        first = drawn[0]
        unlike = [one for one in drawn if one.severity != first.severity]
        if unlike and self.rng.random() < _LISTED:
            return sorted([first, unlike[0]], key=lambda one: one.severity)
        return [first]

    def _question(self) -> str:
        return pick(self.rng, _wordings.CAPTION) if self.rng.random() < _ASKED else ""

    def _empty(self, many: int) -> list[str]:
        return [EMPTY[i] for i in self.rng.permutation(len(EMPTY))[:many]]

    def _drawn(self, most: int) -> list[Sample]:
        return [self.others[i] for i in self.rng.permutation(len(self.others))[:most]]

    def _some(self, least: int, most: int) -> int:
        return int(self.rng.integers(least, most + 1))


def _differ(one: Sample, other: Sample) -> bool:
    """Whether two pictures are of different scene classes."""
    return bool(other.targets.labels) and not set(one.targets.labels) & set(other.targets.labels)


def _text(clauses: Sequence[str]) -> str:
    return " ".join(_nouns.sentence(clause.rstrip(".")) for clause in clauses)


def _nearest(text: str, others: Sequence[str]) -> str:
    """The one of the others whose length is nearest."""
    return min(others, key=lambda other: abs(len(other) - len(text)))


def beside(rows: Sequence[Sample]) -> Callable[[Sample, np.random.Generator], Made]:
    """Return what yields the pairs of one picture; `rows` are those that its errors may be taken from."""
    neighbours = Neighbours(rows)

    def build(sample: Sample, rng: np.random.Generator) -> Made:
        if is_of_first(sample):
            yield from _Pairs(sample, neighbours.of(sample), rng).every()

    return build


BUILDER = Builder(
    needs="labels, counts, shares, boxes, heights or captions",
    build=beside(()),
    beside=beside,
)
