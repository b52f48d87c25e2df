"""Caption rows say what the set says, and ask for one sentence only where there is one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data_prep.builders import BUILDERS, captions
from lhrs_chat.schema import Image, Sample, Targets


def facts(*sentences: str) -> Sample:
    return Sample(
        id="s",
        images=(Image(path="a.png"),),
        task="facts",
        source="rsicd",
        licence="research",
        scene_id="s",
        targets=Targets(captions=sentences, labels=("port",)),
    )


def test_one_row_for_each_distinct_caption() -> None:
    build = BUILDERS.get("captions").build
    made = list(build(facts("Many ships are in a port .", "A port.", "A port.", " . "), np.random.default_rng(0)))
    assert [row.targets.answer for row in made] == ["Many ships are in a port.", "A port."]
    assert [row.id for row in made] == ["s/captions/caption-0", "s/captions/caption-1"]
    assert {(row.task, row.licence, row.targets.labels) for row in made} == {("caption", "research", ("port",))}
    assert made[0].messages[0].content[0].image == 0
    assert list(build(facts(), np.random.default_rng(0))) == []


@pytest.mark.parametrize(("caption", "allowed"), [("A port. It is busy.", captions.LONG), ("A port.", None)])
def test_a_long_caption_is_not_asked_for_as_a_sentence(caption: str, allowed: tuple[str, ...] | None) -> None:
    asked = set()
    for seed in range(60):
        (row,) = BUILDERS.get("captions").build(facts(caption), np.random.default_rng(seed))
        asked.add(row.messages[0].text)
    assert (asked <= set(allowed)) if allowed else any("sentence" in question for question in asked)
    assert len(asked) > 3


@pytest.mark.parametrize(
    ("roles", "shown"), [(None, [0, 1]), (["before", "after"], [0, 1]), (["optical", "height"], [0])]
)
def test_a_caption_is_told_of_the_pictures_that_it_is_true_of(roles: list[str] | None, shown: list[int]) -> None:
    row = facts("The second picture shows more ships.")
    row = replace(row, images=(*row.images, Image(path="b.png")), meta={} if roles is None else {"image_roles": roles})
    (made,) = BUILDERS.get("captions").build(row, np.random.default_rng(0))
    assert [part.image for part in made.messages[0].content if part.type == "image"] == shown
    assert made.images == row.images[: len(shown)]
    assert made.meta.get("image_roles", []) == (roles or [])[: len(shown)]
