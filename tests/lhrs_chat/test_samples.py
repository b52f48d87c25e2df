"""Rows on disk: what is written is read back, and a broken line is named."""

from __future__ import annotations

import pytest

from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Box, Georef, Image, Message, Number, Sample, Targets


def sample(path="a.png"):
    return Sample(
        id="s/1",
        images=(Image(path=path, size_px=(4, 3), georef=Georef("EPSG:32631", (1, 0, 5, 0, -1, 6))),),
        task="where_is",
        source="synthetic",
        licence="Apache-2.0",
        scene_id="s",
        messages=(Message.of("user", "Where?", (0,)), Message.of("assistant", "Here: [1, 2, 3, 4]")),
        targets=Targets(boxes=(Box((1, 2, 3, 4), "per100", "ship"),), numbers=(Number(3.5, "%", "computed", "water"),)),
        split="test",
        meta={"gsd_m": 0.5, "options": ["a", "b"]},
    )


def test_rows_come_back_as_they_were(tmp_path):
    assert samples.write(tmp_path / "rows.jsonl", [sample(), sample()]) == 2
    back = list(samples.read(tmp_path / "rows.jsonl"))
    assert back == [sample(str(tmp_path / "a.png"))] * 2
    assert not list(tmp_path.glob("*.part"))


def test_pixels_are_not_stored_in_json():
    import numpy as np

    row = sample()
    with pytest.raises(DataError, match="points at image files"):
        samples.to_line(Sample(**{**vars(row), "images": (Image(array=np.zeros((3, 2, 2), dtype=np.uint8)),)}))


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "x"}', '{"id": "x", "more": 1}'])
def test_broken_line_is_named(tmp_path, line):
    (tmp_path / "rows.jsonl").write_text(samples.to_line(sample()) + "\n" + line + "\n")
    with pytest.raises(DataError, match=r"line 2 of .*rows.jsonl"):
        list(samples.read(tmp_path / "rows.jsonl"))
