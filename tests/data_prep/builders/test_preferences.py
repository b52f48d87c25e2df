from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from data_prep.builders import BUILDERS
from data_prep.builders._beside import NUMBERS, Beside, Neighbours, wrong_numbers
from data_prep.builders._caption_errors import errors
from data_prep.builders._facts import Facts
from data_prep.builders._statements import setting
from data_prep.builders.preferences import EMPTY, ERRORS, TASK, beside
from data_prep.filters.caption_facts import contradictions
from data_prep.verbs.build import BuildBatch
from lhrs_chat.schema import Box, Image, Number, Sample, Targets

COVERS = ("water", "forest", "grass", "sand", "bare soil", "pavement")
THINGS = ("ship", "airplane", "building", "storage tank", "car")
SCENES = ("port", "airport", "beach", "industrial", "river", "dense residential")


def scene(number: int) -> Sample:
    """A made-up picture: two covers, one to three kinds of things in places of their own, with heights."""
    rng = np.random.default_rng(number)
    numbers, boxes = [], []
    covers = [COVERS[i] for i in rng.permutation(len(COVERS))[:2]]
    numbers += [Number(share, "%", "computed", name) for name, share in zip(covers, (70.0, 30.0), strict=True)]
    for name in (THINGS[i] for i in rng.permutation(len(THINGS))[: rng.integers(1, 4)]):
        count = int(rng.integers(1, 8))
        for _ in range(count):
            x, y = rng.uniform(0, 90, 2)
            boxes.append(Box((x, y, x + rng.uniform(2, 9), y + rng.uniform(2, 9)), "per100", name))
        numbers.append(Number(count, "", "computed", name))
    numbers += [Number(float(rng.uniform(3, 40)), "m", "computed", f"height of box {i}") for i in range(len(boxes))]
    label = SCENES[number % len(SCENES)]
    first = next(n.label for n in numbers if n.unit == "")
    thing, road = (("green", "white", "gray")[i] for i in rng.permutation(3)[:2])
    captions = (f"Two {thing} {first}s lie on the left of a {road} road.", f"A picture of {setting(label)}.")
    return Sample(
        id=f"scene-{number}",
        images=(Image(path=f"{number}.png", size_px=(100, 100)),),
        task="facts",
        source="made",
        licence="CC0-1.0",
        scene_id=f"scene-{number}",
        targets=Targets(labels=(label,), boxes=tuple(boxes), numbers=tuple(numbers), captions=captions),
        meta={"complete": [*COVERS, *THINGS]},
    )


SCENES_MADE = [scene(number) for number in range(48)]


def made(rows: Sequence[Sample] = SCENES_MADE) -> Iterator[tuple[Sample, Sample]]:
    build = beside(rows)
    for number, facts in enumerate(rows):
        for pair in build(facts, np.random.default_rng(number)):
            yield facts, pair


PAIRS = list(made())
BY_ERROR = defaultdict(list)
for _facts, _pair in PAIRS:
    BY_ERROR[_pair.meta["error"]].append((_facts, _pair))


def sentences(text: str) -> list[str]:
    return re.findall(r"[^.]+\.", text)


def told(facts: Sample, text: str) -> list[str]:
    return list(contradictions(text, facts))


def test_every_kind_of_error_is_made_in_every_degree():
    assert set(BY_ERROR) == set(ERRORS)
    degrees = {kind: {pair.meta["severity"] for _, pair in found} for kind, found in BY_ERROR.items()}
    assert all(degrees[kind] == {1, 2, 3} for kind in ("wrong_count", "wrong_height", "wrong_relation"))
    assert all(degrees[kind] >= {1, 2} for kind in ("dropped_facts", "invented_facts", "verbose", "wrong_colour"))
    assert all(values <= {1, 2, 3} for values in degrees.values())


def test_rows_keep_what_belongs_to_their_picture():
    assert len({pair.id for _, pair in PAIRS}) == len(PAIRS)
    for facts, pair in PAIRS:
        assert pair.task == TASK
        assert (pair.images, pair.licence, pair.scene_id, pair.split) == (
            *(facts.images, facts.licence, facts.scene_id, facts.split),
        )
        assert [message.role for message in pair.messages] == ["user", "assistant"]
        assert [part.type for part in pair.messages[0].content][:1] == ["image"]
        assert pair.targets.answer == pair.messages[1].text


def test_texts_are_fluent_and_differ():
    for _, pair in PAIRS:
        texts = [pair.targets.answer, *pair.meta["rejected"]]
        assert len(set(texts)) == len(texts)
        for text in texts:
            assert re.fullmatch(r"[A-Z0-9][^.]*\.(?: [A-Z0-9][^.]*\.)*", text), text
            assert not re.search(r"\b[Aa] [aeio]|\b[Aa]n [^aeiou]|\bone \w+s\b", text), text


def test_better_texts_are_true():
    for facts, pair in PAIRS:
        said = [line for line in sentences(pair.targets.answer) if line.strip() not in facts.targets.captions]
        assert told(facts, " ".join(said)) == [], pair


@pytest.mark.parametrize("kind", ["wrong_count", "invented_facts"])
def test_worse_texts_are_false_by_the_facts(kind):
    statements = [
        (facts, text)
        for facts, pair in BY_ERROR[kind]
        for text in pair.meta["rejected"]
        if pair.targets.answer not in facts.targets.captions
    ]
    assert len(statements) > 10
    for facts, text in statements:
        assert told(facts, text), text


