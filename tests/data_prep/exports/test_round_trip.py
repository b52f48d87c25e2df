"""Rows that were exported and are read again say the same: turns, boxes, pictures, terms of use."""

from __future__ import annotations

import string
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.exports import EXPORTS
from data_prep.sources import SOURCES, SourceOptions
from lhrs_chat.geo.frames import convert
from lhrs_chat.schema import Box, Frame, Image, Message, Part, Role, Sample, Targets

SIZE = (80, 50)
STEP_PX = {"llava": 0.0006 * 80, "sharegpt": 0.0006 * 80, "ms_swift": 0.006}  # half a step of the way boxes are written
FRAMES: list[Frame] = ["pixel", "unit", "per100", "per1000"]
# letters of many scripts, digits, marks that look like the beginning of a box, line ends
WORDS = st.text(
    st.sampled_from([*string.ascii_letters, *"0123456789 .,:;!?()[]<>-'\"/\né海ß"]), min_size=1, max_size=30
)
BOXES = st.builds(
    lambda x, y, width, height, frame: convert(
        Box((x, y, min(x + width, 80), min(y + height, 50)), "pixel"), frame, size_px=SIZE
    ),
    st.integers(0, 75),
    st.integers(0, 45),
    st.integers(2, 60),
    st.integers(2, 60),
    st.sampled_from(FRAMES),
)


def told(text: str) -> bool:
    """Whether a text can stand beside boxes: it has words, and nothing in it reads as a box or a mark itself."""
    return bool(text.strip(" .,:;!?()[]<>-'\"/\n")) and "[" not in text and "{" not in text and "<" not in text


@st.composite
def turns(draw: st.DrawFn, pictures: int) -> tuple[Message, ...]:
    spoken = WORDS.filter(told).map(str.strip)
    messages = [Message.of("system", draw(spoken))] if draw(st.booleans()) else []
    shown = tuple(range(pictures))
    for number in range(draw(st.integers(1, 3))):
        asked = [*(Part("image", image=i) for i in (shown if number == 0 else ())), Part("text", text=draw(spoken))]
        messages.append(Message("user", tuple(asked)))
        answer = [Part("text", text=draw(spoken) + " ")]
        for box in draw(st.lists(BOXES, max_size=3)) if pictures else []:
            answer += [Part("region", region=box, image=0), Part("text", text=" " + draw(spoken) + " ")]
        last = answer[-1]
        messages.append(Message("assistant", (*answer[:-1], Part("text", text=last.text.rstrip()))))
    return tuple(messages)


@st.composite
def rows(draw: st.DrawFn) -> Sample:
    pictures = draw(st.integers(0, 3))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    images = tuple(
        Image(array=rng.integers(0, 255, (3, 50, 80), dtype=np.uint8), size_px=SIZE) for _ in range(pictures)
    )
    return Sample(
        id="row/1",
        images=images,
        task=draw(st.sampled_from(["vqa", "referring", "dialogue"])),
        source="synthetic",
        licence="CC-BY-4.0",
        scene_id="scene 7",
        split=draw(st.sampled_from(["train", "val", "test"])),
        messages=draw(turns(pictures)),
        targets=Targets(),
    )


def pieces(sample: Sample) -> Iterator[tuple[Role, str, str]]:
    """Role, kind and words of each part; neighbouring texts as one."""
    for message in sample.messages:
        text = ""
        for part in message.content:
            if part.type == "text":
                text += part.text
                continue
            yield from ([(message.role, "text", text)] if text else [])
            text = ""
            yield message.role, part.type, str(part.image or 0)
        yield from ([(message.role, "text", text)] if text else [])


def boxes(sample: Sample) -> list[tuple[float, ...]]:
    """The regions of all turns, in pixels."""
    parts = [part.region for message in sample.messages for part in message.content]
    return [convert(region, "pixel", size_px=SIZE).xyxy for region in parts if region is not None]


@pytest.mark.parametrize("name", sorted(STEP_PX))
@settings(max_examples=60)
@given(row=rows())
def test_what_is_exported_is_read_again(name: str, row: Sample) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert EXPORTS.get(name).write([row], Path(folder)) == 1
        (found,) = SOURCES.get(name).read(Path(folder), SourceOptions())
        assert list(pieces(found)) == list(pieces(row))
        assert len(boxes(found)) == len(boxes(row))
        for mine, theirs in zip(boxes(found), boxes(row), strict=True):
            assert mine == pytest.approx(theirs, abs=STEP_PX[name])
        for image, original in zip(found.images, row.images, strict=True):
            with PIL.Image.open(image.path or "") as opened:
                assert original.array is not None
                assert (np.asarray(opened).transpose(2, 0, 1) == original.array).all()
    kept = ("id", "task", "source", "licence", "scene_id", "split")
    assert {key: getattr(found, key) for key in kept} == {key: getattr(row, key) for key in kept}
