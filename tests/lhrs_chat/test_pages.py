from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from lhrs_chat import pages
from lhrs_chat.geo.frames import Placement
from lhrs_chat.pages.regions import PICTURE_PX, corners, jpeg, region
from lhrs_chat.schema import Box, Georef, Mask

SIZE = (64, 32)
RED = (255, 0, 0)


def decoded(uri: str) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_markdown_becomes_html() -> None:
    text = pages.to_html("## A `b`\n\n| x | y |\n| --- | --- |\n| 1 \\| 2 | <3> |\n\n- one\n- **two**\n\nSome\nwords")
    assert "<h2>A <code>b</code></h2>" in text and "<td>1 | 2</td><td>&lt;3&gt;</td>" in text
    assert "<li><b>two</b></li>" in text and "<p>Some words</p>" in text


def test_a_template_gets_its_parts(tmp_path: Path) -> None:
    template = tmp_path / "page.html"
    template.write_text("<style>{{style}}</style><p>{{words}}</p><script id='data'>{{data}}</script>{{viewer}}")
    text = pages.fill(template, {"words": "{{data}}"}, {"a": "</script>\ud800"})
    (found,) = re.findall(r"id='data'>(.*?)</script>", text)
    assert json.loads(found) == {"a": "</script>\ud800"}
    assert "<p>{{data}}</p>" in text and ".shot" in text and "function outline" in text
    text.encode()


def test_a_drawing_says_what_it_shows() -> None:
    assert 'aria-label="A &lt;b&gt;. of c"' in pages.svg(10, 20, "A <b>", "of c", ["<path/>"])
    assert pages.figure("told", "<svg/>", "keys").count("<div") == 2


@pytest.mark.parametrize("size", [(50, 30), (2000, 1000)])
def test_pictures_are_made_small(size: tuple[int, int]) -> None:
    pixels = np.full((size[1], size[0], 3), (200, 40, 40), np.uint8)
    picture = decoded(jpeg(pixels))
    assert max(picture.size) == min(max(size), PICTURE_PX) and picture.format == "JPEG"
    assert np.abs(np.asarray(picture).astype(int) - pixels[0, 0]).max() < 8


def test_corners_are_shares_of_the_picture() -> None:
    assert corners(Box((0, 8, 32, 16), "pixel"), SIZE) == [[0, 0.25], [0.5, 0.25], [0.5, 0.5], [0, 0.5]]
    turned = Box.oriented(((32, 0), (64, 16), (32, 32), (0, 16)), "pixel")
    assert corners(turned, SIZE) == [[0.5, 0], [1, 0.5], [0.5, 1], [0, 0.5]]
    sent = Box((0, 0, 16, 16), "model")
    assert corners(sent, SIZE) == []
    assert corners(sent, SIZE, Placement.whole(SIZE, (32, 32)))[2] == [0.5, 0.5]
    placed = Georef("EPSG:32631", (2, 0, 100, 0, -2, 200))
    assert corners(Box((100, 168, 164, 200), "map"), SIZE, georef=placed)[2] == [0.5, 0.5]


def test_regions_are_rings_or_small_pictures() -> None:
    ring = Mask("per100", (((0, 0), (50, 0), (50, 50)),))
    assert region(ring, SIZE, RED) == {"rings": [[[0, 0], [0.5, 0], [0.5, 0.5]]]}
    assert region(Mask("map", (((0, 0), (50, 0), (50, 50)),)), SIZE, RED) == {}
    inside = np.zeros((1000, 2000), bool)
    inside[:, :1000] = True
    picture = np.asarray(decoded(region(Mask.from_array(inside), (2000, 1000), RED)["uri"]))
    assert picture.shape == (PICTURE_PX // 2, PICTURE_PX, 4)
    assert tuple(picture[0, 0]) == (*RED, 115) and picture[0, -1, 3] == 0