def test_degrees_go_from_better_to_worse():
    listed = [(facts, pair) for facts, pair in BY_ERROR["wrong_count"] if len(pair.meta["rejected"]) == 2]
    assert listed
    for _, pair in listed:
        words = [set(re.findall(r"\w+", text)) for text in (pair.targets.answer, *pair.meta["rejected"])]
        assert words[0] != words[1] != words[2]
    rng = np.random.default_rng(0)
    for number in range(1, 31):
        for wrong, severity in wrong_numbers(number, range(1, 31), rng):
            ratio = max(wrong, number) / min(wrong, number)
            assert ratio >= 1.25 and severity == (1 if ratio <= 1.625 else 2 if ratio <= 2.5 else 3)


def test_dropped_and_padded_texts_say_less_of_the_picture():
    empty = {f"{text[0].upper()}{text[1:]}." for text in EMPTY}
    for kind in ("dropped_facts", "verbose"):
        longer = 0
        for _, pair in BY_ERROR[kind]:
            better, worse = (
                [line.strip() for line in sentences(text)] for text in (pair.targets.answer, pair.meta["rejected"][0])
            )
            assert set(worse) - empty <= set(better)
            assert len(set(worse) - empty) / len(worse) < len(set(better) - empty) / len(better) or (
                len(set(worse) - empty) < len(set(better))
            )
            longer += len(" ".join(worse)) > len(" ".join(better))
        assert 0 < longer <= len(BY_ERROR[kind])


def test_length_alone_does_not_tell():
    longer = [len(text) > len(pair.targets.answer) for _, pair in PAIRS for text in pair.meta["rejected"]]
    shorter = [len(text) < len(pair.targets.answer) for _, pair in PAIRS for text in pair.meta["rejected"]]
    assert abs(np.mean(longer) - np.mean(shorter)) < 0.2  # the longer one is the better one in 40 to 60 %


def test_captions_of_others_are_those_of_another_class():
    for facts, pair in BY_ERROR["other_caption"]:
        (worse,) = pair.meta["rejected"]
        own = setting(facts.targets.labels[0])
        assert not re.search(rf"(?:shows|over|This is|picture of) {own}\b", worse, re.IGNORECASE), pair


def test_without_other_rows_nothing_is_taken_from_them():
    builder = BUILDERS.get("preferences")
    kinds = {pair.meta["error"] for pair in builder.build(SCENES_MADE[0], np.random.default_rng(0))}
    assert "other_caption" not in kinds and kinds


def test_other_splits_and_sources_are_not_looked_at():
    import dataclasses

    facts = SCENES_MADE[0]
    other = [dataclasses.replace(row, split="test") for row in SCENES_MADE[1:]]
    assert Neighbours([facts, *other]).of(facts) == Beside()
    assert Neighbours(SCENES_MADE).of(facts).scenes


def test_a_batch_is_built_alike_every_time():
    step = BuildBatch(("preferences",), 3)
    first, again = step(SCENES_MADE[:8]), step(SCENES_MADE[:8])
    assert first.rows and first.rows == again.rows and not first.dropped
    assert any(row.meta["error"] == "other_caption" for row in first.rows)


@pytest.mark.parametrize(
    ("caption", "kind", "texts"),
    [
        ("An orange roof.", "wrong_colour", {"A red roof."}),
        ("Cars stand on the left of the road.", "wrong_relation", {"Cars stand on the right of the road."}),
        ("The top of a hill.", "wrong_relation", set()),
    ],
)
def test_words_of_captions_are_changed(caption, kind, texts):
    facts = Facts(SCENES_MADE[0])
    others = [with_captions(1, "A red roof."), with_captions(2, "Many red cars.")]
    near = Neighbours(others).of(facts.sample)
    found = {wrong.text for wrong in errors(caption, facts, near, np.random.default_rng(0)) if wrong.kind == kind}
    assert texts <= found and bool(texts) == bool(found)


def with_captions(number: int, *captions: str) -> Sample:
    row = SCENES_MADE[number]
    return replace(row, targets=replace(row.targets, captions=captions))


def test_wrong_numbers_are_as_usual_as_true_ones():
    """A judge that knows how often a number is said, but sees no picture, is right in half of the pairs."""
    rows = [scene(number) for number in range(120)]
    pattern = re.compile(rf"\b({'|'.join(NUMBERS)}|\d+|an?)\b (?=ship|airplane|building|storage|car)")

    def number(text: str) -> list[int]:
        return [("an", "a", *NUMBERS).index(said) for said in pattern.findall(text.lower())]

    true, false = [], []
    for _, pair in made(rows):
        if pair.meta["error"] == "wrong_count" and pair.targets.answer not in pair.targets.captions:
            better, worse = number(pair.targets.answer), number(pair.meta["rejected"][0])
            changed = [pair for pair in zip(better, worse, strict=False) if pair[0] != pair[1]]
            true += [one for one, _ in changed[:1]]
            false += [other for _, other in changed[:1]]
    assert len(true) > 60
    usual = Counter(true)
    right = [0.5 + 0.5 * np.sign(usual[one] - usual[other]) for one, other in zip(true, false, strict=True)]
    assert abs(np.mean(right) - 0.5) < 0.08


def test_words_are_changed_to_what_other_captions_say_of_the_same():
    facts = Facts(with_captions(0, "The two green cars stand near a gray roof."))
    others = ("A road with five green trees and blue cars.", "A grey roof.", "Three ponds.")
    near = Neighbours([with_captions(number, said) for number, said in enumerate(others, 1)]).of(facts.sample)
    found = {
        (wrong.kind, wrong.text)
        for seed in range(20)
        for wrong in errors(facts.sample.targets.captions[0], facts, near, np.random.default_rng(seed))
        if wrong.kind in ("wrong_colour", "wrong_count")
    }
    assert found == {
        ("wrong_colour", "The two blue cars stand near a gray roof."),
        ("wrong_count", "The five green cars stand near a gray roof."),
    }
