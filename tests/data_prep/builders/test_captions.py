"""Caption rows say what the set says, and ask for one sentence only where there is one."""

from __future__ import annotations

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
